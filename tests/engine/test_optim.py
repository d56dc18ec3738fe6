"""Optimizers, rates, clipping, unfreezing: each setting changes what it says, at steps computed by hand."""

import json
import math
from pathlib import Path
from typing import Any, cast

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.optim import list_optimizers
from torch import nn

from foldline.core.choices import Clip, Schedule
from foldline.core.errors import FoldlineError
from foldline.core.run_training import Optim
from foldline.engine.loop.checkpoint import pack, unpack
from foldline.engine.loop.optim import (
    build_optimizer,
    classifier_names,
    clip,
    freeze,
    layer_groups,
    set_trainable,
    trainable_groups,
)
from foldline.engine.loop.schedule import SCHEDULES, build_rates

CPU = torch.device("cpu")


def network() -> nn.Module:
    torch.manual_seed(0)
    return cast("nn.Module", timm.create_model("test_efficientnet", num_classes=3, in_chans=1))


class Small(nn.Module):
    """A network with what timm's have: a body, a classifier, `get_classifier`."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 4, 3)
        self.neck = nn.Linear(4, 6)
        self.head = nn.Linear(6, 2)

    def get_classifier(self) -> nn.Module:
        return self.head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.neck(self.body(x).mean((2, 3)).relu()))
        return found


def small() -> Small:
    torch.manual_seed(0)
    return Small()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, first: int = 0) -> None:
    for step in range(first, first + steps):
        x = torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        torch.manual_seed(step)
        (model(x) - 1).square().mean().backward()
        optimizer.step()


# optimizers


NEED_MORE = [name for name in list_optimizers() if name.startswith(("bnb", "fused")) or name == "adahessian"]
USABLE = [*(name for name in list_optimizers() if name not in NEED_MORE), "lookahead_adam"]


@pytest.mark.parametrize("name", USABLE)
@pytest.mark.filterwarnings("ignore:It is highly recommended to have 'opt_einsum':UserWarning")
def test_every_optimizer_moves_all_weights_and_resumes_with_the_same_bits(name: str, tmp_path: Path) -> None:
    with torch.compiler.set_stance("force_eager"):  # kron compiles itself, which takes a minute
        check_optimizer(name, tmp_path)


def check_optimizer(name: str, tmp_path: Path) -> None:
    settings = Optim(name=name, lr=1e-2)
    whole, half, again = small(), small(), small()
    before = {key: value.clone() for key, value in whole.state_dict().items()}
    train(whole, build_optimizer(whole, settings, CPU), 4)
    assert [key for key, value in whole.state_dict().items() if torch.equal(value, before[key])] == []
    assert all(torch.isfinite(value).all() for value in whole.state_dict().values())
    first = build_optimizer(half, settings, CPU)
    train(half, first, 2)
    tensors, rest = pack(first)
    save_file({key: value.contiguous() for key, value in tensors.items()}, tmp_path / "state")
    second = build_optimizer(again, settings, CPU)
    unpack(second, load_file(tmp_path / "state"), json.loads(json.dumps(rest)))
    assert all(type(group.get("betas", ())) is tuple for group in second.param_groups)
    again.load_state_dict(half.state_dict())
    train(again, second, 2, first=2)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


@pytest.mark.parametrize("name", NEED_MORE)
def test_optimizers_that_need_more_say_so(name: str) -> None:
    reason = "needs second derivatives" if name == "adahessian" else "CUDA required for|bitsandbytes|APEX"
    with pytest.raises(FoldlineError, match=reason) as caught:
        build_optimizer(small(), Optim(name=name), CPU)
    assert caught.value.where.startswith("optim.name")
    assert f"'{name}'" in caught.value.what or caught.value.where.endswith(name)


def test_options_reach_the_optimizer() -> None:
    optimizer = build_optimizer(small(), Optim(name="sgd", options={"momentum": 0.1}), CPU)
    assert {group["momentum"] for group in optimizer.param_groups} == {0.1}
    assert optimizer.param_groups[0]["nesterov"]
    assert optimizer.param_groups[0]["fused"]
    plain = build_optimizer(small(), Optim(name="sgd", options={"momentum": 0}), CPU)
    assert not plain.param_groups[0]["nesterov"]
    betas = build_optimizer(small(), Optim(options={"betas": [0.8, 0.9], "eps": 1e-3}), CPU)
    assert betas.param_groups[0]["betas"] == (0.8, 0.9)
    assert betas.param_groups[0]["eps"] == 1e-3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Optim(name="adamv"), "unknown optimizer"),
        (Optim(options={"momentum": 0.9}), "unknown option.*'momentum'"),
        (Optim(name="sgd", options={"betas": [0.9, 0.99]}), "unknown option.*'betas'"),
        (Optim(options={"lr": 1.0}), "'lr' is no option"),
        (Optim(options={"betas": [2, 3]}), "cannot build the optimizer.*beta"),
        (Optim(name="adahessian"), "second derivatives"),
    ],
)
def test_wrong_optimizers_and_options_are_refused(settings: Optim, message: str) -> None:
    with pytest.raises(FoldlineError, match=message):
        build_optimizer(small(), settings, CPU)


def rates_by_name(model: nn.Module, optim: Optim) -> dict[str, float]:
    optimizer = build_optimizer(model, optim, CPU)
    build_rates(optimizer, optim.lr, Schedule(name="constant", warmup=0.0), 10).at_step(3)
    for group in optimizer.param_groups:
        assert (group["weight_decay"] == 0) == all(p.ndim <= 1 for p in group["params"])
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert found.keys() == set(names.values()), "every parameter is in one group"
    return found


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_the_head_has_its_own_rate(layer_decay: float) -> None:
    model = network()
    usual = rates_by_name(model, Optim(name="sgd", lr=0.1, layer_decay=layer_decay))
    found = rates_by_name(model, Optim(name="sgd", lr=0.1, layer_decay=layer_decay, head_lr=10.0))
    heads = {"classifier.weight", "classifier.bias"}
    assert {name: found[name] / usual[name] for name in heads} == pytest.approx(dict.fromkeys(heads, 10.0))
    assert all(found[name] == usual[name] for name in found.keys() - heads)
    assert usual["classifier.weight"] == 0.1
    assert (usual["conv_stem.weight"] < 0.1) == (layer_decay < 1)


def test_the_usual_optimizer_has_timms_groups() -> None:
    model = network()
    ours = build_optimizer(model, Optim(), CPU)
    theirs = timm.optim.create_optimizer_v2(model, opt="adamw", lr=3e-4, weight_decay=0.05, fused=True)
    assert [[id(p) for p in group["params"]] for group in ours.param_groups] == [
        [id(p) for p in group["params"]] for group in theirs.param_groups
    ]
    keep = [{k: v for k, v in group.items() if k != "params"} for group in theirs.param_groups]
    assert [{k: v for k, v in group.items() if k != "params"} for group in ours.param_groups] == keep


# schedules


def rates_of(steps: int, *, lr: float = 2.0, **settings: Any) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    rates = build_rates(optimizer, lr, Schedule(**settings), steps)
    found = []
    for step in range(steps):
        rates.at_step(step)
        found.append(optimizer.param_groups[0]["lr"])
    return found


def cosine(share: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * share))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"name": "constant", "warmup": 0.2}, {0: 0.0, 1: 1.0, 2: 2.0, 9: 2.0}),
        ({"name": "cosine", "warmup": 0.2}, {0: 0.0, 1: 1.0, 2: 2 * cosine(0.2), 5: 1.0, 9: 2 * cosine(0.9)}),
        ({"name": "cosine", "warmup": 0.0, "options": {"min_lr_fraction": 0.5}}, {0: 2.0, 5: 1.5, 9: 1 + cosine(0.9)}),
        (
            {"name": "cosine", "warmup": 0.2, "options": {"cycles": 2}},
            {1: 1.0, 4: 2 * cosine(0.8), 5: 2.0, 7: 2 * cosine(0.4)},
        ),
        (
            {"name": "cosine", "warmup": 0.0, "options": {"cycles": 2, "cycle_decay": 0.25}},
            {0: 2.0, 4: 2 * cosine(0.8), 5: 0.5, 7: 0.5 * cosine(0.4)},
        ),
        ({"name": "linear", "warmup": 0.2}, {0: 0.0, 1: 1.0, 2: 1.6, 5: 1.0, 9: 0.2}),
        ({"name": "linear", "warmup": 0.0, "options": {"min_lr_fraction": 0.5}}, {0: 2.0, 5: 1.5, 9: 1.1}),
        ({"name": "poly", "warmup": 0.0, "options": {"power": 2.0}}, {0: 2.0, 5: 0.5, 9: 0.02}),
        ({"name": "poly", "warmup": 0.2}, {1: 1.0, 5: 2 * 0.5**0.9}),
        (
            {"name": "step", "warmup": 0.2, "options": {"every": 0.3}},
            {0: 0.0, 1: 1.0, 2: 2.0, 3: 0.2, 5: 0.2, 6: 0.02, 9: 0.002},
        ),
        ({"name": "step", "warmup": 0.0, "options": {"every": 0.5, "decay": 0.5}}, {0: 2.0, 4: 2.0, 5: 1.0, 9: 1.0}),
        ({"name": "multistep", "warmup": 0.2}, {0: 0.0, 1: 1.0, 2: 2.0, 5: 2.0, 6: 0.2, 7: 0.2, 8: 0.02, 9: 0.02}),
        (
            {"name": "multistep", "warmup": 0.0, "options": {"milestones": [0.7, 0.3], "decay": 0.5}},
            {0: 2.0, 2: 2.0, 3: 1.0, 6: 1.0, 7: 0.5, 9: 0.5},
        ),
        ({"name": "tanh", "warmup": 0.0}, {0: 2.0, 7: 1 - math.tanh(-7 + 0.7 * 10)}),
        ({"name": "plateau", "warmup": 0.2}, {0: 0.0, 1: 1.0, 2: 2.0, 9: 2.0}),
        ({"name": "one_cycle", "warmup": 0.3}, {0: 0.08, 1: 0.08 + 1.92 * (1 - cosine(0.5)), 2: 2.0, 9: 2 / 25e4}),
        ({"name": "one_cycle", "warmup": 0.3, "options": {"min_lr_fraction": 0.5}}, {2: 2.0, 9: 1.0}),
    ],
)
def test_rates_at_steps_computed_by_hand(settings: dict[str, Any], expected: dict[int, float]) -> None:
    found = rates_of(10, **settings)
    assert {step: found[step] for step in expected} == pytest.approx(expected, abs=2e-6)


def test_every_schedule_has_a_hand_computed_test() -> None:
    marks = cast("Any", test_rates_at_steps_computed_by_hand).pytestmark[0].args[1]
    assert {settings["name"] for settings, _ in marks} == set(SCHEDULES)


@pytest.mark.parametrize("rise", [0.0, 0.05, 0.3, 0.55])
@pytest.mark.parametrize("steps", [20, 37, 200])
def test_one_cycle_is_torchs(rise: float, steps: int) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    if rise * steps == 1:  # torch divides by zero there; the peak comes at once
        assert rates_of(steps, name="one_cycle", warmup=rise)[0] == 2.0
        return
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 2.0, total_steps=steps, pct_start=rise, cycle_momentum=False
    )
    expected = [theirs.get_last_lr()[0]]
    for _ in range(steps - 1):
        optimizer.step()
        theirs.step()
        expected.append(theirs.get_last_lr()[0])
    assert rates_of(steps, name="one_cycle", warmup=rise) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_groups_keep_their_proportion_and_the_step_is_all(name: str) -> None:
    optim = Optim(lr=0.5, layer_decay=0.5, head_lr=3.0)
    optimizer = build_optimizer(network(), optim, CPU)
    rates = build_rates(optimizer, optim.lr, Schedule(name=name), 20)
    for step in range(20):
        rates.at_step(step)
        unit = [group["lr"] / group["lr_scale"] for group in optimizer.param_groups]
        assert unit == pytest.approx([unit[0]] * len(unit))
    again = build_optimizer(network(), optim, CPU)
    build_rates(again, optim.lr, Schedule(name=name), 20).at_step(19)
    assert [g["lr"] for g in again.param_groups] == [g["lr"] for g in optimizer.param_groups]
    with pytest.raises(FoldlineError, match=f"unknown schedule '{name}x'"):
        Schedule.parse(name + "x", where="")


LOSSES = [1.0, 0.8, 0.9, 0.80001, 0.7, 0.7, 0.7, 0.7, math.nan, 0.9, 0.1]


def test_plateau_falls_after_patience_epochs_and_resumes_exactly() -> None:
    def start() -> tuple[torch.optim.Optimizer, Any]:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        schedule = Schedule(name="plateau", warmup=0.0, options={"decay": 0.5, "patience": 2, "min_lr_fraction": 0.2})
        return optimizer, build_rates(optimizer, 1.0, schedule, 100)

    optimizer, rates = start()
    found = []
    for epoch, loss in enumerate(LOSSES):
        rates.after_epoch(loss)
        rates.at_step(epoch + 1)
        found.append(optimizer.param_groups[0]["lr"])
    assert found == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2, 0.2]
    for cut in range(len(LOSSES)):
        _, first = start()
        for loss in LOSSES[:cut]:
            first.after_epoch(loss)
        state = json.loads(json.dumps(first.state(), allow_nan=False))
        later, second = start()
        second.load(state)
        for loss in LOSSES[cut:]:
            second.after_epoch(loss)
        second.at_step(50)
        assert second.state() == rates.state()
        assert later.param_groups[0]["lr"] == 0.2


@pytest.mark.parametrize("name", SCHEDULES)
def test_only_plateau_has_a_state(name: str) -> None:
    """What the other epochs were is all in the state: with it the rate goes on, without it only plateau's differs."""

    def start() -> tuple[torch.optim.Optimizer, Any]:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        return optimizer, build_rates(optimizer, 1.0, Schedule(name=name), 20)

    optimizer, rates = start()
    for step in range(15):
        rates.at_step(step)
        rates.after_epoch(LOSSES[0])
    (resumed, second), (fresh, third) = start(), start()
    second.load(json.loads(json.dumps(rates.state())))
    for each in (rates, second, third):
        each.at_step(15)
    rate, rate_resumed, rate_fresh = (each.param_groups[0]["lr"] for each in (optimizer, resumed, fresh))
    assert rate_resumed == rate
    assert (rate_fresh != rate) == (name == "plateau")
    assert bool(rates.state()) == (name == "plateau")


# clipping


def with_gradients(size: float = 100.0) -> Small:
    model = small()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, size)
    return model


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: cast("torch.Tensor", p.grad) for name, p in model.named_parameters()}


def test_clipping_by_each_mode() -> None:
    model = with_gradients()
    clip(model, Clip(name="none"))
    assert all((g == 100).all() for g in gradients(model).values()), "none clips nothing"
    clip(model, Clip(options={"limit": 2.0}))
    total = torch.cat([g.flatten() for g in gradients(model).values()]).norm()
    assert total.item() == pytest.approx(2.0, rel=1e-4)
    model = with_gradients()
    clip(model, Clip(name="value", options={"limit": 0.25}))
    assert all((g == 0.25).all() for g in gradients(model).values())
    model = with_gradients()
    clip(model, Clip(name="agc", options={"limit": 0.1}))
    for name, gradient in gradients(model).items():
        if name.startswith("head"):
            assert (gradient == 100).all(), "the classifier is left out"
        elif gradient.ndim > 1:
            weights = dict(model.named_parameters())[name].flatten(1).norm(dim=1).clamp_min(1e-3)
            assert torch.allclose(gradient.flatten(1).norm(dim=1), 0.1 * weights, rtol=1e-4)


def test_clipping_by_norm_is_torchs() -> None:
    one, other = with_gradients(), with_gradients()
    clip(one, Clip(options={"limit": 1.0}))
    nn.utils.clip_grad_norm_(other.parameters(), 1.0)
    assert all(torch.equal(a, b) for a, b in zip(gradients(one).values(), gradients(other).values(), strict=True))


# unfreezing


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit", "test_resnet", "test_convnext"])
def test_layer_groups_go_from_stem_to_classifier(name: str) -> None:
    model = timm.create_model(name, num_classes=3)
    groups = layer_groups(model)
    names = [name for name, _ in model.named_parameters()]
    assert sorted(name for group in groups for name in group) == sorted(names), "each parameter once"
    assert set(groups[-1]) == classifier_names(model)
    assert len(groups) >= 4
    first = next(iter(names))
    assert first in groups[0]


def test_a_network_without_groups_has_its_modules() -> None:
    assert layer_groups(small()) == [
        ["body.weight", "body.bias"],
        ["neck.weight", "neck.bias"],
        ["head.weight", "head.bias"],
    ]


@pytest.mark.parametrize(
    ("name", "share", "last"),
    [("test_vit", 0.5, "blocks.2"), ("test_efficientnet", 0.5, "blocks.1"), ("test_resnet", 0.0, ""),
     ("test_vit", 0.01, "patch_embed"), ("test_convnext", 1.0, "head.norm")],
)  # fmt: skip
def test_a_share_of_the_blocks_is_frozen_from_the_stem_on(name: str, share: float, last: str) -> None:
    model = timm.create_model(name, num_classes=3)
    frozen = freeze(model, share)
    names = [name for name, _ in model.named_parameters()]
    assert {name for name, parameter in model.named_parameters() if not parameter.requires_grad} == frozen
    assert not frozen & classifier_names(model)
    if share == 1:
        assert set(names) - frozen == classifier_names(model)
    elif share:
        blocks = sorted({name.split(".")[1] for name in frozen if name.startswith("blocks.")})
        assert f"blocks.{blocks[-1]}" == last if blocks else last == "patch_embed"
        assert names[0] in frozen
        assert any(name.startswith("blocks.") for name in set(names) - frozen)
    else:
        assert not frozen


def test_groups_are_unfrozen_from_the_head_on() -> None:
    counts = [trainable_groups(step, 100, 0.5, 6) for step in range(100)]
    assert counts == sorted(counts)
    assert {count: counts.index(count) for count in sorted(set(counts))} == {1: 0, 2: 10, 3: 20, 4: 30, 5: 40, 6: 50}
    assert trainable_groups(0, 100, 0.0, 6) == 6
    assert trainable_groups(0, 100, 1.0, 1) == 1
    assert [trainable_groups(step, 3, 1.0, 6) for step in range(3)] == [1, 2, 4]


def test_a_step_moves_the_trainable_groups_alone() -> None:
    model = small()
    groups = layer_groups(model)
    optimizer = build_optimizer(model, Optim(lr=1e-2), CPU)
    for count, frozen in ((1, []), (2, []), (3, ["neck.weight", "neck.bias"]), (3, []), (1, [])):
        set_trainable(model, groups, count, frozen)
        grads = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
        assert grads <= {name for group in groups[len(groups) - count :] for name in group}, (
            "what stops has no gradient"
        )
        before = {name: parameter.clone() for name, parameter in model.named_parameters()}
        train(model, optimizer, 1)
        moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
        allowed = {name for group in groups[len(groups) - count :] for name in group}
        assert moved == allowed - set(frozen)
