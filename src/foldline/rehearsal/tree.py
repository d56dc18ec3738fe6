"""A folder that looks like another one but for what is put into it: links to what stays, files for what is new."""

import os
from collections.abc import Collection
from pathlib import Path

from foldline.core.paths import manifest_of


def mirror(source: Path, target: Path, *, without: Collection[str], into: Collection[str]) -> None:
    """Links everything below `source` into `target`, hidden entries and foldline's manifest left out.

    Args:
        without: files that are left out, by their path below `source`.
        into: files that will be written, by theirs: the folders above them become folders, not links.
    """
    touched = {"/".join(path.split("/")[:depth]) for path in (*without, *into) for depth in range(path.count("/") + 1)}
    _mirror(source, target, "", frozenset(without), touched | {""}, manifest_of(source))


def _mirror(
    source: Path, target: Path, prefix: str, without: frozenset[str], touched: set[str], manifest: Path
) -> None:  # fmt: skip
    target.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        path = prefix + entry.name
        if entry.name.startswith(".") or path in without or entry == manifest:
            continue
        if path in touched and entry.is_dir():
            _mirror(entry, target / entry.name, f"{path}/", without, touched, manifest)
        else:
            (target / entry.name).symlink_to(entry.resolve())
    if prefix and not any(target.iterdir()):
        target.rmdir()  # what was in it is left out


def place(path: Path, content: "Path | bytes") -> None:
    """Writes a file, or links one, with the folders above it; what has the name is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if isinstance(content, Path):
        path.symlink_to(content.resolve())
    else:
        path.write_bytes(content)


def set_modes(root: Path, *, writable: bool) -> None:
    """Gives the right to write to all folders and files below, or takes it away; links are not followed."""
    file, folder = (0o644, 0o755) if writable else (0o444, 0o555)
    for path, _, names in os.walk(root):
        Path(path).chmod(folder | 0o200)
        for name in names:
            if not (Path(path) / name).is_symlink():
                (Path(path) / name).chmod(file)
    if not writable:
        for path, _, _ in os.walk(root, topdown=False):
            Path(path).chmod(folder)


def stamp(root: Path) -> dict[str, tuple[int, int]]:
    """What lies below and when it was written: path -> bytes, time in ns; of a link those of its target."""
    found: dict[str, tuple[int, int]] = {}
    for path in root.rglob("*"):
        state = path.stat()
        is_file = path.is_file()
        found[path.relative_to(root).as_posix()] = (state.st_size, state.st_mtime_ns) if is_file else (0, 0)
    return found
