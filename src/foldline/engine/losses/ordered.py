"""Losses for numbers and for classes in an order.

Numbers: logits and target [batch, outputs], both standardised (`activations.as_logits`) but for `bounded`. Ordered
classes: logits [batch, classes - 1], one for each threshold between two neighbours, and a target of class indices
[batch] or probabilities [batch, classes].
"""

from functools import cache
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from foldline.engine.losses.activations import center_and_spread, scaled_by
from foldline.engine.losses.spec import (
    Constant,
    LossContext,
    LossFunction,
    Mean,
    Rows,
    Table,
    over_rows,
    require_same_shape,
)

Thresholds = Annotated[Tensor, "batch thresholds"]
TINY = 1e-6  # beside a variance of numbers whose own is about 1: rows that are all alike divide by no 0


def mean_squared_error(context: LossContext) -> LossFunction:  # noqa: ARG001
    """The squared difference."""
    return _same_shape(F.mse_loss)


def huber(context: LossContext) -> LossFunction:
    """Half the squared difference up to delta, linear beyond: outliers weigh less.

    Huber 1964, doi:10.1214/aoms/1177703732.

    Options:
        delta: above 0 to 1e6, in the label's unit; default: one standard deviation of the training rows' labels.
    """
    given, activation = context.options["delta"], scaling(context)

    @cache
    def deltas(outputs: int) -> Constant:
        _, spread = center_and_spread(activation, outputs)
        return Constant(torch.ones_like(spread) if given is None else given / spread)

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        error, delta = (logits - target).abs(), deltas(logits.shape[1]).like(logits)
        return torch.where(error < delta, error**2 / 2, delta * (error - delta / 2)).mean()

    return _same_shape(loss)


def scaling(context: LossContext) -> str:
    """The activation of a loss of numbers: standardised by the training rows' labels where these are known."""
    return "identity" if context.labels is None else scaled_by(context.labels)


def mean_absolute_error(context: LossContext) -> LossFunction:  # noqa: ARG001
    """The absolute difference: the best constant is the median."""
    return _same_shape(F.l1_loss)


def squared_and_absolute(context: LossContext) -> LossFunction:
    """The squared and the absolute difference together: steep far out, and still sharp near the truth.

    Options:
        share: 0 to 1, default 0.5; of the absolute one. 0: `mse`, 1: `l1`.
    """
    share = context.number("share")
    return _same_shape(lambda logits, target: F.mse_loss(logits, target).lerp(F.l1_loss(logits, target), share))


def concordance(context: LossContext) -> LossFunction:  # noqa: ARG001
    """1 - Lin's concordance correlation of the batch's rows, the mean over the outputs; 0 is perfect, 2 the worst.

    It pulls predictions apart where the squared error shrinks them to the mean. It is of the rows that are seen
    together: batches of eight or more. Lin 1989, doi:10.2307/2532051.
    """

    def loss(logits: Tensor, target: Tensor) -> Mean:
        x, y = logits - logits.mean(0), target - target.mean(0)
        apart = (logits.mean(0) - target.mean(0)).square()
        agreement = 2 * (x * y).mean(0) / (x.square().mean(0) + y.square().mean(0) + apart + TINY)
        return (1 - agreement).mean()

    return _same_shape(loss)


def pearson(context: LossContext) -> LossFunction:  # noqa: ARG001
    """1 - Pearson's correlation of the batch's rows, the mean over the outputs; 0 is perfect, 2 the worst.

    It knows neither where the numbers lie nor how far they reach: for metrics that do not ask for it (`pearson`,
    `spearman`); the level and the spread of the predictions mean nothing. As `concordance`, of the rows seen together.
    """

    def loss(logits: Tensor, target: Tensor) -> Mean:
        x, y = logits - logits.mean(0), target - target.mean(0)
        together = (x.square().mean(0) * y.square().mean(0) + TINY).sqrt()
        return (1 - (x * y).mean(0) / together).mean()

    return _same_shape(loss)


def bounded(context: LossContext) -> LossFunction:
    """Binary cross-entropy of labels scaled from [low, high] into [0, 1]; predictions cannot leave the bounds.

    Its best prediction is the mean, as of the squared error; near the bounds it is steeper.

    Options:
        low, high: the bounds; default: the task's own.
    """
    low, high = bounds_of(context)

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        share = (target - low) / (high - low)
        return F.binary_cross_entropy_with_logits(logits, share.to(logits.dtype))

    return _same_shape(loss)


def bounds_of(context: LossContext) -> tuple[float, float]:
    """The bounds of a bounded regression: the run's, else the task's."""
    low, high = context.bounds or (None, None)
    given = context.options["low"], context.options["high"]
    low, high = (low if given[0] is None else given[0]), (high if given[1] is None else given[1])
    assert low is not None
    assert high is not None
    return float(low), float(high)


def _same_shape(function: LossFunction) -> LossFunction:
    def loss(logits: Tensor, target: Tensor) -> Tensor:
        require_same_shape(logits, target)
        return function(logits, target)

    return loss


def corn(context: LossContext) -> LossFunction:
    """CORN: logit k says how likely the class is above k once it is not below k (https://arxiv.org/abs/2111.08851).

    Binary cross-entropy of these conditional steps. The sum over a row's steps is minus the logarithm of the
    decoded probability of its class; the paper divides by the number of steps of the batch, here by its rows, so
    that the loss of a row does not depend on the others.
    """

    def terms(logits: Thresholds, hot: Table) -> Rows:
        return -(above(hot) * F.logsigmoid(logits) + hot[:, :-1] * F.logsigmoid(-logits)).sum(1)

    return over_rows(context, terms, thresholds=True)


def cumulative(context: LossContext) -> LossFunction:
    """Binary cross-entropy of "above class k", the mean over the thresholds.

    Niu et al. 2016, doi:10.1109/CVPR.2016.532.
    """

    def terms(logits: Thresholds, hot: Table) -> Rows:
        return F.binary_cross_entropy_with_logits(logits, above(hot), reduction="none").mean(1)

    return over_rows(context, terms, thresholds=True)


def above(probabilities: Table) -> Thresholds:
    """[batch, classes] -> [batch, classes - 1]: how likely the class is above each but the last.

    >>> import torch
    >>> above(torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.25, 0.25]]))
    tensor([[1.0000, 0.0000],
            [0.5000, 0.2500]])
    """
    classes = probabilities.shape[1]
    reaches = torch.ones(classes, classes - 1, dtype=probabilities.dtype, device=probabilities.device).tril(-1)
    return probabilities @ reaches  # torch has no deterministic cumsum on CUDA
