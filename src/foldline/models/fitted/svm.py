"""The support vector machine with an RBF kernel: of classes one against each other, of labels and numbers each alone.

The kernel is computed at once by a matrix product, and not row by row inside the solver: with a thousand columns that
is most of the time.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from foldline.core.task import Array
from foldline.models.fitted.spec import Answers, Fit, Parts, Scaler, Settings
from foldline.models.probe import LEAST_SCALE


def svm(fit: Fit, asked: Sequence[Parts], grid: Sequence[Settings]) -> Answers:
    """`c` is what an error costs. The kernel is exp(-d2 / 2) of columns whose total variance is 1, so that rows that
    have nothing in common have d2 = 2 on average. Numbers are predicted in their own unit, classes as scores."""
    scaler = Scaler.of(fit.x, LEAST_SCALE)
    own = scaler(fit.x)
    kernel, others = rbf(own, own), [rbf(scaler(x), own) for x in asked]
    for settings in grid:
        yield _one(fit, kernel, others, settings["c"])


def rbf(left: Array, right: Array) -> Array:
    """[left, right] exp(-|l - r|^2 / 2)."""
    squared = (left**2).sum(1)[:, None] + (right**2).sum(1)[None, :] - 2 * left @ right.T
    return np.asarray(np.exp(-0.5 * np.maximum(squared, 0.0)))


def _one(fit: Fit, kernel: Array, others: list[Array], c: float) -> list[Array]:
    from sklearn.svm import SVC, SVR

    def classes(labels: Array, outputs: int) -> list[Array]:
        present = np.unique(labels).astype(int)
        scores = [np.full((len(other), outputs), -10.0) for other in others]
        if len(present) == 1:
            for score in scores:
                score[:, present] = 0.0
            return scores
        machine: Any = SVC(C=c, kernel="precomputed", decision_function_shape="ovr").fit(kernel, labels.astype(int))
        for score, other in zip(scores, others, strict=True):
            found = machine.decision_function(other)
            score[:, present] = np.stack([-found, found], axis=1) if found.ndim == 1 else found
        return scores

    if fit.task.single_label:
        return classes(fit.truth, fit.outputs)
    columns = []
    for j in range(fit.outputs):
        column = fit.truth.reshape(len(kernel), -1)[:, j]
        if fit.task.label_sets:
            columns.append([score[:, 1] for score in classes(column, 2)])
            continue
        mean, std = column.mean(), column.std() or 1.0
        machine = SVR(C=c, kernel="precomputed", epsilon=0.1).fit(kernel, (column - mean) / std)
        columns.append([mean + std * machine.predict(other) for other in others])
    return [np.stack(parts, axis=1) for parts in zip(*columns, strict=True)]
