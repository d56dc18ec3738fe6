"""A fixed share of the training rows becomes the test rows of a competition that has none.

Reads a rows table in memory; writes nothing.
"""

import numpy as np
from numpy.typing import NDArray

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.splits.assign import assign
from foldline.splits.shuffle import Indices, random_number, shuffle_ranks
from foldline.splits.splitters import ToSplit, group_units, sum_by_unit


def draw_holdout(rows: ToSplit, fraction: float, seed: int) -> NDArray[np.bool_]:
    """[rows] True for the rows that become test rows.

    Without groups exactly round(fraction * rows) rows are drawn, and every stratum gives its share rounded up
    or down. Groups stay whole, so with groups the share is only as near as they allow.

    Raises:
        FoldlineError: there are too few rows or groups for both parts.
    """
    if rows.groups is not None:
        return _draw_groups(rows, fraction, seed)
    total = len(rows.ids)
    count = round(fraction * total)
    if not 0 < count < total:
        raise FoldlineError(
            f"{fraction:g} of {total} rows leaves {counted(count, 'test rows')} and "
            f"{counted(total - count, 'training rows')}",
            where="holdout.fraction",
            next="choose another fraction",
        )
    ranks = shuffle_ranks(rows.ids, seed, "holdout")
    if rows.strata.codes is not None:
        return _every_nth(np.lexsort((ranks, rows.strata.codes)), count, random_number(total, seed, "holdout"))
    share = np.array([total - count, count]) / total
    part: Indices = assign(rows.strata.matrix, np.ones(total), share, ranks, exact=True)
    return np.asarray(part == 1)


def _every_nth(order: Indices, count: int, start: int) -> NDArray[np.bool_]:
    """`count` rows, evenly spaced along `order`: any stretch of it gives its share, rounded up or down.

    `start` (0..rows-1) shifts the grid; were it fixed, the only row of a stratum would be drawn always or never.
    """
    total = len(order)
    passed = (np.arange(total + 1) * count + start) // total
    drawn = np.zeros(total, dtype=bool)
    drawn[order] = np.diff(passed) == 1
    return drawn


def _draw_groups(rows: ToSplit, fraction: float, seed: int) -> NDArray[np.bool_]:
    names, unit = group_units(rows)
    if len(names) < 2:
        raise FoldlineError("a single group cannot be held out", where="holdout", next="mend train.group")
    sizes = np.bincount(unit, minlength=len(names)).astype(np.float64)
    units = sum_by_unit(rows.strata.matrix, unit, len(names))
    ranks = shuffle_ranks(names, seed, "holdout")
    part = assign(units, sizes, np.array([1 - fraction, fraction]), ranks)
    if len(set(part.tolist())) == 1:  # a tiny share of large groups: the smallest group is nearest to it
        part[np.lexsort((ranks, sizes))[0]] = 1 - part[0]
    return np.asarray(part == 1)[unit]
