"""The linear head: logistic regression of classes, ridge regression of numbers, along a path of penalties."""

from collections.abc import Sequence

import numpy as np
from scipy.special import expit, softmax

from foldline.core.task import Array, Task
from foldline.models.fitted.spec import Answers, Fit, Parts, Scaler, Settings
from foldline.models.probe import LEAST_SCALE, linear_path


def linear(fit: Fit, asked: Sequence[Parts], grid: Sequence[Settings]) -> Answers:
    """`c` is the inverse strength of the penalty, on columns whose sources each have a total variance of 1.

    A fit starts from that of the next stronger penalty, which makes the whole path little dearer than its last one; so
    the grid begins with the strongest.
    """
    scaler = Scaler.of(fit.x, 0.0 if fit.task.single_label else LEAST_SCALE)
    scaled = [scaler(x) for x in asked]
    strengths = [settings["c"] for settings in grid]
    for weight, bias in linear_path(scaler(fit.x), fit.truth, fit.task, fit.outputs, strengths):
        yield [predicted(x @ weight.T + bias, fit.task) for x in scaled]


def predicted(logits: Array, task: Task) -> Array:
    """[rows, outputs] probabilities, or numbers as they are."""
    if not task.has_classes:
        return logits
    return np.asarray(expit(logits) if task.label_sets else softmax(logits, axis=1))
