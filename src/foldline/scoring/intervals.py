"""How sure a score is: the interval of one run's score, and of the difference of two. Arrays in, numbers out.

| the score is | its interval |
|---|---|
| a share of rows (accuracy, top 5, error) | exact: Clopper and Pearson 1934 |
| anything else | bootstrap: BCa (Efron 1987), its level widened for few rows (Hesterberg 2015) |
| of 200,000 rows or more, or of more columns than can be copied | jackknife of 100 blocks: draws would say the same |
| at or near its best or worst | also as far as errors that so few rows cannot exclude would take it |

Where rows come in groups (patients, entities), whole groups are the unit of evidence: they are drawn, and a share's
rows count for as many as they are worth (Korn and Graubard 1998). How often it holds: docs/intervals.md.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.task import Array, Task
from foldline.scoring.metrics.for_task import metric_for
from foldline.scoring.metrics.metric import Metric, Predicted
from foldline.scoring.metrics.portions import by_part, is_large, read, row_parts

Index = NDArray[np.int64]
BLOCKS = 100  # parts that are left out in turn, for the acceleration: more change the third digit of it
AT_BOUND = 0.02  # of the draws: from this share on the score counts as being near its bound
SWAPS = 50  # times that wrong answers are dealt
MANY = 200_000  # rows of which draws say no more than the jackknife
ENOUGH = 10 * BLOCKS  # units of which a block holds several
UNDEFINED = float("nan")


class Interval(NamedTuple):
    """Its two ends, nan where it is undefined, and how it was made: exact, BCa, "BCa, at the bound", or jackknife."""

    low: float
    high: float
    method: str


class Scorer(NamedTuple):
    """What scores drawn rows.

    Attributes:
        metric: what is computed.
        task: of the truth.
        truth, prediction: in the form that its function reads; where there are `parts`, or where the metric is one of
            counts over more columns than can be copied, as they are.
        parts: [rows] each row's part, where the metric is a mean over rows.
    """

    metric: Metric
    task: Task
    truth: Array
    prediction: NDArray[Any]
    parts: Array | None

    def __call__(self, index: Index) -> float:
        """The score of these rows."""
        if self.parts is not None:
            return float(self.parts[index].mean())
        return float(self.metric.function(self.truth[index], self.prediction[index]))

    @property
    def is_share(self) -> bool:
        """Whether each row's part is 0 or 1."""
        return self.parts is not None and bool(np.isin(self.parts, (0.0, 1.0)).all())

    @property
    def by_columns(self) -> bool:
        """Whether columns are scored one after the other, so that no rows can be drawn."""
        return self.metric.counts is not None and is_large(self.prediction)

    def without_blocks(self, units: "_Units") -> tuple[float, Array]:
        """The score of all rows, and [blocks] of all but each block's."""
        block = _blocks(units, len(self.truth))
        if self.by_columns:
            return by_part(self.metric, self.truth, self.prediction, block, without=True)
        index = np.arange(len(self.truth))
        held_out = [self(index[block != k]) for k in range(int(block.max()) + 1)]
        return self(index), np.array(held_out)

    def with_wrong(self, rows: Index, theirs: Index) -> float:
        """The score of all rows if `rows` had got the answers of the rows `theirs`."""
        if self.parts is not None:
            parts = self.parts.copy()
            parts[rows] = row_parts(self.metric, self.truth[rows], self.prediction[theirs], self.task)
            return float(parts.mean())
        prediction = self.prediction.copy()
        prediction[rows] = self.prediction[theirs]
        return float(self.metric.function(self.truth, prediction))


def score_interval(
    name: str | Metric,
    truth: Array,
    prediction: Predicted,
    *,
    task: Task,
    clusters: "NDArray[np.generic] | None" = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The interval of a score; the module says which kind.

    It tells how the score varies with the rows, not with the training. Draws in which the score is undefined are
    left out; where it is undefined in all, or there is but one row or cluster, both ends are nan.

    Args:
        clusters: [rows] a patient, entity or group for each row: rows of one cluster are no independent evidence.
        resamples: how many draws.
        level: how often intervals made so hold the true score.

    Sources: Efron 1987, doi:10.1080/01621459.1987.10478410; Hesterberg 2015, doi:10.1080/00031305.2015.1089789.
    """
    scorer = _scorer(name, truth, prediction, task)
    units = _units(len(scorer.truth), clusters)
    if len(units) < 2:
        return Interval(UNDEFINED, UNDEFINED, "undefined")
    if scorer.parts is not None and scorer.is_share:
        return Interval(*_share(scorer.parts, units, level), "exact")
    found, held_out = scorer.without_blocks(units)
    if scorer.by_columns or (len(scorer.truth) >= MANY and len(units) >= ENOUGH):
        low, high = np.clip(_jackknife(found, held_out, level), *scorer.metric.range)
        return Interval(float(low), float(high), "jackknife")
    drawn = np.array([scorer(rows) for rows in _draws(units, resamples, seed)])
    low, high = _bca(found, drawn, held_out, len(units), level)
    return _at_bound(scorer, found, drawn, Interval(low, high, "BCa"), units, level)


def paired_difference(
    name: str | Metric,
    truth: Array,
    left: Predicted,
    right: Predicted,
    *,
    task: Task,
    clusters: "NDArray[np.generic] | None" = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Score of `left` minus score of `right` on the same rows, with its BCa interval: (difference, low, high).

    Both are scored on the same draws, so what the rows have in common cancels. An interval that holds 0
    means that these rows cannot tell the two apart. The sign is not turned for metrics where less is better.
    """
    first, second = (_scorer(name, truth, side, task) for side in (left, right))
    rows = len(first.truth)
    if rows != len(second.truth):
        raise FoldlineError(f"{rows} and {len(second.truth)} predictions are not on the same rows")
    units = _units(rows, clusters)
    (ours, our_held_out), (theirs, their_held_out) = (side.without_blocks(units) for side in (first, second))
    difference, held_out = ours - theirs, our_held_out - their_held_out
    if len(units) < 2:
        return difference, UNDEFINED, UNDEFINED
    if first.by_columns or (rows >= MANY and len(units) >= ENOUGH):
        return difference, *_jackknife(difference, held_out, level)
    drawn = np.array([first(index) - second(index) for index in _draws(units, resamples, seed)])
    return difference, *_bca(difference, drawn, held_out, len(units), level)


def _scorer(name: str | Metric, truth: Array, prediction: Predicted, task: Task) -> Scorer:
    """Checks, decisions and ranks are made once; a metric that is a mean over rows is computed once as well."""
    metric = metric_for(name, task)
    if metric.rows is not None:
        return Scorer(metric, task, truth, prediction, row_parts(metric, truth, prediction, task))
    if metric.counts is None or not is_large(prediction):
        metric, truth, prediction = read(metric, truth, prediction, task)
    return Scorer(metric, task, truth, prediction, None)


class _Units(NamedTuple):
    """What is drawn: clusters, or single rows: the rows in the order of their unit, and where each unit's begin."""

    order: Index
    start: Index
    size: Index

    def __len__(self) -> int:
        return len(self.size)

    def rows(self, drawn: Index) -> Index:
        """The rows of these units."""
        return self.order[_ranges(self.start[drawn], self.size[drawn])]


def _units(rows: int, clusters: "NDArray[np.generic] | None") -> _Units:
    if clusters is None:
        return _Units(np.arange(rows), np.arange(rows), np.ones(rows, dtype=np.int64))
    if len(clusters) != rows:
        raise FoldlineError(f"{counted(len(clusters), 'clusters')} for {counted(rows, 'rows')}")
    _, code = np.unique(np.asarray(clusters).astype(str), return_inverse=True)
    size = np.bincount(code)
    return _Units(np.argsort(code, kind="stable"), np.cumsum(size) - size, size)


def _draws(units: _Units, resamples: int, seed: int) -> Iterator[Index]:
    rng, count = np.random.default_rng(seed), len(units)
    single = bool((units.size == 1).all())
    for _ in range(resamples):
        drawn = rng.integers(0, count, count)
        yield units.order[drawn] if single else units.rows(drawn)


def _blocks(units: _Units, rows: int) -> Index:
    """[rows] which of `BLOCKS` blocks of units (or of fewer, where each is one unit) a row is of."""
    blocks = min(len(units), BLOCKS)
    dealt = np.random.default_rng(0).permutation(np.arange(len(units)) % blocks)
    block = np.empty(rows, dtype=np.int64)
    block[units.order] = np.repeat(dealt, units.size)
    return block


def _ranges(start: Index, size: Index) -> Index:
    """The numbers start, start + 1 ... of each range, one after the other.

    >>> _ranges(np.array([4, 0]), np.array([2, 3])).tolist()
    [4, 5, 0, 1, 2]
    """
    ends = np.cumsum(size)
    return np.asarray(np.arange(ends[-1]) + np.repeat(start - (ends - size), size))


def _share(right: Array, units: _Units, level: float) -> tuple[float, float]:
    """The exact interval of a share; rows of clusters count for as many as they are worth.

    Where all rows are right, or none, nothing tells how alike the rows of a cluster are: each counts as one.

    Source: Korn and Graubard 1998, Survey Methodology 24(2), 193 to 201.
    """
    from scipy.stats import t as student  # here: a second `make folds` shall not wait for it

    rows, share = len(right), float(right.mean())
    worth = float(rows)
    if len(units) < rows:
        totals = np.add.reduceat(right[units.order] - share, units.start)
        variance = len(units) / (len(units) - 1) * float((totals**2).sum()) / rows**2
        worth = float(len(units)) if variance == 0 else min(float(rows), share * (1 - share) / variance)
        tail = (1 - level) / 2
        worth *= float((student.ppf(tail, rows - 1) / student.ppf(tail, len(units) - 1)) ** 2)
    return _clopper_pearson(share * worth, worth, level)


def _clopper_pearson(right: float, rows: float, level: float) -> tuple[float, float]:
    """Of a number of rows that need not be whole.

    >>> [round(end, 3) for end in _clopper_pearson(96, 96, 0.95)]
    [0.962, 1.0]
    """
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = 0.0 if right <= 0 else float(beta.ppf(tail, right, rows - right + 1))
    high = 1.0 if right >= rows else float(beta.ppf(1 - tail, right + 1, rows - right))
    return low, high


def _bca(found: float, drawn: Array, held_out: Array, units: int, level: float) -> tuple[float, float]:
    """The bias-corrected and accelerated interval of the draws; its level is that of a t distribution.

    Args:
        found: the score of all rows.
        drawn: the draws' scores.
        held_out: the scores without each block.
    """
    from scipy.special import ndtr, ndtri
    from scipy.stats import t as student

    drawn, held_out = drawn[np.isfinite(drawn)], held_out[np.isfinite(held_out)]
    if len(drawn) == 0 or not np.isfinite(found):
        return UNDEFINED, UNDEFINED
    widened = np.sqrt(units / (units - 1)) * student.ppf([(1 - level) / 2, (1 + level) / 2], units - 1)
    below = float((drawn < found).mean() + (drawn == found).mean() / 2)
    if 0 < below < 1:
        bias, acceleration = ndtri(below), _acceleration(held_out)
        moved = bias + widened
        widened = bias + moved / np.maximum(1 - acceleration * moved, 0.1)
    low, high = np.quantile(drawn, ndtr(widened))
    return float(low), float(high)


def _jackknife(found: float, held_out: Array, level: float) -> tuple[float, float]:
    """The interval by the spread of the scores without each block (Tukey 1958), at the level of a t distribution."""
    from scipy.stats import t as student

    held_out = held_out[np.isfinite(held_out)]
    blocks = len(held_out)
    if blocks < 2 or not np.isfinite(found):
        return UNDEFINED, UNDEFINED
    error = np.sqrt((blocks - 1) / blocks * ((held_out - held_out.mean()) ** 2).sum())
    reach = float(student.ppf((1 + level) / 2, blocks - 1) * error)
    return found - reach, found + reach


def _acceleration(held_out: Array) -> float:
    """How the score's spread changes with the score, from the scores without each block."""
    if len(held_out) < 3:
        return 0.0
    away = held_out.mean() - held_out
    spread = float((away**2).sum())
    return 0.0 if spread <= 0 else float((away**3).sum() / (6 * spread**1.5))


def _at_bound(
    scorer: Scorer, found: float, drawn: Array, interval: Interval, units: _Units, level: float
) -> Interval:  # fmt: skip
    """The interval where draws meet the metric's best or worst score, which they cannot pass; else as it is.

    Of `units` that are all right, some may yet be wrong among further ones: a share of 1 - a ** (1 / units), by
    the exact interval. So many rows get another row's answer; the mean of the scores is how far the interval reaches.
    """
    bounds = [end for end in scorer.metric.range if np.isfinite(end)]
    met = [end for end in bounds if found == end or np.mean(drawn == end) >= AT_BOUND]
    if not met or not np.isfinite(interval.low):
        return interval
    rng, rows = np.random.default_rng(0), len(scorer.truth)
    share = 1 - ((1 - level) / 2) ** (1 / len(units))
    wrong = int(np.ceil(share * rows))
    dealt = [
        scorer.with_wrong(rng.choice(rows, wrong, replace=False), rng.integers(0, rows, wrong)) for _ in range(SWAPS)
    ]
    ends = [interval.low, interval.high, *met, float(np.mean([score for score in dealt if np.isfinite(score)] or met))]
    low, high = np.clip([min(ends), max(ends)], *scorer.metric.range)  # quantiles are rounded
    return Interval(float(low), float(high), "BCa, at the bound")
