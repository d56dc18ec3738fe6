"""The reader of BSON files (https://bsonspec.org): a stream of documents, as cdiscount's products.

Columns: the plain fields of a document, `number` (which of its pictures), and `picture`. A document with several
pictures gives several lines.
"""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from foldline.core.competition import RowFacts
from foldline.core.errors import FoldlineError
from foldline.core.progress import Progress
from foldline.readers.files import raw_files
from foldline.readers.json import frame_of
from foldline.readers.pictures import PICTURE, PictureFolder

Buffer = bytes | mmap.mmap


def read_bson(root: Path, rows: RowFacts) -> pd.DataFrame:
    """A line for each picture of each document."""
    files = raw_files(root, rows)
    lines: list[dict[str, Any]] = []
    with PictureFolder(root, files, "bson") as folder, Progress() as progress:
        paths = progress.over(files, "read files", total=len(files))
        for document in (document for path in paths for document in read_documents(path)):
            plain = {key: value for key, value in document.items() if isinstance(value, str | int | float | bool)}
            for number, picture in enumerate(_binaries(document)):
                lines.append(plain | {"number": number, PICTURE: folder.add(picture)})
    return frame_of(lines)


def read_documents(path: Path) -> Iterator[dict[str, Any]]:
    """The documents of a file, one at a time: the file may be far larger than the memory."""
    if path.stat().st_size == 0:
        return
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at = 0
        while at < len(content):
            try:
                document, at = parse_document(content, at)
            except (struct.error, IndexError, UnicodeDecodeError, RecursionError) as error:
                raise FoldlineError(
                    f"the BSON file is broken at byte {at}: {error}", where=str(path), next="download it again"
                ) from error
            yield document


def parse_document(content: Buffer, at: int, limit: int | None = None) -> tuple[dict[str, Any], int]:
    """The document that begins at byte `at` and ends before `limit`, and where the next one begins.

    >>> parse_document(b"\\x0c\\0\\0\\0\\x10a\\0\\x05\\0\\0\\0\\0", 0)
    ({'a': 5}, 12)
    """
    (size,) = struct.unpack_from("<i", content, at)
    end = at + size
    if size < 5 or end > (len(content) if limit is None else limit):
        raise IndexError("a document is longer than what holds it")
    at += 4
    document: dict[str, Any] = {}
    while at < end - 1:
        kind = content[at]
        stop = content.find(b"\0", at + 1, end)
        if stop < 0:
            raise IndexError("a name has no end")
        name = bytes(content[at + 1 : stop]).decode()
        document[name], at = _value(kind, content, stop + 1, end)
        if at >= end:
            raise IndexError("a value is longer than its document")
    return document, end


FIXED = {0x01: "<d", 0x08: "<?", 0x09: "<q", 0x10: "<i", 0x11: "<Q", 0x12: "<q"}  # type code: how it is packed


def _value(kind: int, content: Buffer, at: int, end: int) -> tuple[Any, int]:
    """One value of a type code in a document that ends at `end`, and where the next element begins."""
    if kind in FIXED:
        (value,) = struct.unpack_from(FIXED[kind], content, at)
        return value, at + struct.calcsize(FIXED[kind])
    if kind in (0x03, 0x04):  # a document, or an array: a document whose names are numbers
        return parse_document(content, at, end)
    if kind in (0x06, 0x0A):
        return None, at
    if kind == 0x07:
        return bytes(content[at : at + 12]).hex(), at + 12
    (size,) = struct.unpack_from("<i", content, at)
    if not 0 <= size < end - at:
        raise IndexError("a value is longer than its document")
    if kind == 0x02:
        return bytes(content[at + 4 : at + 3 + size]).decode(), at + 4 + size
    if kind == 0x05:
        return bytes(content[at + 5 : at + 5 + size]), at + 5 + size
    raise IndexError(f"unknown type 0x{kind:02x}")


def _binaries(value: Any) -> Iterator[bytes]:
    """All binary values of a document, in their order."""
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        for child in value.values():
            yield from _binaries(child)
