"""Curves over epochs, as reports and comparisons draw them: each fold thin, the mean of the folds thick.

Logs in (one table a fold, a row an epoch; an empty cell is NaN), lines on matplotlib's axes out.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from foldline.core.task import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEPS = [1, 2, 5, 10]  # between two numbers of an axis
FEW = 8  # points of a curve up to which each gets a dot: a single one would make no line


def values_of(logs: Iterable[pd.DataFrame], column: str) -> "list[pd.Series[float]]":
    """The column over the epochs of each fold that has it; epochs without a value are left out.

    >>> [list(curve.index) for curve in values_of([pd.DataFrame({"epoch": [0, 1, 2], "x": [1.0, None, 3.0]})], "x")]
    [[0, 2]]
    """
    curves = [log.set_index("epoch")[column].dropna() for log in logs if column in log]
    return [curve for curve in curves if len(curve)]


def mean_curve(curves: "Sequence[pd.Series[float]]") -> "pd.Series[float]":
    """The mean over the epochs that every fold has."""
    return pd.concat(curves, axis=1).dropna().mean(axis=1) if curves else pd.Series(dtype=np.float64)


def folds_and_mean(axes: "Axes", curves: "Sequence[pd.Series[float]]", colour: str, line: str = "-") -> None:
    """Each fold's curve thin, their mean thick; epochs without a value are bridged."""
    for curve in curves if len(curves) > 1 else []:
        axes.plot(curve.index, curve, line, color=colour, linewidth=0.7, alpha=0.45)
    mean = mean_curve(curves)
    axes.plot(mean.index, mean, line, color=colour, linewidth=1.8)
    if len(mean) <= FEW:
        axes.plot(mean.index, mean, "o", color=colour, markersize=2.6)


def stretch(curve: "pd.Series[float]", first: int, last: int) -> "pd.Series[float]":
    """The part of a curve over the epochs `first` to `last`, with the line's own values at both ends.

    >>> stretch(pd.Series([0.0, 10.0], index=[0, 10]), 4, 6)
    4    4.0
    6    6.0
    dtype: float64
    """
    if not len(curve):
        return curve
    inside = np.union1d(curve.index, [first, last])
    inside = inside[(inside >= max(first, curve.index[0])) & (inside <= min(last, curve.index[-1]))]
    return pd.Series(np.interp(inside, curve.index, curve), index=inside)


def limits(
    columns: "Iterable[pd.Series[float] | Array]", reach: tuple[float, float] = (-np.inf, np.inf)
) -> tuple[float, float] | None:
    """A common range with a little air; None where there is no number.

    A loss that exploded would flatten all others: the largest 2 % may leave the range.

    Args:
        reach: what such numbers can be (`metrics.for_task.reach`); the range ends there.
    """
    parts = [np.asarray(column, dtype=np.float64) for column in columns]
    values = np.concatenate(parts) if parts else np.zeros(0)
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = float(values.min()), float(np.quantile(values, 0.98))
    high = float(values.max()) if values.max() < high + 2 * (high - low) else high
    air = 0.08 * (high - low) or 0.01
    floor = 0.0 if low >= 0 else -np.inf  # what is never below 0 here needs no room there
    return max(low - air, reach[0], floor), min(high + air, reach[1])


def end_at(axes: "Axes", reach: tuple[float, float]) -> None:
    """Lets the x axis end where its numbers do; what lies at the end stays whole."""
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, reach[0]), min(high, reach[1]))
    for line in axes.lines:
        if line.get_marker() not in ("None", "none", "", None):
            line.set_clip_on(False)


def whole_epochs(axes: "Axes", last: float, first: float = 0.0) -> None:
    """An axis of epochs with whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=STEPS, integer=True, min_n_ticks=1))
    air = max(0.25, 0.02 * (last - first))
    axes.set_xlim(first - air, last + air)


def plain_numbers(axes: "Axes", ticks: int = 4) -> None:
    """Few numbers on the y axis, each written out: no power of ten, no offset above the axis."""
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    formatter = ScalarFormatter(useOffset=False)
    formatter.set_scientific(False)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=ticks, steps=STEPS))
    axes.yaxis.set_major_formatter(formatter)
