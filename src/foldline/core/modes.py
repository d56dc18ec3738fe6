"""Who may read a file that is written: as the umask says, whatever the library that writes it thinks."""

from contextlib import suppress
from pathlib import Path


def usual_mode(probe: Path) -> int:
    """The mode of a new file, as the umask and its folder say; `probe` is made and removed.

    Asking the system for the umask would change it for a moment, in other threads, too.
    """
    probe.touch()
    mode = probe.stat().st_mode & 0o777
    probe.unlink()
    return mode


def set_mode(path: Path, mode: int) -> None:
    """Gives a file a mode; a file system that has none keeps its own."""
    if path.stat().st_mode & 0o777 != mode:
        with suppress(PermissionError):
            path.chmod(mode)
