"""Scores of classes become probabilities by a logistic fit of their own (Platt 1999), of several classes a softmax."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import softmax

from foldline.core.task import Array, Task

Calibration = Callable[[Array], Array]


def as_it_is(values: Array) -> Array:
    """No calibration."""
    return values


def calibration(scores: Array, truth: Array, task: Task) -> Calibration:
    """What turns scores [rows, outputs] into probabilities.

    Args:
        scores: of rows that whatever made them had not seen; more is likelier.
        truth: as `core.task.Task.truth` gives it, of one target of classes.
    """
    if not task.label_sets:
        return _platt(scores, truth)
    maps = [_platt(_both(score), label) for score, label in zip(scores.T, truth.T, strict=True)]

    def labels(values: Array) -> Array:
        return np.stack([one(_both(value))[:, 1] for one, value in zip(maps, values.T, strict=True)], axis=1)

    return labels


def _both(score: Array) -> Array:
    return np.stack([-score, score], axis=1)


def _platt(scores: Array, labels: Array) -> Calibration:
    from sklearn.linear_model import LogisticRegression

    present, outputs = np.unique(labels).astype(int), scores.shape[1]
    if len(present) < 2:
        return lambda values: np.eye(outputs)[np.full(len(values), present[0])]
    scale = max(float(scores.std()), 1e-9)
    model: Any = LogisticRegression(C=10.0, max_iter=1000).fit(scores / scale, labels.astype(int))

    def probabilities(values: Array) -> Array:
        logits, found = np.full((len(values), outputs), -10.0), model.decision_function(values / scale)
        logits[:, present] = _both(found / 2) if found.ndim == 1 else found
        return np.asarray(softmax(logits, axis=1))

    return probabilities
