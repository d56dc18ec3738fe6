"""The pictures of a hidden test set: training pictures under new names, one of them broken, one of another size."""

from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from foldline.images.files.decode import BadImageError, content_of, decode_bytes, preview
from foldline.readers.templates import split_suffix
from foldline.rehearsal.tree import place

SCALES = (1.37, 1.19)  # height and width of the picture of another size, by those of a training picture


def destination(wanted: str, example: str, known: str) -> str:
    """Where a new picture lies, by paths below the competition's folder.

    Args:
        wanted: what the facts' template says; its ending may be missing, and `**/` leaves the folder open.
        example: where the visible picture lies that it is a copy of.
        known: where the training picture lies.
    """
    path = PurePosixPath(wanted)
    if "**" in path.parts:
        path = PurePosixPath(example).parent / path.name
    if not split_suffix(path.name)[1] and split_suffix(example)[1]:
        path = path.with_name(path.name + split_suffix(known)[1])
    return str(path)


def place_broken(path: Path, source: Path) -> bool:
    """Writes the beginning of a picture; whether nothing can be read of it."""
    content = content_of(source)
    place(path, content[: min(200, len(content) // 3)])
    try:
        decode_bytes(content_of(path), 3)
    except BadImageError:
        return True
    return False


def place_resized(path: Path, source: Path) -> str:
    """Writes a picture in a size that no training picture has; says which size, or nothing where it cannot be read."""
    try:
        pixels = preview(source)
    except BadImageError:
        return ""
    size = [max(1, int(np.rint(side * scale))) for side, scale in zip(pixels.shape[:2], SCALES, strict=True)]
    done, content = cv2.imencode(".png", cv2.resize(pixels, (size[1], size[0]))[:, :, ::-1])
    place(path, content.tobytes())
    return f"{size[0]} x {size[1]} px" if done else ""
