"""Which training rows an epoch has, and in which order: a function of (seed, fold, epoch). Reads and writes no files.

Every class gives a fixed number of rows an epoch, so an epoch's length never changes; which rows they are goes round,
so that no row of a class is drawn twice more often than another.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core import own_code
from foldline.core.errors import FoldlineError, unknown
from foldline.core.run import Sampling
from foldline.core.task import Task
from foldline.images.augment import key_seed

Indices = NDArray[np.int64]
MIXING_IN = -4  # a part of the key, apart from the classes' numbers
DEALING = -3  # the key's last part, apart from what augmentation and mixing draw


def epoch_order(rows: int, key: tuple[int, int], epoch: int) -> Indices:
    """[rows] the order of the rows in one epoch; a function of (seed, fold, epoch) alone."""
    return np.random.default_rng(key_seed(*key, epoch)).permutation(rows)


def row_classes(truth: NDArray[np.float64], task: Task, sampling: Sampling | None = None) -> NDArray[Any] | None:
    """What `epoch_rows` calls the rows' classes, from what `core.task.Task.truth` gives.

    Args:
        truth: [rows] class indices, or [rows, outputs]. A soft label counts as its largest class.

    Returns:
        [rows] classes, [rows, outputs] 0 and 1 for multi-label tasks, or None where there are none, or
        those of several targets. A sampler of the user's own gets the truth itself.
    """
    if sampling is not None and sampling.function:
        return truth
    if task.soft:
        return np.asarray(truth.argmax(axis=1), dtype=np.int64)
    return truth.astype(np.int64) if task.single_label or task.label_sets else None


def epoch_rows(
    classes: NDArray[Any] | None, rows: int, sampling: Sampling, names: Sequence[str], key: tuple[int, int], epoch: int
) -> Indices:
    """The training rows of one epoch, in their order; a row may come several times or not at all.

    Args:
        classes: [rows] the class of each row, or [rows, outputs] 0 and 1, where a row counts as its rarest label, and
            rows without any as a class of their own; None where there are no classes.
        rows: how many training rows there are. Validation rows are not among them.
        names: the classes' names, in the order of `classes`.
        key: (seed, fold).

    Returns:
        [rows_per_epoch(...)] row numbers. With default settings each row once.

    Raises:
        FoldlineError: there are no classes to sample by, or a setting names none or asks for the impossible.
    """
    if sampling == Sampling():
        return epoch_order(rows, key, epoch)
    if sampling.function:
        return _own_rows(classes, rows, sampling, key, epoch)
    members = _members(classes, names)
    quotas = _quotas(np.array([len(m) for m in members]), sampling, names)
    parts = [
        _turn(m, int(quota), (*key, number), epoch)
        for number, (m, quota) in enumerate(zip(members, quotas, strict=True))
        if quota
    ]
    chosen: Indices = np.concatenate(parts)
    return chosen[epoch_order(len(chosen), key, epoch)]


def mixed_in(rows: Indices, further: Indices, quota: int, key: tuple[int, int], epoch: int) -> Indices:
    """The rows of an epoch with `quota` of `further` ones among them, which take turns over the epochs."""
    chosen = np.concatenate([rows, _turn(further, quota, (*key, MIXING_IN), epoch)])
    return np.asarray(chosen[epoch_order(len(chosen), key, epoch)], dtype=np.int64)


def _own_rows(labels: NDArray[Any] | None, rows: int, sampling: Sampling, key: tuple[int, int], epoch: int) -> Indices:
    """What a sampler of the user's own (`core.own_code`) gives: a function (labels, epoch, seed) -> row numbers."""
    name = sampling.function
    if sampling != Sampling(function=name):
        raise FoldlineError(
            "a sampler of your own does all of the sampling", where="sampling", next="leave the rest out"
        )
    function = own_code.load(name, ("labels", "epoch", "seed"), where="sampling.function")
    chosen = np.asarray(own_code.attempt(name, lambda: function(labels, epoch, key_seed(*key))))
    if (
        chosen.ndim != 1
        or chosen.dtype.kind not in "iu"
        or not ((chosen >= 0) & (chosen < rows)).all()
        or not len(chosen)
    ):
        raise FoldlineError(f"must give row numbers from 0 to {rows - 1}", where=f"sampling.function: {name}")
    return chosen.astype(np.int64)


def rows_per_epoch(classes: NDArray[Any] | None, rows: int, sampling: Sampling, names: Sequence[str]) -> int:
    """How many rows `epoch_rows` gives, in every epoch; raises as it does."""
    if sampling == Sampling():
        return rows
    if sampling.function:
        return len(_own_rows(classes, rows, sampling, (0, 0), 0))
    return int(_quotas(np.array([len(m) for m in _members(classes, names)]), sampling, names).sum())


def repeats(rows: Indices) -> Indices:
    """For each place, how often its row came before it: what makes a repeated row another picture.

    >>> repeats(np.array([5, 3, 5, 5, 3])).tolist()
    [0, 0, 1, 2, 1]
    """
    return np.asarray(pd.Series(rows).groupby(rows).cumcount(), dtype=np.int64)


def _members(classes: Indices | None, names: Sequence[str]) -> list[Indices]:
    """The rows of each class, in their order; the last is rows without a label."""
    if classes is None:
        raise FoldlineError(
            "rows can only be sampled by the classes of one target, and this task has none or several",
            where="sampling",
            next="leave `sampling` out",
        )
    if classes.ndim == 2:
        classes = _rarest_label(classes)
    order = np.argsort(classes, kind="stable").astype(np.int64)
    return np.split(order, np.cumsum(np.bincount(classes, minlength=len(names) + 1))[:-1])


def _rarest_label(labels: Indices) -> Indices:
    """[rows] the label of each row that fewest rows have; [rows, outputs] -> outputs where a row has none."""
    counts = labels.sum(axis=0)
    cost = np.where(labels > 0, counts, len(labels) + 1)
    rarest: Indices = np.where(labels.any(axis=1), cost.argmin(axis=1), labels.shape[1])
    return rarest


def _quotas(counts: Indices, sampling: Sampling, names: Sequence[str]) -> Indices:
    """[classes + 1] how many rows each class gives an epoch: caps first, which make the epoch's length, then shares."""
    weights = _weights(sampling, names)
    present = counts > 0
    low, high = sampling.at_least, sampling.at_most
    if high and low > high:
        raise FoldlineError(f"at_least ({low}) is more than at_most ({high})", where="sampling.at_least")
    sizes = np.where(present, np.maximum(counts, low), 0)
    sizes = np.minimum(sizes, high) if high else sizes
    if sampling.balance == 0 and not sampling.weights:
        return np.asarray(sizes, dtype=np.int64)
    shares = np.where(present, np.maximum(sizes, 1) ** (1.0 - sampling.balance), 0.0) * weights
    return _whole_numbers(shares, int(sizes.sum()))


def _weights(sampling: Sampling, names: Sequence[str]) -> NDArray[np.float64]:
    weights = np.ones(len(names) + 1)
    for name, weight in sampling.weights.items():
        if name not in names:
            raise unknown("class", name, list(names), where="sampling.weights")
        weights[list(names).index(name)] = weight
    return weights


def _whole_numbers(shares: NDArray[np.float64], total: int) -> Indices:
    """Whole numbers in these proportions that sum to `total`: the largest remainders are rounded up."""
    exact = shares / shares.sum() * total
    whole: Indices = np.floor(exact).astype(np.int64)
    missing = total - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:missing]] += 1
    return whole


def _turn(members: Indices, quota: int, key: tuple[int, ...], epoch: int) -> Indices:
    """`quota` of a class's rows: all as often as it holds them, the rest in turn, dealt anew once all had theirs."""
    times, rest = divmod(quota, len(members))
    parts = [members] * times
    if rest:
        turns = -(-len(members) // rest)
        dealt = np.random.default_rng(key_seed(*key, epoch // turns, DEALING)).permutation(members)
        start = epoch % turns * rest
        parts.append(np.take(dealt, np.arange(start, start + rest), mode="wrap"))
    chosen: Indices = np.concatenate(parts)
    return chosen
