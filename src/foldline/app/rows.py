"""The rows that can be browsed: what was predicted of them, whether it is right, and how sure. Arrays in, pages out.

Names of classes are kept as tuples: a row has one, several, or none; of several targets `<target>=<class>`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from foldline.core.task import Array, Task
from foldline.engine.finished.labels import decided
from foldline.report.run import analysis
from foldline.scoring.decide import Decision
from foldline.scoring.row_loss import row_loss, true_class

Names = tuple[str, ...]
Sort = Literal["loss", "unsure", "sure", "order"]
PAGE = 24  # rows
SORTS: dict[Sort, str] = {
    "loss": "worst first",
    "unsure": "least sure first",
    "sure": "surest first",
    "order": "in the order of the file",
}


@dataclass(frozen=True)
class Rows:
    """Rows with their predictions: those of training, out of fold, or those of the test.

    Attributes:
        ids, images: [rows] of each; an image is a path below `input/<comp>`, empty where it is not known.
        folds: [rows] the fold whose networks did not see the row; None of test rows, which no network saw.
        prob: [rows, outputs] probabilities or values.
        predicted: [rows] what is decided.
        true: [rows] the labels; None where they are not known, or not to be shown.
        right: [rows] whether all of them are right; None where that is not known, or has no meaning.
        sure: [rows] how far the first class leads, 0 to 1; None of numbers.
        loss: [rows] how wrong; None without labels.
    """

    task: Task
    ids: list[str]
    images: list[str]
    folds: NDArray[np.int64] | None
    prob: Array
    predicted: list[Names]
    true: list[Names] | None
    right: NDArray[np.bool_] | None
    sure: Array | None
    loss: Array | None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def sorts(self) -> list[Sort]:
        """The orders that have a meaning here."""
        has: dict[Sort, bool] = {"loss": self.loss is not None, "order": True}
        has |= {"unsure": self.sure is not None, "sure": self.sure is not None}
        return [sort for sort in SORTS if has[sort]]


def make_rows(
    task: Task, ids: list[str], images: list[str], prob: Array, decision: Decision | None,
    *, truth: Array | None, folds: NDArray[np.int64] | None,
) -> Rows:  # fmt: skip
    """The rows of a table of predictions.

    Args:
        task: with its outputs known.
        decision: how labels are decided; None: the task's default.
        truth: as `Task.truth` gives it.
    """
    predicted, true = predicted_names(task, prob, decision), None if truth is None else true_names(task, truth)
    right = None
    if true is not None and any(part.has_classes for part in task.parts):
        right = np.array([same_classes(task, *pair) for pair in zip(predicted, true, strict=True)], dtype=np.bool_)
    loss = None if truth is None or not len(truth) else row_loss(task, truth, prob)
    return Rows(task, ids, images, folds, prob, predicted, true, right, confidence(task, prob), loss)


def confidence(task: Task, prob: Array) -> Array | None:
    """[rows] the lead over the second class, 0 to 1; None where nothing is a class."""
    return analysis.margin(task, prob) if any(part.has_classes for part in task.parts) else None


def predicted_names(task: Task, prob: Array, decision: Decision | None) -> list[Names]:
    """[rows] the classes that are decided; numbers that nothing decides as they are."""
    parts = []
    for block, labels in decided(task, prob, decision):
        values = prob[:, block.columns] if labels is None else labels
        parts.append(_names(block.task, block.name, block.outputs(task.known), values))
    return _side_by_side(parts)


def true_names(task: Task, truth: Array) -> list[Names]:
    """[rows] the labels."""
    parts = [
        _names(block.task, block.name, block.outputs(task.known), _labels(block.task, block.truth(truth)))
        for block in task.blocks
    ]
    return _side_by_side(parts)


def _labels(task: Task, truth: Array) -> Array:
    return true_class(task, truth).astype(np.float64) if task.exclusive else truth


def _names(task: Task, target: str, outputs: list[str], values: Array) -> list[Names]:
    """Of one block's labels: [rows] class indices, [rows, classes] 0 and 1, or [rows, numbers]."""
    prefix = f"{target}=" if target else ""
    if not task.has_classes:
        numbers = values.reshape(len(values), -1).tolist()
        named = [f"{name} " if name else "" for name in outputs]
        return [
            tuple(f"{prefix}{name}{in_digits(value)}" for name, value in zip(named, row, strict=True))
            for row in numbers
        ]
    classes = [f"{prefix}{name}" for name in outputs]
    if task.label_sets:
        return [tuple(classes[i] for i in np.flatnonzero(row)) for row in values]
    return [(classes[int(label)],) for label in values]


def in_digits(value: float) -> str:
    """A number that is no probability.

    >>> in_digits(5.0), in_digits(22.1834)
    ('5', '22.18')
    """
    return f"{value:.4g}"


def _side_by_side(parts: list[list[Names]]) -> list[Names]:
    return parts[0] if len(parts) == 1 else [sum(row, ()) for row in zip(*parts, strict=True)]


def same_classes(task: Task, a: Names, b: Names) -> bool:
    """Whether two say the same classes; numbers beside them are not asked."""
    known = set(task.classes(task.known))
    return set(a) & known == set(b) & known


def chosen(rows: Rows, *, right: bool | None, true: str, predicted: str, sort: Sort) -> NDArray[np.int64]:
    """The places of the rows that are asked for, in the order that is asked for.

    Args:
        right: only those that are right, or wrong; None: all.
        true: only those of this class; empty: all. So is `predicted`.
    """
    keep = np.ones(len(rows), dtype=np.bool_)
    if right is not None and rows.right is not None:
        keep &= rows.right == right
    for name, names in ((true, rows.true), (predicted, rows.predicted)):
        if name and names is not None:
            keep &= np.array([name in own for own in names], dtype=np.bool_)
    places = np.flatnonzero(keep).astype(np.int64)
    key = {"loss": rows.loss, "sure": rows.sure, "unsure": rows.sure}.get(sort)
    if key is None:
        return places
    falling = key if sort == "unsure" else -key
    return places[np.argsort(falling[places], kind="stable")]


def pages(count: int) -> int:
    """How many pages so many rows take; at least one.

    >>> pages(0), pages(24), pages(25)
    (1, 1, 2)
    """
    return max(1, -(-count // PAGE))
