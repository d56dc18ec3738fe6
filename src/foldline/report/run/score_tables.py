"""Tables about scores: one line a fold, one line a metric, one line a member. A run in, lines of the page out.

A line is what the template shows by name; a number that is not known or undefined is None.
"""

from typing import Any

import numpy as np

from foldline.core.records.cv import Cv, Scores
from foldline.report.look import formats
from foldline.report.run import analysis
from foldline.report.run.reported_run import ReportedRun

Line = dict[str, Any]
MOST_OUTPUTS = 25  # of a regression's table


def fold_lines(run: ReportedRun) -> list[Line]:
    """One line for each fold, in order; what only training knows is None for an ensemble."""
    rows = run.oof["fold"].astype(int).value_counts()
    largest = {k: log["memory_mb"].max() for k, log in run.logs.items() if "memory_mb" in log}
    lines = []
    for k, score in zip(run.fold_numbers, run.cv.per_fold, strict=True):
        meta = run.metas.get(k)
        line = {"fold": k, "rows": int(rows[k]), "score": score}
        line |= dict.fromkeys(("probe", "gain", "epoch", "epochs", "seconds"))
        line |= {"below_probe": k in run.cv.below_probe, "speed": _speed(run, k), "memory": largest.get(k)}
        if meta is not None:
            line |= {"probe": meta.probe_score, "gain": _gain(run, meta.score, meta.probe_score)}
            line |= {"below_probe": line["below_probe"] or meta.below_probe}
            line |= {"epoch": meta.selected_epoch, "epochs": meta.epochs, "seconds": meta.seconds}
        lines.append(line)
    return lines


def _speed(run: ReportedRun, k: int) -> float | None:
    """Training pictures a second, the median of the epochs; None where it was not logged."""
    log = run.logs.get(k)
    if log is None or "images_per_second" not in log:
        return None
    speeds = log.loc[log["epoch"] > 0, "images_per_second"].dropna()
    return float(speeds.median()) if len(speeds) else None


def _gain(run: ReportedRun, score: float | None, start: float | None) -> float | None:
    """By how much `score` is better than `start`; positive is better, whatever the metric's direction."""
    if score is None or start is None:
        return None
    return score - start if run.cv.direction == "max" else start - score


def metric_lines(run: ReportedRun) -> list[Line]:
    """The competition's metric first, then the further ones: each pooled over all rows and fold by fold."""
    metrics: dict[str, Cv | Scores] = {run.cv.metric: run.cv}
    metrics |= {name: scores for name, scores in run.cv.metrics.items() if name != run.cv.metric}
    shown = ("pooled", "mean", "std", "per_fold")
    return [
        {"title": formats.metric_title(name), "best": "higher" if scores.direction == "max" else "lower"}
        | {part: getattr(scores, part) for part in shown}
        for name, scores in metrics.items()
    ]


def member_lines(run: ReportedRun) -> list[Line]:
    """The members of an ensemble by the default decision, and how much the ensemble gains over each.

    The scores are None where a member's folder is gone.
    """
    ensemble = by_default(run.cv)["pooled"]
    lines = []
    for name, cv in run.members.items():
        scores = dict.fromkeys(("pooled", "mean", "std")) if cv is None else by_default(cv)
        lines.append({"name": name, **scores, "gain": _gain(run, ensemble, scores["pooled"])})
    return lines


def by_default(cv: Cv) -> dict[str, float | None]:
    """pooled, mean and std by the default decision: a run alone may have no other, so runs are compared by it."""
    decision = cv.decision
    if decision is None or not cv.fitted:
        return {"pooled": cv.pooled, "mean": cv.mean, "std": cv.std}
    scores = np.array([np.nan if value is None else value for value in decision["default_per_fold"]])
    known = bool(np.isfinite(scores).all())
    std = float(scores.std(ddof=1)) if known and len(scores) > 1 else None
    return {"pooled": decision["default_score"], "mean": float(scores.mean()) if known else None, "std": std}


def error_lines(run: ReportedRun) -> list[Line]:
    """Regression: the errors of each output, of the first `MOST_OUTPUTS`; empty for other tasks."""
    if run.task.has_classes:
        return []
    errors = analysis.regression_errors(run.truth, run.predicted)
    named = zip(run.outputs, errors, strict=True)
    return [{"name": formats.printable(name) or "value", **error} for name, error in named][:MOST_OUTPUTS]
