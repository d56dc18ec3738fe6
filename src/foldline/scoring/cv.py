"""A run's cross-validation record, `cv.json`, from its OOF predictions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from foldline.core.competition import Competition
from foldline.core.records.cv import Cv
from foldline.core.task import Array, Task
from foldline.scoring.choose import How, choose_decision, in_digits
from foldline.scoring.entities import aggregate
from foldline.scoring.intervals import score_interval
from foldline.scoring.metrics import metric_for, score, score_by_part
from foldline.scoring.metrics.for_task import target_metrics
from foldline.scoring.metrics.metric import Predicted

RESAMPLES, LEVEL = 1000, 0.95


def cross_validation(
    oof: pd.DataFrame,
    facts: Competition,
    outputs: Sequence[str],
    *,
    prob: Predicted | None = None,
    metrics: Sequence[str] = (),
    decide: How | None = None,
) -> dict[str, Any]:
    """The scores of OOF predictions: pooled over all rows, and of each fold by itself.

    The pooled score is that of one list of all rows; the mean is that of the folds' scores. They differ for
    metrics that are no mean over rows (AUC, F1), and where folds' models are calibrated differently.
    Metrics of labels score those of the default decision; with `decide` those that the submission would get,
    each row's decided without its own fold.

    Args:
        oof: row_id, fold, the target columns, and [group], [entity].
        prob: [rows, outputs] its predictions; None: they are columns of `oof`.
        metrics: further metrics, beside those of the facts.
        decide: how the submission's labels are decided, where it holds labels and the metric reads them.

    Returns:
        The fields metric, direction, pooled, per_fold, mean, std (ddof = 1), interval, interval_method, level,
        resamples, metrics, rows, decision; an undefined score (one class in a fold) is null, and so is its interval.
    """
    table, truth, prob = _scored(oof, facts, outputs, prob)
    task = facts.task.of(outputs)
    folds = table["fold"].to_numpy()
    clusters = table["group"].to_numpy() if "group" in table.columns else None
    metric = metric_for(facts.metric, task)
    choice = choose_decision(facts.metric, truth, prob, folds, task, decide) if decide else None
    answers = choice.answers if choice else prob
    reads: set[str] = {"label", metric.input} if choice else {"label"}
    scored = answers if metric.input in reads else prob
    interval = score_interval(metric, truth, scored, clusters=clusters, resamples=RESAMPLES, level=LEVEL, task=task)
    every = {name: _one_metric(name, truth, prob, answers, folds, task, reads) for name in metric_names(facts, metrics)}
    decision = choice.record() if choice else None
    if choice and decision and choice.used == "fitted":
        decision["default_per_fold"] = _one_metric(facts.metric, truth, prob, prob, folds, task, reads)["per_fold"]
    return {
        "metric": facts.metric,
        **every[facts.metric],
        "interval": [_number(end) if every[facts.metric]["pooled"] is not None else None for end in interval[:2]],
        "interval_method": interval.method,
        "level": LEVEL,
        "resamples": RESAMPLES,
        "metrics": every,
        "rows": len(table),
        "decision": decision,
    }


def pooled_score(oof: pd.DataFrame, facts: Competition, outputs: Sequence[str], prob: Predicted | None = None) -> float:
    """The competition's metric over all rows, labels by the default decision; nan where it is undefined."""
    _, truth, prob = _scored(oof, facts, outputs, prob)
    return score(facts.metric, truth, prob, task=facts.task.of(outputs))


def _scored(
    oof: pd.DataFrame, facts: Competition, outputs: Sequence[str], prob: Predicted | None
) -> tuple[pd.DataFrame, Array, Predicted]:
    """What is scored, rows or entities: their table, truth and predictions."""
    columns = facts.task.prediction_columns(outputs)
    if "entity" in oof.columns:
        if prob is not None:
            oof = pd.concat([oof.reset_index(drop=True), pd.DataFrame(prob, columns=columns, copy=False)], axis=1)
        oof, prob = per_entity(oof, facts, outputs), None
    if prob is None:
        prob = oof[columns].to_numpy()
    return oof, facts.task.of(outputs).truth(oof, outputs, where="oof.parquet"), prob


def metric_names(facts: Competition, further: Sequence[str] = ()) -> list[str]:
    """All metrics that are reported, the competition's own first, then its parts where there are several targets.

    Raises FoldlineError where one is unknown or has no meaning.
    """
    metric = metric_for(facts.metric, facts.task, where="setting 'metric'")
    names = list(dict.fromkeys([facts.metric, *target_metrics(metric), *facts.metrics, *further]))
    for name in names:
        metric_for(name, facts.task, where="setting 'metric' or 'metrics'")
    return names


def per_entity(oof: pd.DataFrame, facts: Competition, outputs: Sequence[str]) -> pd.DataFrame:
    """One row for each entity, as the submission has one line for it."""
    keep = [*facts.task.target_columns(outputs), "fold", *(["group"] if "group" in oof.columns else [])]
    table = aggregate(oof, "entity", facts.submission.aggregate, task=facts.task, outputs=outputs, keep=keep)
    return table.rename(columns={"entity": "row_id"})


def cv_line(cv: Cv) -> str:
    """The scores in one line."""
    low, high = cv.interval
    folds = ", ".join(in_digits(value) for value in cv.per_fold)
    spread = "" if cv.std is None else f" ± {cv.std:.4f}"
    return (
        f"OOF {cv.metric} {in_digits(cv.pooled)} (95 % interval {in_digits(low)} to {in_digits(high)}); "
        f"folds {folds}; mean {in_digits(cv.mean)}{spread}{f'; {cv.remark}' if cv.remark else ''}"
    )


def _one_metric(
    name: str, truth: Any, prob: Any, answers: Any, folds: Any, task: Task, reads: set[str]
) -> dict[str, Any]:  # fmt: skip
    """One metric's scores: of `answers` where it reads what they are, else of the predictions."""
    metric = metric_for(name, task)
    pooled, per_fold = score_by_part(metric, truth, answers if metric.input in reads else prob, folds, task=task)
    return {
        "direction": metric.direction,
        "pooled": _number(pooled),
        "per_fold": [_number(value) for value in per_fold],
        "mean": _number(np.mean(per_fold)),
        "std": _number(np.std(per_fold, ddof=1)) if len(per_fold) > 1 else None,
    }


def _number(value: Any) -> float | None:
    """A float for JSON; NaN, which JSON has not, becomes null."""
    return float(value) if np.isfinite(value) else None
