"""How sure a score is: bootstrap intervals of one run, and of the difference of two. Arrays in, numbers out."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from foldline.core.errors import FoldlineError
from foldline.core.task import Array, Task
from foldline.scoring.metrics.forms import as_read_by
from foldline.scoring.metrics.metric import Metric

Index = NDArray[np.int64]


def bootstrap_interval(
    name: str | Metric,
    truth: Array,
    prediction: Array,
    *,
    task: Task,
    clusters: "NDArray[np.generic] | None" = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """The percentile bootstrap interval of a score: (low, high).

    Rows are drawn with replacement; resamples in which the score is undefined are left out, and where it is
    undefined in all, both ends are nan. It tells how the score varies with the rows, not with the training.

    Args:
        clusters: [rows] a patient, entity or group for each row: whole clusters are drawn, because
            rows of one cluster are no independent evidence.
        resamples: how many draws.
        level: the share of the draws inside the interval.

    Source: Efron and Tibshirani 1993, chapter 13.
    """
    scorer, rows = _scorer(name, truth, prediction, task)
    scores = np.array([scorer(index) for index in _draws(rows, clusters, resamples, seed)])
    return _percentiles(scores, level)


def paired_difference(
    name: str | Metric,
    truth: Array,
    left: Array,
    right: Array,
    *,
    task: Task,
    clusters: "NDArray[np.generic] | None" = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Score of `left` minus score of `right` on the same rows, with its bootstrap interval: (difference, low, high).

    Both are scored on the same draws, so what the rows have in common cancels. An interval that holds 0
    means that these rows cannot tell the two apart. The sign is not turned for metrics where less is better.
    """
    first, rows = _scorer(name, truth, left, task)
    second, other_rows = _scorer(name, truth, right, task)
    if rows != other_rows:
        raise FoldlineError(f"{rows} and {other_rows} predictions are not on the same rows")
    everything = np.arange(rows)
    draws = _draws(rows, clusters, resamples, seed)
    differences = np.array([first(index) - second(index) for index in draws])
    return first(everything) - second(everything), *_percentiles(differences, level)


def _scorer(name: str | Metric, truth: Array, prediction: Array, task: Task) -> tuple[Callable[[Index], float], int]:
    """A function from row numbers to the score of those rows, and the number of rows.

    Checks, decisions and ranks are made once; a metric that is a mean over rows is computed once as well.
    """
    metric, truth, prediction = as_read_by(name, truth, prediction, task)
    if metric.rows is not None:
        parts = metric.rows(truth, prediction)
        return (lambda index: float(parts[index].mean())), len(truth)
    function = metric.function
    return (lambda index: float(function(truth[index], prediction[index]))), len(truth)


def _draws(rows: int, clusters: "NDArray[np.generic] | None", resamples: int, seed: int) -> Iterator[Index]:
    rng = np.random.default_rng(seed)
    if clusters is None:
        for _ in range(resamples):
            yield rng.integers(0, rows, rows)
        return
    if len(clusters) != rows:
        raise FoldlineError(f"{len(clusters)} clusters for {rows} rows")
    _, code = np.unique(np.asarray(clusters).astype(str), return_inverse=True)
    order = np.argsort(code, kind="stable")
    size = np.bincount(code)
    start = np.cumsum(size) - size
    for _ in range(resamples):
        drawn = rng.integers(0, len(size), len(size))
        yield order[_ranges(start[drawn], size[drawn])]


def _ranges(start: Index, size: Index) -> Index:
    """The numbers start, start + 1 ... of each range, one after the other.

    >>> _ranges(np.array([4, 0]), np.array([2, 3])).tolist()
    [4, 5, 0, 1, 2]
    """
    ends = np.cumsum(size)
    return np.asarray(np.arange(ends[-1]) + np.repeat(start - (ends - size), size))


def _percentiles(scores: Array, level: float) -> tuple[float, float]:
    scores = scores[np.isfinite(scores)]
    if len(scores) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
