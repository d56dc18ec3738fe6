"""Pictures in their order, decoded by threads while the networks see those before. Reads files, writes nothing.

Each is decoded once, at every size that is wanted, and never lies on the disk; only some are in memory.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Literal, Self

import numpy as np

from foldline.core.cores import usable_cores
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.progress import say
from foldline.engine.finished.pictures import Source, Spec, load_picture
from foldline.images.files.decode import Pixels

BadImages = Literal["skip", "stop"]
Loaded = list[Pixels] | str  # a picture for each spec, or what is wrong with it
PATIENCE_SECONDS = 120.0  # with one picture
AHEAD_BYTES = 2**28  # of decoded pictures that wait, and of a chunk


@dataclass(frozen=True)
class Chunk:
    """Some pictures in their order.

    Attributes:
        rows: which of all pictures they are.
        pixels: of each spec [pictures, height, width, channels] uint8; black where a picture cannot be read.
        problems: what is wrong with each; empty: nothing.
    """

    rows: slice
    pixels: dict[Spec, Pixels]
    problems: list[str]


class PictureReader:
    """`with PictureReader(sources, specs) as reader: chunk = reader.take(64)`

    Args:
        specs: what the networks want the pictures to be.
    """

    def __init__(self, sources: Sequence[Source], specs: Sequence[Spec]) -> None:
        self.specs = list(dict.fromkeys(specs))
        each = sum(spec.height * spec.width * spec.channels for spec in self.specs)
        self.most = max(1, AHEAD_BYTES // each)
        self._sources, self._taken = iter(sources), 0
        self._pool = ThreadPoolExecutor(usable_cores())
        self._waiting: deque[Future[Loaded]] = deque()
        self._seconds, self._done, self._lock = 0.0, 0, Lock()
        self._whole = list[str]()

    @property
    def seconds_each(self) -> float:
        """What a picture took so far, by all threads together."""
        return self._seconds / max(self._done, 1) / usable_cores()

    def __enter__(self) -> Self:
        self._fill()
        return self

    def __exit__(self, *_: object) -> None:
        """Does not wait for pictures that nobody takes any more; says how many have no foreground."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._whole:
            whole = sorted({*self._whole})  # each member of an ensemble looks for one
            say(f"note: {counted(len(whole), 'pictures have')} no foreground and stay whole: {first_few(whole)}")

    def take(self, count: int) -> Chunk:
        """The next pictures, as many as there still are."""
        found = list[Loaded]()
        while self._waiting and len(found) < count:
            found.append(self._next())
            self._fill()
        shape = {spec: (len(found), spec.height, spec.width, spec.channels) for spec in self.specs}
        pixels = {spec: np.zeros(shape[spec], np.uint8) for spec in self.specs}
        for i, loaded in enumerate(found):
            for spec, picture in zip(self.specs, loaded, strict=True) if not isinstance(loaded, str) else ():
                pixels[spec][i] = picture
        rows = slice(self._taken, self._taken + len(found))
        self._taken = rows.stop
        return Chunk(rows, pixels, [loaded if isinstance(loaded, str) else "" for loaded in found])

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
            return load_picture(source, self.specs, self._whole.append)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        finally:
            with self._lock:
                self._seconds, self._done = self._seconds + time.monotonic() - start, self._done + 1


def in_chunks(
    sources: Sequence[Source], specs: Sequence[Spec], batch_size: int, bad_images: BadImages
) -> Iterator[Chunk]:
    """The pictures, decoded and resized for each spec; the next ones are decoded while these are used.

    Args:
        batch_size: a chunk is several whole batches.
        bad_images: skip: they are black, and named in `problems`; stop: they are an error.

    Raises:
        FoldlineError: a picture cannot be read, with `stop`; an unknown `bad_images`; an empty batch.
    """
    if batch_size < 1:
        raise FoldlineError(
            f"{counted(batch_size, 'pictures are')} no batch", where="batch_size", next="give 1 or more"
        )
    if bad_images not in ("skip", "stop"):
        raise FoldlineError(f"'{bad_images}' is no way to treat bad images", where="bad_images", next="skip or stop")
    with PictureReader(sources, specs) as reader:
        size = max(1, reader.most // batch_size) * batch_size
        while (chunk := reader.take(size)).problems:
            if bad_images == "stop":
                _require_read(chunk, sources)
            yield chunk


def _require_read(chunk: Chunk, sources: Sequence[Source]) -> None:
    bad = [f"{sources[chunk.rows.start + i].name}: {why}" for i, why in enumerate(chunk.problems) if why]
    if bad:
        raise FoldlineError(
            f"{counted(len(bad), 'pictures cannot')} be read: {first_few(bad)}",
            where="bad_images: stop",
            next="mend them or leave them out; bad_images=skip leaves their lines empty",
        )
