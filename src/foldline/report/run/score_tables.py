"""Tables about scores: one line a fold, one line a metric, one line a member. A run in, lines of the page out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foldline.report.look import formats
from foldline.report.run import analysis
from foldline.report.run.reported_run import ReportedRun


@dataclass(frozen=True)
class FoldLine:
    """One fold; what only training knows is None for an ensemble."""

    fold: int
    rows: int
    score: float | None
    probe: float | None
    gain: float | None
    below_probe: bool
    epoch: int | None
    epochs: int | None
    seconds: float | None


@dataclass(frozen=True)
class MetricLine:
    """One metric, pooled over all rows and fold by fold."""

    title: str
    best: str
    pooled: float | None
    mean: float | None
    std: float | None
    per_fold: Sequence[float | None]


@dataclass(frozen=True)
class MemberLine:
    """One member of an ensemble, by the default decision; the scores are None where its folder is gone."""

    name: str
    pooled: float | None
    mean: float | None
    std: float | None
    gain: float | None


def fold_lines(run: ReportedRun) -> list[FoldLine]:
    """One line for each fold, in order."""
    rows = run.oof["fold"].astype(int).value_counts()
    scores = zip(run.fold_numbers, run.cv["per_fold"], strict=True)
    return [_fold_line(run, k, int(rows[k]), score) for k, score in scores]


def _fold_line(run: ReportedRun, k: int, rows: int, score: float | None) -> FoldLine:
    meta = run.metas.get(k, {})
    probe = meta.get("probe_score")
    return FoldLine(
        fold=k,
        rows=rows,
        score=score,
        probe=probe,
        gain=_gain(run, meta.get("score"), probe),
        below_probe=k in run.cv["below_probe"] or bool(meta.get("below_probe")),
        epoch=meta.get("selected_epoch"),
        epochs=meta.get("epochs"),
        seconds=meta.get("seconds"),
    )


def _gain(run: ReportedRun, score: float | None, start: float | None) -> float | None:
    """By how much `score` is better than `start`; positive is better, whatever the metric's direction."""
    if score is None or start is None:
        return None
    return score - start if run.cv["direction"] == "max" else start - score


def metric_lines(run: ReportedRun) -> list[MetricLine]:
    """The competition's metric first, then the further ones."""
    scores = {run.cv["metric"]: run.cv} | run.cv["metrics"] | {run.cv["metric"]: run.cv}
    return [_metric_line(name, score) for name, score in scores.items()]


def _metric_line(name: str, score: dict[str, Any]) -> MetricLine:
    best = "higher" if score["direction"] == "max" else "lower"
    return MetricLine(formats.metric_title(name), best, score["pooled"], score["mean"], score["std"], score["per_fold"])


def member_lines(run: ReportedRun) -> list[MemberLine]:
    """The members of an ensemble, and how much the ensemble gains over each (positive is better)."""
    return [_member_line(run, name, cv) for name, cv in run.members.items()]


def _member_line(run: ReportedRun, name: str, cv: dict[str, Any] | None) -> MemberLine:
    if cv is None:
        return MemberLine(name, None, None, None, None)
    member = by_default(cv)
    gain = _gain(run, by_default(run.cv)["pooled"], member["pooled"])
    return MemberLine(name, member["pooled"], member["mean"], member["std"], gain)


def by_default(cv: dict[str, Any]) -> dict[str, float | None]:
    """pooled, mean and std by the default decision: a run alone may have no other, so runs are compared by it."""
    decision = cv.get("decision")
    if not decision or decision["used"] == "default":
        return {part: cv[part] for part in ("pooled", "mean", "std")}
    scores = np.array([np.nan if value is None else value for value in decision["default_per_fold"]])
    known = bool(np.isfinite(scores).all())
    std = float(scores.std(ddof=1)) if known and len(scores) > 1 else None
    return {"pooled": decision["default_score"], "mean": float(scores.mean()) if known else None, "std": std}


def error_lines(run: ReportedRun, most: int = 25) -> list[dict[str, Any]]:
    """Regression: the errors of each output, at most `most` of them; empty for other tasks."""
    if run.task.has_classes:
        return []
    errors = analysis.regression_errors(run.truth, run.predicted)
    named = zip(run.outputs, errors, strict=True)
    return [{"name": formats.printable(name) or "value", **error} for name, error in named][:most]
