"""Progressive resizing: small pictures first, large ones last. Pure functions on batches."""

import torch
from torch import Tensor
from torch.nn import functional

GROWING = 0.75  # the share of the epochs over which pictures grow


def side_at(epoch: int, epochs: int, grow_from: float, size: tuple[int, int]) -> tuple[int, int]:
    """[height, width] in px of the pictures of one epoch.

    Both sides grow from `grow_from` times their full length to all of it over the first three quarters of the epochs,
    in whole 16 px, which networks divide by, or 8 px where a side is below 128. The full size is exact, and the last
    epoch always has it.

    Args:
        epoch: from 0.
        epochs: how many there are.
        grow_from: above 0, up to 1: no growth.
        size: the full [height, width].

    >>> [side_at(epoch, 8, 0.5, (224, 224))[0] for epoch in range(8)]
    [112, 128, 144, 160, 192, 208, 224, 224]
    >>> [side_at(epoch, 3, 0.5, (224, 224))[0] for epoch in range(3)]
    [112, 160, 224]
    """
    growing = min(GROWING * epochs, epochs - 1)
    done = min(epoch / growing, 1.0) if growing > 0 else 1.0
    share = grow_from + (1 - grow_from) * done
    step = 16 if min(size) >= 128 else 8
    return _rounded(size[0], share, step), _rounded(size[1], share, step)


def _rounded(side: int, share: float, step: int) -> int:
    if share >= 1:
        return side
    return min(side, max(step, round(side * share / step) * step))


def shrink(images: Tensor, height_width: tuple[int, int]) -> Tensor:
    """Pictures of another size, by antialiased bilinear interpolation; the same ones where they have it already.

    Args:
        images: [batch, channels, height, width] float.
    """
    if tuple(images.shape[-2:]) == tuple(height_width):
        return images
    small = functional.interpolate(images, height_width, mode="bilinear", antialias=True, align_corners=False)
    like = torch.channels_last if images.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    return small.contiguous(memory_format=like)
