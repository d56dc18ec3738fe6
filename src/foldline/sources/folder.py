"""A local folder, or a local archive. Reads it, copies it or unpacks it below the destination."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.progress import Progress
from foldline.core.source_facts import Source
from foldline.core.tables import scratch_folder, sha256_file
from foldline.core.walk import walk
from foldline.sources.archives import is_archive
from foldline.sources.members import readable
from foldline.sources.placing import keep_only, kept_as, unpack_all, unpack_nested
from foldline.sources.volumes import is_volume


def fetch_folder(source: Source, destination: Path) -> None:
    """Copies the folder `source.name`, or unpacks the archive of that name; `~` is the home folder.

    The user's own files stay as they are: copies are made, since what lies in `input/` becomes read-only.
    """
    path = Path(os.path.expanduser(source.name))  # noqa: PTH111 - it leaves `~` as it is where nobody has a home
    if not source.name or not path.exists():
        raise FoldlineError(
            f"no such folder or archive: '{source.name}'",
            where="source.name",
            next="correct the path in the facts; it is the full one, or goes on from the folder where you type",
        )
    if path.is_file() and is_volume(path):
        raise FoldlineError(
            "this is one part of an archive",
            where=str(path),
            next="name the folder that holds all parts, and only these",
        )
    if not path.is_dir():
        check_sha256(path, source.sha256)
        unpack_all(path, destination, keep=source.keep, nested=source.unpack)
        return
    with scratch_folder(destination.parent, "raw") as raw:
        _copy(path, raw)
        if source.unpack:
            unpack_nested(raw)
        keep_only(raw, source.keep, destination)


@dataclass(frozen=True)
class Changes:
    """Files of a folder since it was copied: their paths below the copy."""

    new: list[str]
    gone: list[str]
    other: list[str]  # of another size

    def in_words(self) -> str:
        """Such as `2 files are new, 1 file is gone: a.png, b.png, c.png`; empty where all is as it was."""
        kinds = {"new": self.new, "gone": self.gone, "of another size": self.other}
        words = [f"{counted(len(names), 'files are')} {kind}" for kind, names in kinds.items() if names]
        return f"{', '.join(words)}: {first_few([*self.new, *self.gone, *self.other], 3)}" if words else ""


def changes_since(source: Source, known: Mapping[str, int]) -> Changes:
    """What is not any more as it was when the folder `source.name` was copied; nothing of an archive, or of a folder
    that is not there.

    Of files that were unpacked nobody can say which archive they are from: beside archives none count as gone.

    Args:
        known: the size in bytes of each file of the copy.
    """
    folder = Path(os.path.expanduser(source.name))  # noqa: PTH111 - as above
    if not source.name or not folder.is_dir():
        return Changes([], [], [])
    files = walk(folder).files
    packed = {name for name in files if source.unpack and _is_packed(Path(name))}
    now = {kept_as(name, source.keep): folder / name for name in files if name not in packed}
    places = {"/".join(map(readable, place.split("/"))): path for place, path in now.items() if place}
    new = sorted(places.keys() - known.keys())
    gone = [] if packed else sorted(known.keys() - places.keys())
    both = sorted(places.keys() & known.keys())
    return Changes(new, gone, [name for name in both if places[name].stat().st_size != known[name]])


def _is_packed(path: Path) -> bool:
    return is_archive(path) or is_volume(path)


def _copy(folder: Path, destination: Path) -> None:
    """Copies all files below a folder; what is no data stays behind and is counted (`core.walk`)."""
    found = walk(folder)
    files = [folder / name for name in found.files]
    if not files:
        raise FoldlineError("the folder holds no files", where=str(folder))
    found.remark(folder.name)
    size, free = sum(path.stat().st_size for path in files), shutil.disk_usage(destination.parent).free
    if size > free:
        raise FoldlineError(
            f"the disk is full: {size / 1e6:.1f} MB to copy, {free / 1e6:.1f} MB are free",
            where=str(destination.parent),
            next="make room; or link the folder to its place below input/ with source.kind: placed, without a copy",
        )
    with Progress() as progress:
        for path in progress.over(files, f"copy {folder.name}", total=len(files)):
            place = destination / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)


def check_sha256(path: Path, expected: str) -> None:
    """Raises FoldlineError where a file's sha256 is not the one that the facts state; empty: nothing is checked."""
    if not expected:
        return
    actual = sha256_file(path)
    if actual != expected.lower():
        raise FoldlineError(
            f"the sha256 of {path.name} is {actual}, expected {expected}",
            where=str(path),
            next="the file was damaged on its way or exchanged: download it again, or correct sha256",
        )
