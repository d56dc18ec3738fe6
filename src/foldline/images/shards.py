"""The pictures of a cache that is more than one array in memory: several files, raw or as JPEG, read by position.

Reads `images-<key>/<shard>-of-<shards>.npy` or `.jpegs`; files are opened when they are needed, in each process anew.
"""

from collections.abc import Iterable, Sequence
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Indices = NDArray[np.int64]

JPEG_QUALITY = 95  # of 100, colours as fine as brightness
RAW, JPEGS = ".npy", ".jpegs"
TAIL = 4  # numbers at the end of a file of JPEGs: pictures, height, width, channels


class Shards:
    """Pictures in several files, read as if they were one array [images, height, width, channels] uint8.

    Args:
        files: in their order; of raw pixels `.npy`, of JPEG pictures `.jpegs`.
        sizes: how many pictures each holds.
        shape: [height, width, channels] of each picture.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, files: Sequence[Path], sizes: Sequence[int], shape: tuple[int, int, int]) -> None:
        self.files, self.sizes = tuple(files), tuple(sizes)
        self.shape = (sum(sizes), *shape)
        self._starts = np.cumsum([0, *sizes])
        self._open: dict[int, Pixels | Jpegs] = {}

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Of all pictures once they are decoded."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __getstate__(self) -> dict[str, Any]:
        """Another process opens the files by itself."""
        return {**self.__dict__, "_open": {}}

    def __getitem__(self, chosen: Indices | slice | int) -> Pixels:
        """[chosen, height, width, channels], or the one picture; a copy."""
        if isinstance(chosen, int):
            return np.asarray(self[np.array([chosen])][0])
        places = np.arange(*chosen.indices(len(self))) if isinstance(chosen, slice) else np.asarray(chosen)
        shard_of = np.searchsorted(self._starts, places, side="right") - 1
        result = np.empty((len(places), *self.shape[1:]), dtype=np.uint8)
        for shard in np.unique(shard_of).tolist():
            here = shard_of == shard
            result[here] = self._shard(shard)[places[here] - self._starts[shard]]
        return result

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All of them in memory."""
        return self[:].astype(dtype or self.dtype, copy=False)

    def _shard(self, number: int) -> "Pixels | Jpegs":
        if number not in self._open:
            path = self.files[number]
            self._open[number] = Jpegs(path) if path.suffix == JPEGS else np.load(path, mmap_mode="r")
        return self._open[number]


class Jpegs:
    """A file of JPEG pictures of one size: their bytes, where each begins, and `TAIL` numbers."""

    def __init__(self, path: Path) -> None:
        self._bytes = np.memmap(path, dtype=np.uint8, mode="r")
        count, *self._shape = self._bytes[-8 * TAIL :].view("<i8").tolist()
        self._begins = self._bytes[-8 * (TAIL + count + 1) : -8 * TAIL].view("<i8")

    def __getitem__(self, places: Indices) -> Pixels:
        """[places, height, width, channels]."""
        import cv2

        flag = cv2.IMREAD_GRAYSCALE if self._shape[2] == 1 else cv2.IMREAD_COLOR_RGB
        result = np.empty((len(places), *self._shape), dtype=np.uint8)
        for i, place in enumerate(places.tolist()):
            picture = cv2.imdecode(self._bytes[self._begins[place] : self._begins[place + 1]], flag)
            result[i] = np.asarray(picture).reshape(self._shape)
        return result


Pictures = Pixels | Shards  # of a whole cache


def file_of(pixels: Pictures) -> Path | Shards | None:
    """The file of a whole memory map, or the shards; None for a part of a map, and for what is no map."""
    if isinstance(pixels, Shards):
        return pixels
    whole = isinstance(pixels, np.memmap) and isinstance(pixels.base, mmap)
    return Path(str(pixels.filename)) if isinstance(pixels, np.memmap) and whole else None


def opened(file: Path | Shards) -> Pictures:
    """What `file_of` names, in another process."""
    return file if isinstance(file, Shards) else np.load(file, mmap_mode="r")


def as_jpeg(picture: Pixels) -> bytes:
    """[height, width, 1 or 3] gray or RGB as a JPEG file's bytes."""
    import cv2

    options = [
        *(cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY),
        *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    ]
    done, encoded = cv2.imencode(".jpg", picture[:, :, ::-1] if picture.shape[2] == 3 else picture, options)
    assert done
    return encoded.tobytes()


def write_jpegs(path: Path, pictures: Iterable[bytes], shape: tuple[int, int, int]) -> None:
    """A file that `Jpegs` reads; pictures are written as they come."""
    begins = [0]
    with path.open("wb") as handle:
        for picture in pictures:
            handle.write(picture)
            begins.append(begins[-1] + len(picture))
        handle.write(b"\0" * (-begins[-1] % 8))  # numbers begin at a multiple of their size
        handle.write(np.array([*begins, len(begins) - 1, *shape], dtype="<i8").tobytes())
