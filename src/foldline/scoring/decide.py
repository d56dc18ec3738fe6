"""From probabilities to labels: thresholds and cut points fitted on OOF predictions. Arrays in, arrays out.

A score on the rows that a decision was fitted on is optimistic. `cross_fitted` gives labels whose score is not,
because each fold's decision comes from the others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from foldline.core.errors import FoldlineError
from foldline.core.task import Array, Task
from foldline.scoring.metrics.for_task import metric_for
from foldline.scoring.metrics.forms import check_arrays
from foldline.scoring.metrics.metric import Metric, Predicted

CANDIDATES = 200  # thresholds tried for one number, at quantiles of the predictions
NEVER = 2.0  # a threshold above every probability


@dataclass(frozen=True)
class Decision:
    """How probabilities become labels. JSON-friendly: `Decision(**dataclasses.asdict(d))`.

    Attributes:
        kind: argmax; round (regression: the nearest whole number, halves up); threshold (binary: class 1 from this
            probability on); thresholds (multi-label, one for each output); cuts (ordinal or regression: class i
            where i cuts are <= the expected class index); blocks (several targets: each by its own default).
        numbers: the threshold or thresholds or cuts.
        minimum: multi-label: 1 gives a row that reaches no threshold the label that comes nearest.
    """

    kind: Literal["argmax", "round", "threshold", "thresholds", "cuts", "blocks"]
    numbers: tuple[float, ...] = ()
    minimum: int = 0


def decide(decision: Decision, prob: Predicted) -> Array:
    """The labels of predictions [rows, outputs]: [rows] class indices, or [rows, outputs] of 0 and 1 for thresholds.

    >>> decide(Decision("threshold", (0.3,)), np.array([[0.6, 0.4], [0.8, 0.2]])).tolist()
    [1.0, 0.0]
    """
    numbers = np.array(decision.numbers)
    if decision.kind == "argmax":
        return np.asarray(prob.argmax(axis=1), dtype=np.float64)
    if decision.kind == "round":
        return np.floor(prob[:, 0].astype(np.float64) + 0.5)
    if decision.kind == "cuts":
        return np.searchsorted(numbers, expected_index(prob), side="right").astype(np.float64)
    if decision.kind == "threshold":
        return np.asarray(prob[:, -1] >= numbers[0], dtype=np.float64)
    labels: Array = (prob >= numbers).astype(np.float64)
    if decision.minimum:
        empty = labels.sum(axis=1) == 0
        labels[empty, (prob - numbers)[empty].argmax(axis=1)] = 1.0
    return labels


def expected_index(prob: Predicted) -> Array:
    """[rows] the expected class index of ordinal probabilities; a single column is a number already."""
    if prob.shape[1] == 1:
        return prob[:, 0].astype(np.float64)
    return np.asarray(prob @ np.arange(prob.shape[1], dtype=np.float64))


def top_k(prob: Predicted, k: int) -> NDArray[np.int64]:
    """[rows, min(k, outputs)] the most probable classes, best first; of equal ones the first class leads."""
    return np.argsort(-prob, axis=1, kind="stable")[:, :k].astype(np.int64)


def default_decision(task: Task, outputs: int) -> Decision:
    """The decision without any fitting: largest probability, >= 0.5 for each label, or the nearest whole number."""
    return Decision(task.decision, (0.5,) * outputs if task.decision == "thresholds" else ())


def fit_decision(name: str | Metric, truth: Array, prob: Predicted, task: Task) -> Decision:
    """The decision that scores best on these rows, never worse there than the default one.

    Binary: a threshold. Ordinal: cuts of the expected class index. Multi-label: a threshold for each output (exact
    for macro and micro F-beta, one common threshold for other metrics). Accuracy, and metrics that do not read
    labels, get the default decision: for calibrated probabilities it is the best one already.
    Optimistic on the rows that it was fitted on: see `cross_fitted`.
    """
    metric = metric_for(name, task)
    default = default_decision(task, prob.shape[1])
    fittable = task.fits(("two_classes", "ordered", "set", "numbers"))
    if metric.input != "label" or metric.name in ("accuracy", "error") or not fittable:
        return default
    truth, prob = check_arrays(truth, prob)
    if not task.has_classes:
        truth = np.floor(truth.reshape(len(truth), -1)[:, 0] + 0.5)
    value = _value_of(metric, truth, prob)
    if task.two_classes:
        trials = _thresholds(prob[:, -1], CANDIDATES)
        return _best([default, *(Decision("threshold", (t,)) for t in trials)], value)
    if task.label_sets:
        return _fit_sets(metric, truth, prob, value, default)
    return _fit_cuts(truth, prob, value, default)


def cross_fitted(name: str | Metric, truth: Array, prob: Predicted, folds: NDArray[np.int64], task: Task) -> Array:
    """Labels whose score is honest: each fold's rows are decided as fitted on the rows of the other folds.

    Args:
        folds: [rows] the fold of each row; at least two folds.
    """
    labels = decide(default_decision(task, prob.shape[1]), prob)
    for fold, decision in decisions_by_fold(name, truth, prob, folds, task).items():
        labels[folds == fold] = decide(decision, prob[folds == fold])
    return labels


def decisions_by_fold(
    name: str | Metric, truth: Array, prob: Predicted, folds: NDArray[np.int64], task: Task
) -> dict[int, Decision]:
    """Each fold's decision, fitted on the rows of the others; there must be two folds."""
    parts = np.unique(folds).tolist()
    if len(parts) < 2:
        raise FoldlineError("cross-fitting needs rows of at least two folds")
    return {fold: fit_decision(name, truth[folds != fold], prob[folds != fold], task) for fold in parts}


Value = Callable[[Decision], float]


def _value_of(metric: Metric, truth: Array, prob: Array) -> Value:
    """A function from a decision to its score, larger is better, undefined is the worst."""
    sign = 1.0 if metric.direction == "max" else -1.0

    def value(decision: Decision) -> float:
        score = sign * metric.function(truth, decide(decision, prob))
        return score if np.isfinite(score) else -np.inf

    return value


def _best(decisions: list[Decision], value: Value) -> Decision:
    """The decision of the largest value; the first of equals."""
    values = [value(decision) for decision in decisions]
    return decisions[int(np.argmax(values))]


def _thresholds(prob: Array, most: int) -> list[float]:
    """Midpoints between neighbouring probabilities, at most so many, the nearest to 0.5 first."""
    levels = np.unique(prob)
    middles = (levels[:-1] + levels[1:]) / 2
    if len(middles) > most:
        middles = middles[np.linspace(0, len(middles) - 1, most).round().astype(int)]
    return [0.5, *middles[np.argsort(np.abs(middles - 0.5), kind="stable")].tolist()]


def _fit_sets(metric: Metric, truth: Array, prob: Array, value: Value, default: Decision) -> Decision:
    """Thresholds for each output, with and without at least one label a row (only if every true row has one)."""
    outputs = prob.shape[1]
    trials = [default]
    trials += [Decision("thresholds", (t,) * outputs) for t in _thresholds(prob.ravel(), CANDIDATES // 4)]
    family, beta = _f_family(metric.name)
    if family == "macro":
        curves = [_Curve(truth[:, j], prob[:, j]) for j in range(outputs)]
        trials.append(Decision("thresholds", tuple(curve.best_f(beta) for curve in curves)))
    if family == "micro":
        trials.append(Decision("thresholds", _fit_micro(truth, prob, beta)))
    if (truth.sum(axis=1) >= 1).all():
        trials += [Decision(decision.kind, decision.numbers, minimum=1) for decision in trials]
    return _best(trials, value)


def _f_family(name: str) -> tuple[str, float]:
    """("macro", 2.0) for `f2_macro` and `fbeta_macro@2`; ("", 1.0) for a metric that is no F-beta."""
    stem, _, parameter = name.partition("@")
    head, _, average = stem.partition("_")
    if head == "fbeta" and parameter:
        return average, float(parameter)
    return (average, float(head[1:])) if head in ("f1", "f2") else ("", 1.0)


class _Curve:
    """One output's counts at every threshold that makes a difference, from "never" down."""

    def __init__(self, truth: Array, prob: Array) -> None:
        order = np.argsort(-prob, kind="stable")
        levels = prob[order]
        last = np.append(levels[:-1] != levels[1:], True)
        following = np.append(levels[1:], 0.0)
        self.threshold = np.append(NEVER, ((levels + following) / 2)[last])
        self.hits = np.append(0.0, np.cumsum(truth[order])[last])
        self.predicted = np.append(0.0, (np.arange(len(prob)) + 1.0)[last])
        self.true = float(truth.sum())

    def best_f(self, beta: float) -> float:
        """The threshold of the best F-beta, the nearest to 0.5 of equals; 0.5 where no row is positive."""
        if self.true == 0:
            return 0.5
        return self.best((1 + beta**2) * self.hits / (beta**2 * self.true + self.predicted))

    def best(self, gain: Array) -> float:
        """The threshold of the largest gain, the nearest to 0.5 of equals."""
        equal = self.threshold[gain >= gain.max() - 1e-12]
        return float(equal[np.abs(equal - 0.5).argmin()])


def _fit_micro(truth: Array, prob: Array, beta: float) -> tuple[float, ...]:
    """The thresholds of the best micro F-beta, exactly.

    F is a ratio of sums over outputs, so Dinkelbach's method holds: for a guess F each output maximises
    (1 + b²)·hits - F·predicted alone, which gives the next F, until F stays (doi:10.1287/mnsc.13.7.492).
    """
    curves = [_Curve(truth[:, j], prob[:, j]) for j in range(prob.shape[1])]
    ratio, thresholds = 0.0, [0.5] * len(curves)
    for _ in range(50):
        thresholds = [curve.best((1 + beta**2) * curve.hits - ratio * curve.predicted) for curve in curves]
        at = [int(np.flatnonzero(curve.threshold == t)[0]) for curve, t in zip(curves, thresholds, strict=True)]
        hits = sum(curve.hits[i] for curve, i in zip(curves, at, strict=True))
        below = sum(beta**2 * curve.true + curve.predicted[i] for curve, i in zip(curves, at, strict=True))
        following = float((1 + beta**2) * hits / below) if below > 0 else 0.0
        if abs(following - ratio) < 1e-12:
            break
        ratio = following
    return tuple(thresholds)


def _fit_cuts(truth: Array, prob: Array, value: Value, default: Decision) -> Decision:
    """Cuts by coordinate ascent from the class middles: each in turn takes its best place until none moves."""
    if truth.min() < 0:
        return default
    top = int(truth.max()) if prob.shape[1] == 1 else prob.shape[1] - 1
    places = np.quantile(expected_index(prob), np.linspace(0, 1, CANDIDATES // 4))
    fitted = Decision("cuts", tuple((np.arange(top) + 0.5).tolist()))
    for _ in range(20):
        before = fitted
        for i in range(top):
            fitted = _best([fitted, *_moved(fitted, i, places)], value)
        if fitted == before:
            break
    return _best([default, fitted], value)


def _moved(decision: Decision, i: int, places: Array) -> list[Decision]:
    """The decision with cut i at each place between its neighbours."""
    cuts = decision.numbers
    low, high = (-np.inf, *cuts)[i], (*cuts, np.inf)[i + 1]
    inside = places[(places > low) & (places < high)].tolist()
    return [Decision("cuts", (*cuts[:i], place, *cuts[i + 1 :])) for place in inside]
