"""The linear head: logistic regression of classes, ridge regression of numbers, along a path of penalties."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import expit, softmax

from foldline.core.task import Array, Task
from foldline.models.fitted.spec import About, Fit, Kept, Parts, Scaler, Settings
from foldline.models.probe import LEAST_SCALE, linear_path


@dataclass(frozen=True)
class LinearHead:
    """Of scaled columns: weight [outputs, columns] and bias [outputs]."""

    scaler: Scaler
    weight: Array
    bias: Array
    task: Task

    def see(self, x: Parts) -> Array:
        """[rows, columns] scaled."""
        return self.scaler(x)

    def answer(self, seen: Array) -> Array:
        """[rows, outputs]."""
        return predicted(seen @ self.weight.T + self.bias, self.task)

    def kept(self) -> Kept:
        """Weight, bias and scales."""
        return Kept({**self.scaler.kept(), "weight": self.weight, "bias": self.bias})

    @classmethod
    def stored(cls, kept: Kept, about: About) -> Self:
        """What `kept` gave."""
        return cls(Scaler.stored(kept.arrays), kept.arrays["weight"], kept.arrays["bias"], about.task)


def linear(fit: Fit, grid: Sequence[Settings]) -> Iterator[LinearHead]:
    """`c` is the inverse strength of the penalty, on columns whose sources each have a total variance of 1.

    A fit starts from that of the next stronger penalty, which makes the whole path little dearer than its last one; so
    the grid begins with the strongest.
    """
    scaler = Scaler.of(fit.x, 0.0 if fit.task.single_label else LEAST_SCALE)
    strengths = [settings["c"] for settings in grid]
    for weight, bias in linear_path(scaler(fit.x), fit.truth, fit.task, fit.outputs, strengths):
        yield LinearHead(scaler, weight, bias, fit.task)


def predicted(logits: Array, task: Task) -> Array:
    """[rows, outputs] probabilities, or numbers as they are."""
    if not task.has_classes:
        return logits
    return np.asarray(expit(logits) if task.label_sets else softmax(logits, axis=1))
