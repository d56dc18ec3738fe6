"""The decision that a submission's labels come from: a fitted one only where it wins on rows it was not fitted on.

Arrays in, a choice and its scores out.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foldline.core.task import Array, Task
from foldline.scoring.decide import Decision, cross_fitted, decide, default_decision, fit_decision
from foldline.scoring.metrics import metric_for, score
from foldline.scoring.metrics.metric import Predicted

How = Literal["default", "fitted"]


@dataclass(frozen=True)
class Choice:
    """What decides the labels, and what that is worth.

    Attributes:
        decision: of the submission; where it is fitted, on all OOF rows.
        used: default or fitted.
        asked: what the person asked for.
        default_score: of the OOF labels by the default decision.
        cross_fitted_score: of labels whose decision was fitted on the other folds; None where nothing was fitted.
        answers: [rows, outputs] the labels of the OOF rows in the form of predictions (1 for the label), each row's
            decided without its own fold; where the default is used, the predictions as they are, unless the metric
            reads numbers: these are then the labels'.
    """

    decision: Decision
    used: How
    asked: How
    default_score: float
    cross_fitted_score: float | None
    answers: NDArray[Any]

    def record(self) -> dict[str, Any]:
        """The part of `cv.json` and of the ledger that tells it; an undefined score is null."""
        scores = {"default_score": self.default_score, "cross_fitted_score": self.cross_fitted_score}
        known = {name: value if value is not None and np.isfinite(value) else None for name, value in scores.items()}
        return {**asdict(self.decision), "used": self.used, "asked": self.asked, **known}


def choose_decision(
    name: str, truth: Array, prob: Predicted, folds: NDArray[np.int64], task: Task, asked: How
) -> Choice:
    """The decision for a metric that reads labels, or the numbers of labels.

    The fitted decision is compared by `cross_fitted` labels: on the rows that it was fitted on it always wins.

    Args:
        folds: [rows] the fold of each row; of a single fold nothing can be cross-fitted, and the default is used.
        asked: fitted: fit one, and use it where it is better; default: do not fit.
    """
    metric = metric_for(name, task)
    default = default_decision(task, prob.shape[1])
    plain = prob if metric.input == "label" else as_predictions(decide(default, prob), task, prob.shape[1])
    default_score = score(metric, truth, plain, task=task)
    fitted = default
    if asked == "fitted" and len(np.unique(folds)) > 1:
        fitted = fit_decision(metric, truth, prob, task)
    if fitted == default:
        return Choice(default, "default", asked, default_score, None, plain)
    answers = as_predictions(cross_fitted(metric, truth, prob, folds, task), task, prob.shape[1])
    cross_fitted_score = score(metric, truth, answers, task=task)
    if metric.better(cross_fitted_score, default_score):
        return Choice(fitted, "fitted", asked, default_score, cross_fitted_score, answers)
    return Choice(default, "default", asked, default_score, cross_fitted_score, prob)


def as_predictions(labels: Array, task: Task, outputs: int) -> NDArray[Any]:
    """Labels as predictions [rows, outputs] from which the default decision reads the same labels.

    >>> from foldline.core.task import TASKS
    >>> as_predictions(np.array([1.0, 0.0]), TASKS["binary"], 2).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    if labels.ndim == 2:
        return labels
    if not task.has_classes:
        return labels[:, None]
    found = np.zeros((len(labels), outputs), dtype=np.float32)
    found[np.arange(len(labels)), labels.astype(np.int64)] = 1
    return found


def stored_decision(record: dict[str, Any] | None) -> Decision | None:
    """The decision of `Choice.record`, as JSON gives it back; None where labels were not decided."""
    if record is None:
        return None
    return Decision(record["kind"], tuple(record["numbers"]), record["minimum"])


def decision_in_words(record: dict[str, Any], metric: str) -> str:
    """What decides the labels and what it was compared with, in one line; empty where nothing was fitted.

    >>> record = {"kind": "threshold", "numbers": [0.25], "used": "fitted", "default_score": 0.0}
    >>> decision_in_words(record | {"cross_fitted_score": 0.5}, "f1")
    'labels by the fitted threshold 0.25: f1 0.5000 cross-fitted, 0.0000 by the default decision'
    """
    if record["cross_fitted_score"] is None and record["used"] == "default":
        return ""
    scores = f"{metric} {in_digits(record['cross_fitted_score'])} cross-fitted, {in_digits(record['default_score'])}"
    if record["used"] == "default":
        return f"labels by the default decision; one fitted on OOF is no better: {scores} by the default decision"
    numbers = [f"{number:.4g}" for number in record["numbers"]]
    listed = ", ".join(numbers[:8]) + (f" ... ({len(numbers)})" if len(numbers) > 8 else "")
    return f"labels by the fitted {record['kind']} {listed}: {scores} by the default decision"


def in_digits(score: float | None) -> str:
    """A score for the terminal; None is one that is undefined."""
    return "undefined" if score is None else f"{score:.4f}"
