"""What a file's first bytes say of its picture: kind, size, bits and bands. Nothing is decoded or written here.

The kind is known by content, never by the name: files of competitions have wrong extensions, or none.
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

MAX_PIXELS = 200_000_000  # a picture larger than this is a mistake or an attack; 600 MB decoded in colour

# What the file must end with to be whole. Some OpenCV versions fill a truncated picture with grey, or with the rows of
# the picture decoded before it, and report no error. Looked for in the last bytes, then after each part of the picture:
# phones put films behind it, cameras fill sectors.
_TRAILERS = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG": b"IEND"}
_TRAILER_WINDOW = 1024
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]", re.DOTALL)  # not inside coded pixels


class BadImageError(Exception):
    """A file that is no whole picture, or not the picture that is asked for; the message says why."""


@dataclass(frozen=True)
class Header:
    """What is known before decoding; 0 where the kind's header is not read (webp, jp2 and rarer kinds)."""

    kind: str  # jpg, png, tif, gif, bmp, webp, npy, dicom, or "other", which OpenCV may know
    width: int = 0  # px
    height: int = 0  # px
    bits: int = 0  # of one number
    tags: dict[int, tuple[int, ...]] = field(default_factory=dict)  # of a tif's first page, the whole numbers


def read_header(content: bytes) -> Header:
    """The header of a picture file.

    Raises:
        BadImageError: the file is empty, has lost its end, or has more than MAX_PIXELS.
    """
    if not content:
        raise BadImageError("the file is empty")
    for start, end in _TRAILERS.items():
        if content.startswith(start) and end not in content[-_TRAILER_WINDOW:] and not _ends(content):
            raise BadImageError("the file is truncated: its end marker is missing")
    try:
        header = _read(content)
    except (struct.error, IndexError) as error:
        raise BadImageError("cannot be decoded: truncated, corrupt, or no picture") from error
    require_size(header.height, header.width)
    return header


def _ends(content: bytes) -> bool:
    """Whether the first picture of a jpg or png comes to its end, whatever lies behind."""
    if content.startswith(b"\x89PNG"):
        at = 8
        while at + 12 <= len(content):
            (size,) = struct.unpack_from(">I", content, at)
            if content[at + 4 : at + 8] == b"IEND":
                return True
            at += 12 + size
        return False
    found = _JPEG_MARKER.search(content, 2)
    while found and found[0] != b"\xff\xd9":
        size = struct.unpack_from(">H", content, found.end())[0] if found.end() + 2 <= len(content) else 0
        found = _JPEG_MARKER.search(content, found.end() + size)
    return found is not None


def require_size(height: int, width: int) -> None:
    """Refuses more than MAX_PIXELS."""
    if height * width > MAX_PIXELS:
        raise BadImageError(f"{width} x {height} px is larger than {MAX_PIXELS:,} px")


def _read(content: bytes) -> Header:
    reader = next((read for magic, read in _READERS.items() if content.startswith(magic)), None)
    if reader is not None:
        return reader(content)
    return Header("dicom" if _is_dicom(content) else "other")


def _png(content: bytes) -> Header:
    width, height, bits = struct.unpack_from(">IIB", content, 16)
    return Header("png", width, height, bits)


def _jpg(content: bytes) -> Header:
    height, width = _jpeg_size(content)
    return Header("jpg", width, height, 8)


def _gif(content: bytes) -> Header:
    width, height = struct.unpack_from("<HH", content, 6)
    return Header("gif", width, height, 8)


def _bmp(content: bytes) -> Header:
    """The height is negative where the rows run from top to bottom."""
    width, height = struct.unpack_from("<ii", content, 18)
    return Header("bmp", abs(width), abs(height), 8)


def _is_dicom(content: bytes) -> bool:
    """The mark after the preamble, or, where a file has none, a first element of group 2 or 8."""
    return content[128:132] == b"DICM" or (content[:2] in (b"\2\0", b"\x08\0") and content[3:4] == b"\0")


def _webp(content: bytes) -> Header:
    """The size is not read: the format allows no more than 16383 x 16383 px. OpenCV notices a lost end."""
    return Header("webp", bits=8) if content[8:12] == b"WEBP" else Header("other")


def _jpeg_size(content: bytes) -> tuple[int, int]:
    """(height, width) of the first frame header (SOF); (0, 0) where there is none."""
    at = 2
    while at + 9 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # these three are tables
            height, width = struct.unpack_from(">HH", content, at + 5)
            return height, width
        at += 2 + struct.unpack_from(">H", content, at + 2)[0]
    return 0, 0


# Tags of TIFF 6.0 (section 8) that decide how a page is read.
WIDTH, HEIGHT, BITS, PHOTOMETRIC, ORIENTATION, SAMPLES, PLANAR, EXTRA = 256, 257, 258, 262, 274, 277, 284, 338
_PLACES = {273: 279, 324: 325}  # where strips or tiles begin, and how many bytes each has
_MOST = 1_000_000  # numbers of one tag
_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}  # TIFF's number of a type: struct's letter


def _tif(content: bytes) -> Header:
    """OpenCV returns the rows that a truncated tif still has, and logs no more than a line."""
    tags = tif_tags(content)
    for begin, size in _PLACES.items():
        ends = [a + b for a, b in zip(tags.get(begin, ()), tags.get(size, ()), strict=False)]
        if ends and max(ends) > len(content):
            raise BadImageError("the file is truncated: it is shorter than its header says")
    width, height = tags.get(WIDTH, (0,))[0], tags.get(HEIGHT, (0,))[0]
    return Header("tif", width, height, max(tags.get(BITS, (1,))), tags)


def tif_tags(content: bytes) -> dict[int, tuple[int, ...]]:
    """The whole-numbered tags of the first page of a tif or BigTIFF, or of an EXIF block, which is built alike."""
    order = "<" if content.startswith(b"II") else ">"
    big = struct.unpack_from(order + "H", content, 2)[0] == 43
    pointer, count, room = ("Q", "Q", 8) if big else ("I", "H", 4)
    place = struct.unpack_from(order + pointer, content, 8 if big else 4)[0]
    entries = struct.unpack_from(order + count, content, place)[0]
    start = place + struct.calcsize(order + count)
    return dict(_entries(content, order, start, min(entries, 4096), pointer, room))


def _entries(
    content: bytes, order: str, start: int, entries: int, pointer: str, room: int
) -> Iterator[tuple[int, tuple[int, ...]]]:
    for at in range(start, start + entries * (4 + 2 * room), 4 + 2 * room):
        tag, kind, length = struct.unpack_from(f"{order}HH{pointer}", content, at)
        if kind not in _TYPES or not 0 < length <= _MOST:
            continue  # text, fractions
        values = f"{order}{length}{_TYPES[kind]}"
        place: Any = at + 4 + room
        if struct.calcsize(values) > room:
            place = struct.unpack_from(order + pointer, content, place)[0]
        yield tag, struct.unpack_from(values, content, place)


_READERS: dict[bytes, Callable[[bytes], Header]] = {
    b"\x89PNG": _png,
    b"\xff\xd8\xff": _jpg,
    b"II*\0": _tif,
    b"MM\0*": _tif,
    b"II+\0": _tif,  # BigTIFF
    b"MM\0+": _tif,
    b"GIF8": _gif,
    b"BM": _bmp,
    b"RIFF": _webp,
    b"\x93NUMPY": lambda _: Header("npy"),
}
