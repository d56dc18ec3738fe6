"""What a loss is made of: what it may be told, which tasks it fits, and the few steps that all of them share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import torch
from torch import Tensor

from foldline.core.options import Option
from foldline.core.task import Array, Task
from foldline.images.mix import one_hot

LossFunction = Callable[[Tensor, Tensor], Tensor]
Terms = Callable[[Tensor, Tensor], Tensor]
# A wrong shape would broadcast to a wrong loss; tests hold every call against these (tests/contracts.py).
Table = Annotated[Tensor, "batch outputs"]
Target = Annotated[Tensor, "batch | batch outputs"]
Rows = Annotated[Tensor, "batch"]
Mean = Annotated[Tensor, ""]


class Constant:
    """Numbers that a loss multiplies with. They are copied to a device once: a copy in each step would wait for it."""

    def __init__(self, values: Tensor) -> None:
        self.there = {(values.device, values.dtype): values}

    def like(self, x: Tensor) -> Tensor:
        """The numbers on the device and in the type of `x`."""
        key = (x.device, x.dtype)
        if key not in self.there:
            self.there[key] = next(iter(self.there.values())).to(x)
        return self.there[key]


@dataclass(frozen=True)
class LossContext:
    """What a loss is built from.

    Attributes:
        smoothing: 0 to 1; how far the labels are moved towards "all classes alike".
        weights: [classes] what each class counts, or None.
        options: every option that the loss has for this task, by name.
        bounds: the smallest and the largest label of a bounded regression.
        scale: what an ArcFace head multiplies its cosines with.
        counts: [classes] the training rows of each class; None: not known.
        labels: [rows, outputs] the numbers whose mean and deviation standardise a regression; None: it is not.
    """

    task: Task
    smoothing: float = 0.0
    weights: Constant | None = None
    options: Mapping[str, float | None] = field(default_factory=dict)
    bounds: tuple[float, float] | None = None
    scale: float = 30.0
    labels: Array | None = None
    counts: Array | None = None

    def number(self, name: str) -> float:
        """An option that is never off."""
        value = self.options[name]
        assert value is not None
        return value


@dataclass(frozen=True)
class LossSpec:
    """One entry of the dictionary of losses.

    Attributes:
        make: builds the function from the settings.
        kinds: the kinds of tasks that it fits (`Task.fits`).
        options: its own numbers.
        activation: what turns logits into predictions; `engine.losses.activations.activate` knows it.
        thresholds: it predicts one logit fewer than there are classes.
        together: it is of all rows that it sees at once, and no mean over them.
    """

    make: Callable[[LossContext], LossFunction]
    kinds: tuple[str, ...]
    options: Mapping[str, Option]
    activation: Callable[[LossContext], str]
    thresholds: bool = False
    together: bool = False


def by_task(context: LossContext) -> str:
    """The task's own: probabilities by softmax, or by sigmoid where several labels can be true at once."""
    return context.task.activation


def probabilities(target: Target, classes: int, like: Tensor) -> Table:
    """Class indices [batch] as [batch, classes] zeros and ones; probabilities stay; in the type of `like`."""
    hot = one_hot(target, classes) if target.ndim == 1 else target
    return hot.to(like.dtype)


def over_classes(context: LossContext, terms: Terms) -> LossFunction:
    """A loss that is a sum over the classes.

    Args:
        terms: logits, smoothed target, both [batch, classes] -> each class's part [batch, classes]; a class
            counts by its weight.
    """

    def loss(logits: Table, target: Target) -> Mean:
        hot = smooth(probabilities(target, logits.shape[1], logits), context.smoothing)
        return weighted(terms(logits, hot), context.weights).sum(1).mean()

    return loss


def over_labels(context: LossContext, terms: Terms) -> LossFunction:
    """A loss in which each output is a yes or no by itself: the mean over rows and outputs.

    Args:
        terms: logits, smoothed target, both [batch, outputs] -> each output's loss [batch, outputs].
    """

    def loss(logits: Tensor, target: Tensor) -> Mean:
        hot = probabilities(target, logits.shape[1], logits)
        hot = hot * (1 - context.smoothing) + context.smoothing / 2
        require_same_shape(logits, hot)
        return weighted(terms(logits, hot), context.weights).mean()

    return loss


def over_rows(context: LossContext, terms: Terms, *, thresholds: bool = False) -> LossFunction:
    """A loss that has one number a row; a row counts by its class's weight.

    Args:
        terms: logits and smoothed target [batch, classes] -> [batch].
        thresholds: the logits are one fewer than the classes.
    """

    def loss(logits: Annotated[Tensor, "batch logits"], target: Target) -> Mean:
        hot = probabilities(target, logits.shape[1] + int(thresholds), logits)
        rows: Rows = terms(logits, smooth(hot, context.smoothing))
        return (rows if context.weights is None else rows * weighted(hot, context.weights).sum(1)).mean()

    return loss


def smooth(hot: Table, smoothing: float) -> Table:
    """Probabilities moved towards 1 / classes (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567)."""
    return hot * (1 - smoothing) + smoothing / hot.shape[1]


def weighted(terms: Table, weights: Constant | None) -> Table:
    """Terms [batch, classes] times each class's weight."""
    return terms if weights is None else terms * weights.like(terms)


def weighted_mean(losses: Sequence[Mean], shares: Sequence[float] = ()) -> Mean:
    """The targets' losses by their shares, which sum to 1; their mean where there are none."""
    if not shares:
        return torch.stack(list(losses)).mean()
    return torch.stack([share * loss for share, loss in zip(shares, losses, strict=True) if share]).sum()


def require_same_shape(logits: Tensor, target: Tensor) -> None:
    """A target of another shape would broadcast to a wrong loss; this is our own bug."""
    if logits.shape != target.shape:
        raise ValueError(f"logits {list(logits.shape)} and target {list(target.shape)} differ in shape")
