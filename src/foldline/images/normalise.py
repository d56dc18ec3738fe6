"""Pictures become the numbers that a network expects, and back. Reads and writes no files."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Normaliser:
    """uint8 pictures -> (x / 255 - mean) / std on one device, in one pass over the memory.

    Scale and offset are made once and stay on the device: making them anew for every batch would copy from the host and
    wait for it.

    Args:
        mean: of each channel of pictures in [0, 1]; one number stands for all channels. So does `std`.
        device: where batches are wanted.
        dtype: of the result; the arithmetic is float32 in any case.
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        self.device, self.dtype = device, dtype
        means, deviations = (torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1) for values in (mean, std))
        scale = 1 / (255 * deviations)
        numbers = scale, -means / deviations, 1 / scale, 255 * means
        self.scale, self.offset, self.back, self.zero = (x.to(device, torch.float32) for x in numbers)

    def __call__(self, images: Tensor) -> Tensor:
        """[batch, channels, height, width] 0..255 of any type and device -> `dtype` on this device, channels last."""
        x = images.to(self.device, non_blocking=True)
        result = torch.empty_like(x, dtype=self.dtype, memory_format=torch.channels_last)
        return torch.addcmul(self.offset, x, self.scale, out=result)

    def undo(self, x: Tensor) -> Tensor:
        """What was given, as float32 in 0..255."""
        return torch.addcmul(self.zero, x.float(), self.back)
