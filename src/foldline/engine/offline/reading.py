"""Pictures in their order, decoded by threads while the networks see those before. Reads files, writes nothing.

Each is decoded once, at the size of each member, and never lies on the disk; only some are in memory.
"""

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Self

import numpy as np

from foldline.engine.finished.pictures import Source, Spec, load_picture
from foldline.images.files.decode import Pixels
from foldline.images.workers import usable_cores

Loaded = list[Pixels] | str  # a picture for each spec, or what is wrong with it
PATIENCE_SECONDS = 120.0  # with one picture
AHEAD_BYTES = 2**28  # of decoded pictures that wait


@dataclass(frozen=True)
class Pictures:
    """Some decoded pictures.

    Attributes:
        pixels: of each spec [pictures, height, width, channels] uint8; black where one cannot be read.
        problems: why it cannot; empty: it can.
    """

    pixels: dict[Spec, Pixels]
    problems: list[str]


class PictureReader:
    """`with PictureReader(root, images, specs) as reader: pictures = reader.take(64)`

    Args:
        root: the folder of the raw files.
        images: their paths below it, those of one row joined by `|`.
        specs: what the networks want them to be.
    """

    def __init__(self, root: Path, images: Sequence[str], specs: Sequence[Spec]) -> None:
        self.specs = list(dict.fromkeys(specs))
        each = sum(spec.height * spec.width * spec.channels for spec in self.specs)
        self.most = max(1, AHEAD_BYTES // each)
        self._sources = iter([Source(name, tuple(root / file for file in name.split("|"))) for name in images])
        self._pool = ThreadPoolExecutor(usable_cores())
        self._waiting: deque[Future[Loaded]] = deque()
        self._seconds, self._done, self._lock = 0.0, 0, Lock()

    @property
    def seconds_each(self) -> float:
        """What a picture took so far, by all threads together."""
        return self._seconds / max(self._done, 1) / usable_cores()

    def __enter__(self) -> Self:
        self._fill()
        return self

    def __exit__(self, *_: object) -> None:
        """Does not wait for pictures that nobody takes any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def take(self, count: int) -> Pictures:
        """The next pictures, as many as there still are."""
        count = min(count, len(self._waiting))
        pixels = {spec: np.zeros((count, spec.height, spec.width, spec.channels), np.uint8) for spec in self.specs}
        problems = [""] * count
        for i in range(count):
            loaded = self._next()
            self._fill()
            if isinstance(loaded, str):
                problems[i] = loaded
                continue
            for spec, picture in zip(self.specs, loaded, strict=True):
                pixels[spec][i] = picture
        return Pictures(pixels, problems)

    def _next(self) -> Loaded:
        try:
            return self._waiting.popleft().result(timeout=PATIENCE_SECONDS)
        except TimeoutError:
            return f"it was not decoded in {PATIENCE_SECONDS:.0f} s"

    def _fill(self) -> None:
        while len(self._waiting) < self.most and (source := next(self._sources, None)) is not None:
            self._waiting.append(self._pool.submit(self._load, source))

    def _load(self, source: Source) -> Loaded:
        """The picture for each spec, or what is wrong with it: whatever a decoder raises is a bad picture."""
        start = time.monotonic()
        try:
            return load_picture(source, self.specs)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        finally:
            with self._lock:
                self._seconds, self._done = self._seconds + time.monotonic() - start, self._done + 1
