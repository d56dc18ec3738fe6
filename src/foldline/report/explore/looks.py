"""Every picture of a sample decoded once: whether that works, how bright, sharp and coloured it is, and how large.

Reads image files; writes nothing.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.errors import FoldlineError
from foldline.core.progress import Progress
from foldline.core.run_data import Data
from foldline.images.files.decode import (
    BadImageError,
    Intensity,
    Pixels,
    content_of,
    decode_bytes,
    preview,
    resize,
)
from foldline.images.files.header import read_header
from foldline.report.look import formats

SIDE_PX = 64  # of the small copy that is measured
COARSE_PX = 6  # of the tiny copy that stands for a picture's look where no network's features are at hand
FLAT = 2.0  # grey levels of standard deviation: a picture below it shows nothing
COLOUR = 12.0  # levels between the channels of a pixel, in the mean over the picture, from which it has colour
SMALL = 4  # times smaller than the median, from which a picture is called so
LONG = 2.5  # times longer than the median, for its height
BLOWN = 0.98  # the share of black and white pixels from which a picture is called so
PLAIN = ("jpg", "png", "gif", "bmp", "webp")  # kinds that are read alike for one channel and for three
NAMES = ["height", "width", "brightness", "contrast", "sharpness", "colour", "blown"]
Features = NDArray[np.float32]


@dataclass(frozen=True)
class Looks:
    """What the pictures of some rows look like.

    Attributes:
        rows: [n] the rows of the table, ascending.
        table: [n] height and width in px (EXIF rotation applied), brightness and contrast in grey levels, sharpness
            (standard deviation of the Laplacian), colour (mean difference of the channels), blown (share of pixels that
            are black or white); NaN of a picture that cannot be decoded.
        coarse: [n, features] what stands for the picture's look; 0 where there is none.
        broken: row -> why training would stop at its picture.
    """

    rows: NDArray[np.int64]
    table: pd.DataFrame
    coarse: Features
    broken: dict[int, str] = field(default_factory=dict)

    @property
    def whole(self) -> NDArray[np.int64]:
        """[m] the places, among `rows`, of the pictures that can be decoded."""
        return np.flatnonzero(self.table["height"].notna().to_numpy())

    def size(self, row: int) -> str:
        """How large the picture of a row is, in words; empty where that is not known."""
        place = int(np.searchsorted(self.rows, row))
        if place == len(self.rows) or self.rows[place] != row or np.isnan(self.table["width"].iloc[place]):
            return ""
        return f"{self.table['width'].iloc[place]:.0f} x {self.table['height'].iloc[place]:.0f} px"

    def odd(self) -> dict[int, str]:
        """Row -> what is odd about a picture that can be decoded: it shows nothing, or is far from all others."""
        found: dict[int, str] = {}
        table = self.table.iloc[self.whole]
        if not len(table):
            return found
        height, width, contrast, blown = (
            table[name].to_numpy(dtype=np.float64) for name in ("height", "width", "contrast", "blown")
        )
        side, aspect = np.minimum(height, width), np.log(width / height)
        kinds = {
            "one shade everywhere": contrast < FLAT,
            "nearly all pixels are black or white": (contrast >= FLAT) & (blown > BLOWN),
            "far smaller than most": side < np.median(side) / SMALL,
            "of another shape than most": np.abs(aspect - np.median(aspect)) > np.log(LONG),
        }
        for place, row in enumerate(self.rows[self.whole].tolist()):
            words = [words for words, is_so in kinds.items() if is_so[place]]
            if words:
                found[row] = "; ".join(words)
        return found


def look_at(root: Path, frame: pd.DataFrame, rows: NDArray[np.int64], data: Data, title: str) -> Looks:
    """Decodes the pictures of `rows`, as the run would.

    Args:
        root: `input/<comp>`.
        frame: a rows table.
        data: the run's, for its channels and intensity.
        title: of the progress bar.
    """
    images = frame["image"].iloc[rows].tolist()
    with Progress() as progress, ThreadPoolExecutor(os.cpu_count()) as pool:
        seen = pool.map(lambda image: _look(root, image, data), images)
        found = list(progress.over(seen, title, total=len(images)))
    broken = {int(row): why for row, (why, _, _) in zip(rows, found, strict=True) if why}
    table = pd.DataFrame([measured for _, measured, _ in found], columns=NAMES, dtype=np.float64)
    width = COARSE_PX * COARSE_PX * 3 + len(NAMES) - 2
    coarse = np.stack([tiny for *_, tiny in found]) if found else np.zeros((0, width), dtype=np.float32)
    return Looks(rows, table, coarse, broken)


def _look(root: Path, image: str, data: Data) -> tuple[str, list[float], Features]:
    """(why it cannot be trained on, what was measured of its first file, its tiny copy)."""
    files = [root / file for file in image.split("|")]
    why, pixels = _pixels(files[0], data)
    for file in files[1:]:
        why = why or _pixels(file, data)[0]
    if pixels is None:
        nothing = np.zeros(COARSE_PX * COARSE_PX * 3 + len(NAMES) - 2, dtype=np.float32)
        return why, [np.nan] * len(NAMES), nothing
    measured = _measure(pixels)
    tiny = resize(pixels, COARSE_PX, COARSE_PX).astype(np.float32).reshape(-1)
    return why, measured, np.concatenate([tiny, np.array(measured[2:], dtype=np.float32)])


def _pixels(path: Path, data: Data) -> tuple[str, Pixels | None]:
    """(why training would stop at the file, its pixels to look at as far as there are any)."""
    try:
        content = content_of(path)
        if data.channels in (1, 3) and read_header(content).kind in PLAIN:
            return "", decode_bytes(content, 3, data.intensity)  # what one of the two takes the other takes, too
        decode_bytes(content, data.channels, data.intensity)
    except (BadImageError, FoldlineError) as error:  # FoldlineError: no package here reads this kind
        why = error.what if isinstance(error, FoldlineError) else str(error)
        return why, shown(path, data.intensity)
    return "", shown(path, data.intensity)


def shown(path: Path, intensity: Intensity) -> Pixels | None:
    """[height, width, 3] the picture to look at; None where it cannot be decoded."""
    try:
        return preview(path, intensity)
    except (BadImageError, FoldlineError):
        return None


def _measure(pixels: Pixels) -> list[float]:
    import cv2

    height, width, _ = pixels.shape
    small = resize(pixels, min(height, SIDE_PX), min(width, SIDE_PX)).astype(np.float32)
    grey = small.mean(axis=2)
    colour = float((small.max(axis=2) - small.min(axis=2)).mean())
    sharpness = float(cv2.Laplacian(grey, cv2.CV_32F).std())
    blown = float(((grey < 3) | (grey > 252)).mean())
    return [float(height), float(width), float(grey.mean()), float(grey.std()), sharpness, colour, blown]


def by_reason(broken: dict[int, str]) -> dict[str, list[int]]:
    """Why -> the rows, the most frequent first."""
    found: dict[str, list[int]] = {}
    for row, why in broken.items():
        found.setdefault(why, []).append(row)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def shown_files(frame: pd.DataFrame, rows: Sequence[int], most: int = 3) -> str:
    """The first few files of rows, as a sentence has them."""
    names = [formats.printable(str(frame["image"].iloc[row]).split("|")[0], 80) for row in rows[:most]]
    return ", ".join(names) + (" ..." if len(rows) > most else "")
