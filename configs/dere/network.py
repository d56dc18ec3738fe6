"""Three 3x3 convolutions with ReLU and max-pool, then one fully connected layer, the classifier."""

from itertools import pairwise

from torch import nn

from foldline.models.classic import SmallNetwork


def dere_cnn(
    outputs: int,
    channels: int,
    height_width: tuple[int, int],  # noqa: ARG001 - any from 8 px on: what the convolutions leave is pooled to 4x4
    drop_rate: float = 0.0,
    filters: int = 16,
) -> nn.Module:
    """The network; pictures are scaled to -1 to 1.

    Args:
        filters: the first convolution's; the second has twice, the third four times as many.
    """
    widths = (channels, filters, 2 * filters, 4 * filters)
    blocks = [
        nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        for before, after in pairwise(widths)
    ]
    neck = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten())
    return SmallNetwork(nn.Sequential(*blocks), neck, 4 * filters * 16, outputs, drop_rate, mean=0.5, std=0.5)
