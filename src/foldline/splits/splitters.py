"""Rows to folds: one function a way to split, all in `SPLITTERS`.

Reads a rows table in memory; writes nothing. A splitter returns [rows] fold numbers 0..k-1. The result depends on
ids, labels, groups, k and seed; never on the order of the rows or on a library's random numbers.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from foldline.core.cells import MISSING, sorted_texts
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few, unknown
from foldline.splits.assign import assign, cover_classes
from foldline.splits.shuffle import Indices, shuffle_ranks
from foldline.splits.strata import Sparse, Strata


@dataclass(frozen=True)
class ToSplit:
    """What a splitter may look at, for n rows.

    Attributes:
        ids: [n] the row ids, each once.
        strata: what each fold should hold its share of.
        groups: [n] rows with the same name share a fold; None where there are no groups.
        given: [n] the cells of the user's own fold column; None where there is none.
    """

    ids: list[str]
    strata: Strata
    groups: list[str] | None = None
    given: list[str] | None = None


def plain(rows: ToSplit, k: int, seed: int) -> Indices:
    """A random split into folds whose sizes differ by at most 1."""
    return shuffle_ranks(rows.ids, seed, "folds") % k


def stratified(rows: ToSplit, k: int, seed: int) -> Indices:
    """Each fold gets its share of every stratum.

    With one stratum a row, the counts of each stratum, of each class and of all rows differ by at most 1
    between folds: the rows are sorted by stratum, shuffled inside it, and dealt like cards. Rows with several
    labels go the iterative way of `assign`.
    """
    ranks = shuffle_ranks(rows.ids, seed, "folds")
    if rows.strata.codes is not None:
        return np.lexsort((ranks, rows.strata.codes)).argsort() % k
    share = np.full(k, 1 / k)
    fold_of = assign(rows.strata.matrix, np.ones(len(ranks)), share, ranks, exact=True)
    return cover_classes(rows.strata.matrix[:, : rows.strata.classes], fold_of, k)


def grouped(rows: ToSplit, k: int, seed: int) -> Indices:
    """Groups stay whole; the folds' sizes are as equal as a greedy choice makes them."""
    return _by_group(rows, csr_matrix((len(rows.ids), 0)), 0, k, seed)


def stratified_grouped(rows: ToSplit, k: int, seed: int) -> Indices:
    """Groups stay whole, and each fold gets about its share of every stratum."""
    return _by_group(rows, rows.strata.matrix, rows.strata.classes, k, seed)


def open_set(rows: ToSplit, k: int, seed: int) -> Indices:
    """As `stratified_grouped`: the rows of the classes that lie in one fold alone are groups (`whole_classes`)."""
    return stratified_grouped(rows, k, seed)


def whole_classes(classes: list[str], share: float, seed: int, new_class: str = "") -> list[str]:
    """[rows] a name for the rows of each class that must lie in one fold alone, "" for all others.

    They are drawn from the classes of two rows or more, since one row alone is new to all other folds as it is.

    Args:
        new_class: what rows of no known class are labelled: no class itself, so that every fold has its share.

    >>> names = whole_classes(["a", "a", "b", "b", "c"], 0.5, seed=0)
    >>> len(set(names) - {""}), names[4]
    (1, '')
    """
    counts = Counter(classes)
    able = sorted(name for name, count in counts.items() if count > 1 and name != new_class)
    if not able:
        return [""] * len(classes)
    ranks, wanted = shuffle_ranks(able, seed, "unseen"), max(1, round(share * len(able)))
    drawn = {name for name, rank in zip(able, ranks.tolist(), strict=True) if rank < wanted}
    return [f"class {name}" if name in drawn else "" for name in classes]


def column(rows: ToSplit, k: int, seed: int) -> Indices:  # noqa: ARG001 - one signature for all
    """The user's own folds: the sorted values of a column become 0..k-1 (as numbers, where all are).

    Raises:
        FoldlineError: a cell is empty, or the column has not exactly k values.
    """
    if rows.given is None:
        raise FoldlineError("splitter 'column' needs a fold column", where="folds.column")
    empty = [id_ for id_, cell in zip(rows.ids, rows.given, strict=True) if cell.strip().lower() in MISSING]
    if empty:
        raise FoldlineError(
            f"{counted(len(empty), 'rows have')} no fold: {first_few(empty)}",
            where="folds.column",
            next="fill the cells",
        )
    values = sorted_texts(set(rows.given))
    if len(values) != k:
        raise FoldlineError(
            f"the fold column has {counted(len(values), 'values')} ({first_few(values, 10)}) and folds.k is {k}",
            where="folds.column",
            next=f"set folds.k: {len(values)}",
        )
    number = {value: fold for fold, value in enumerate(values)}
    return np.array([number[cell] for cell in rows.given], dtype=np.int64)


Splitter = Callable[[ToSplit, int, int], Indices]
SPLITTERS: dict[str, Splitter] = {
    "plain": plain,
    "stratified": stratified,
    "grouped": grouped,
    "stratified_grouped": stratified_grouped,
    "open_set": open_set,
    "column": column,
}


def choose_splitter(name: str, *, has_groups: bool, stratify: bool) -> str:
    """The splitter's name, with `auto` resolved by whether there are groups and columns to stratify by.

    >>> choose_splitter("auto", has_groups=True, stratify=True)
    'stratified_grouped'
    """
    if name == "auto":
        kinds = {(False, False): "plain", (False, True): "stratified", (True, False): "grouped"}
        return kinds.get((has_groups, stratify), "stratified_grouped")
    if name not in SPLITTERS:
        raise unknown("splitter", name, ["auto", *SPLITTERS], where="folds.splitter")
    return name


def split(rows: ToSplit, splitter: str, k: int, seed: int) -> Indices:
    """[rows] the fold of each row.

    Raises:
        FoldlineError: an unknown splitter, groups missing where it needs them, fewer rows or groups than folds.
    """
    name = choose_splitter(splitter, has_groups=rows.groups is not None, stratify=True)
    if len(rows.ids) < k:
        raise FoldlineError(
            f"{counted(len(rows.ids), 'rows cannot')} fill {counted(k, 'folds')}",
            where="folds.k",
            next="choose fewer folds",
        )
    return SPLITTERS[name](rows, k, seed)


def group_units(rows: ToSplit) -> tuple[list[str], Indices]:
    """The sorted names of the groups, and [rows] the number of each row's group."""
    if rows.groups is None:
        raise FoldlineError(
            "this splitter needs groups", where="folds.splitter", next="set train.group, or splitter: auto"
        )
    unit, found = pd.factorize(pd.Series(rows.groups, dtype=str))
    names = found.tolist()
    order = sorted(range(len(names)), key=names.__getitem__)
    place = np.empty(len(names), dtype=np.int64)
    place[order] = np.arange(len(names))
    return [names[i] for i in order], place[unit]


def sum_by_unit(matrix: Sparse, unit: Indices, units: int) -> Sparse:
    """[units, columns] the sums of the rows of `matrix` that belong to each unit."""
    member = csr_matrix((np.ones(len(unit)), (unit, np.arange(len(unit)))), shape=(units, len(unit)))
    return (member @ matrix).tocsr()


def _by_group(rows: ToSplit, matrix: Sparse, classes: int, k: int, seed: int) -> Indices:
    names, unit = group_units(rows)
    if len(names) < k:
        raise FoldlineError(
            f"{counted(len(names), 'groups cannot')} fill {counted(k, 'folds')}",
            where="folds.k",
            next="choose fewer folds or smaller groups",
        )
    units = sum_by_unit(matrix, unit, len(names))
    sizes = np.bincount(unit, minlength=len(names)).astype(np.float64)
    fold_of = assign(units, sizes, np.full(k, 1 / k), shuffle_ranks(names, seed, "folds"))
    return cover_classes(units[:, :classes], fold_of, k)[unit]
