"""Which commit a folder of the user's stands at. Asks git; writes nothing."""

import subprocess
from pathlib import Path
from shutil import which


def commit_of(folder: Path, seconds: float = 5.0) -> str:
    """The commit of the work tree that holds `folder`, with " dirty" where tracked files were changed since.

    Empty where there is no git, no work tree, no commit, or no answer in time.
    """
    git = which("git")
    if git is None:
        return ""

    def ask(*words: str) -> str:
        command = [git, "-C", str(folder), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=True)  # noqa: S603
        return done.stdout.strip()

    try:
        commit = ask("rev-parse", "HEAD")
        return f"{commit} dirty" if ask("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return ""
