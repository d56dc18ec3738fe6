"""Two runs on the same rows: which is better, by how much, and how sure that is. OOF tables in, numbers out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from foldline.core.competition import Competition
from foldline.core.task import Array, Task
from foldline.scoring.choose import choose_decision
from foldline.scoring.cv import LEVEL, RESAMPLES, per_entity
from foldline.scoring.intervals import paired_difference
from foldline.scoring.metrics import metric_for, score
from foldline.scoring.metrics.metric import Metric

Verdict = Literal["better", "worse", "same", "undefined"]


@dataclass(frozen=True)
class Difference:
    """How much better the left run is than the right one; above 0 is better, whatever the metric's direction.

    Attributes:
        gain, low, high: the difference of the pooled scores and its interval of `level`; nan where undefined.
        wins, losses: folds in which the left run is better, or worse; equal folds are neither.
        folds: folds in which both have a score.
        rows: what both have predicted and is compared: rows, or entities of several rows.
        everything: whether these are all the rows of both.
    """

    gain: float
    low: float
    high: float
    wins: int
    losses: int
    folds: int
    rows: int
    everything: bool
    level: float = LEVEL

    @property
    def verdict(self) -> Verdict:
        """Better or worse where the interval does not hold 0; same where these rows cannot tell."""
        if not np.isfinite([self.gain, self.low, self.high]).all():
            return "undefined"
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "same"


def compare_runs(
    left: pd.DataFrame,
    right: pd.DataFrame,
    facts: Competition,
    outputs: Sequence[str],
    *,
    fitted: tuple[bool, bool] = (False, False),
    resamples: int = RESAMPLES,
) -> Difference:
    """The paired difference of two OOF tables on the rows that both have.

    Rows are joined by id; entities are scored as one row each, and whole groups are drawn where there are groups.
    The interval tells how the difference varies with the rows; chance in training (another seed) is not in it.

    Args:
        left, right: row_id, fold, the target columns, the prediction columns, and [group], [entity].
        fitted: whether the labels of each run are decided by a rule that was fitted on OOF (`scoring.choose`).
    """
    shared = left[left["row_id"].isin(right["row_id"])].sort_values("row_id")  # the same draws for every pair
    if shared.empty:
        nothing = float("nan")
        return Difference(nothing, nothing, nothing, 0, 0, 0, 0, everything=False)
    task = facts.task.of(outputs)
    columns = task.prediction_columns(outputs)
    other = right.set_index("row_id").loc[shared["row_id"], columns].to_numpy()
    tables = [shared, shared.assign(**dict(zip(columns, other.T, strict=True)))]
    if "entity" in shared.columns:
        tables = [per_entity(table, facts, outputs) for table in tables]
    truth, folds = task.truth(tables[0], outputs, where="oof.parquet"), tables[0]["fold"].to_numpy()
    metric = metric_for(facts.metric, task)
    first, second = (
        _answers(metric, truth, table[columns].to_numpy(dtype=np.float64), folds, task, is_fitted)
        for table, is_fitted in zip(tables, fitted, strict=True)
    )
    clusters = tables[0]["group"].to_numpy() if "group" in tables[0].columns else None
    gain, low, high = paired_difference(
        metric, truth, first, second, clusters=clusters, resamples=resamples, level=LEVEL, task=task
    )
    if metric.direction == "min":
        gain, low, high = -gain, -high, -low
    gains = _fold_gains(metric, truth, first, second, folds, task)
    everything = len(shared) == len(left) == len(right)
    return Difference(
        gain, low, high, int((gains > 0).sum()), int((gains < 0).sum()), len(gains), len(truth), everything
    )


def _answers(metric: Metric, truth: Array, prob: Array, folds: Any, task: Task, is_fitted: bool) -> Array:
    """What the metric scores: the predictions, or labels whose rule was fitted on the other folds."""
    if not is_fitted or metric.input != "label":
        return prob
    return choose_decision(metric.name, truth, prob, folds, task, "fitted").answers


def _fold_gains(metric: Metric, truth: Array, left: Array, right: Array, folds: Any, task: Task) -> Array:
    """[folds in which both are defined] how much better `left` is."""
    sign = 1.0 if metric.direction == "max" else -1.0
    gains = []
    for inside in (folds == k for k in np.unique(folds)):
        one, other = (score(metric, truth[inside], side[inside], task=task) for side in (left, right))
        gains.append(sign * (one - other))
    return np.array([gain for gain in gains if np.isfinite(gain)], dtype=np.float64)
