"""The table about classes: one line a class. A run in, lines of the page out; reads and writes nothing.

Of thousands of classes it has the `MOST_LINES` worst, and a sentence that says what was left out.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from foldline.core.counted import counted
from foldline.core.task import CLASSES, Array
from foldline.report.look import formats
from foldline.report.run import analysis
from foldline.report.run.reported_run import ReportedRun

FEW_LINES = 25  # that are seen at once: more have a sentence about all of them
MOST_LINES = 1500  # each is ~250 bytes of the page
MOST_AREAS = 200  # an AUC costs a sort of all rows


@dataclass(frozen=True)
class ClassTable:
    """The lines, whether they have areas (AUC, average precision), and what was left out."""

    lines: list[dict[str, Any]]
    areas: bool
    note: str


def class_table(run: ReportedRun) -> ClassTable | None:
    """One line a class, of too many the worst; None for other tasks."""
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
    if len(run.outputs) <= FEW_LINES:
        return ""
    f1 = np.nan_to_num(counts["f1"][counts["rows"] > 0])
    median, never = formats.score(float(np.median(f1)), 3), int((f1 == 0).sum())
    worst = f": the table shows the {formats.count(shown)} with the lowest F1, larger classes first"
    left_out = worst if len(run.outputs) > MOST_LINES else ""
    return (
        f"{counted(len(run.outputs), 'classes')}, {formats.count(len(f1))} of them with rows{left_out}. "
        f"Over all classes with rows the median F1 is {median}; {counted(never, 'classes are')} never predicted right."
    )


def _line(run: ReportedRun, counts: dict[str, Array], i: int, areas: bool) -> dict[str, Any]:
    """One class; numbers are NaN where undefined."""
    is_class = analysis.one_against_rest(run.task, run.truth, i)
    auc, average_precision = analysis.area(is_class, run.predicted[:, i]) if areas else (float("nan"), float("nan"))
    scores = {name: float(counts[name][i]) for name in ("rows", "precision", "recall", "f1")}
    share = scores["rows"] / max(len(run.truth), 1)
    areas_of = {"auc": auc, "average_precision": average_precision}
    return {"name": formats.printable(run.outputs[i]), **scores, "share": share, **areas_of}
