"""Scores of classes become probabilities by a logistic fit of their own (Platt 1999), of several classes a softmax."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from foldline.core.task import Array, Task
from foldline.models.fitted.spec import Arrays


@dataclass(frozen=True)
class Platt:
    """A logistic fit of scores.

    Attributes:
        outputs: classes that there are; present: those that the fitted rows showed.
        scale: by which scores are divided.
        weight: [present, outputs] (of two [1, outputs], for the second); bias: alike; both empty where one is present.
    """

    outputs: int
    present: NDArray[np.int64]
    scale: float
    weight: Array
    bias: Array

    def __call__(self, scores: Array) -> Array:
        """[rows, outputs] probabilities of scores [rows, outputs]."""
        if len(self.present) < 2:
            return np.asarray(np.eye(self.outputs)[np.full(len(scores), self.present[0])])
        found = scores / self.scale @ self.weight.T + self.bias
        logits = np.full((len(scores), self.outputs), -10.0)
        logits[:, self.present] = _both(found[:, 0] / 2) if len(self.weight) == 1 else found
        return np.asarray(softmax(logits, axis=1))


@dataclass(frozen=True)
class Calibration:
    """What turns scores [rows, outputs] into probabilities: one fit of classes that exclude each other, one a label of
    sets; none: they stay as they are."""

    maps: Sequence[Platt] = ()
    label_sets: bool = False

    def __call__(self, scores: Array) -> Array:
        """[rows, outputs]."""
        if self.label_sets:
            labels = [one(_both(score))[:, 1] for one, score in zip(self.maps, scores.T, strict=True)]
            return np.stack(labels, axis=1)
        return self.maps[0](scores) if self.maps else scores

    def kept(self) -> Arrays:
        """By name; empty where nothing was fitted."""
        found: Arrays = {}
        for place, one in enumerate(self.maps):
            shape = {"outputs": np.array([one.outputs]), "scale": np.array([one.scale]), "present": one.present}
            parts = {**shape, "weight": one.weight, "bias": one.bias}
            found |= {f"platt_{place}_{name}": part for name, part in parts.items()}
        return found

    @classmethod
    def stored(cls, arrays: Arrays, task: Task) -> Self:
        """What `kept` gave."""
        maps: list[Platt] = []
        while (key := f"platt_{len(maps)}") + "_outputs" in arrays:
            outputs, scale, present, weight, bias = (
                arrays[f"{key}_{name}"] for name in ("outputs", "scale", "present", "weight", "bias")
            )
            maps.append(Platt(int(outputs[0]), present, float(scale[0]), weight, bias))
        return cls(maps, bool(maps) and task.label_sets)


AS_IT_IS = Calibration()


def calibration(scores: Array, truth: Array, task: Task) -> Calibration:
    """What turns scores [rows, outputs] into probabilities.

    Args:
        scores: of rows that whatever made them had not seen; more is likelier.
        truth: as `core.task.Task.truth` gives it, of one target of classes.
    """
    if not task.label_sets:
        return Calibration([_platt(scores, truth)])
    maps = [_platt(_both(score), label) for score, label in zip(scores.T, truth.T, strict=True)]
    return Calibration(maps, label_sets=True)


def _both(score: Array) -> Array:
    return np.stack([-score, score], axis=1)


def _platt(scores: Array, labels: Array) -> Platt:
    from sklearn.linear_model import LogisticRegression

    present, outputs = np.unique(labels).astype(np.int64), scores.shape[1]
    if len(present) < 2:
        return Platt(outputs, present, 1.0, np.zeros((0, outputs)), np.zeros(0))
    scale = max(float(scores.std()), 1e-9)
    model: Any = LogisticRegression(C=10.0, max_iter=1000).fit(scores / scale, labels.astype(int))
    return Platt(outputs, present, scale, model.coef_, model.intercept_)
