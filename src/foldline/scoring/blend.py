"""Several members' predictions become one. Arrays [rows, outputs] in, one array [rows, outputs] out."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from foldline.core.errors import FoldlineError, unknown
from foldline.core.prediction_blocks import blocks_of
from foldline.core.task import Array, Task, by_block
from foldline.scoring.metrics.metric import Predicted

SMALLEST = 1e-7  # about the resolution of float32 near 1: a member's exact 0 must not outvote all others

RANKED = 8_000_000  # numbers that are ranked together: 64 MB


def mean(stack: Array, task: Task) -> Array:
    """The arithmetic mean; softmax rows sum to 1 again."""
    return _shares(_mean(stack), task)


def gmean(stack: Array, task: Task) -> Array:
    """The geometric mean of probabilities, which is the mean of their logs.

    Softmax rows are divided by their sum; a multi-label probability is treated as a pair (p, 1 - p), so both
    are the mean of the logits. Regression: the plain geometric mean, of numbers above 0 only.
    """
    if not task.has_classes:
        if (stack <= 0).any():
            raise FoldlineError("a geometric mean needs numbers above 0", next="blend by mean")
        return np.exp(_mean(np.log(stack)))
    yes: Array = np.exp(_mean(np.log(np.clip(stack, SMALLEST, 1.0))))
    if not task.label_sets:
        return _shares(yes, task)
    no: Array = np.exp(_mean(np.log(np.clip(1 - stack, SMALLEST, 1.0))))
    return yes / (yes + no)


def _mean(stack: Array) -> Array:
    """The mean over the members [members, rows, outputs]."""
    return np.asarray(np.tensordot(np.full(len(stack), 1 / len(stack)), stack, axes=1))


def rank_mean(stack: Array, task: Task) -> Array:
    """The mean of each column's ranks, scaled into (0, 1): rank / (rows + 1), ties share their mean rank.

    For metrics that read only the order (AUC): members may differ in calibration. The result is a score and no
    probability: its rows do not sum to 1 for three or more classes, and a log loss of it means nothing.
    The two columns of a binary task stay complementary.
    """
    from scipy.stats import rankdata

    ranks = np.stack([rankdata(member, axis=0) for member in stack]) / (stack.shape[1] + 1)
    blended = _mean(ranks)
    if task.two_classes and blended.shape[1] == 2:
        return np.stack([1 - blended[:, 1], blended[:, 1]], axis=1)
    return blended


Blend = Callable[[Array, Task], Array]
BLENDS: dict[str, Blend] = {"mean": mean, "gmean": gmean, "rank_mean": rank_mean}


def blend(name: str, members: Sequence[Array], task: Task) -> Array:
    """The members' predictions [rows, outputs], blended. Their rows must be in the same order.

    Args:
        name: an entry of BLENDS.

    >>> from foldline.core.task import TASKS
    >>> blend("mean", [np.array([[0.2, 0.8]]), np.array([[0.4, 0.6]])], TASKS["binary"]).round(3).tolist()
    [[0.3, 0.7]]

    Raises:
        FoldlineError: an unknown blend, no members, other shapes.
    """
    if name not in BLENDS:
        raise unknown("blend", name, list(BLENDS))
    if not members or len({np.shape(member) for member in members}) != 1:
        raise FoldlineError(f"members of shapes {[np.shape(member) for member in members]} cannot be blended")
    return by_block(BLENDS[name], task, np.stack(members).astype(np.float64))


class Member(Protocol):
    """A member's predictions, in blocks of rows or of columns (`core.prediction_blocks.PredictionBlocks`)."""

    def __len__(self) -> int:
        """How many rows."""

    def __iter__(self) -> Iterator[tuple[slice, Predicted]]:
        """Each block's place and its predictions [rows, outputs]; the same places in all members."""

    def some_columns(self, columns: slice) -> Predicted:
        """[rows, columns] some columns of all rows."""


def blended_blocks(name: str, members: Sequence[Member], task: Task) -> Iterator[tuple[slice, Predicted]]:
    """`blend` of members that are too many to be in memory together: each block's place, and it blended.

    Ranks are taken of some columns at a time; their mean is in memory once, as float32.
    """
    if name != "rank_mean":
        for blocks in zip(*members, strict=True):
            yield blocks[0][0], blend(name, [values.astype(np.float64) for _, values in blocks], task)
        return
    rows, outputs = len(members[0]), len(task.known)
    found, step = np.empty((rows, outputs), dtype=np.float32), max(1, RANKED // max(1, rows * len(members)))
    for block in task.blocks:
        start, end, _ = block.columns.indices(outputs)
        for first in range(start, end, end - start if block.task.two_classes else step):
            some = slice(first, end if block.task.two_classes else min(first + step, end))
            stack = np.stack([member.some_columns(some).astype(np.float64) for member in members])
            found[:, some] = rank_mean(stack, block.task)
    yield from ((place, found[place]) for place in blocks_of(rows, outputs))


def rows_sum_to_one(name: str, task: Task, outputs: int) -> bool:
    """Whether each row of this blend's output sums to 1 (what a predictions file is checked for)."""
    exclusive = any(part.exclusive for part in task.parts)
    return exclusive and (name != "rank_mean" or (task.two_classes and outputs == 2))


def _shares(prob: Array, task: Task) -> Array:
    return prob / prob.sum(axis=1, keepdims=True) if task.exclusive else prob
