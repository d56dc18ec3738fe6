"""One archive becomes files: zip, tar and 7z under any name. Reads an archive, writes files below a folder.

What may come out of an archive, and what not, is said in `members`.
"""

import errno
import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from foldline.core.errors import FoldlineError
from foldline.core.progress import Progress
from foldline.sources.members import BY_HAND, CHUNK, Budget, Members, is_wanted, readable, safe_member

SUFFIXES = (".zip", ".7z", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
UTF8_FLAG, LOCKED_FLAG = 0x800, 0x1  # of a zip's member
# What the standard readers raise for bytes that are not what they should be.
BROKEN: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
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


class BrokenError(FoldlineError):
    """An archive whose bytes are not what they should be."""


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


def unpack(archive: Path, folder: Path, budget: Budget | None = None) -> None:
    """Unpacks one archive below `folder`, whatever its name says it is.

    Args:
        budget: what the archive that holds this one may still unpack to.

    Raises:
        FoldlineError: it is no archive, is broken, or holds something that is refused. `folder` may then be
            half-filled: the download stage throws it away.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with archive.open("rb") as handle:
        head = handle.read(8)
    kinds = {b"PK": _unpack_zip, b"7z\xbc\xaf\x27\x1c": _unpack_7z}
    function = next((function for magic, function in kinds.items() if head.startswith(magic)), _unpack_tar)
    members = Members(archive, folder, budget or Budget(archive))
    try:
        function(archive, members)
    except NotImplementedError as error:
        raise FoldlineError(
            f"the archive is packed in a way that Python does not know: {error}", where=str(archive), next=BY_HAND
        ) from error
    except BROKEN as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # a full disk, say; EINVAL is a broken zip's jump before its own beginning
        raise _broken(archive, str(error)) from error
    members.report()


def _broken(archive: Path, why: str) -> BrokenError:
    return BrokenError(
        f"the archive is broken or of an unknown kind: {why}", where=str(archive), next="download it again"
    )


def _locked(archive: Path) -> FoldlineError:
    return FoldlineError("the archive is locked with a password", where=str(archive), next=BY_HAND)


def gunzip_all(folder: Path) -> None:
    """Unpacks every lone `.gz` file below `folder` in its place: `images.idx3.gz` becomes `images.idx3`."""
    for path in sorted(path for path in folder.rglob("*.gz") if path.is_file() and not is_archive(path)):
        place = path.with_suffix("")
        if place.exists():
            raise FoldlineError("lies there packed and unpacked", where=str(place), next="set source.unpack: false")
        try:
            with gzip.open(path) as source:
                Members(path, path.parent, Budget(path)).add(place.name, source)
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise BrokenError(
                f"the file is broken: {error}", where=str(path), next="remove it and download it again"
            ) from error
        path.unlink()


def _unpack_zip(archive: Path, members: Members) -> None:
    with zipfile.ZipFile(archive) as content, Progress() as progress:
        listed = content.infolist()
        members.budget.require(sum(member.file_size for member in listed))
        for member in progress.over(listed, f"unpack {readable(archive.name)}", total=len(listed)):
            name = _zip_name(member)
            if stat.S_ISLNK(member.external_attr >> 16):
                members.leave_out(name)
            elif member.is_dir():
                members.add_folder(name)
            elif member.flag_bits & LOCKED_FLAG:
                raise _locked(archive)
            else:
                with content.open(member) as source:
                    members.add(name, source)


def _zip_name(member: zipfile.ZipInfo) -> str:
    """A member's name. Many programs write UTF-8 without saying so, which zipfile takes for the letters of 1981."""
    if member.flag_bits & UTF8_FLAG or member.filename.isascii():
        return member.filename
    try:
        return member.filename.encode("cp437").decode()
    except UnicodeError:
        return member.filename


def _unpack_tar(archive: Path, members: Members) -> None:
    size_mb = archive.stat().st_size // CHUNK + 1
    with archive.open("rb") as handle, tarfile.open(fileobj=handle, mode="r:*") as content, Progress() as progress:
        steps = _tar_megabytes(content, handle, members)
        for _ in progress.over(steps, f"unpack {readable(archive.name)}, MB", total=size_mb):
            pass


def _tar_megabytes(content: tarfile.TarFile, handle: IO[bytes], members: Members) -> Iterator[int]:
    """Unpacks in one pass over the stream (it is not decompressed twice to list it first); yields once a megabyte."""
    read_mb = 0
    for member in content:
        if member.isdir():
            members.add_folder(member.name)
        elif member.isreg() and (source := content.extractfile(member)) is not None:
            members.add(member.name, source)
        elif member.islnk() and (first := members.written(member.linkname)) is not None:
            with first.open("rb") as source:  # tar packs a file with two names once
                members.add(member.name, source)
        else:
            members.leave_out(member.name)
        while read_mb < handle.tell() // CHUNK:
            read_mb += 1
            yield read_mb


def _unpack_7z(archive: Path, members: Members) -> None:
    try:
        import py7zr
    except ImportError as error:
        raise FoldlineError(
            "a .7z archive needs the package py7zr", where=str(archive), next="pip install 'foldline[archives]'"
        ) from error
    broken: tuple[type[Exception], ...] = (*BROKEN_7Z, py7zr.exceptions.ArchiveError)
    try:
        with py7zr.SevenZipFile(archive) as content:
            listed = content.list()
            members.budget.require(sum(member.uncompressed or 0 for member in listed))
            wanted = []
            for member in listed:
                if getattr(member, "is_symlink", False):
                    members.leave_out(member.filename)
                elif is_wanted(safe_member(member.filename, archive)):
                    wanted.append(member.filename)
            content.extract(members.folder, targets=wanted)  # every path was checked
    except py7zr.exceptions.PasswordRequired as error:
        raise _locked(archive) from error
    except broken as error:
        raise _broken(archive, repr(error)) from error
    for path in [path for path in members.folder.rglob("*") if path.is_symlink()]:
        members.leave_out(path.name)
        path.unlink()
