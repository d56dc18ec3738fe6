"""Losses and activations: by other formulas, at their limits, under smoothing and weights, and far out."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight
from timm.loss import AsymmetricLossMultiLabel, AsymmetricLossSingleLabel
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from foldline.core.errors import FoldlineError
from foldline.core.run import Loss, Run
from foldline.core.task import TASKS, Task
from foldline.engine.losses import LOSSES, Objective, activate, balanced_weights, build_objective
from foldline.engine.losses.softmax import log_tempered_softmax
from tasks import PLAIN, fitting

NAMES = ["a", "b", "c", "d"]
ROWS = 7
FITTING = [(name, task) for name, spec in LOSSES.items() for task in fitting(spec.kinds)]
SINGLE = [(name, task) for name, task in FITTING if task.single_label]


def outputs_of(task: Task) -> list[str]:
    return NAMES[:2] if task.two_classes else NAMES


def truth_of(task: Task, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float64]]:
    rng, k = np.random.default_rng(seed), len(outputs_of(task))
    if task.single_label:
        return np.concatenate([np.arange(k), rng.integers(0, k, ROWS - k)]).astype(np.float64)
    if task.label_sets:
        return rng.integers(0, 2, (ROWS, k)).astype(np.float64)
    values = rng.random((ROWS, k))
    return values / values.sum(1, keepdims=True) if task.soft else values


def target_of(task: Task, dtype: torch.dtype = torch.float32) -> Tensor:
    truth = torch.from_numpy(truth_of(task))
    return truth.long() if truth.ndim == 1 else truth.to(dtype)


def build(name: str, task: Task, **settings: Any) -> Objective:
    return build_objective(Loss(name=name, **settings), task, outputs_of(task), truth_of(task), bounds=(-0.5, 1.5))


def logits_of(objective: Objective, size: float = 1.0, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return (size * torch.randn(ROWS, objective.logits, generator=generator)).to(dtype)


def hot(target: Tensor, classes: int = 4) -> Tensor:
    return F.one_hot(target, classes).float() if target.ndim == 1 else target


# every entry of the dictionary


@pytest.mark.parametrize(("name", "task"), FITTING)
def test_every_loss_is_a_mean_over_rows(name: str, task: Task) -> None:
    objective, target = build(name, task, class_weights="none"), target_of(task)
    logits = logits_of(objective).requires_grad_()
    value = objective.function(logits, target)
    assert value.shape == ()
    assert torch.allclose(value, objective.function(logits.flip(0), target.flip(0)))
    if LOSSES[name].together:
        assert objective.together
        return
    each = [objective.function(logits[i : i + 1], target[i : i + 1]) for i in range(ROWS)]
    assert torch.allclose(value, torch.stack(each).mean()), "a row's loss does not depend on the others"
    value.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert (logits.grad.abs().sum(1) > 0).all()


@pytest.mark.parametrize(("name", "task"), FITTING)
def test_every_loss_has_the_gradient_of_its_value(name: str, task: Task) -> None:
    settings: dict[str, Any] = {} if not task.has_classes else {"smoothing": 0.1, "class_weights": "balanced"}
    objective = build(name, task, **settings)
    logits = logits_of(objective, dtype=torch.float64).requires_grad_()
    target = target_of(task, torch.float64)
    assert torch.autograd.gradcheck(lambda x: objective.function(x, target), (logits,))


@pytest.mark.parametrize(("name", "task"), FITTING)
def test_every_loss_is_finite_far_out(name: str, task: Task) -> None:
    objective, target = build(name, task), target_of(task)
    for logits in (logits_of(objective).sign() * 100, torch.zeros(ROWS, objective.logits), logits_of(objective, 1e3)):
        logits.requires_grad_()
        value = objective.function(logits, target)
        value.backward()  # type: ignore[no-untyped-call]
        assert torch.isfinite(value)
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("task", [TASKS["multiclass"], TASKS["multilabel"]])
@pytest.mark.parametrize("name", ["focal", "asymmetric"])
def test_focusing_is_finite_for_every_gamma(name: str, task: Task, gamma: float) -> None:
    options = {"gamma": gamma} if name == "focal" else {"gamma_neg": gamma, "gamma_pos": gamma}
    objective, target = build(name, task, options=options), target_of(task)
    logits = ((hot(target) - 0.5) * 400).requires_grad_()
    objective.function(logits, target).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(("name", "task"), SINGLE)
def test_indices_and_probabilities_are_the_same_target(name: str, task: Task) -> None:
    objective = build(name, task, smoothing=0.1, class_weights="balanced")
    logits, target = logits_of(objective), target_of(task)
    soft = hot(target, len(outputs_of(task)))
    assert torch.allclose(objective.function(logits, target), objective.function(logits, soft), atol=1e-6)
    mixed = 0.7 * soft + 0.3 * soft.flip(0)
    value = objective.function(logits, mixed)
    assert torch.isfinite(value)
    assert not torch.isclose(value, objective.function(logits, soft))


@pytest.mark.parametrize(("name", "task"), FITTING)
def test_smoothing_and_weights_change_training_and_not_validation(name: str, task: Task) -> None:
    if not task.has_classes:
        with pytest.raises(FoldlineError, match="smoothing"):
            build(name, task, smoothing=0.1)
        with pytest.raises(FoldlineError, match="no classes"):
            build(name, task, class_weights="balanced")
        return
    logits, target, usual = logits_of(build(name, task)), target_of(task), build(name, task).function
    heavy = dict.fromkeys(outputs_of(task)[:1], 7.0)
    for settings in ({"smoothing": 0.2}, {"class_weights": heavy}):
        changed = build(name, task, **settings)
        assert not torch.isclose(changed.function(logits, target), usual(logits, target))
        assert torch.equal(changed.plain(logits, target), usual(logits, target))


@pytest.mark.parametrize(("name", "task"), FITTING)
def test_every_option_changes_the_loss_and_is_checked(name: str, task: Task) -> None:
    some: dict[str, Any] = {} if not task.has_classes else {"smoothing": 0.1}
    usual, target = build(name, task, **some), target_of(task)
    logits = logits_of(usual)
    for key, option in LOSSES[name].options.items():
        if option.kinds is not None and not task.fits(option.kinds):
            with pytest.raises(FoldlineError, match=f"unknown option.*'{key}'"):
                build(name, task, options={key: 0.2})
            continue
        value = {"low": -2.0, "high": 3.0, "t2": 1.7}.get(key, 0.2)
        changed = build(name, task, options={key: value}, **some)
        assert not torch.isclose(changed.function(logits, target), usual.function(logits, target)), key
        with pytest.raises(FoldlineError, match=r"not (between|above)") as caught:
            build(name, task, options={key: option.high * 2})
        assert caught.value.where == f"loss.options.{key}"
    with pytest.raises(FoldlineError, match="gama") as caught:
        build(name, task, options={"gama": 1.0})
    assert caught.value.where == "loss.options" or "no options" in caught.value.what


@pytest.mark.parametrize(("name", "task"), FITTING)
def test_training_by_every_loss_finds_the_truth(name: str, task: Task) -> None:
    """Logits that are free to move end with predictions that pick the truth."""
    objective, target = build(name, task), target_of(task)
    logits = torch.zeros(ROWS, objective.logits, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(150):
        optimizer.param_groups[0]["lr"] *= 0.97
        optimizer.zero_grad()
        objective.function(logits, target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    found = activate(logits.detach(), objective.activation)
    if name == "pearson":
        assert torch.corrcoef(torch.stack([found[:, 0], target[:, 0]]))[0, 1] > 0.9, "the level means nothing"
    elif not task.has_classes:
        assert torch.allclose(found, target, atol=0.05)
    elif task.label_sets:
        assert torch.equal(found > 0.5, target > 0.5)
    else:
        assert found.shape == (ROWS, len(outputs_of(task)))
        assert torch.allclose(found.sum(1), torch.ones(ROWS), atol=1e-5)
        assert torch.equal(found.argmax(1), target if target.ndim == 1 else target.argmax(1))


@pytest.mark.parametrize("task", PLAIN)
def test_the_usual_loss_and_what_does_not_fit(task: Task) -> None:
    objective, target = build("auto", task), target_of(task)
    logits = logits_of(objective)
    others: dict[str, Any] = {"regression": F.mse_loss, "multilabel": F.binary_cross_entropy_with_logits}
    expected = others.get(task.name, F.cross_entropy)
    assert torch.equal(objective.function(logits, target), expected(logits, target))
    assert objective.logits == len(outputs_of(task))
    for name in LOSSES:
        if not task.fits(LOSSES[name].kinds):
            with pytest.raises(FoldlineError, match="does not fit"):
                build(name, task)
    with pytest.raises(FoldlineError, match="cross_entropy"):
        build("cross_entropie", task)


# reductions and other formulas


def test_cross_entropy_is_torchs() -> None:
    target, logits = target_of(TASKS["multiclass"]), torch.randn(ROWS, 4)
    found = build("cross_entropy", TASKS["multiclass"], smoothing=0.1).function(logits, target)
    assert torch.equal(found, F.cross_entropy(logits, target, label_smoothing=0.1))
    weights = torch.tensor([2.0, 1.0, 1.0, 0.5])
    settings = {"class_weights": {"a": 2.0, "d": 0.5}, "smoothing": 0.1}
    found = build("cross_entropy", TASKS["multiclass"], **settings).function(logits, target)
    assert torch.allclose(found, F.cross_entropy(logits, hot(target), weight=weights, label_smoothing=0.1))
    by_hand = sum(weights[t] * -logits[i].log_softmax(0)[t] for i, t in enumerate(target.tolist())) / ROWS
    hard = build("cross_entropy", TASKS["multiclass"], class_weights=settings["class_weights"])
    assert torch.allclose(hard.function(logits, target), torch.as_tensor(by_hand))


@pytest.mark.parametrize(
    ("name", "options", "task", "other"),
    [
        ("focal", {"gamma": 0.0}, TASKS["multiclass"], "cross_entropy"),
        ("focal", {"gamma": 0.0}, TASKS["multilabel"], "bce"),
        ("poly", {"epsilon": 0.0}, TASKS["multiclass"], "cross_entropy"),
        ("poly", {"epsilon": 0.0}, TASKS["multilabel"], "bce"),
        ("bi_tempered", {"t1": 1.0, "t2": 1.0}, TASKS["multiclass"], "cross_entropy"),
        ("bi_tempered", {"t1": 1.0, "t2": 1.0}, TASKS["soft"], "kl"),
        ("bi_tempered", {"t1": 0.9999, "t2": 1.0001}, TASKS["soft"], "kl"),
        ("asymmetric", {"gamma_neg": 0.0, "gamma_pos": 0.0, "clip": 0.0}, TASKS["multilabel"], "bce"),
        ("asymmetric", {"gamma_neg": 0.0, "gamma_pos": 0.0}, TASKS["multiclass"], "cross_entropy"),
        ("arcface", {"margin": 0.0}, TASKS["multiclass"], "cross_entropy"),
        ("kl", {}, TASKS["multiclass"], "cross_entropy"),
    ],
)
def test_losses_become_others_at_their_limits(name: str, options: dict[str, float], task: Task, other: str) -> None:
    target, logits = target_of(task), torch.randn(ROWS, 4)
    found, expected = build(name, task, options=options).function, build(other, task).function
    assert torch.allclose(
        found(logits, target), expected(logits, target), atol=2e-3 if 0.9999 in options.values() else 1e-6
    )


def test_sigmoid_losses_are_the_libraries() -> None:
    target, logits = target_of(TASKS["multilabel"]), 2 * torch.randn(ROWS, 4)
    found = build("focal", TASKS["multilabel"], options={"gamma": 2.0, "alpha": 0.25}).function(logits, target)
    assert torch.allclose(found, sigmoid_focal_loss(logits, target, alpha=0.25, gamma=2, reduction="mean"))
    library = AsymmetricLossMultiLabel()
    rows = [library(logits[i : i + 1], target[i : i + 1]) for i in range(ROWS)]
    found = build("asymmetric", TASKS["multilabel"]).function(logits, target)
    assert torch.allclose(found, torch.stack(rows).mean() / 4, atol=1e-6)
    library, options = AsymmetricLossMultiLabel(gamma_neg=0, clip=0.3), {"gamma_neg": 0.0, "clip": 0.3}
    rows = [library(logits[i : i + 1], target[i : i + 1]) for i in range(ROWS)]
    found = build("asymmetric", TASKS["multilabel"], options=options).function(logits, target)
    assert torch.allclose(found, torch.stack(rows).mean() / 4, atol=1e-6)
    found = build("poly", TASKS["multilabel"], options={"epsilon": 2.0}).function(logits, target)
    wrong = (target - logits.sigmoid()).abs()
    assert torch.allclose(found, (2 * wrong - (1 - wrong).log()).mean(), atol=1e-5)
    found = build("bce", TASKS["multilabel"], options={"pos_weight": 3.0}).function(logits, target)
    prob = logits.sigmoid()
    assert torch.allclose(found, -(3 * target * prob.log() + (1 - target) * (1 - prob).log()).mean())
    found = build("bce", TASKS["multilabel"], smoothing=0.2).function(logits, target)
    assert torch.allclose(found, F.binary_cross_entropy_with_logits(logits, target * 0.8 + 0.1))


def test_softmax_losses_by_hand() -> None:
    target, logits = target_of(TASKS["multiclass"]), 2 * torch.randn(ROWS, 4)
    prob = logits.softmax(1)[range(ROWS), target]
    found = build("focal", TASKS["multiclass"], options={"gamma": 1.5}).function(logits, target)
    assert torch.allclose(found, (-((1 - prob) ** 1.5) * prob.log()).mean(), rtol=1e-4)
    found = build("poly", TASKS["multiclass"], options={"epsilon": 2.0}).function(logits, target)
    assert torch.allclose(found, (2 * (1 - prob) - prob.log()).mean())
    library = AsymmetricLossSingleLabel(eps=0.1)
    found = build("asymmetric", TASKS["multiclass"], smoothing=0.1).function(logits, target)
    assert torch.allclose(found, library(logits, target), rtol=1e-4)
    two, sides = target_of(TASKS["binary"]), 2 * torch.randn(ROWS, 2)
    p = sides.softmax(1)[range(ROWS), two]
    alpha = torch.where(two == 1, 0.8, 0.2)
    found = build("focal", TASKS["binary"], options={"alpha": 0.8}).function(sides, two)
    assert torch.allclose(found, (-alpha * (1 - p) ** 2 * p.log()).mean(), rtol=1e-4)
    soft = target_of(TASKS["soft"])
    found = build("kl", TASKS["soft"]).function(logits, soft)
    assert torch.allclose(found, F.kl_div(logits.log_softmax(1), soft, reduction="batchmean"), rtol=1e-4)


@pytest.mark.parametrize("t2", [1.0, 1.00001, 1.2, 1.5, 2.0])
@pytest.mark.parametrize("classes", [2, 1000])
def test_the_tempered_softmax_sums_to_1(t2: float, classes: int) -> None:
    for size in (0.0, 1.0, 100.0):
        logits = size * torch.randn(5, classes, generator=torch.Generator().manual_seed(0))
        prob = log_tempered_softmax(logits, t2).exp()
        assert torch.allclose(prob.sum(1), torch.ones(5), atol=2e-4), (t2, size)
        assert torch.equal(prob.argmax(1), logits.argmax(1))


def test_bi_tempered_by_bisection() -> None:
    t1, t2 = 0.7, 1.4
    target, logits = target_of(TASKS["multiclass"]), 2 * torch.randn(ROWS, 4, dtype=torch.float64)

    def exp_t(x: float) -> float:
        return float(max(1 + (1 - t2) * x, 0.0) ** (1 / (1 - t2)))

    def log_t(x: float) -> float:
        return float(x ** (1 - t1) - 1) / (1 - t1)

    total = 0.0
    for row, label in zip(logits.tolist(), target.tolist(), strict=True):
        low, high = max(row), max(row) + 100
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if sum(exp_t(a - middle) for a in row) > 1 else (low, middle)
        prob = [exp_t(a - low) for a in row]
        total += -log_t(prob[label]) - (1 - sum(p ** (2 - t1) for p in prob)) / (2 - t1)
    found = build("bi_tempered", TASKS["multiclass"], options={"t1": t1, "t2": t2})
    assert found.function(logits, target).item() == pytest.approx(total / ROWS, rel=1e-9)
    assert found.activation == "tempered(1.4)"
    far = found.function(torch.tensor([[-1e4, 0.0, 0.0, 1e4]]), torch.tensor([0]))
    assert far < 1 / (1 - t1) + 1, "an outlier's loss is bounded"


def test_a_rare_class_has_the_larger_margin() -> None:
    """Rows 81, 16, 1: rows^(-1/4) is 1/3, 1/2, 1, so the margins are at 0, 1/4 and 1 of their span."""
    truth = np.repeat([0.0, 1.0, 2.0], [81, 16, 1])
    task, outputs, logits = TASKS["multiclass"], ["a", "b", "c"], torch.zeros(1, 3)

    def loss(label: int, **options: float) -> float:
        objective = build_objective(Loss(name="arcface", options=options), task, outputs, truth)
        return float(objective.function(logits, torch.tensor([label])))

    for label, margin in enumerate((0.1, 0.2, 0.5)):
        assert loss(label, margin=0.1, rare_margin=0.5) == pytest.approx(loss(label, margin=margin), rel=1e-6)


def test_arcface_moves_the_angle() -> None:
    target, cosine = target_of(TASKS["multiclass"]), 0.9 * (2 * torch.rand(ROWS, 4) - 1)
    moved = cosine.clone()
    for i, t in enumerate(target.tolist()):
        moved[i, t] = math.cos(math.acos(cosine[i, t]) + 0.4)
    objective = build_objective(
        Loss(name="arcface", options={"margin": 0.4}),
        TASKS["multiclass"],
        NAMES,
        truth_of(TASKS["multiclass"]),
        scale=16,
    )
    assert torch.allclose(objective.function(16 * cosine, target), F.cross_entropy(16 * moved, target), rtol=1e-4)
    rising = [
        objective.function(16 * torch.tensor([[c, 0.5, 0, 0]]), torch.tensor([0])).item()
        for c in np.linspace(-1, 1, 99)
    ]
    assert rising == sorted(rising, reverse=True), "the nearer the centre, the smaller the loss, at every angle"


def test_corn_is_the_log_loss_of_what_it_decodes() -> None:
    objective, target = build("corn", TASKS["ordinal"]), target_of(TASKS["ordinal"])
    logits = torch.randn(ROWS, 3)
    prob = activate(logits.double(), "corn")
    assert objective.function(logits, target).item() == pytest.approx(log_loss(target, prob, labels=range(4)), rel=1e-5)
    total, steps = 0.0, 0
    for k in range(3):  # the paper's: each step over the rows that have come so far
        rows = target > k - 1
        step = F.binary_cross_entropy_with_logits(logits[rows, k], (target[rows] > k).float(), reduction="sum")
        total, steps = total + step.item(), steps + int(rows.sum())
    assert objective.function(logits, target).item() == pytest.approx(total / steps * steps / ROWS, rel=1e-5)
    assert objective.logits == 3


def test_cumulative_is_binary_cross_entropy_of_each_threshold() -> None:
    objective, target = build("cumulative", TASKS["ordinal"]), target_of(TASKS["ordinal"])
    logits = torch.randn(ROWS, 3)
    each = torch.stack([(target > k).float() for k in range(3)], 1)
    assert torch.allclose(objective.function(logits, target), F.binary_cross_entropy_with_logits(logits, each))


@pytest.mark.parametrize("name", ["corn", "cumulative"])
def test_thresholds_decode_to_probabilities(name: str) -> None:
    logits = torch.cat([torch.randn(50, 4) * 5, torch.full((1, 4), 100.0), torch.full((1, 4), -100.0)])
    prob = activate(logits, name)
    assert prob.shape == (52, 5)
    assert (prob >= 0).all()
    assert torch.allclose(prob.sum(1), torch.ones(52), atol=1e-6)
    assert prob[-2].argmax() == 4
    assert prob[-1].argmax() == 0
    falling = logits.sort(1, descending=True).values
    above = activate(falling, "cumulative").flip(1).cumsum(1).flip(1)[:, 1:]
    assert torch.allclose(above, falling.sigmoid(), atol=1e-6), "thresholds in order stay as they are"


def test_correlation_losses_are_the_formulas_and_pull_predictions_apart() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 50, 1))
    between = np.cov(x[:, 0], y[:, 0], ddof=0)[0, 1]
    lin = 2 * between / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    given = torch.from_numpy(x), torch.from_numpy(y)
    pearson = float(build("pearson", TASKS["regression"]).function(*given))
    assert pearson == pytest.approx(1 - between / (x.std() * y.std()), abs=1e-5)
    assert float(build("concordance", TASKS["regression"]).function(*given)) == pytest.approx(1 - lin, abs=1e-5)
    signal, spread = given[1] / 2 + given[0], {}  # half of it is noise: the squared error shrinks what it says
    for name in ("mse", "concordance"):
        slope = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([slope], lr=0.05)
        for _ in range(200):
            optimizer.zero_grad()
            build(name, TASKS["regression"]).function(slope * signal, given[1]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        spread[name] = float((slope.detach() * signal).std() / given[1].std())
    assert spread["mse"] < 0.7
    assert spread["concordance"] == pytest.approx(1, abs=0.1)


def test_the_squared_and_the_absolute_error_together() -> None:
    x, y = torch.tensor([[0.0], [0.0]]), torch.tensor([[1.0], [3.0]])
    both = build("mse_l1", TASKS["regression"], options={"share": 0.25}).function(x, y)
    assert float(both) == pytest.approx(0.75 * 5 + 0.25 * 2)


def test_bounded_stays_within() -> None:
    objective = build_objective(
        Loss(name="bounded"), TASKS["regression"], [""], np.array([[2.0], [6.0]]), bounds=(2, 10)
    )
    assert objective.activation == "bounded(2.0,10.0)"
    values = activate(torch.tensor([[-200.0], [0.0], [200.0]]), objective.activation)
    assert values.squeeze().tolist() == [2.0, 6.0, 10.0]
    logits, target = torch.tensor([[0.3]]), torch.tensor([[4.0]])
    p = torch.tensor(0.3).sigmoid()
    assert torch.allclose(objective.function(logits, target), -(0.25 * p.log() + 0.75 * (1 - p).log()))
    with pytest.raises(FoldlineError, match="needs the bounds"):
        build_objective(Loss(name="bounded"), TASKS["regression"], [""], np.zeros((2, 1)))
    with pytest.raises(FoldlineError, match="labels go from -1 to -1"):
        build_objective(Loss(name="bounded"), TASKS["regression"], [""], np.array([[-1.0]]), bounds=(0, 1))
    given = Loss(name="bounded", options={"low": 0.0, "high": 4.0})
    assert build_objective(given, TASKS["regression"], [""], np.zeros((2, 1))).activation == "bounded(0.0,4.0)"


def test_a_target_of_another_shape_is_an_error() -> None:
    for name, task in (
        ("bce", "multilabel"),
        ("focal", "multilabel"),
        ("mse", "regression"),
        ("bounded", "regression"),
    ):
        with pytest.raises((ValueError, RuntimeError)):
            build(name, TASKS[task]).function(torch.randn(4, 4), torch.rand(4, 1))


def test_balanced_weights_are_scikit_learns() -> None:
    truth = truth_of(TASKS["multiclass"])
    expected = compute_class_weight("balanced", classes=np.arange(4), y=truth)
    assert np.allclose(balanced_weights(truth, TASKS["multiclass"], 4), expected)
    assert balanced_weights(np.array([0.0, 2.0, 2.0]), TASKS["multiclass"], 3).tolist() == [1.5, 1.0, 0.75]
    marks = np.array([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    assert np.allclose(balanced_weights(marks, TASKS["multilabel"], 2), [4 / 6, 4 / 2])


def test_class_weights_are_named_and_checked() -> None:
    with pytest.raises(FoldlineError, match="no class is called x"):
        build("cross_entropy", TASKS["multiclass"], class_weights={"x": 2.0})
    with pytest.raises(FoldlineError, match="not all 0"):
        build("cross_entropy", TASKS["multiclass"], class_weights=dict.fromkeys("abcd", 0.0))
    with pytest.raises(FoldlineError, match="greater than or equal to 0"):
        Run.parse({"loss": {"class_weights": {"a": -2.0}}}, where="")
    objective = build("bce", TASKS["multilabel"], class_weights={"b": 3.0})
    logits, target = torch.randn(ROWS, 4), target_of(TASKS["multilabel"])
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    assert torch.allclose(objective.function(logits, target), (each * torch.tensor([1.0, 3, 1, 1])).mean())
    objective = build("corn", TASKS["ordinal"], class_weights={"d": 0.0})
    last = torch.full((ROWS,), 3)
    assert objective.function(torch.randn(ROWS, 3), last) == 0


def test_shares_of_binary_cross_entropy_are_calibrated() -> None:
    """At the optimum of `bce` each sigmoid is its class's share; a softmax of the same logits would sharpen them."""
    assert build("bce", TASKS["multiclass"]).activation == "shares"
    share = torch.tensor([0.7, 0.2, 0.1])
    assert torch.allclose(activate(torch.logit(share), "shares"), share)
    assert not torch.allclose(activate(torch.logit(share), "softmax"), share, atol=0.05)
    far = activate(torch.full((1, 3), -100.0), "shares")
    assert torch.allclose(far, torch.full((1, 3), 1 / 3))


def test_an_unknown_activation_is_an_error() -> None:
    with pytest.raises(FoldlineError, match="softmaxx"):
        activate(torch.zeros(1, 2), "softmaxx")
