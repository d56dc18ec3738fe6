"""What each fold should hold its share of: labels of any task, jointly with other columns.

Reads a rows table; writes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack

from foldline.core.cells import numbers
from foldline.core.errors import FoldlineError, first_few
from foldline.core.task import Task
from foldline.splits.shuffle import Indices

Floats = NDArray[np.float64]
Sparse = Any  # scipy.sparse.csr_matrix; scipy has no types

BINS = 10  # of a continuous column: fine enough to keep its distribution, and 10 rows or more fill each
SOFT_BINS = 4  # of the largest soft label inside a class: how sure the votes were
CONTINUOUS = 20  # a numeric column with more values than these is binned


@dataclass(frozen=True)
class Strata:
    """The strata of n rows.

    Attributes:
        codes: [n] the joint stratum of each row, numbered so that the target decides first; None where a row
            has several labels (multi-label, several numbers, several targets).
        matrix: [n, columns] >= 0, sparse: how much of each stratum a row holds.
        classes: the first `classes` columns of `matrix` are classes, which no fold should lack.
    """

    codes: Indices | None
    matrix: Sparse
    classes: int


def make_strata(frame: pd.DataFrame, task: Task, outputs: Sequence[str], stratify: Sequence[str]) -> Strata:
    """The strata by the columns named in `stratify`; the word `target` means the labels, whatever their columns.

    Raises:
        FoldlineError: a column is not in the table, or a label is broken.
    """
    others = [name for name in stratify if name != "target"]
    joint = _joint_codes([_column_codes(frame, name) for name in others], len(frame))
    if "target" not in stratify:
        return Strata(joint, one_hot(joint), classes=0)
    target = _target_strata(task.truth(frame, outputs, where="the rows table"), task.of(outputs), len(outputs))
    return _joined(target, joint) if others else target


def class_matrix(truth: Floats, task: Task, classes: int) -> Sparse:
    """[rows, classes] 1 where a row counts as one of the class; a soft label counts for its largest class.

    Regression has no classes: [rows, 0].
    """
    if not task.has_classes:
        return csr_matrix((len(truth), 0))
    if task.label_sets:
        return csr_matrix(truth)
    return one_hot(truth.argmax(axis=1) if task.soft else truth.astype(np.int64), classes)


def one_hot(codes: Indices, columns: int | None = None) -> Sparse:
    """[n, columns] with a single 1 in each row, sparse."""
    width = int(codes.max(initial=-1)) + 1 if columns is None else columns
    return csr_matrix((np.ones(len(codes)), (np.arange(len(codes)), codes)), shape=(len(codes), width))


def bin_codes(values: Floats, bins: int = BINS) -> Indices:
    """Bins of about equally many rows, equal values always in the same bin; fewer bins for fewer than 10 rows each.

    >>> bin_codes(np.array([0.0, 0.0, 5.0, 6.0]), bins=2).tolist()
    [0, 0, 0, 0]
    >>> bin_codes(np.arange(40.0), bins=4).tolist()[9:11]
    [0, 1]
    """
    bins = max(1, min(bins, len(values) // 10))
    ordered = np.sort(values)
    edges = np.unique(ordered[[len(values) * i // bins for i in range(1, bins)]])
    return np.searchsorted(edges, values, side="right").astype(np.int64)


def _target_strata(truth: Floats, task: Task, outputs: int) -> Strata:
    if task.targets:
        return _of_several(truth, task, outputs)
    classes = class_matrix(truth, task, outputs)
    if task.single_label:
        return Strata(truth.astype(np.int64), classes, outputs)
    if task.soft:
        sureness = bin_codes(truth.max(axis=1), SOFT_BINS)
        return Strata(_joint_codes([truth.argmax(axis=1), sureness], len(truth)), classes, outputs)
    if task.label_sets:
        return Strata(truth[:, 0].astype(np.int64) if outputs == 1 else None, classes, outputs)
    bins = [bin_codes(truth[:, i]) for i in range(outputs)]
    return Strata(bins[0] if outputs == 1 else None, hstack([one_hot(codes) for codes in bins], format="csr"), 0)


def _of_several(truth: Floats, task: Task, outputs: int) -> Strata:
    """Each target's classes, then the bins of each number."""
    parts = [
        _target_strata(block.truth(truth), block.task, len(range(outputs)[block.columns])) for block in task.blocks
    ]
    parts.sort(key=lambda part: part.classes == 0)  # classes first
    return Strata(None, hstack([part.matrix for part in parts], format="csr"), sum(part.classes for part in parts))


def _joined(target: Strata, other: Indices) -> Strata:
    """`target` and a second stratum of each row, jointly."""
    cells = target.matrix.tocoo()
    both = cells.col.astype(np.int64) * (other.max(initial=0) + 1) + other[cells.row]
    column = np.unique(both, return_inverse=True)[1].reshape(-1)
    joint = csr_matrix((cells.data, (cells.row, column)), shape=(len(other), int(column.max(initial=-1)) + 1))
    codes = None if target.codes is None else _joint_codes([target.codes, other], len(other))
    return Strata(codes, hstack([target.matrix, one_hot(other), joint], format="csr"), target.classes)


def _joint_codes(codes: Sequence[Indices], rows: int) -> Indices:
    """[rows] one number for each combination that occurs, ordered by the first codes, then the second ..."""
    if not codes:
        return np.zeros(rows, dtype=np.int64)
    return np.unique(np.stack(codes, axis=1), axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _column_codes(frame: pd.DataFrame, name: str) -> Indices:
    """A column's cells as numbers; a numeric column of many values is binned, empty cells are a value."""
    if name not in frame.columns:
        raise FoldlineError(
            f"cannot stratify by '{name}': the rows have no such column",
            where="folds.stratify or holdout.stratify",
            next=f"name it in train.metadata; the rows have: {first_few(list(frame.columns), 20)}",
        )
    cells, codes = np.unique(frame[name].to_numpy(dtype=object).astype(str), return_inverse=True)
    values = numbers(frame[name])
    if len(cells) > CONTINUOUS and np.isfinite(values).all():
        return bin_codes(values)
    return codes.reshape(-1).astype(np.int64)
