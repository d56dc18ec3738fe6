"""The network of 3Blue1Brown's "But what is a neural network?" (2017).

https://www.3blue1brown.com/lessons/neural-networks. There the last layer has a sigmoid too, here it gives logits: the
loss has the softmax.
"""

from torch import nn

from foldline.models.classic import SmallNetwork


def mnist_mlp(
    outputs: int, channels: int, height_width: tuple[int, int], drop_rate: float = 0.0, hidden: int = 16
) -> nn.Module:
    """pixels-16-16-classes with sigmoids, for pictures of one size alone."""
    height, width = height_width
    layers = [
        nn.Flatten(), nn.Linear(channels * height * width, hidden), nn.Sigmoid(),
        nn.Linear(hidden, hidden), nn.Sigmoid(),
    ]  # fmt: skip
    return SmallNetwork(nn.Sequential(*layers), nn.Sequential(), hidden, outputs, drop_rate)
