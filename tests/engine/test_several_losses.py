"""The loss of several targets is the mean of each one's own, on its own logits."""

from typing import Any

import numpy as np
import pytest
import torch

from foldline.core.errors import FoldlineError
from foldline.core.run import Loss
from foldline.core.task import hot_truth, task_from
from foldline.engine.losses.activations import activate, as_logits, center_and_spread
from foldline.engine.losses.catalogue import Objective, build_objective
from foldline.engine.losses.distill import distillation_loss
from foldline.models.probe import fit_head

TARGETS = {"kind": "multiclass", "age": "ordinal", "kg": "regression"}
OUTPUTS = ["kind=a", "kind=b", "age=1", "age=2", "age=3", "kg="]
TASK = task_from(TARGETS).of(OUTPUTS)
TRUTH = np.array([[0, 2, 1.5], [1, 0, -2], [1, 1, 0.25]])
COLUMNS = {"kind": slice(0, 2), "age": slice(2, 5), "kg": slice(5, 6)}


def objective(kinds: dict[str, str] | None = None, **settings: Any) -> Objective:
    task = TASK if kinds is None else task_from(kinds).of(OUTPUTS[:5])
    return build_objective(Loss(**settings), task, OUTPUTS if kinds is None else OUTPUTS[:5], TRUTH)


def alone(target: str, truth: Any, **settings: Any) -> Objective:
    task = task_from(TARGETS[target])
    names = [name.partition("=")[2] for name in OUTPUTS[COLUMNS[target]]]
    return build_objective(Loss(**settings), task, names, truth)


LOGITS = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
HOT = torch.from_numpy(hot_truth(TRUTH, TASK, 6))


@pytest.mark.parametrize("settings", [{}, {"smoothing": 0.2}, {"class_weights": "balanced"}])
def test_it_is_the_mean_of_each_targets_usual_loss(settings: dict[str, Any]) -> None:
    parts = [
        alone("kind", TRUTH[:, 0], **settings).function(LOGITS[:, :2], torch.from_numpy(TRUTH[:, 0]).long()),
        alone("age", TRUTH[:, 1], **settings).function(LOGITS[:, 2:5], torch.from_numpy(TRUTH[:, 1]).long()),
        alone("kg", TRUTH[:, 2:]).function(LOGITS[:, 5:], torch.from_numpy(TRUTH[:, 2:]).float()),
    ]
    assert torch.allclose(objective(**settings).function(LOGITS, HOT), torch.stack(parts).mean())
    assert torch.allclose(objective(**settings).plain(LOGITS, HOT), objective().function(LOGITS, HOT))


def test_a_target_counts_by_its_weight() -> None:
    plain = [objective(targets={"kind": 0, "age": 0, "kg": 0} | {name: 1}).function(LOGITS, HOT) for name in TARGETS]
    kind, age, kg = plain
    assert torch.allclose((kind + age + kg) / 3, objective().function(LOGITS, HOT))
    found = objective(targets={"age": 0.5, "kg": 2.5})
    assert torch.allclose(found.function(LOGITS, HOT), (kind + 0.5 * age + 2.5 * kg) / 4)
    assert torch.allclose(found.plain(LOGITS, HOT), (kind + 0.5 * age + 2.5 * kg) / 4)
    teacher = LOGITS.flip(0)
    learnt = [
        distillation_loss(LOGITS, teacher, found.activation, 2.0, [float(i == j) for j in range(3)]) for i in range(3)
    ]
    expected = (learnt[0] + 0.5 * learnt[1] + 2.5 * learnt[2]) / 4
    assert torch.allclose(distillation_loss(LOGITS, teacher, found.activation, 2.0, found.shares), expected)


@pytest.mark.parametrize(
    ("targets", "words"),
    [({"agee": 1.0}, "unknown target 'agee'"), (dict.fromkeys(TARGETS, 0.0), "not all 0")],
)
def test_weights_of_what_there_is_not_are_refused(targets: dict[str, float], words: str) -> None:
    with pytest.raises(FoldlineError, match=words):
        objective(targets=targets)
    with pytest.raises(FoldlineError, match="has one target"):
        alone("kind", TRUTH[:, 0], targets=targets)


def test_a_target_without_weight_learns_nothing() -> None:
    logits = LOGITS.clone().requires_grad_()
    objective(targets={"age": 0}).function(logits, HOT).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.abs().sum(0).gt(0).tolist() == [True, True, False, False, False, True]


def test_a_named_loss_must_fit_every_target() -> None:
    two = {"kind": "multiclass", "age": "ordinal"}
    assert objective(two, name="focal").activation == "blocks(softmax:2|softmax:3)"
    with pytest.raises(FoldlineError, match="the loss 'focal' does not fit the task 'regression'"):
        objective(name="focal")
    with pytest.raises(FoldlineError, match="the loss 'corn' does not fit the task 'multiclass'"):
        objective(two, name="corn")


def test_fewer_logits_than_outputs_stay_with_their_target() -> None:
    ordinal = {"kind": "ordinal", "age": "ordinal"}
    found = objective(ordinal, name="corn")
    assert (found.logits, found.activation) == (3, "blocks(corn:1|corn:2)")
    prob = activate(LOGITS[:, :3], found.activation)
    assert prob.shape == (3, 5)
    assert torch.allclose(prob[:, :2], activate(LOGITS[:, :1], "corn"))
    assert torch.allclose(prob[:, 2:], activate(LOGITS[:, 1:3], "corn"))
    assert torch.isfinite(found.function(LOGITS[:, :3], HOT[:, :5]))


def test_weights_of_a_class_are_those_of_its_target() -> None:
    weighted = objective(class_weights={"kind=b": 3.0}).function(LOGITS, HOT)
    kind = alone("kind", TRUTH[:, 0], class_weights={"b": 3.0}).function(LOGITS[:, :2], HOT[:, :2])
    plain = alone("kind", TRUTH[:, 0]).function(LOGITS[:, :2], HOT[:, :2])
    assert torch.allclose(weighted - objective().function(LOGITS, HOT), (kind - plain) / 3)
    with pytest.raises(FoldlineError, match="no class is called kg="):
        objective(class_weights={"kg=": 3.0})


def test_numbers_alone_are_standardised() -> None:
    found = build_objective(Loss(), TASK, OUTPUTS, TRUTH, labels=np.array([[0, 2, 10.0], [1, 0, 30.0]]))
    assert found.activation == "blocks(softmax:2|softmax:3|scaled(20.0,10.0):1)"
    assert torch.allclose(activate(LOGITS, found.activation)[:, 5], 20 + 10 * LOGITS[:, 5])
    assert as_logits(TRUTH, TASK, found.activation).tolist() == [[0, 2, -1.85], [1, 0, -2.2], [1, 1, -1.975]]
    center, spread = center_and_spread(found.activation, 6)
    assert (center.tolist(), spread.tolist()) == ([0, 0, 0, 0, 0, 20], [1, 1, 1, 1, 1, 10])


def test_predictions_are_each_targets() -> None:
    found = activate(LOGITS, objective().activation)
    expected = [LOGITS[:, :2].softmax(1), LOGITS[:, 2:5].softmax(1), LOGITS[:, 5:]]
    assert torch.allclose(found, torch.cat(expected, 1))
    stacked = activate(torch.stack([LOGITS, 2 * LOGITS]), objective().activation)
    assert torch.allclose(stacked[0], found)


def test_a_teacher_teaches_target_by_target() -> None:
    teacher, name = LOGITS.flip(0), objective().activation
    parts = [("softmax", slice(0, 2)), ("softmax", slice(2, 5)), ("identity", slice(5, 6))]
    expected = [distillation_loss(LOGITS[:, at], teacher[:, at], activation, 2.0) for activation, at in parts]
    assert torch.allclose(distillation_loss(LOGITS, teacher, name, 2.0), torch.stack(expected).mean())
    with pytest.raises(FoldlineError, match="cannot be distilled"):
        distillation_loss(LOGITS[:, :3], teacher[:, :3], "blocks(corn:1|softmax:2)", 2.0)


def test_the_probe_fits_each_target_alone() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(1, 40, 5)).astype(np.float32)
    truth = np.stack([rng.integers(0, 2, 40), rng.integers(0, 3, 40), rng.normal(size=40)], axis=1)
    folds = np.arange(40) % 3
    head = fit_head(features, truth, TASK, 6, 1.0, folds)
    assert (head.weight.shape, head.bias.shape) == ((6, 5), (6,))
    for place, (target, at) in enumerate(COLUMNS.items()):
        part = truth[:, place:] if target == "kg" else truth[:, place]
        own = fit_head(features, part, task_from(TARGETS[target]), at.stop - at.start, 1.0, folds)
        assert np.allclose(head.weight[at], own.weight)
        assert np.allclose(head.bias[at], own.bias)
        assert (head.poor[at] == own.poor).all()
