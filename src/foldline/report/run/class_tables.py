"""Tables about classes: the confusion matrix, the pairs that are confused most often, and one line a class.

However many classes there are, each table has at most `MOST_LINES` lines and a sentence that says what was left out.
Arrays in, lines of the page out; reads and writes nothing.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from foldline.core.task import CLASSES, Array
from foldline.report.look import formats
from foldline.report.run import analysis
from foldline.report.run.reported_run import ReportedRun

MOST_CELLS = 10  # classes of a confusion matrix
MOST_LINES = 25
MOST_AREAS = 200  # an AUC costs a sort of all rows


@dataclass(frozen=True)
class Cell:
    """One cell of the confusion matrix: its rows, and their share of the true class in [0, 1]."""

    rows: int
    share: float
    right: bool


@dataclass(frozen=True)
class ClassTable:
    """The lines, whether they have areas (AUC, average precision), and what was left out."""

    lines: list[dict[str, Any]]
    areas: bool
    note: str


def confusion_cells(run: ReportedRun) -> list[list[Cell]]:
    """The confusion matrix, labels downwards; empty for multi-label, regression, more than `MOST_CELLS` classes."""
    if not run.task.exclusive or len(run.outputs) > MOST_CELLS:
        return []
    counts = analysis.confusion(run.task, run.truth, run.predicted)
    totals = np.maximum(counts.sum(axis=1), 1)
    return [[Cell(int(n), float(n / totals[i]), i == j) for j, n in enumerate(line)] for i, line in enumerate(counts)]


def confused_pairs(run: ReportedRun) -> list[tuple[str, str, int]]:
    """The most frequent confusions (true, predicted, rows), where the matrix would be too large."""
    if not run.task.exclusive or len(run.outputs) <= MOST_CELLS:
        return []
    pairs = analysis.confused_pairs(run.task, run.truth, run.predicted, most=15)
    return [(formats.printable(run.outputs[a]), formats.printable(run.outputs[b]), rows) for a, b, rows in pairs]


def class_table(run: ReportedRun) -> ClassTable | None:
    """One line a class, the worst classes first where there are too many; None for other tasks."""
    if not run.task.fits(CLASSES):
        return None
    counts = analysis.class_counts(run.task, run.truth, run.predicted)
    areas = len(run.outputs) <= MOST_AREAS
    shown = _shown(counts)
    lines = [_line(run, counts, i, areas) for i in shown]
    return ClassTable(lines, areas, _note(run, counts, len(shown)))


def _shown(counts: dict[str, Array]) -> list[int]:
    """All classes in their order, or the `MOST_LINES` with the lowest F1 among those that have rows."""
    classes = len(counts["rows"])
    if classes <= MOST_LINES:
        return list(range(classes))
    f1 = np.where(counts["rows"] > 0, np.nan_to_num(counts["f1"]), np.inf)
    worst = np.lexsort((-counts["rows"], f1))[:MOST_LINES]
    return [int(i) for i in worst if counts["rows"][i] > 0]


def _note(run: ReportedRun, counts: dict[str, Array], shown: int) -> str:
    if len(run.outputs) <= MOST_LINES:
        return ""
    f1 = np.nan_to_num(counts["f1"][counts["rows"] > 0])
    median, never = formats.score(float(np.median(f1)), 3), formats.count((f1 == 0).sum())
    return (
        f"{formats.count(len(run.outputs))} classes, {formats.count(len(f1))} of them with rows: the table shows the "
        f"{shown} with the lowest F1, larger classes first. Over all classes with rows the median F1 is {median}; "
        f"{never} classes are never predicted right."
    )


def _line(run: ReportedRun, counts: dict[str, Array], i: int, areas: bool) -> dict[str, Any]:
    """One class; numbers are NaN where undefined."""
    is_class = analysis.one_against_rest(run.task, run.truth, i)
    auc, average_precision = analysis.area(is_class, run.predicted[:, i]) if areas else (float("nan"), float("nan"))
    scores = {name: float(counts[name][i]) for name in ("rows", "precision", "recall", "f1")}
    share = scores["rows"] / max(len(run.truth), 1)
    areas_of = {"auc": auc, "average_precision": average_precision}
    return {"name": formats.printable(run.outputs[i]), **scores, "share": share, **areas_of}
