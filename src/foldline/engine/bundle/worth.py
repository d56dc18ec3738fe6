"""What members, views and folds are worth: the score that is lost without them. Predictions in, numbers out.

Members by the OOF predictions; views by a trial of some validation rows; folds by how far they disagree on test rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.competition import Competition
from foldline.core.task import Array, Task, by_block
from foldline.engine.bundle.budget import Plan
from foldline.engine.bundle.trial import Trial, score_of
from foldline.scoring.blend import SMALLEST
from foldline.scoring.blender import Blender
from foldline.scoring.metrics import metric_for
from foldline.scoring.paired import compare_runs

RESAMPLES = 200  # of the bootstrap


@dataclass(frozen=True)
class Worth:
    """What the score loses between two plans.

    Attributes:
        blender: how members are blended.
        oof: the rows with their labels; members: [rows, outputs] of each run, in their order.
        tried: the rows of the trial with their labels; trials: of each run.
        tests: [folds, test rows, outputs] of each run, in the order of its folds.
    """

    facts: Competition
    outputs: list[str]
    blender: Blender
    oof: pd.DataFrame
    members: Mapping[str, Array]
    tried: pd.DataFrame
    trials: Mapping[str, Trial]
    tests: Mapping[str, Array]

    def __call__(self, before: Plan, after: Plan) -> float | None:
        """What the second plan's score is worse by; None: not known.

        The plans differ in one thing: members, views, or the number of folds.
        """
        compared = self._compared(before, after)
        if compared is None:
            return self._fewer_folds(before, after)
        rows, *values = compared
        worth = [self._score(one, rows) for one in values]
        return None if np.isnan(worth).any() else worth[0] - worth[1]

    def interval(self, before: Plan, after: Plan) -> tuple[float, float] | None:
        """The 95 % interval of what is lost, by bootstrap of the rows; None: not known."""
        compared = self._compared(before, after)
        if compared is None:
            return None
        rows, *values = compared
        columns = self._task.prediction_columns(self.outputs)
        tables = [rows.assign(**dict(zip(columns, one.T, strict=True))) for one in values]
        found = compare_runs(tables[0], tables[1], self.facts, self.outputs, resamples=RESAMPLES)
        return (found.low, found.high) if np.isfinite([found.low, found.high]).all() else None

    def _compared(self, before: Plan, after: Plan) -> tuple[pd.DataFrame, Array, Array] | None:
        """The rows that tell, and what both plans say of them; None where only the number of folds differs."""
        runs = [[load.run for load in plan.loads] for plan in (before, after)]
        if runs[0] != runs[1]:
            return self.oof, self._blend(self.members, runs[0]), self._blend(self.members, runs[1])
        if [load.views for load in before.loads] != [load.views for load in after.loads]:
            return self.tried, self._of_views(before), self._of_views(after)
        return None

    @property
    def _task(self) -> Task:
        return self.facts.task.of(self.outputs)

    def _score(self, values: Array, rows: pd.DataFrame) -> float:
        """By the competition's metric; more is better."""
        sign = 1 if metric_for(self.facts.metric, self._task).direction == "max" else -1
        return sign * score_of(values, rows, self.facts, self.outputs)

    def _blend(self, values: Mapping[str, Array], runs: Sequence[str]) -> Array:
        if len(runs) == 1 and self.blender.fit is None and self.blender.ratio is None:
            return values[runs[0]]
        return self.blender({run: values[run] for run in runs})

    def _of_views(self, plan: Plan) -> Array:
        means = {
            load.run: np.mean([self.trials[load.run].by_view[view] for view in load.views], axis=0)
            for load in plan.loads
        }
        return self._blend(means, list(means))

    def _fewer_folds(self, before: Plan, after: Plan) -> float | None:
        """An estimate by the folds' disagreement on the test rows.

        The mean of m folds differs from that of K as if noise were added, whose variance is 1/m - 1/K of that between
        folds. That noise, taken from test rows as sure as each OOF row is, is added to the OOF predictions. Each of
        these is of one fold, and has so much noise already, that the true cost is rather smaller.
        """
        runs = [load.run for load in before.loads]
        folds = min(len(self.tests[run]) for run in runs)
        if folds < 2 or not self.tests[runs[0]].shape[1]:
            return None
        each = np.stack([self._blend({run: self.tests[run][fold] for run in runs}, runs) for fold in range(folds)])
        share = (1 / after.most_folds - 1 / before.most_folds) * folds / (folds - 1)
        noise = (each - each.mean(axis=0)) * np.sqrt(share)
        oof = self._blend(self.members, runs)
        place = _as_sure(oof, each.mean(axis=0))
        turns = [(np.arange(len(oof)) + turn) % folds for turn in range(folds)]
        noisy = [self._score(by_block(_valid, self._task, oof + noise[turn, place]), self.oof) for turn in turns]
        lost = self._score(oof, self.oof) - float(np.mean(noisy))
        return None if np.isnan(lost) else lost


def _as_sure(rows: Array, others: Array) -> NDArray[np.int64]:
    """[rows] for each row the place of one of the others whose largest number has the same rank."""
    ranked = np.argsort(others.max(axis=1), kind="stable")
    place = np.empty(len(rows), dtype=np.int64)
    place[np.argsort(rows.max(axis=1), kind="stable")] = np.linspace(0, len(ranked) - 1, len(rows)).astype(int)
    return ranked[place]


def _valid(values: Array, task: Task) -> Array:
    """Predictions again: probabilities within 0 and 1, those of classes that exclude each other with the sum 1."""
    if not task.has_classes:
        return values
    prob = np.clip(values, SMALLEST, 1.0)
    return prob / prob.sum(axis=1, keepdims=True) if task.exclusive else prob
