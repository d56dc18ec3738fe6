"""Small pictures of rows, as the page shows them. Reads image files; writes nothing."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd

from foldline.core.errors import FoldlineError
from foldline.images.files.decode import BadImageError, Intensity, Pixels, preview
from foldline.report.look import formats
from foldline.report.run.pictures import PIXELATED_PX, data_uri

SIDE_PX = 200  # shown at 90 to 160 px: sharp on a dense screen, about 6 kB each


@dataclass(frozen=True)
class Thumb:
    """A small picture.

    Attributes:
        uri: the picture itself; empty where it cannot be shown, `missing` then says why.
        pixelated: it is so small that its pixels are to be seen.
        name: the row's id.
        lines: what stands below it.
        mark: what is to be seen at once, in the colour of warnings.
    """

    uri: str
    missing: str
    pixelated: bool
    name: str
    lines: tuple[str, ...] = ()
    mark: str = ""


def thumb(
    root: Path, frame: pd.DataFrame, row: int, intensity: Intensity, *lines: str, mark: str = "", side_px: int = SIDE_PX
) -> Thumb:
    """The first file of a row's picture."""
    image, name = str(frame["image"].iloc[row]), formats.printable(str(frame["row_id"].iloc[row]), 60)
    uri, missing, pixelated = _read(root / image.split("|", maxsplit=1)[0], intensity, side_px)
    return Thumb(uri, missing, pixelated, name, tuple(line for line in lines if line), mark)


def of_pixels(pixels: Pixels, name: str, *lines: str, side_px: int = SIDE_PX) -> Thumb:
    """A picture that is no file."""
    return Thumb(data_uri(pixels, side_px), "", max(pixels.shape[:2]) < PIXELATED_PX, name, lines)


@lru_cache(maxsize=512)
def _read(path: Path, intensity: Intensity, side_px: int) -> tuple[str, str, bool]:
    """(data URI, why it is missing, whether its pixels are to be seen)."""
    try:
        pixels = preview(path, intensity)
    except (BadImageError, FoldlineError) as error:  # FoldlineError: no package here reads this kind
        reason = error.what if isinstance(error, FoldlineError) else str(error)
        return "", formats.printable(reason, 60), False
    return data_uri(pixels, side_px), "", max(pixels.shape[:2]) < PIXELATED_PX
