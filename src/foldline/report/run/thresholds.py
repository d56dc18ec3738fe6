"""Precision, recall and what a threshold costs, of one class against the rest. A run in, what the page shows out.

The page shows one class and a fixed table; with scripts on, a reader chooses the class, the F-beta or the cost, and
the threshold, from the counts that stand in the page.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldline.core.task import CLASSES, Array
from foldline.report.look import formats
from foldline.report.run import analysis
from foldline.report.run.reported_run import Floats, ReportedRun
from foldline.scoring.row_loss import true_class

GRID = np.round(np.arange(0.05, 0.96, 0.05), 2)  # thresholds that every class has
TABLE = np.round(np.arange(0.1, 0.91, 0.1), 1)  # those of the fixed table
CURVE = 60  # further thresholds of a class, evenly spaced in recall
MOST = 100  # classes to choose from, each is ~1 kB of the page
WIDTH, HEIGHT, LEFT, BELOW = 440, 330, 52, 36  # px of the curve's picture, and of the room for its numbers


@dataclass(frozen=True)
class Curve:
    """What each threshold of one class does; a row is positive from the threshold on.

    Attributes:
        threshold: [points], falling.
        hits: [points] rows of the class that are found; alarms: other rows that are taken for it.
        positive: rows of the class; rows: all.
        area: average precision, NaN where only one kind of row exists.
    """

    name: str
    threshold: Array
    hits: NDArray[np.int64]
    alarms: NDArray[np.int64]
    positive: int
    rows: int
    area: float

    @property
    def precision(self) -> Array:
        """[points] NaN where nothing is taken for the class."""
        return analysis.ratio(self.hits.astype(np.float64), (self.hits + self.alarms).astype(np.float64))

    @property
    def recall(self) -> Array:
        """[points]."""
        return np.asarray(self.hits / max(self.positive, 1))

    def f1(self) -> Array:
        """[points] 2 hits / (rows of the class + rows taken for it)."""
        return np.asarray(2 * self.hits / np.maximum(self.positive + self.hits + self.alarms, 1))

    def packed(self) -> str:
        """`threshold:hits:alarms` of each point, for the page's script."""
        points = zip(self.threshold, self.hits, self.alarms, strict=True)
        return " ".join(f"{threshold:g}:{hits}:{alarms}" for threshold, hits, alarms in points)


def curve_of(name: str, is_class: NDArray[np.bool_], prob: Floats) -> Curve:
    """The counts at the thresholds of `GRID` and at `CURVE` more, of which none is rounded beyond a row.

    >>> curve = curve_of("x", np.array([True, True, False]), np.array([0.9, 0.4, 0.6]))
    >>> at = curve.threshold.tolist().index(0.5)
    >>> curve.hits[at].item(), curve.alarms[at].item()
    (1, 1)
    """
    own, others = np.sort(prob[is_class].astype(np.float64)), np.sort(prob[~is_class].astype(np.float64))
    spaced = own[np.unique(np.linspace(0, len(own) - 1, CURVE).astype(int))] if len(own) else own
    threshold = np.unique(np.concatenate([GRID, np.floor(spaced * 1e4) / 1e4, [0.0]]))[::-1]
    hits, alarms = (len(part) - np.searchsorted(part, threshold - 1e-9) for part in (own, others))
    area = analysis.area(is_class, prob)[1]
    return Curve(name, threshold, hits.astype(np.int64), alarms.astype(np.int64), len(own), len(prob), area)


def curves(run: ReportedRun) -> list[Curve]:
    """Of two classes the positive one; of an ordered task "at least" each; else each class that has rows.

    The first one is that of which the page speaks without scripts: the class with the lowest F1.
    """
    if not run.task.fits(CLASSES) or not run.probabilities:
        return []
    names, classes = [formats.printable(name, 60) for name in run.outputs], len(run.outputs)
    if run.task.two_classes:
        return [curve_of(names[1], analysis.one_against_rest(run.task, run.truth, 1), run.predicted[:, 1])]
    if run.task.ordered:
        true = true_class(run.task, run.truth)
        above = np.cumsum(run.predicted[:, ::-1], axis=1)[:, ::-1]
        parts = [(f"at least {names[i]}", true >= i, above[:, i]) for i in range(1, classes)]
        return [curve_of(*part) for part in parts if part[1].any()][:MOST]
    counts = analysis.class_counts(run.task, run.truth, run.predicted)
    f1 = np.where(counts["rows"] > 0, np.nan_to_num(counts["f1"]), np.inf)
    order = [int(i) for i in np.argsort(f1, kind="stable")[:MOST] if counts["rows"][i] > 0]
    return [curve_of(names[i], analysis.one_against_rest(run.task, run.truth, i), run.predicted[:, i]) for i in order]


def shown(run: ReportedRun) -> dict[str, Any] | None:
    """The curve, the table, the classes to choose from, and on which rows all of it is computed."""
    found = [curve for curve in curves(run) if 0 < curve.positive < curve.rows]
    if not found:
        return None
    first = found[0]
    with_rows = int((analysis.class_counts(run.task, run.truth, run.predicted)["rows"] > 0).sum())
    left_out = len(found) < with_rows and not (run.task.two_classes or run.task.ordered)
    return {
        "curves": found,
        "first": first,
        "path": path_of(first),
        "lines": lines_of(first),
        "best": _line(first, int(np.argmax(first.f1()))),
        "size": (WIDTH, HEIGHT, LEFT, BELOW),
        "left_out": f"the {len(found)} with the lowest F1 of {formats.count(with_rows)} classes" if left_out else "",
    }


def lines_of(curve: Curve) -> list[dict[str, Any]]:
    """The fixed table: one line a threshold."""
    return [_line(curve, int(np.abs(curve.threshold - at).argmin())) for at in TABLE]


def _line(curve: Curve, i: int) -> dict[str, Any]:
    hits, alarms = int(curve.hits[i]), int(curve.alarms[i])
    return {
        "threshold": float(curve.threshold[i]), "precision": float(curve.precision[i]),
        "recall": float(curve.recall[i]), "taken": hits + alarms, "alarms": alarms,
        "missed": curve.positive - hits, "f1": float(curve.f1()[i]), "cost": alarms + curve.positive - hits,
    }  # fmt: skip


def path_of(curve: Curve) -> str:
    """The curve as the path of an SVG, from the highest threshold to the lowest; the page's script draws the same."""
    wide, high = WIDTH - LEFT - 8, HEIGHT - BELOW - 8
    keep = np.isfinite(curve.precision)
    places = zip(LEFT + wide * curve.recall[keep], 8 + high * (1 - curve.precision[keep]), strict=True)
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
