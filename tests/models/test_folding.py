"""Frozen batch-norms that convolutions do the work of: the same network, the same gradients, fewer passes."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convolved import Odd, around, inputs, lived_in, twice, weights_elsewhere
from foldline.engine.machine.precision import set_batch_norm
from foldline.models import fusing
from foldline.models.architecture import Architecture
from foldline.models.backbone import set_checkpointing
from foldline.models.fusing import fold_frozen

SMALL = Architecture("test_efficientnet", 4, 3, 64, 64)


def frozen(model: nn.Module) -> nn.Module:
    """As a training with frozen batch-norms has it."""
    model.train()
    set_batch_norm(model, "frozen")
    return model


def loss_of(model: nn.Module, x: tuple[Tensor, ...]) -> Tensor:
    """A loss that a seed decides, dropout and all."""
    torch.manual_seed(1)
    target = torch.arange(len(x[0])) % 4
    return nn.functional.cross_entropy(model(*x), target)


def gradients(model: nn.Module, x: tuple[Tensor, ...]) -> dict[str, Tensor]:
    loss_of(model, x).backward()  # type: ignore[no-untyped-call]
    return {name: one.grad for name, one in model.named_parameters() if one.grad is not None}


@pytest.mark.parametrize(
    ("name", "size", "folded"),
    [
        ("test_efficientnet", 64, 13),
        ("test_byobnet", 64, 14),
        ("resnet18", 64, 20),
        ("tf_efficientnet_lite0", 64, 49),  # Conv2dSame, depthwise
        ("resnext50_32x4d", 64, 53),  # groups
        ("test_convnext", 64, 0),
        ("test_maxvit", 160, 9),
        ("cifar_cnn", 32, 6),
    ],
)
def test_the_same_training(name: str, size: int, folded: int) -> None:
    """Losses, gradients and three steps, in float64."""
    made = Architecture(name, 4, 3, size, size, drop_rate=0.2)
    plain = lived_in(made).double()
    copy = deepcopy(plain)
    assert fold_frozen(copy, made) == folded
    x = tuple(values.double() for values in inputs(made))
    for model in (frozen(plain), frozen(copy)):
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
        for _ in range(3):
            optimizer.zero_grad()
            gradients(model, x)
            optimizer.step()
        optimizer.zero_grad()
    expected, found = gradients(plain, x), gradients(copy, x)
    assert list(expected) == list(found)
    for key, value in expected.items():
        assert torch.allclose(found[key], value, rtol=1e-6, atol=1e-9), key
    for key, value in plain.state_dict().items():
        assert torch.allclose(copy.state_dict()[key], value, rtol=1e-6, atol=1e-9), key
    assert torch.allclose(loss_of(copy, x), loss_of(plain, x), rtol=1e-9)


def test_the_network_stays_as_it_is() -> None:
    model = lived_in(SMALL).train()
    model.bn1.eval()  # type: ignore[union-attr]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = {name: part.training for name, part in model.named_modules()}
    parameters = list(model.parameters())
    state = torch.random.get_rng_state()
    assert fold_frozen(model, SMALL)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert {name: part.training for name, part in model.named_modules()} == modes
    assert all(one is other for one, other in zip(model.parameters(), parameters, strict=True))
    assert list(before) == list(model.state_dict())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@torch.no_grad()
def test_thawed_it_learns_statistics_again() -> None:
    plain = lived_in(SMALL).train()
    model = deepcopy(plain)
    fold_frozen(model, SMALL)
    x = inputs(SMALL)
    assert torch.allclose(model(*x), plain(*x), atol=1e-6)
    assert torch.allclose(model.bn1.running_mean, plain.bn1.running_mean)  # type: ignore[arg-type,union-attr]


def test_a_copy_has_weights_of_its_own() -> None:
    """An average of weights is a copy of the network, and predicts by its own weights alone."""
    model = lived_in(SMALL)
    fold_frozen(model, SMALL)
    copy = deepcopy(model)
    x = inputs(SMALL)
    before = frozen(model)(*x)
    with torch.no_grad():
        for value in [*copy.parameters(), *copy.buffers()]:
            value.zero_()
    assert torch.equal(frozen(model)(*x), before)
    assert not frozen(copy)(*x).any()


@torch.no_grad()
@pytest.mark.parametrize("way", [around, twice])
def test_what_cannot_be_folded_is_left(way: Any) -> None:
    model = Odd(way)
    assert fold_frozen(model, Architecture("odd", 1, 3, 8, 8)) == 0
    assert type(model.conv) is nn.Conv2d
    assert type(model.bn) is nn.BatchNorm2d


@torch.no_grad()
def test_weights_that_are_used_elsewhere_stay_what_they_are() -> None:
    model = Odd(weights_elsewhere).eval()
    x = torch.randn(2, 3, 8, 8)
    before = model(x)
    assert fold_frozen(model, Architecture("odd", 1, 3, 8, 8)) == 1
    assert torch.allclose(model(x), before, atol=1e-6)


class OnlyInTraining(Odd):
    """Takes the convolution's output twice, but only while it is trained."""

    def __init__(self) -> None:
        super().__init__(lambda model, x: around(model, x) if model.training else model.bn(model.conv(x)))


def test_both_modes_are_watched() -> None:
    assert fold_frozen(OnlyInTraining(), Architecture("odd", 1, 3, 8, 8)) == 0


def test_a_wrong_fold_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fusing, "_folded", lambda conv, _: (conv.weight, conv.bias))
    model = lived_in(SMALL)
    assert fold_frozen(model, SMALL) == 0
    assert not [part for part in model.modules() if type(part) in fusing._PLAIN]


def test_beside_checkpointing_half_precision_and_frozen_parts() -> None:
    plain = lived_in(SMALL)
    plain.conv_stem.weight.requires_grad_(False)  # type: ignore[union-attr]
    model = deepcopy(plain)
    set_checkpointing(model)
    fold_frozen(model, SMALL)
    x = inputs(SMALL)
    expected, found = gradients(frozen(plain), x), gradients(frozen(model), x)
    assert list(found) == list(expected)
    assert all(torch.allclose(found[key], expected[key], rtol=1e-3, atol=1e-5) for key in expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = loss_of(model, x)
    assert float(half.detach()) == pytest.approx(float(loss_of(plain, x).detach()), rel=0.05)
