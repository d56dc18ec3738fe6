"""Every way to blend some runs, each scored on rows that it was not fitted on. OOF predictions in, numbers out.

The scores are of nested predictions. Which way is the best is chosen by these very scores, so that the best one of many
is a little too good; a way is proposed only where its paired difference to the mean is above 0 in its whole interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from foldline.core.errors import FoldlineError
from foldline.core.records.blend import BlendWay, WithoutRun
from foldline.core.task import Array, Task, hot_truth
from foldline.scoring.blend import BLENDS
from foldline.scoring.blender import Blender, fit_blend
from foldline.scoring.choose import choose_decision
from foldline.scoring.fitted.catalogue import FITTED
from foldline.scoring.fitted.runs import OofRuns
from foldline.scoring.fitted.target import Target
from foldline.scoring.intervals import paired_difference, score_interval
from foldline.scoring.metrics import score
from foldline.scoring.metrics.metric import Metric, Predicted

RESAMPLES = 400
LEVEL = 0.95
FEWEST = 3  # runs of which one can be left out


@dataclass
class Study:
    """Blends of some runs on their OOF rows.

    Attributes:
        decide: fit labels by cross-fitting before they are scored, where the metric reads labels.
        learnt: why no stack is fitted to these runs (`core.provenance.require_unlearnt`); empty: it may be.
    """

    oof: OofRuns
    decide: bool = False
    learnt: str = ""
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def target(self) -> Target:
        """The rows."""
        return self.oof.target

    @cached_property
    def scored(self) -> Target:
        """The rows, or entities, as the metric sees them."""
        return self.target.as_scored()

    @property
    def metric(self) -> Metric:
        """The competition's."""
        assert self.target.metric is not None
        return self.target.metric

    @property
    def fits_labels(self) -> bool:
        """Whether labels are fitted: thresholds, but not cut points, whose fit takes too long for so many blends."""
        task = self.target.task
        return self.decide and self.metric.input == "label" and (task.two_classes or task.label_sets)

    @cached_property
    def mean(self) -> Predicted:
        """What is scored of the plain mean."""
        return self.answers(Blender("mean", self.target.task)(self.oof.values))

    def answers(self, prob: Predicted) -> Predicted:
        """What the metric scores of predictions [rows, outputs]."""
        own = self.target.scored(prob)
        if not self.fits_labels:
            return own
        return choose_decision(self.metric.name, self.scored.truth, own, self.scored.folds, self.scored.task,
                               "fitted").answers  # fmt: skip

    def alone(self) -> dict[str, float | None]:
        """Each run's own score."""
        return {run: self._score(self.answers(prob)) for run, prob in self.oof.values.items()}

    def ways(self, names: Sequence[str] = (*BLENDS, *FITTED)) -> list[BlendWay]:
        """All ways, the best first; those that have no meaning here stand in `left_out`."""
        found = []
        for name in names:
            try:
                found.append(self._way(name))
            except FoldlineError as error:
                self.left_out[name] = error.what
        sign = -1.0 if self.metric.direction == "max" else 1.0
        return sorted(found, key=lambda way: np.inf if way.nested is None else sign * way.nested)

    def _way(self, name: str) -> BlendWay:
        if name == "rank_mean" and not _reads_ranks(self.metric):
            raise FoldlineError(f"ranks are no predictions for {self.metric.name}")
        if self.learnt and name in FITTED and FITTED[name].needs_all:
            raise FoldlineError(self.learnt)
        blender, prob = self._nested(name, list(self.oof.values))
        own = self.answers(prob)
        low, high, _ = score_interval(
            self.metric, self.scored.truth, own, clusters=self.scored.clusters, resamples=RESAMPLES, level=LEVEL,
            task=self.scored.task,
        )  # fmt: skip
        gain = self._gain(own, self.mean) if name != "mean" else (0.0, 0.0, 0.0)
        fit = blender.fit
        return BlendWay(
            name=name, nested=self._score(own), interval=(_number(low), _number(high)), gain=_number(gain[0]),
            gain_interval=(_number(gain[1]), _number(gain[2])), weights=blender.weights(),
            **({} if fit is None else {
                "fitted": self._score(self.answers(blender(self.oof.values))), "to": fit.to, "rows": fit.rows[0],
            }),
        )  # fmt: skip

    def best(self, ways: Sequence[BlendWay]) -> str:
        """The way that is proposed: of those that are clearly better than the mean the best one.

        Weights for each class need to be clearly better than common ones as well.
        """
        for way in ways:
            low = way.gain_interval[0]
            if low is None or low <= 0 or (way.name == "class_weights" and not self._better_than_common()):
                continue
            return way.name
        return "mean"

    def _better_than_common(self) -> bool:
        runs = list(self.oof.values)
        own, common = (self.answers(self._nested(name, runs)[1]) for name in ("class_weights", "weights"))
        return self._gain(own, common)[1] > 0

    def without(self, name: str) -> list[WithoutRun]:
        """What the blend gains where each run is left out; nothing of fewer than three runs."""
        runs = list(self.oof.values)
        if len(runs) < FEWEST:
            return []
        whole = self.answers(self._nested(name, runs)[1])
        found = []
        for run in runs:
            rest = self.answers(self._nested(name, [other for other in runs if other != run])[1])
            gain, low, high = self._gain(rest, whole)
            found.append(WithoutRun(run=run, gain=_number(gain), gain_interval=(_number(low), _number(high))))
        return sorted(found, key=lambda one: np.inf if one.gain is None else -one.gain)

    def errors(self) -> Array:
        """[runs, runs] the correlation of what each run is wrong by, over rows and outputs; of targets the mean."""
        target, task = self.target, self.target.task
        parts = []
        for block in task.blocks:
            truth = block.truth(target.truth)
            wrong = [_errors(own[:, block.columns], truth, block.task) for own in self.oof.values.values()]
            with np.errstate(invalid="ignore", divide="ignore"):
                parts.append(np.atleast_2d(np.corrcoef(np.stack(wrong))))
        return np.asarray(np.mean(parts, axis=0))

    def _nested(self, name: str, runs: Sequence[str]) -> tuple[Blender, Array]:
        """The blend of some runs, and [rows, outputs] what it says of each row without its fold."""
        members, target = {run: self.oof.values[run] for run in runs}, self.target
        if name in BLENDS:
            blender = Blender(name, target.task)
            return blender, blender(members)
        blender = fit_blend(name, members, target, of_rows=self.oof.of_rows)
        return blender, blender(members, target.folds)

    def _score(self, answers: Predicted) -> float | None:
        return _number(score(self.metric, self.scored.truth, answers, task=self.scored.task))

    def _gain(self, left: Predicted, right: Predicted) -> tuple[float, float, float]:
        """How much better the left one is, and the interval of that."""
        gain, low, high = paired_difference(
            self.metric, self.scored.truth, left, right, clusters=self.scored.clusters, resamples=RESAMPLES,
            level=LEVEL, task=self.scored.task,
        )  # fmt: skip
        return (gain, low, high) if self.metric.direction == "max" else (-gain, -high, -low)


def _reads_ranks(metric: Metric) -> bool:
    return all(part.metric.input == "rank" for part in metric.parts) if metric.parts else metric.input == "rank"


def _errors(prob: Predicted, truth: Array, task: Task) -> Array:
    """[rows * outputs] what a run is wrong by; of two classes one number a row."""
    wrong = prob.astype(np.float64) - (
        hot_truth(truth, task, prob.shape[1]) if task.has_classes else truth.reshape(len(truth), -1)
    )
    return np.asarray(wrong[:, 1:].ravel() if task.two_classes else wrong.ravel())


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
