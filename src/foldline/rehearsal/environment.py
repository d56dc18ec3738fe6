"""A fresh virtual environment that has what this one has, but for what the bundle brings along.

Nothing is downloaded: what is part of Kaggle's image (PyTorch ...) is here a link to this environment's.
"""

import importlib.util
import re
import sys
import sysconfig
import venv
from collections.abc import Collection
from importlib import metadata
from pathlib import Path

PRESENT = "present"  # the folder of links


def python_of(folder: Path) -> Path:
    """The interpreter of a virtual environment."""
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def fresh_environment(folder: Path, wheels: Collection[Path]) -> Path:
    """Makes a virtual environment in `folder`, in which the packages of `wheels` are still to be installed.

    Returns:
        Its interpreter. `pip` is there.
    """
    venv.EnvBuilder(with_pip=importlib.util.find_spec("pip") is None, symlinks=sys.platform != "win32").create(folder)
    brought = {"foldline", *(_plain(wheel.name.partition("-")[0]) for wheel in wheels)}
    hidden = {entry for name in brought for entry in _entries(name)}
    links = folder / PRESENT
    links.mkdir()
    for root in {Path(sysconfig.get_path("purelib")), Path(sysconfig.get_path("platlib"))}:
        for entry in root.iterdir():
            is_path = entry.suffix == ".pth" or entry.name in hidden or entry.name == "__pycache__"
            if not is_path and not (links / entry.name).exists():
                (links / entry.name).symlink_to(entry.resolve(), target_is_directory=entry.is_dir())
    python = python_of(folder)
    own = next(folder.glob("lib/python*/site-packages"), folder / "Lib" / "site-packages")
    (own / f"{PRESENT}.pth").write_text(f"{links}\n", encoding="utf-8")
    return python


def _plain(name: str) -> str:
    """A distribution's name as all its spellings are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _entries(name: str) -> set[str]:
    """The files and folders directly in site-packages that belong to a distribution; none where it is not installed."""
    try:
        files = metadata.distribution(name).files or []
    except metadata.PackageNotFoundError:
        return set()
    return {file.parts[0] for file in files if file.parts[0] not in ("..", "__pycache__")}
