"""Networks with convolutions and batch-norms, for tests of folding."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from foldline.models.architecture import Architecture
from foldline.models.backbone import build


def lived_in(made: Architecture) -> nn.Module:
    """A network whose batch-norms have statistics and weights as after training."""
    torch.manual_seed(0)
    model = build(made)
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None and part.running_var is not None:
                part.running_mean.normal_(std=0.3)
                part.running_var.uniform_(0.5, 2)
                part.weight.uniform_(0.5, 1.5)
                part.bias.normal_(std=0.1)
    return model


def inputs(made: Architecture) -> tuple[Tensor, ...]:
    beside = (torch.rand(3, made.metadata_features),) if made.metadata_features else ()
    return (torch.randn(3, made.channels, made.height, made.width), *beside)


class Odd(nn.Module):
    """A convolution and a batch-norm that must not be folded, or not simply."""

    def __init__(self, way: Callable[["Odd", Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.bn, self.way = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), way
        assert self.bn.running_var is not None
        self.bn.running_var.fill_(4.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.way(self, x)


def around(model: Odd, x: Tensor) -> Tensor:
    output = model.conv(x)
    return model.bn(output) + output  # type: ignore[no-any-return]


def twice(model: Odd, x: Tensor) -> Tensor:
    return model.bn(model.conv(model.bn(model.conv(x))))  # type: ignore[no-any-return]


def weights_elsewhere(model: Odd, x: Tensor) -> Tensor:
    return model.bn(model.conv(x)) + model.conv.weight.sum()  # type: ignore[no-any-return]
