"""Where the files of a download go: archives inside it are unpacked, what is not kept is left out.

Reads and moves files below a folder, and removes the archives that it unpacked.
"""

import shutil
from pathlib import Path

from foldline.core.errors import FoldlineError
from foldline.core.tables import scratch_folder
from foldline.core.walk import walk
from foldline.sources.archives import is_archive, safe_member, stem_of, unpack
from foldline.sources.volumes import join_volumes

DEPTH_LIMIT = 3  # archives inside archives


def parking(destination: Path) -> Path:
    """The folder beside a destination where a large archive waits, so that a broken download can go on."""
    return destination.with_name(destination.name + ".archives")


def unpack_all(archive: Path, destination: Path, *, keep: list[str], nested: bool) -> None:
    """Unpacks a downloaded archive below `destination`: nested archives too, and only what `keep` names."""
    with scratch_folder(destination.parent, "raw") as raw:
        unpack(archive, raw)
        if nested:
            unpack_nested(raw)
        keep_only(raw, keep, destination)


def unpack_nested(folder: Path, depth: int = 1) -> None:
    """Unpacks every archive below `folder` and removes it; archives in parts (`.zip.001` ...) are joined first.

    Where the files go: a lone file lies beside the archive; a tree whose only top folder has the archive's name
    lies beside it as well; anything else goes into a folder of the archive's name.
    """
    join_volumes(folder)
    archives = sorted(path for path in folder.rglob("*") if path.is_file() and is_archive(path))
    if archives and depth > DEPTH_LIMIT:
        raise FoldlineError(f"archives are nested more than {DEPTH_LIMIT} deep", where=str(archives[0]))
    for archive in archives:
        inside = archive.with_name(f".{archive.name}.unpacking")
        unpack(archive, inside)
        unpack_nested(inside, depth + 1)
        archive.unlink()
        _settle(inside, archive)


def _settle(inside: Path, archive: Path) -> None:
    """Moves what was unpacked to its place beside the archive (see `unpack_nested`)."""
    entries = list(inside.iterdir())
    files = [path for path in inside.rglob("*") if path.is_file()]
    name = stem_of(archive)
    if len(files) == 1:
        _move(files[0], archive.with_name(files[0].name))
        shutil.rmtree(inside)
    elif len(entries) == 1 and entries[0].is_dir() and entries[0].name == name:
        _move(entries[0], archive.with_name(name))
        inside.rmdir()
    else:
        _move(inside, archive.with_name(name))


def _move(path: Path, place: Path) -> None:
    """Renames a file, or merges a folder into one that exists; refuses to lay one file over another."""
    if path.is_dir() and place.is_dir():
        for child in list(path.iterdir()):
            _move(child, place / child.name)
        path.rmdir()
        return
    if place.exists():
        raise FoldlineError("two archives hold a file of the same path", where=str(place))
    path.rename(place)


def keep_only(folder: Path, keep: list[str], destination: Path) -> None:
    """Moves the kept folders' content and the kept files from `folder` to `destination`; all of it when none is named.

    `keep: [data/images]` puts `data/images/a.png` to `a.png`; a kept file keeps its own name.
    """
    destination.mkdir(parents=True, exist_ok=True)
    if not keep:
        _move(folder, destination)
        return
    for name in keep:
        path = folder / safe_member(name, folder)
        if path.is_dir():
            for child in list(path.iterdir()):
                _move(child, destination / child.name)
        elif path.is_file():
            _move(path, destination / path.name)
        else:
            held = sorted(child.name for child in folder.iterdir())
            raise FoldlineError(
                f"the download holds no '{name}'", where="source.keep", next=f"it holds: {', '.join(held[:20])}"
            )


def files_below(folder: Path) -> list[Path]:
    """All files below a folder (`core.walk`), in the order of their paths."""
    return sorted(folder / name for name in walk(folder).files)
