"""The cache of decoded pictures made anew, from small PNG files."""

from pathlib import Path

import made_files
from costs.kit import Cost
from foldline.images.cache import open_cache

COST = Cost("cache of decoded pictures made: gray PNG of 32 px to 64 px", (10_000, 100_000))
SIDE = 64


def prepare(folder: Path, rows: int) -> None:
    """The files."""
    made_files.make_pictures(folder, rows)


def run(folder: Path, rows: int) -> None:
    """A cache that is not there, in a folder of its own each time."""
    names = [f"{i % 1000:03d}/{i:07d}.png" for i in range(rows)]
    place = folder / f"cache-{len(list(folder.glob('cache-*')))}"
    assert open_cache(folder, place, names, (SIDE, SIDE), 1).pixels.shape == (rows, SIDE, SIDE, 1)
