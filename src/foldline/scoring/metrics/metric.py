"""What a metric is, and the arrays that metrics read.

The arrays' types name their lengths: equal names are equal lengths; `*outputs` may be none or several. A wrong shape
would broadcast to a wrong score without a word, so tests hold every call against them (tests/contracts.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from foldline.core.task import Array

Predicted = NDArray[np.floating[Any]]  # as float32 they take half the memory; formulas see float64
Rows = Annotated[Array, "rows"]
Table = Annotated[Array, "rows outputs"]
Truth = Annotated[Array, "rows | rows outputs"]  # class indices, or a number for each output
Labels = Annotated[Array, "rows *outputs"]  # class indices, or sets of 0 and 1
Codes = Annotated[NDArray[np.int64], "rows"]  # dense ranks

Input = Literal["prob", "label", "rank", "value"]


@dataclass(frozen=True)
class Metric:
    """One way to score predictions.

    Attributes:
        name: what the facts call it.
        function: (truth, prediction) -> float, in the form that `input` names (see `scoring.metrics.forms`).
        direction: whether larger ("max") or smaller ("min") is better.
        input: what it reads of a prediction: probabilities, decided labels, only the order, or a number.
        kinds: the kinds of tasks for which it has a meaning (`Task.fits`).
        range: the smallest and the largest score; the best is the end that `direction` points to.
        rows: where the metric is a plain mean over rows: the function that gives each row's part.
        counts: where it is a mean over columns of what positive and negative rows at each level of a score say
            (`ranking.over_columns`): the function of these counts.
        parts: of a metric of several targets, each target's (`scoring.metrics.for_task`).
        above: what every true number must be above, else there is no score.
    """

    name: str
    function: Callable[[Array, Array], float]
    direction: Literal["max", "min"]
    input: Input
    kinds: tuple[str, ...]
    range: tuple[float, float] = (0.0, 1.0)
    rows: Callable[[Array, Array], Array] | None = None
    counts: Callable[[Array, Array], Array] | None = None
    parts: "tuple[Part, ...]" = ()
    above: float = -np.inf

    @property
    def best(self) -> float:
        """The score of a perfect prediction."""
        return self.range[1] if self.direction == "max" else self.range[0]

    def better(self, left: float, right: float) -> bool:
        """Whether `left` beats `right`; a defined score beats nan."""
        if np.isnan(left) or np.isnan(right):
            return bool(np.isnan(right) and not np.isnan(left))
        return left > right if self.direction == "max" else left < right


def mean_defined(values: Sequence[float]) -> float:
    """The mean of the finite values; nan where there are none."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


@dataclass(frozen=True)
class Part:
    """One target's share of a metric of several targets."""

    weight: float
    metric: Metric
    target: str
