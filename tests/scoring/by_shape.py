"""Scores where tests do not name the task: the arrays' shapes tell it.

[rows] truth is single-label; [rows, outputs] of 0 and 1 is multi-label, of shares soft, else regression.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldline.core.task import TASKS, Array, Task
from foldline.scoring import intervals, metrics
from foldline.scoring.metrics import Metric, metric_named
from foldline.scoring.metrics.catalogue import SET_TWIN
from foldline.scoring.metrics.classification import confusion_matrix
from foldline.scoring.metrics.forms import as_read_by, check_arrays, decided


def guess_task(name: str | Metric, truth: Array, prediction: Array) -> Task:
    """The first task that fits the arrays and has a meaning for the metric."""
    truth, prediction = check_arrays(truth, prediction)
    metric = metric_named(name) if isinstance(name, str) else name
    kinds = (*metric.kinds, "set") if metric.name in SET_TWIN else metric.kinds
    return next(TASKS[name] for name in _candidates(truth, prediction) if TASKS[name].fits(kinds))


def _candidates(truth: Array, prediction: Array) -> list[str]:
    if truth.ndim == 1:
        numbers = ["regression"] if prediction.ndim == 1 or prediction.shape[1] == 1 else []
        two = ["binary"] if prediction.ndim == 1 or prediction.shape[1] <= 2 else []
        return [*two, "multiclass", "ordinal", *numbers]
    sets = ["multilabel"] if bool(np.isin(truth, (0.0, 1.0)).all()) else []
    shares = ["soft"] if bool((truth >= 0).all() and (np.abs(truth.sum(axis=1) - 1) < 1e-6).all()) else []
    return [*sets, *shares, "regression"]


def score(name: str | Metric, truth: Array, prediction: Array, *, task: Task | None = None) -> float:
    """`metrics.score`."""
    return metrics.score(name, truth, prediction, task=task or guess_task(name, truth, prediction))


def score_interval(name: str | Metric, truth: Array, prediction: Array, **options: Any) -> tuple[float, float]:
    """The ends of `intervals.score_interval`."""
    options = {"task": guess_task(name, truth, prediction)} | options if "task" not in options else options
    return intervals.score_interval(name, truth, prediction, **options)[:2]


def paired_difference(
    name: str | Metric, truth: Array, left: Array, right: Array, **options: Any
) -> tuple[float, float, float]:
    """`intervals.paired_difference`."""
    options = {"task": guess_task(name, truth, left)} | options if "task" not in options else options
    return intervals.paired_difference(name, truth, left, right, **options)


def score_labels(name: str, truth: Array, labels: Array) -> float:
    """The score of labels that are decided already: [rows] class indices, or [rows, outputs] of 0 and 1."""
    metric = metric_named(name)
    assert metric.input == "label"
    truth = truth.argmax(axis=1).astype(np.float64) if truth.ndim > labels.ndim else truth
    return float(metric.function(truth, labels))


def confusion(truth: Array, prediction: Array) -> NDArray[np.int64]:
    """[outputs, outputs] counts, truth first; of sets [outputs, 2, 2]."""
    task = guess_task("accuracy", truth, prediction)
    _, truth, prediction = as_read_by("brier", truth, prediction, task)
    truth, labels = decided(truth, prediction, task)
    if truth.ndim == 1:
        return confusion_matrix(truth, labels, prediction.shape[1])
    return np.stack([confusion_matrix(truth[:, j], labels[:, j], 2) for j in range(prediction.shape[1])])


def per_class_accuracy(truth: Array, prediction: Array) -> Array:
    """`metrics.per_class_accuracy`."""
    return metrics.per_class_accuracy(truth, prediction, task=guess_task("accuracy", truth, prediction))
