"""A few of the pictures, decoded: what a forecast needs before all are. Reads raw files; writes nothing."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from foldline.core.records.framing import AS_USUAL, Framing
from foldline.images.building import load
from foldline.images.cache import ImageCache, hashes_of, is_built, open_cache, spec_of
from foldline.images.files.decode import Intensity

LOOKED_AT = 32  # pictures: a large batch of most networks


class Glance:
    """Stands in for `images.cache.open_cache`: every row gets one of a few pictures; where the cache is there, its own.

    Attributes:
        seconds: what decoding all pictures of all caches would take, by these few and all cores; 0 where that is done.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(
        self,
        root: Path,
        folder: Path,
        images: Sequence[str],
        height_width: tuple[int, int],
        channels: int,
        *,
        intensity: Intensity = "auto",
        bad_images: str = "stop",
        form: str = "raw",
        framing: Framing = AS_USUAL,
    ) -> ImageCache:
        """As `open_cache`, but no picture is called bad: one that cannot be read is black here."""
        spec = spec_of(images, height_width, channels, intensity, form, framing)
        if is_built(root, folder, spec):
            return open_cache(
                root, folder, images, height_width, channels,
                intensity=intensity, bad_images=bad_images, form=form, framing=framing,
            )  # fmt: skip
        hashes = hashes_of(root)
        chosen = spec.images[:: -(-len(spec.images) // LOOKED_AT)]
        start = time.perf_counter()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = list(pool.map(lambda name: load(root, name, spec, hashes), chosen))
        self.seconds += (time.perf_counter() - start) / len(chosen) * len(spec.images)
        pixels = np.zeros((len(chosen), spec.height, spec.width, spec.channels), dtype=np.uint8)
        for number, picture in enumerate(found):
            if not isinstance(picture, str):
                pixels[number] = picture
        return ImageCache("", pixels, {name: i % len(chosen) for i, name in enumerate(spec.images)}, {})
