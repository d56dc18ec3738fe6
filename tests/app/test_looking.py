"""Where a network looked: the place that speaks for the answer is found in networks of all kinds, or it is said."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from foldline.app.looking import Looked, where_it_looked
from foldline.core.errors import FoldlineError
from foldline.images.shards import Pixels


class Spots(nn.Module):
    """A network that can be read: 4 x 4 places, class 1 is how bright they are, class 0 how dark.

    Args:
        channels_last: its feature map is [rows, height, width, channels].
    """

    def __init__(self, *, channels_last: bool = False) -> None:
        super().__init__()
        self.channels_last, self.num_features = channels_last, 3
        self.scale = nn.Parameter(torch.ones(1))

    def forward_features(self, x: Tensor) -> Tensor:
        x = nn.functional.avg_pool2d(x, 16) * self.scale
        features = torch.cat([x, -x, 0 * x], dim=1).relu()
        return features.permute(0, 2, 3, 1) if self.channels_last else features

    def forward_head(self, features: Tensor) -> Tensor:
        pooled = features.mean((1, 2) if self.channels_last else (2, 3))
        return torch.stack([pooled[:, 1], pooled[:, 0]], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def fold_of(network: nn.Module, channels: int = 1, activation: str = "softmax") -> Any:
    meta = SimpleNamespace(mean=[0.5] * channels, std=[0.5] * channels, interpolation="bicubic", activation=activation)
    return SimpleNamespace(meta=meta, networks=[network.eval()], device=torch.device("cpu"))


def spotted(channels: int = 1) -> Pixels:
    """Gray, with a bright spot above and left, and a dark one below and right."""
    pixels = np.full((64, 64, channels), 128, np.uint8)
    pixels[:16, :16] = 255
    pixels[48:, 48:] = 0
    return pixels


def hottest(found: Looked) -> tuple[int, int]:
    """(row, column)."""
    row, column = np.unravel_index(int(found.heat.argmax()), found.heat.shape)
    return int(row), int(column)


@pytest.mark.parametrize("channels_last", [False, True])
def test_each_class_has_its_own_place(channels_last: bool) -> None:
    folds = [fold_of(Spots(channels_last=channels_last))]
    bright = where_it_looked(folds, spotted(), 1, is_class=True)
    dark = where_it_looked(folds, spotted(), 0, is_class=True)
    assert bright.places == (4, 4)
    assert max(hottest(bright)) < 16
    assert min(hottest(dark)) >= 48
    assert bright.heat.max() == 1
    assert bright.heat[48:, 48:].max() < 0.01


def test_numbers_have_places_too_and_folds_are_averaged() -> None:
    folds = [fold_of(Spots(), activation="identity")] * 2
    assert max(hottest(where_it_looked(folds, spotted(), 1, is_class=False))) < 16


def test_nothing_that_speaks_for_a_class_is_no_heat() -> None:
    assert not where_it_looked([fold_of(Spots())], np.zeros((64, 64, 1), np.uint8), 1, is_class=True).heat.any()


@pytest.mark.parametrize("name", ["test_efficientnet", "test_convnext", "test_vit", "test_vit2", "swin"])
def test_networks_of_timm_have_maps(name: str) -> None:
    torch.manual_seed(0)
    swin = {"embed_dim": 16, "depths": (1, 1), "num_heads": (2, 2), "window_size": 4, "img_size": 64}
    options = {"img_size": 64} if "vit" in name else swin if name == "swin" else {}
    network = timm.create_model("swin_tiny_patch4_window7_224" if name == "swin" else name, num_classes=3, **options)
    for parameter in network.parameters():  # a classifier that is 0 at first would see nothing
        nn.init.normal_(parameter, std=0.2)
    found = [where_it_looked([fold_of(network, 3)], spotted(3), output, is_class=True) for output in range(3)]
    assert all(one.heat.shape == (64, 64) and one.places >= (2, 2) for one in found)
    assert any(one.heat.std() > 0 for one in found)


@pytest.mark.parametrize("features", [lambda x: x.mean((2, 3)), lambda x: x.flatten(2).transpose(1, 2), lambda x: [x]])
def test_networks_without_places_are_refused_in_words(features: Any) -> None:
    network = Spots()
    network.forward_features = features  # type: ignore[method-assign]
    with pytest.raises(FoldlineError, match="cannot be shown"):
        where_it_looked([fold_of(network)], spotted(), 1, is_class=True)


def test_a_map_of_one_place_is_refused() -> None:
    with pytest.raises(FoldlineError, match="is 1 x 1 here"):
        where_it_looked([fold_of(Spots())], spotted()[:16, :16], 1, is_class=True)
