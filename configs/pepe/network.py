"""AlexNet's convolutions, one batch-norm between them and two hidden layers.

Krizhevsky et al. 2012; one tower as in Krizhevsky 2014, https://arxiv.org/abs/1404.5997.
"""

from torch import nn

from foldline.models.classic import SmallNetwork


def pepe_alexnet(
    outputs: int,
    channels: int,
    height_width: tuple[int, int],  # noqa: ARG001 - any from 63 px on: what is left is pooled to 6x6
    drop_rate: float = 0.0,
    batch_norm: bool = True,
    hidden: int = 1024,
    dropout: float = 0.5,
) -> nn.Module:
    """The network.

    Args:
        batch_norm: False takes the batch-norm away, the experiment of docs/recipes.md: whether the loss leaves ln 2.
        hidden: the units of either hidden layer.
        dropout: before either hidden layer.
    """
    pool = nn.MaxPool2d(3, 2)
    features = nn.Sequential(
        nn.Sequential(nn.Conv2d(channels, 64, 11, stride=4, padding=2), nn.ReLU(), pool),
        nn.Sequential(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), pool),
        nn.Sequential(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), pool),
    )
    norm = nn.BatchNorm2d(256) if batch_norm else nn.Identity()
    neck = nn.Sequential(
        nn.Sequential(norm, nn.AdaptiveAvgPool2d(6), nn.Flatten()),
        nn.Sequential(nn.Dropout(dropout), nn.Linear(256 * 36, hidden), nn.ReLU()),
        nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.ReLU()),
    )
    return SmallNetwork(features, neck, hidden, outputs, drop_rate)
