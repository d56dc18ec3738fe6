"""Where the files of a download go: archives inside it are unpacked, what is not kept is left out.

Reads and moves files below a folder, and removes the archives that it unpacked.
"""

import filecmp
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.progress import say
from foldline.core.tables import scratch_folder, sha256_file
from foldline.core.walk import walk
from foldline.sources.archives import is_archive, stem_of, unpack
from foldline.sources.members import Budget, is_readable, readable, safe_member
from foldline.sources.volumes import join_volumes

DEPTH_LIMIT = 3  # archives inside archives


def parking(destination: Path) -> Path:
    """The folder beside a destination where a large archive waits, so that a broken download can go on."""
    return destination.with_name(destination.name + ".archives")


def unpack_all(archive: Path, destination: Path, *, keep: list[str], nested: bool) -> None:
    """Unpacks a downloaded archive below `destination`: nested archives too, and only what `keep` names."""
    with scratch_folder(destination.parent, "raw") as raw:
        budget = Budget(archive)
        unpack(archive, raw, budget)
        if nested:
            unpack_nested(raw, budget)
        keep_only(raw, keep, destination)


def unpack_nested(folder: Path, budget: Budget | None = None, depth: int = 1) -> None:
    """Unpacks every archive below `folder` and removes it; archives in parts (`.zip.001` ...) are joined first.

    Where the files go: a lone file lies beside the archive; a tree whose only top folder has the archive's name
    lies beside it as well; anything else goes into a folder of the archive's name.

    Args:
        budget: what the archive that held all of this may still unpack to; None: each archive has one of its own.
        depth: how deep this is.
    """
    join_volumes(folder)
    archives = sorted(path for path in folder.rglob("*") if path.is_file() and is_archive(path))
    if archives and depth > DEPTH_LIMIT:
        raise FoldlineError(
            f"archives are nested more than {DEPTH_LIMIT} deep",
            where=str(archives[0]),
            next="set source.unpack: false, or name what you need in source.keep",
        )
    for archive in archives:
        inside = archive.with_name(f".{archive.name}.unpacking")
        inner = budget or Budget(archive)
        unpack(archive, inside, inner)
        unpack_nested(inside, inner, depth + 1)
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
    """Renames a file, or merges a folder into one that exists; refuses to lay one file over another one."""
    if path.is_dir() and place.is_dir():
        for child in list(path.iterdir()):
            _move(child, place / child.name)
        path.rmdir()
        return
    if place.exists() and not (path.is_file() and place.is_file() and filecmp.cmp(path, place, shallow=False)):
        raise FoldlineError(
            "two archives hold a file of the same path",
            where=str(place),
            next="set source.unpack: false, or unpack them by hand into a folder and name that in the facts",
        )
    path.replace(place)


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


def kept_as(name: str, keep: list[str]) -> str:
    """Where `keep_only` puts a file; empty: it is not kept.

    >>> kept_as("data/images/a.png", ["data/images"]), kept_as("data/t.csv", ["data/t.csv"]), kept_as("b.png", ["data"])
    ('a.png', 't.csv', '')
    """
    if not keep:
        return name
    for kept in (kept.strip("/") for kept in keep):
        if name == kept:
            return name.rpartition("/")[2]
        if name.startswith(f"{kept}/"):
            return name.removeprefix(f"{kept}/")
    return ""


def link_all(folder: Path, destination: Path) -> None:
    """Gives all files below a folder a second name below `destination`; they are copied where that cannot be done."""

    def link(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)

    shutil.copytree(
        folder, destination, copy_function=link, ignore=shutil.ignore_patterns(".cache"), dirs_exist_ok=True
    )


def files_below(folder: Path) -> list[Path]:
    """All files below a folder (`core.walk`), in the order of their paths."""
    return sorted(folder / name for name in walk(folder).files)


def not_copied(folder: Path, known: Mapping[str, str], ours: Collection[str]) -> list[str]:
    """The paths below a folder of copies that are none: further files and links, hidden ones too, and files that were
    made writable and changed.

    Args:
        known: the sha256 of each copy, by its path.
        ours: names directly below the folder that foldline wrote besides.
    """
    found = []
    for parent, folders, files in os.walk(folder):
        left_out = ours if Path(parent) == folder else ()
        folders[:] = [name for name in folders if name not in left_out]
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for path in (Path(parent, name) for name in [*files, *links] if name not in left_out):
            name = path.relative_to(folder).as_posix()
            if name not in known or (path.stat().st_mode & 0o222 and sha256_file(path) != known[name]):
                found.append(name)
    return sorted(found)


def mend_names(folder: Path) -> None:
    """Renames the files and folders below a folder of ours whose names are no UTF-8, and says so."""
    mended = 0
    for parent, folders, files in os.walk(folder, topdown=False):
        for name in (name for name in [*folders, *files] if not is_readable(name)):
            _move(Path(parent, name), Path(parent, readable(name)))
            mended += 1
    if mended:
        say(f"{counted(mended, 'names of files and folders are')} no UTF-8: read as western European")
