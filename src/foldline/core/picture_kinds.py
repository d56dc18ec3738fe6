"""What kind of picture a file is, by its first bytes; endings only say what somebody called it."""

import re

HEAD = 132  # bytes that tell the kind
_KINDS = {
    "jpg": rb"\xff\xd8\xff",
    "png": rb"\x89PNG",
    "gif": rb"GIF8",
    "bmp": rb"BM.{4}\0\0\0\0",
    "tif": rb"II[*+]\0|MM\0[*+]",
    "webp": rb"RIFF.{4}WEBP",
    "npy": rb"\x93NUMPY",
    "jp2": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "avif": rb".{4}ftypavi[fs]",
    "ppm": rb"P[1-6]\s+[#\d]",
    "dcm": rb".{128}DICM",
}
_KIND = re.compile(b"|".join(b"(?P<%s>%s)" % (kind.encode(), magic) for kind, magic in _KINDS.items()), re.DOTALL)


def picture_kind(head: bytes) -> str:
    """The kind of the picture that begins with these bytes, at least HEAD of them; empty where they begin none.

    >>> picture_kind(b"\\xff\\xd8\\xff\\xe0"), picture_kind(b"id,label")
    ('jpg', '')
    """
    found = _KIND.match(head)
    return (found.lastgroup or "") if found else ""
