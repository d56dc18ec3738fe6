"""What is more than one file takes its place together: made whole elsewhere, and only then given its name.

A process that is killed between two names leaves files that do not fit together; so a record that tells (with hashes
of the others, or by being there) comes last.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from foldline.core.stopping import undivided
from foldline.core.tables import remove, sync_folder, temporary_name


def replace_folder(new: Path, place: Path) -> None:
    """Gives a whole folder the name `place`; the folder that has it so far is removed.

    Whoever looks there sees the old folder, the new one, or for a moment none: never a part of one.

    Args:
        new: beside `place`, on the same disk; it is flushed first.
    """
    for path in new.rglob("*"):
        if path.is_file():
            with path.open("rb") as handle:
                os.fsync(handle.fileno())
    former = temporary_name(place.with_name(f"{place.name}.former"))
    place.parent.mkdir(parents=True, exist_ok=True)
    with undivided():
        is_there = place.exists()
        if is_there:
            place.rename(former)
        try:
            new.rename(place)
        except OSError:
            if is_there:
                former.rename(place)
            raise
        sync_folder(place.parent)
    remove(former)


def move_files(scratch: Path, folder: Path, names: Sequence[str]) -> None:
    """Moves files, whole and flushed, into a folder on the same disk, one right after the other, in this order."""
    with undivided():
        for name in names:
            (scratch / name).replace(folder / name)
        sync_folder(folder)
