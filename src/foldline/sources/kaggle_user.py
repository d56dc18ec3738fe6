"""Who the user is at Kaggle, as far as this machine knows without asking there. Reads the name in `kaggle.json`."""

import os
import re
from pathlib import Path


def known_user() -> str:
    """The user's name there; empty where only an access token says it, to Kaggle alone.

    Looked for where Kaggle's client does: `KAGGLE_USERNAME`, then `kaggle.json`. The key in it is not kept.
    """
    if name := os.environ.get("KAGGLE_USERNAME", ""):
        return name
    home = Path.home()
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "kaggle"
    given = os.environ.get("KAGGLE_CONFIG_DIR")
    for folder in [Path(given)] if given else [home / ".kaggle", settings]:
        path = folder / "kaggle.json"
        found = re.search(r'"username"\s*:\s*"([^"]+)"', path.read_text(errors="replace")) if path.is_file() else None
        if found:
            return found[1]
    return ""
