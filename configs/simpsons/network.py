"""Six blocks of 3x3 convolution, ReLU, max-pool and batch-norm (16 to 512 channels), then 512-120-84-classes."""

from itertools import pairwise

from torch import nn

from foldline.models.classic import SmallNetwork


def simpsons_cnn(
    outputs: int, channels: int, height_width: tuple[int, int], drop_rate: float = 0.0, dropout: float = 0.1
) -> nn.Module:
    """Six poolings leave one pixel of pictures of 64 to 127 px; of larger ones the mean over what is left is taken.

    Args:
        dropout: after both hidden layers, beside `drop_rate` before the classifier.
    """
    if min(height_width) < 64:
        raise ValueError("needs pictures of 64 px or more: smaller ones leave nothing")
    widths = (channels, 16, 32, 64, 128, 256, 512)
    blocks = [
        nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(after))
        for before, after in pairwise(widths)
    ]
    neck = [
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Sequential(nn.Linear(512, 120), nn.ReLU(), nn.Dropout(dropout)),
        nn.Sequential(nn.Linear(120, 84), nn.ReLU(), nn.Dropout(dropout)),
    ]
    return SmallNetwork(nn.Sequential(*blocks), nn.Sequential(*neck), 84, outputs, drop_rate)
