"""What a blend is fitted to: the labels of some rows, as they are scored. Arrays in, arrays and numbers out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.competition import Competition
from foldline.core.task import Array, Block, Task
from foldline.scoring.entities import joined
from foldline.scoring.metrics import metric_for, score
from foldline.scoring.metrics.metric import Metric, Predicted

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Target:
    """The rows of an OOF table, and how their predictions are scored.

    Attributes:
        task: of the truth, its outputs known; metric: by which they are scored, None where a target is not scored.
        truth: [rows] or [rows, outputs] or [rows, targets] (`Task.truth`).
        folds: [rows] each row's fold; clusters: [rows] each row's group, None where there are none.
        units: [rows] the number of each row's entity, None where rows are scored; how: entities are made of rows.
    """

    task: Task
    metric: Metric | None
    truth: Array
    folds: Rows
    clusters: NDArray[Any] | None = None
    units: Rows | None = None
    how: str = "mean"

    def __len__(self) -> int:
        """How many rows."""
        return len(self.truth)

    def where(self, chosen: NDArray[Any]) -> "Target":
        """Some rows; of an entity all or none, so that it stays what it is."""
        clusters = None if self.clusters is None else self.clusters[chosen]
        units = None if self.units is None else self.units[chosen]
        return replace(self, truth=self.truth[chosen], folds=self.folds[chosen], clusters=clusters, units=units)

    def sample(self, most: int) -> Rows:
        """At most so many rows, evenly spaced; whole entities, at least one."""
        if len(self) <= most:
            return np.arange(len(self))
        if self.units is None:
            return np.linspace(0, len(self) - 1, max(most, 1)).round().astype(np.int64)
        names = np.unique(self.units)
        step = np.linspace(0, len(names) - 1, max(1, most * len(names) // len(self))).round().astype(np.int64)
        return np.flatnonzero(np.isin(self.units, names[step]))

    def of_block(self, block: Block) -> "Target":
        """One target of several: its truth, and its share of the metric."""
        if block.target is None:
            return self
        parts = self.metric.parts if self.metric is not None else ()
        metric = next((part.metric for part in parts if part.target == block.name), None)
        return replace(self, task=block.task, metric=metric, truth=block.truth(self.truth))

    def as_scored(self) -> "Target":
        """Its entities as rows, where there are entities."""
        if self.units is None:
            return self
        _, first = np.unique(self.units, return_index=True)
        return replace(self.where(first), units=None)

    def scored(self, prob: Predicted) -> Predicted:
        """[rows or entities, outputs] what the metric sees of predictions [rows, outputs], in `as_scored`'s order."""
        return prob if self.units is None else joined(prob, self.units, self.task, self.how)

    def value(self, prob: Predicted) -> float:
        """The score of predictions [rows, outputs], larger is better; the worst where it is undefined."""
        if self.metric is None:
            return -np.inf
        found = score(self.metric, self.as_scored().truth, self.scored(prob), task=self.task)
        return (found if self.metric.direction == "max" else -found) if np.isfinite(found) else -np.inf


def target_of(oof: pd.DataFrame, facts: Competition, outputs: Sequence[str]) -> Target:
    """The target of an OOF table.

    Args:
        oof: row_id, fold, the target columns, and [group], [entity].
    """
    task = facts.task.of(outputs)
    return Target(
        task, metric_for(facts.metric, task), task.truth(oof, outputs, where="oof.parquet"), oof["fold"].to_numpy(),
        oof["group"].to_numpy() if "group" in oof.columns else None,
        pd.factorize(oof["entity"])[0].astype(np.int64) if "entity" in oof.columns else None,
        facts.submission.aggregate,
    )  # fmt: skip
