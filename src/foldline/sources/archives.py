"""One archive becomes files: zip, tar and 7z under any name. Reads an archive, writes files below a folder.

Nothing in an archive is trusted. A member is refused when its path is absolute or leaves the folder, when it is a
link or a device, and when the whole unpacks to far more than an archive of its size honestly holds.
"""

import errno
import gzip
import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from foldline.core.errors import FoldlineError
from foldline.core.progress import Progress

SUFFIXES = (".zip", ".7z", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
RATIO_LIMIT = 200  # pictures and tables unpack to less than 50 times their archive; a bomb to 1000 times and more
FREE_BYTES = 1 << 30  # up to this size the ratio does not matter
CHUNK = 1 << 20
# What the standard readers raise for bytes that are not what they should be.
BROKEN: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    UnicodeDecodeError,
    OSError,
)
BROKEN_7Z: tuple[type[Exception], ...] = (
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,
    struct.error,
)


def is_archive(path: Path) -> bool:
    """Whether a name looks like an archive that foldline unpacks. Lone `.gz` files are read as they are.

    >>> is_archive(Path("train.csv.zip")), is_archive(Path("images.idx3.gz"))
    (True, False)
    """
    return path.name.lower().endswith(SUFFIXES)


def stem_of(path: Path) -> str:
    """An archive's name without its suffix.

    >>> stem_of(Path("a/train.tar.gz"))
    'train'
    """
    suffix = max((s for s in SUFFIXES if path.name.lower().endswith(s)), key=len, default="")
    return path.name[: len(path.name) - len(suffix)]


def safe_member(name: str, archive: Path) -> PurePosixPath:
    """A member's path as a relative one; raises FoldlineError where it would leave the folder.

    >>> safe_member("./train\\\\cat.png", Path("a.zip"))
    PurePosixPath('train/cat.png')
    """
    path = PurePosixPath(name.replace("\\", "/"))
    drive = path.parts[:1] and path.parts[0].endswith(":")
    if path.is_absolute() or ".." in path.parts or drive or "\0" in name or not path.parts:
        raise FoldlineError(
            f"the archive holds a path that leaves its folder: {name!r}",
            where=str(archive),
            next="do not use this archive, or take it from its owner again",
        )
    return path


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks one archive below `folder`, whatever its name says it is.

    Raises:
        FoldlineError: it is no archive, is broken, or holds something that is refused. `folder` may then be
            half-filled: the download stage throws it away.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with archive.open("rb") as handle:
        head = handle.read(8)
    try:
        if head.startswith(b"PK"):
            _unpack_zip(archive, folder)
        elif head.startswith(b"7z\xbc\xaf\x27\x1c"):
            _unpack_7z(archive, folder)
        else:
            _unpack_tar(archive, folder)
    except BROKEN as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # a full disk, say; EINVAL is a broken zip's jump before its own beginning
        raise FoldlineError(
            f"the archive is broken or of an unknown kind: {error}",
            where=str(archive),
            next="remove it and download it again",
        ) from error


def gunzip_all(folder: Path) -> None:
    """Unpacks every lone `.gz` file below `folder` in its place: `images.idx3.gz` becomes `images.idx3`."""
    for path in sorted(path for path in folder.rglob("*.gz") if path.is_file() and not is_archive(path)):
        try:
            with gzip.open(path) as source:
                _write(source, path.with_suffix(""), _Budget(path, path.parent))
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise FoldlineError(
                f"the file is broken: {error}", where=str(path), next="remove it and download it again"
            ) from error
        path.unlink()


class _Budget:
    """Counts what an archive unpacks to and stops a bomb while it goes off, whatever its headers say."""

    def __init__(self, archive: Path, folder: Path) -> None:
        self.archive = archive
        self.limit = max(FREE_BYTES, RATIO_LIMIT * archive.stat().st_size)
        self.free = shutil.disk_usage(folder).free
        self.used = 0

    def spend(self, count: int) -> None:
        """Counts bytes that were unpacked; raises FoldlineError where they are too many."""
        self.used += count
        if self.used > self.limit:
            raise FoldlineError(
                f"the archive unpacks to more than {RATIO_LIMIT} times its size: refused as an archive bomb",
                where=str(self.archive),
            )

    def require_space(self, total: int) -> None:
        """Refuses before the first byte where the headers already say too much."""
        self.spend(total)
        self.used = 0
        if total > self.free:
            raise FoldlineError(
                f"the disk is too full: {total / 1e9:.1f} GB to unpack, {self.free / 1e9:.1f} GB free",
                where=str(self.archive),
                next="make room and run the command again; what was downloaded is kept",
            )


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as content, Progress() as progress:
        members = content.infolist()
        budget = _Budget(archive, folder)
        budget.require_space(sum(member.file_size for member in members))
        for member in progress.over(members, f"unpack {archive.name}", total=len(members)):
            if stat.S_ISLNK(member.external_attr >> 16):
                raise _link(member.filename, archive)
            place = folder / safe_member(member.filename, archive)
            if member.is_dir():
                place.mkdir(parents=True, exist_ok=True)
                continue
            if member.flag_bits & 1:
                raise FoldlineError("the archive is locked with a password", where=str(archive))
            with content.open(member) as source:
                _write(source, place, budget)


def _unpack_tar(archive: Path, folder: Path) -> None:
    size_mb = archive.stat().st_size // CHUNK + 1
    with archive.open("rb") as handle, tarfile.open(fileobj=handle, mode="r:*") as content, Progress() as progress:
        steps = _tar_megabytes(content, handle, archive, folder)
        for _ in progress.over(steps, f"unpack {archive.name}, MB", total=size_mb):
            pass


def _tar_megabytes(content: tarfile.TarFile, handle: IO[bytes], archive: Path, folder: Path) -> Iterator[int]:
    """Unpacks in one pass over the stream (it is not decompressed twice to list it first); yields once a megabyte."""
    budget = _Budget(archive, folder)
    read_mb = 0
    for member in content:
        if member.isdir():
            (folder / PurePosixPath(*_parts(member.name, archive))).mkdir(parents=True, exist_ok=True)
        elif member.isreg() and (source := content.extractfile(member)) is not None:
            _write(source, folder / safe_member(member.name, archive), budget)
        else:
            raise _link(member.name, archive)
        while read_mb < handle.tell() // CHUNK:
            read_mb += 1
            yield read_mb


def _parts(name: str, archive: Path) -> tuple[str, ...]:
    """A folder's path in parts; `.` is the folder itself."""
    return () if not PurePosixPath(name).parts else safe_member(name, archive).parts


def _unpack_7z(archive: Path, folder: Path) -> None:
    try:
        import py7zr
    except ImportError as error:
        raise FoldlineError(
            "a .7z archive needs the package py7zr", where=str(archive), next="pip install 'foldline[archives]'"
        ) from error
    broken: tuple[type[Exception], ...] = (*BROKEN_7Z, py7zr.exceptions.ArchiveError)
    try:
        with py7zr.SevenZipFile(archive) as content:
            budget = _Budget(archive, folder)
            members = content.list()
            budget.require_space(sum(member.uncompressed or 0 for member in members))
            for member in members:
                if getattr(member, "is_symlink", False):
                    raise _link(member.filename, archive)
                safe_member(member.filename, archive)
            content.extractall(folder)  # noqa: S202 - every path was checked
    except broken as error:
        raise FoldlineError(f"the archive is broken: {error!r}", where=str(archive)) from error
    links = [path for path in folder.rglob("*") if path.is_symlink()]
    if links:
        raise _link(links[0].name, archive)


def _write(source: IO[bytes] | gzip.GzipFile, place: Path, budget: _Budget) -> None:
    """Copies one member; the parts of its path that exist are folders of ours, since links are refused."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        raise FoldlineError("the archive holds this path twice", where=f"{budget.archive}: {place.name}")
    with place.open("xb") as target:
        while chunk := source.read(CHUNK):
            budget.spend(len(chunk))
            target.write(chunk)


def _link(name: str, archive: Path) -> FoldlineError:
    return FoldlineError(f"the archive holds a link or a device: {name!r}", where=str(archive))
