"""What training minimises, by name. Each is built with the run's loss settings and the task.

A loss takes logits [batch, logits] float32 and a target, and returns the mean over the batch. The target is class
indices [batch] int64 or probabilities [batch, outputs] for classes that exclude each other, else [batch, outputs]
float32. A new loss is one function in a file beside this one and one line in `LOSSES` here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import torch

from foldline.core.errors import FoldlineError, first_few, unknown
from foldline.core.options import TINY, Option, read_options
from foldline.core.own_code import is_own
from foldline.core.run import Loss
from foldline.core.task import CLASSES, EXCLUSIVE, Array, Task, hot_truth
from foldline.engine.losses import ordered, sigmoid, softmax
from foldline.engine.losses.activations import blocks_of
from foldline.engine.losses.own import own_loss
from foldline.engine.losses.spec import (
    Constant,
    LossContext,
    LossFunction,
    LossSpec,
    Mean,
    Table,
    by_task,
    weighted_mean,
)

_EPSILON = {"epsilon": Option(1.0, -1, 10)}
_GAMMA_ALPHA = {"gamma": Option(2.0, 0, 10), "alpha": Option(None, 0, 1, kinds=("two_classes", "set"))}
_ASYMMETRIC = {
    "gamma_neg": Option(4.0, 0, 10),
    "gamma_pos": Option(1.0, 0, 10),
    "clip": Option(0.05, 0, 0.5, kinds=("set",)),
}
_MARGINS = {"margin": Option(0.3, 0, 1.5), "rare_margin": Option(None, 0, 1.5)}
_LOW_HIGH = {"low": Option(None, -1e30, 1e30), "high": Option(None, -1e30, 1e30)}


def _either(
    one: Callable[[LossContext], LossFunction], many: Callable[[LossContext], LossFunction]
) -> Callable[..., LossFunction]:
    """`one` where classes exclude each other, `many` where several labels can be true at once."""
    return lambda context: (many if by_task(context) == "sigmoid" else one)(context)


def _always(name: str) -> Callable[[LossContext], str]:
    return lambda context: name  # noqa: ARG005 - other losses ask their settings


def _bounded(context: LossContext) -> str:
    low, high = ordered.bounds_of(context)
    return f"bounded({low!r},{high!r})"


LOSSES: dict[str, LossSpec] = {
    "cross_entropy": LossSpec(softmax.cross_entropy, EXCLUSIVE, {}, by_task),
    "bce": LossSpec(
        sigmoid.binary_cross_entropy,
        CLASSES,
        {"pos_weight": Option(1.0, TINY, 1000)},
        lambda context: "shares" if context.task.exclusive else "sigmoid",
    ),
    "focal": LossSpec(_either(softmax.focal, sigmoid.focal), CLASSES, _GAMMA_ALPHA, by_task),
    "asymmetric": LossSpec(_either(softmax.asymmetric, sigmoid.asymmetric), CLASSES, _ASYMMETRIC, by_task),
    "poly": LossSpec(_either(softmax.poly, sigmoid.poly), CLASSES, _EPSILON, by_task),
    "bi_tempered": LossSpec(
        softmax.bi_tempered,
        EXCLUSIVE,
        {"t1": Option(0.8, 0, 1), "t2": Option(1.2, 1, 2)},
        lambda context: f"tempered({context.number('t2')!r})",
    ),
    "kl": LossSpec(softmax.kullback_leibler, EXCLUSIVE, {}, by_task),
    "arcface": LossSpec(
        softmax.arcface, EXCLUSIVE, {"margin": Option(0.3, 0, 1.5), "rare_margin": Option(None, 0, 1.5)}, by_task
    ),
    "corn": LossSpec(ordered.corn, ("ordered",), {}, _always("corn"), thresholds=True),
    "cumulative": LossSpec(ordered.cumulative, ("ordered",), {}, _always("cumulative"), thresholds=True),
    "mse": LossSpec(ordered.mean_squared_error, ("numbers",), {}, ordered.scaling),
    "huber": LossSpec(ordered.huber, ("numbers",), {"delta": Option(None, TINY, 1e6)}, ordered.scaling),
    "l1": LossSpec(ordered.mean_absolute_error, ("numbers",), {}, ordered.scaling),
    "mse_l1": LossSpec(
        ordered.squared_and_absolute,
        ("numbers",),
        {"share": Option(0.5, 0, 1, "of the absolute error")},
        ordered.scaling,
    ),
    "concordance": LossSpec(ordered.concordance, ("numbers",), {}, ordered.scaling, together=True),
    "pearson": LossSpec(ordered.pearson, ("numbers",), {}, ordered.scaling, together=True),
    "bounded": LossSpec(ordered.bounded, ("numbers",), _LOW_HIGH, _bounded),
}


@dataclass(frozen=True)
class Objective:
    """A loss, ready for training.

    Attributes:
        function: logits [batch, logits] float32, target -> the mean over the batch.
        plain: the same without smoothing and class weights, for the validation loss.
        logits: how many numbers the network predicts.
        activation: what turns them into predictions, for `engine.losses.activations.activate`.
        shares: of several targets what each one's loss counts; they sum to 1; empty: all alike.
        together: it is of all rows that it sees at once, and no mean over them.
    """

    function: LossFunction
    plain: LossFunction
    logits: int
    activation: str
    shares: tuple[float, ...] = ()
    together: bool = False


def build_objective(
    settings: Loss,
    task: Task,
    outputs: Sequence[str],
    truth: Array,
    *,
    bounds: tuple[float, float] | None = None,
    scale: float = 30.0,
    labels: Array | None = None,
) -> Objective:
    """The loss that the run names; `auto` takes the task's usual one. Of several targets the mean of each one's loss.

    Args:
        truth: the training rows' labels as `core.task.Task.truth` gives them, for balanced class weights.
        bounds: the smallest and the largest label that a regression can have, where the task knows them.
        scale: what an ArcFace head multiplies its cosines with.
        labels: the truth of the rows whose mean and deviation standardise numbers, each target by itself; None: they
            stay as they are, as they do for a loss of one's own.

    Raises:
        FoldlineError: an unknown loss, option or class; a number out of its range; a loss that does not fit.
    """
    shares = _shares(settings.targets, task)
    if task.targets:
        return _of_several(settings, task, outputs, truth, labels, shares, bounds=bounds, scale=scale)
    name = task.loss if settings.name == "auto" else settings.name
    if is_own(name):
        function, activation = own_loss(name, settings, task, len(outputs))
        return Objective(function, function, len(outputs), activation)
    if name not in LOSSES:
        raise unknown("loss", name, list(LOSSES), where="loss.name")
    spec = LOSSES[name]
    if not task.fits(spec.kinds):
        raise _does_not_fit(name, task)
    context = LossContext(
        task=task,
        smoothing=settings.smoothing,
        weights=_class_weights(settings, task, outputs, truth),
        options=_options(name, spec, settings.options, task),
        bounds=bounds,
        scale=scale,
        labels=None if task.has_classes else labels,
        counts=hot_truth(truth, task, len(outputs)).sum(axis=0, dtype=np.float64) if task.exclusive else None,
    )
    _require_sense(name, context, truth)
    return Objective(
        function=spec.make(context),
        plain=spec.make(replace(context, smoothing=0.0, weights=None)),
        logits=len(outputs) - int(spec.thresholds),
        activation=spec.activation(context),
        together=spec.together,
    )


def _of_several(
    settings: Loss, task: Task, outputs: Sequence[str], truth: Array, labels: Array | None,
    shares: tuple[float, ...], **options: Any,
) -> Objective:  # fmt: skip
    """The mean of each target's loss on its own logits; the target is [batch, outputs] (`core.task.hot_truth`)."""
    _require_classes(settings, task.classes(outputs))
    objectives = []
    for block in task.blocks:
        names = block.outputs(outputs)
        weights = settings.class_weights
        if isinstance(weights, dict):
            own = zip(outputs[block.columns], names, strict=True)
            weights = {name: weights[full] for full, name in own if full in weights} or "none"
        numbers = {} if block.task.has_classes else {"smoothing": 0.0, "class_weights": "none"}
        own_settings = settings.model_copy(update={"class_weights": weights, "targets": {}, **numbers})
        own_labels = None if labels is None else block.truth(labels)
        objectives.append(
            build_objective(own_settings, block.task, names, block.truth(truth), labels=own_labels, **options)
        )
    ends = np.cumsum([objective.logits for objective in objectives]).tolist()
    places = [slice(end - objective.logits, end) for end, objective in zip(ends, objectives, strict=True)]
    columns = [block.columns for block in task.blocks]
    return Objective(
        function=_mean_loss([objective.function for objective in objectives], places, columns, shares),
        plain=_mean_loss([objective.plain for objective in objectives], places, columns, shares),
        logits=ends[-1],
        activation=blocks_of([(objective.activation, objective.logits) for objective in objectives]),
        shares=shares,
        together=any(objective.together for objective in objectives),
    )


def _shares(weights: Mapping[str, float], task: Task) -> tuple[float, ...]:
    """What each target's loss counts, summing to 1; empty where all count alike."""
    if not weights:
        return ()
    if not task.targets:
        raise FoldlineError("this task has one target", where="loss.targets", next="leave it out")
    names = [name for name, _ in task.targets]
    for name in weights:
        if name not in names:
            raise unknown("target", name, names, where="loss.targets")
    every = [weights.get(name, 1.0) for name in names]
    if not sum(every):
        raise FoldlineError("the targets' weights are not all 0", where="loss.targets", next="mend them")
    return tuple(weight / sum(every) for weight in every)


def _mean_loss(
    functions: Sequence[LossFunction], logits: Sequence[slice], columns: Sequence[slice], shares: Sequence[float]
) -> LossFunction:
    """The mean of the targets' losses by their shares, each of its part of the logits and of the target's columns."""
    parts = list(zip(functions, logits, columns, strict=True))

    def loss(all_logits: Annotated[torch.Tensor, "batch logits"], target: Table) -> Mean:
        losses = [function(all_logits[:, own], target[:, part]) for function, own, part in parts]
        return weighted_mean(losses, shares)

    return loss


def _options(name: str, spec: LossSpec, given: dict[str, float], task: Task) -> dict[str, float | None]:
    """Every option that the loss has for this task; the run's numbers are checked."""
    known = {key: option for key, option in spec.options.items() if option.kinds is None or task.fits(option.kinds)}
    owner = f"the loss '{name}'" + (f" for the task '{task.name}'" if known else "")
    return read_options(owner, known, given, where="loss.options")


def _require_sense(name: str, context: LossContext, truth: Array) -> None:
    """Refuses what the loss would ignore, and labels outside the bounds."""
    if not context.task.has_classes and context.smoothing:
        raise FoldlineError("label smoothing is for classes", where="loss.smoothing", next="leave it out")
    if name != "bounded":
        return
    given = context.options["low"], context.options["high"]
    if context.bounds is None and None in given:
        raise FoldlineError(
            "the loss 'bounded' needs the bounds of the label",
            where="loss.options",
            next="give the smallest and the largest label: loss.options.low=0 loss.options.high=100",
        )
    low, high = ordered.bounds_of(context)
    if low >= high or truth.min() < low or truth.max() > high:
        raise FoldlineError(
            f"the labels go from {truth.min():g} to {truth.max():g}, the bounds from {low:g} to {high:g}",
            where="loss.options",
            next="widen the bounds: loss.options.low and loss.options.high",
        )


def _class_weights(settings: Loss, task: Task, outputs: Sequence[str], truth: Array) -> Constant | None:
    """[outputs] what each class counts; None where all count 1."""
    choice = settings.class_weights
    if choice == "none":
        return None
    if not task.has_classes:
        raise FoldlineError("a regression has no classes", where="loss.class_weights", next="leave it out")
    if choice == "balanced":
        return Constant(torch.from_numpy(balanced_weights(truth, task, len(outputs))).float())
    _require_classes(settings, outputs)
    weights = [choice.get(name, 1.0) for name in outputs]
    if max(weights) == 0:
        raise FoldlineError("class weights are not all 0", where="loss.class_weights", next="mend them")
    return Constant(torch.tensor(weights, dtype=torch.float32))


def _require_classes(settings: Loss, classes: Sequence[str]) -> None:
    """Raises FoldlineError where `class_weights` names a class that there is not."""
    choice = settings.class_weights
    strangers = sorted(choice.keys() - set(classes)) if isinstance(choice, dict) else []
    if strangers:
        raise FoldlineError(
            f"no class is called {first_few(strangers)}",
            where="loss.class_weights",
            next=f"the classes: {first_few(list(classes), 20)}",
        )


def balanced_weights(truth: Array, task: Task, classes: int) -> Array:
    """What each class counts so that all together count alike: rows / (classes x its rows), as scikit-learn's.

    The mean over the rows is 1, so the loss keeps its size. Of soft labels and of several labels a row the sums
    count as rows. A class without training rows counts 1.

    >>> from foldline.core.task import TASKS
    >>> balanced_weights(np.array([0.0, 0.0, 0.0, 1.0]), TASKS["binary"], 2).round(3).tolist()
    [0.667, 2.0]
    """
    counts = np.bincount(truth.astype(np.int64), minlength=classes) if task.single_label else truth.sum(axis=0)
    present = counts > 0
    weights: Array = np.ones(classes)
    weights[present] = counts.sum() / (present.sum() * counts[present])
    return weights


def _does_not_fit(name: str, task: Task) -> FoldlineError:
    fitting = sorted(name for name, spec in LOSSES.items() if task.fits(spec.kinds))
    return FoldlineError(
        f"the loss '{name}' does not fit the task '{task.name}'",
        where="loss.name",
        next=f"use loss.name={task.loss}; others that fit: {', '.join(fitting)}",
    )
