"""What is inside an archive becomes files below a folder; nothing in it is trusted.

A path that leaves the folder is refused, and so is an archive that unpacks to far more than an honest one holds. Links
and devices are left out, as is what a file manager packed for itself; what was left out or changed is said.
"""

import filecmp
import gzip
import shutil
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import IO

from foldline.core.errors import FoldlineError, first_few
from foldline.core.progress import say
from foldline.core.walk import is_junk

RATIO_LIMIT = 200  # pictures and tables unpack to less than 50 times their archive; a bomb to 1000 times and more
FREE_BYTES = 1 << 30  # up to this size the ratio does not matter
CHUNK = 1 << 20
BY_HAND = "unpack it by hand into a folder, and set source.kind: folder and source.name to that folder in the facts"
LINKS = "of its members are links or devices and were left out"
ODD_NAMES = "of its names are no UTF-8 and were read as western European"
TWICE = "of its paths stand there more than once with different content, of which the last counts"


def is_wanted(path: PurePosixPath) -> bool:
    """Whether a path may be data: no part of it is what a file manager packs for itself."""
    return not any(is_junk(part) or part == ".DS_Store" for part in path.parts)


def is_readable(name: str) -> bool:
    """Whether a name is UTF-8; the system gives bytes that are none as surrogates.

    >>> is_readable("žába"), is_readable("ping\\udcfcino")
    (True, False)
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def readable(name: str) -> str:
    """A name whose bytes are no UTF-8 as that of a machine of western Europe; any other one as it is.

    >>> readable("ping\\udcfcino"), readable("žába")
    ('pingüino', 'žába')
    """
    if is_readable(name):
        return name
    try:
        raw = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a letter of UTF-16
        return name.encode("utf-8", "replace").decode()
    try:
        return raw.decode("cp1252")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def safe_member(name: str, archive: Path) -> PurePosixPath:
    """A member's path as a relative one; raises FoldlineError where it would leave the folder.

    >>> safe_member("./train\\\\cat.png", Path("a.zip"))
    PurePosixPath('train/cat.png')
    """
    path = PurePosixPath(name.replace("\\", "/"))
    drive = path.parts[:1] and path.parts[0].endswith(":")
    if path.is_absolute() or ".." in path.parts or drive or "\0" in name or not path.parts:
        raise FoldlineError(
            f"the archive holds a path that leaves its folder: {name!a}",
            where=str(archive),
            next="do not use this archive, or take it from its owner again",
        )
    return PurePosixPath(*map(readable, path.parts))


class Budget:
    """Counts what an archive unpacks to, with all archives inside it, and stops a bomb while it goes off.

    The limit is `RATIO_LIMIT` times the size of the outermost archive, or `FREE_BYTES` where that is more; and the room
    on the disk. What headers say is believed only where it is too much.
    """

    def __init__(self, archive: Path) -> None:
        self.limit = max(FREE_BYTES, RATIO_LIMIT * archive.stat().st_size)
        self.used = self.free = 0
        self.archive = archive

    def open(self, archive: Path, folder: Path) -> None:
        """Begins with an archive, this one or one inside it, that is unpacked below `folder`."""
        self.archive, self.free = archive, shutil.disk_usage(folder).free

    def spend(self, count: int) -> None:
        """Counts bytes that are unpacked; raises FoldlineError where they are too many."""
        self.require(count)
        self.used += count
        self.free -= count

    def require(self, count: int) -> None:
        """Raises FoldlineError where so many more bytes would be too many."""
        if self.used + count > self.limit:
            raise FoldlineError(
                f"the archive unpacks to more than {RATIO_LIMIT} times its size, and to more than "
                f"{FREE_BYTES / 1e9:.1f} GB: refused as an archive bomb",
                where=str(self.archive),
                next=f"if you know that it is honest, {BY_HAND}",
            )
        if count > self.free:
            raise FoldlineError(
                f"the disk is full: {count / 1e6:.1f} MB more to unpack, {self.free / 1e6:.1f} MB are free",
                where=str(self.archive),
                next="make room and run the command again; what was downloaded is kept",
            )


class Members:
    """Writes the members of one archive below a folder: `with Members(archive, folder, budget) as members: ...`"""

    def __init__(self, archive: Path, folder: Path, budget: Budget) -> None:
        budget.open(archive, folder)
        self.archive, self.folder, self.budget = archive, folder, budget
        self.remarks: dict[str, list[str]] = defaultdict(list)

    def place(self, name: str) -> Path | None:
        """Where a member goes; None for what no data set wants. Its folder is made.

        Raises:
            FoldlineError: the path leaves the folder, or a file lies where a folder should be.
        """
        if PurePosixPath(name.replace("\\", "/")) == PurePosixPath():  # the folder itself
            return None
        path = safe_member(name, self.archive)
        if not is_wanted(path):
            return None
        if not is_readable(name):
            self.remarks[ODD_NAMES].append(str(path))
        place = self.folder / path
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise self.refused(name) from error
        return place

    def written(self, name: str) -> Path | None:
        """The file that was written for a member; None where there is none."""
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            return None
        place = self.folder / PurePosixPath(*map(readable, path.parts))
        return place if place.is_file() else None

    def add_folder(self, name: str) -> None:
        """Makes a folder."""
        if (place := self.place(name)) is None:
            return
        try:
            place.mkdir(exist_ok=True)
        except FileExistsError as error:
            raise self.refused(name) from error

    def add(self, name: str, source: IO[bytes] | gzip.GzipFile) -> None:
        """Copies one file. Of a path that stands there twice the last one counts, which is said where they differ.

        The parts of its path that exist are folders of ours, since links are left out.
        """
        place = self.place(name)
        if place is None:
            return
        if place.is_dir():
            raise self.refused(name)
        target = self.folder / ".again" if place.exists() else place
        with target.open("wb") as stream:
            while chunk := source.read(CHUNK):
                self.budget.spend(len(chunk))
                stream.write(chunk)
        if target != place:
            if not filecmp.cmp(target, place, shallow=False):
                self.remarks[TWICE].append(name)
            target.replace(place)

    def leave_out(self, name: str) -> None:
        """Notes a link or a device."""
        self.remarks[LINKS].append(name)

    def refused(self, name: str) -> FoldlineError:
        """The error for a path that is a file and a folder."""
        what = f"the archive holds {name!a} as a file and as a folder"
        return FoldlineError(what, where=str(self.archive), next=f"pack it anew; or {BY_HAND}")

    def report(self) -> None:
        """Says what is otherwise than in the archive."""
        for words, names in self.remarks.items():
            shown = first_few([readable(name) for name in names], 3)
            say(f"{readable(self.archive.name)}: {len(names)} {words}: {shown}")
