"""Decoded pictures where they are needed: in a memory map, in memory, or on the GPU that gathers them itself.

Reads the cache's memory map; writes nothing.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from foldline.core.errors import FoldlineError
from foldline.core.progress import say
from foldline.images.ahead import ahead
from foldline.images.pictures import channels_last
from foldline.images.shards import Indices, Pictures, Pixels, Shards, file_of

SHARE = 0.3  # of a GPU's free memory that a cache may take without being asked to
PIECE = 2**28  # bytes that are copied to a GPU at a time


class PictureStore:
    """All pictures of a cache, and where they lie.

    Args:
        pixels: [images, height, width, channels] uint8. They are never changed.
        device: where batches are wanted.
        resident: [images, height, width, channels] the same on that device; None: they are gathered on the host.
        file: the `.npy` that holds them, or the shards; None: found where they are a memory map.
    """

    def __init__(
        self,
        pixels: Pictures,
        device: torch.device,
        resident: Tensor | None = None,
        file: Path | Shards | None = None,
    ) -> None:
        self.pixels, self.device, self.resident = pixels, device, resident
        self.file = file or file_of(pixels)

    @property
    def channels(self) -> int:
        """Of each picture."""
        return int(self.pixels.shape[3])

    @property
    def height_width(self) -> tuple[int, int]:
        """Of each picture, in px."""
        return int(self.pixels.shape[1]), int(self.pixels.shape[2])

    @property
    def bytes_each(self) -> int:
        """Of one picture."""
        return int(np.prod(self.pixels.shape[1:]))

    def take(self, positions: Indices) -> Tensor:
        """[batch, channels, height, width] uint8 on the host, channels last."""
        return channels_last(np.asarray(self.pixels[positions]))

    def gather(self, positions: Tensor) -> Tensor:
        """[batch, channels, height, width] uint8 of resident pictures, without the host; positions on the device."""
        assert self.resident is not None
        return self.resident.index_select(0, positions).permute(0, 3, 1, 2)

    def batches(self, positions: Indices, batch_size: int) -> Iterator[tuple[Tensor, slice]]:
        """The rows in order: [batch, channels, height, width] uint8 on the device, and which rows they are."""
        starts = range(0, len(positions), batch_size)
        slices = [slice(start, min(start + batch_size, len(positions))) for start in starts]
        if self.resident is not None:
            places = torch.from_numpy(positions).to(self.device)
            yield from ((self.gather(places[rows]), rows) for rows in slices)
            return
        taken = ((rows, (self.take(positions[rows]),)) for rows in slices)
        yield from ((images, rows) for rows, (images,) in ahead(taken, self.device))


def open_store(pixels: Pictures, device: torch.device, where: str, *, gathers: bool) -> PictureStore:
    """The pictures of a cache, where a run wants them.

    Args:
        where: the setting `data.cache`.
        gathers: whether training would take them from a GPU as they lie there.

    Raises:
        FoldlineError: they shall be where they do not fit, or on a GPU where there is none.
    """
    if where == "memory":
        return PictureStore(_in_memory(pixels), device, file=file_of(pixels))
    if where == "gpu":
        _require_gpu(pixels, device)
        return _on_gpu(pixels, device)
    if where == "auto" and gathers and device.type == "cuda" and pixels.nbytes <= SHARE * _free_on(device):
        say(f"{_megabytes(pixels)} of decoded pictures are kept on the GPU (data.cache=disk: they are not)")
        return _on_gpu(pixels, device)
    return PictureStore(pixels, device)


def _on_gpu(pixels: Pictures, device: torch.device) -> PictureStore:
    return PictureStore(pixels, device, copied(pixels, device))


def copied(pixels: Pictures, device: torch.device) -> Tensor:
    """The pixels as a tensor on a device, copied piece by piece: the host never holds all of them."""
    result = torch.empty(pixels.shape, dtype=torch.uint8, device=device)
    step = max(1, PIECE // max(1, int(np.prod(pixels.shape[1:]))))
    for start in range(0, len(pixels), step):
        result[start : start + step] = torch.from_numpy(np.array(pixels[start : start + step]))
    return result


def _require_gpu(pixels: Pictures, device: torch.device) -> None:
    if device.type != "cuda":
        raise FoldlineError(
            f"there is no GPU that could hold the pictures: this run is on '{device.type}'",
            where="data.cache: gpu",
            next="use data.cache=auto",
        )
    if pixels.nbytes > (free := _free_on(device)):
        raise FoldlineError(
            f"the decoded pictures take {_megabytes(pixels)} and {free / 1e6:.0f} MB of the GPU are free",
            where="data.cache: gpu",
            next="use data.cache=auto, or a smaller data.image_size",
        )


def _in_memory(pixels: Pictures) -> Pixels:
    free = free_memory()
    if free is not None and pixels.nbytes > free:
        raise FoldlineError(
            f"the decoded pictures take {_megabytes(pixels)} and {free / 1e6:.0f} MB of memory are free",
            where="data.cache: memory",
            next="use data.cache=auto, which reads them from the disk, or a smaller data.image_size",
        )
    loaded = np.array(pixels)
    loaded.setflags(write=False)
    return loaded


def _free_on(device: torch.device) -> int:
    return int(torch.cuda.mem_get_info(device)[0])


def free_memory() -> int | None:
    """Bytes that can be had without swapping; None where the system does not say."""
    path = Path("/proc/meminfo")
    if not path.is_file():
        return None
    lines = path.read_text(encoding="ascii").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), None)


def _megabytes(pixels: Pictures) -> str:
    return f"{pixels.nbytes / 1e6:.0f} MB"
