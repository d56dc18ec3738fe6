"""One image file becomes pixels, or a BadImageError that says why not."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

# What the file must end with (within the last bytes) to be whole. Some OpenCV versions fill a truncated
# picture with grey, or with the rows of the picture decoded before it, and report no error.
_TRAILERS = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG": b"IEND"}
_TRAILER_WINDOW = 1024
MAX_PIXELS = 200_000_000  # a picture larger than this is a mistake or an attack; 600 MB decoded in colour


class BadImageError(Exception):
    """A file that is no whole picture; the message says why."""


def decode(path: Path, channels: int) -> Pixels:
    """The pixels of an image file, EXIF rotation applied.

    Args:
        path: a jpg, png, tif, webp or bmp file.
        channels: 1 for gray, 3 for RGB; the file is converted.

    Returns:
        [height, width, channels] uint8.

    Raises:
        BadImageError: the file is missing, empty, truncated, too large, or no picture.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadImageError(error.strerror or "cannot be read") from error
    return decode_bytes(content, channels)


def decode_bytes(content: bytes, channels: int) -> Pixels:
    """Like `decode`, from the file's bytes."""
    _refuse_truncated(content)
    flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB
    try:
        image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), flag)
    except cv2.error as error:
        raise BadImageError(f"cannot be decoded: {error.err}") from error
    if image is None:
        raise BadImageError("cannot be decoded: truncated, corrupt, or no picture")
    if image.shape[0] * image.shape[1] > MAX_PIXELS:
        raise BadImageError(f"{image.shape[1]} x {image.shape[0]} px is larger than {MAX_PIXELS:,} px")
    return np.ascontiguousarray(image.reshape(image.shape[0], image.shape[1], channels), dtype=np.uint8)


def _refuse_truncated(content: bytes) -> None:
    if not content:
        raise BadImageError("the file is empty")
    for start, end in _TRAILERS.items():
        if content.startswith(start) and end not in content[-_TRAILER_WINDOW:]:
            raise BadImageError("the file is truncated: its end marker is missing")


def resize(image: Pixels, height: int, width: int) -> Pixels:
    """The whole picture at [height, width]; area averaging where it shrinks, cubic where it grows."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = image.shape[0] >= height and image.shape[1] >= width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    resized = cv2.resize(image, (width, height), interpolation=method)
    return np.ascontiguousarray(resized.reshape(height, width, image.shape[2]), dtype=np.uint8)
