"""Folding batch-norms changes the number of layers and not the logits."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from convolved import Odd, around, inputs, lived_in, twice, weights_elsewhere
from foldline.models import fusing
from foldline.models.architecture import Architecture
from foldline.models.fusing import fuse

CONFIGS = Path(__file__).parents[2] / "configs"


def norms(model: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in model.modules())


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("test_efficientnet", 0),
        ("test_resnet", 0),
        ("test_byobnet", 0),
        ("test_convnext", 0),
        ("tf_efficientnet_lite0", 0),
        ("cifar_cnn", 0),
        (f"{CONFIGS}/simpsons/network.py:simpsons_cnn", 6),  # its batch-norms stand behind a pooling
        ("resnetv2_18", 9),  # pre-activation: half of the batch-norms stand before a convolution
        ("test_maxvit", 4),  # the stem's output goes to a batch-norm and around it
    ],
)
def test_same_logits_fewer_layers(name: str, left: int) -> None:
    size = 160 if name == "test_maxvit" else 64
    made = Architecture(name, 4, 3, size, size)
    model = lived_in(made)
    before, x = norms(model), inputs(made)
    fused = fuse(model, made)
    assert norms(fused) == left
    assert norms(model) == before
    expected = model.eval()(*x)
    assert not fused.training
    assert torch.allclose(fused(*x), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@torch.no_grad()
def test_beside_metadata() -> None:
    made = Architecture("test_resnet", 4, 3, 64, 64, metadata_features=5, pool="gem")
    model, x = lived_in(made), inputs(made)
    fused = fuse(model, made)
    assert norms(fused) == 0
    assert torch.allclose(fused(*x), model.eval()(*x), atol=1e-5)


@torch.no_grad()
def test_the_network_is_left_alone() -> None:
    made = Architecture("test_efficientnet", 4, 3, 64, 64)
    model = lived_in(made).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fuse(model, made)
    assert model.training
    after = model.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)


@torch.no_grad()
@pytest.mark.parametrize("way", [around, twice, weights_elsewhere])
def test_falls_back(way: Any) -> None:
    made, model = Architecture("odd", 1, 3, 8, 8), Odd(way)
    fused = fuse(model, made)
    x = torch.randn(2, 3, 8, 8)
    assert norms(fused) == 1
    assert torch.equal(fused(x), model.eval()(x))


@torch.no_grad()
def test_a_wrong_fold_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever folding gets wrong, the comparison gives the unfused network back."""
    made = Architecture("test_resnet", 4, 3, 64, 64)
    model = lived_in(made)
    monkeypatch.setattr(
        fusing, "fuse_conv_bn_weights", lambda weight, bias, *_: (weight, nn.Parameter(weight.sum((1, 2, 3))))
    )
    assert norms(fuse(model, made)) == norms(model)
