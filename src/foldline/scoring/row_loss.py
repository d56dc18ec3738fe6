"""How wrong each row is. Arrays in, numbers out; reads and writes nothing."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldline.core.task import Array, Task

AT_A_TIME = 4_000_000  # numbers of which copies are made together
EPSILON = 1e-7  # float32 probabilities: a zero is only "smaller than one in ten million"


def true_class(task: Task, truth: Array) -> NDArray[np.intp]:
    """[rows] the class index of each row; of soft labels, the class with the largest share."""
    return truth.astype(np.intp) if task.single_label else truth.argmax(axis=1)


def portions(rows: int, outputs: int) -> list[slice]:
    """All rows, some at a time: at least one portion."""
    step = max(1, AT_A_TIME // max(outputs, 1))
    return [slice(start, start + step) for start in range(0, max(rows, 1), step)]


def row_loss(task: Task, truth: Array, predicted: NDArray[np.floating[Any]]) -> Array:
    """[rows] how wrong each row is, >= 0: log loss; of regression, |error| in standard deviations of the truth.

    >>> from foldline.core.task import TASKS
    >>> row_loss(TASKS["binary"], np.array([1.0, 0.0]), np.array([[0.5, 0.5], [1.0, 0.0]])).round(2)
    array([0.69, 0.  ])
    """
    if task.targets:
        parts = [row_loss(b.task, b.truth(truth), predicted[:, b.columns]) for b in task.blocks]
        return np.asarray(np.mean(parts, axis=0))
    if not task.has_classes:
        spread = truth.std(axis=0)
        return np.asarray((np.abs(predicted - truth) / np.where(spread > 0, spread, 1.0)).mean(axis=1))
    if task.single_label:
        prob_true = predicted[np.arange(len(truth)), true_class(task, truth)]
        return np.asarray(0.0 - np.log(np.clip(prob_true, EPSILON, 1.0)), dtype=np.float64)
    every = portions(*predicted.shape)
    if len(every) > 1:
        return np.concatenate([row_loss(task, truth[some], predicted[some]) for some in every])
    prob = np.clip(predicted, EPSILON, 1 - EPSILON)
    if task.soft:
        return np.asarray(-(truth * np.log(prob)).sum(axis=1))
    return np.asarray(-(truth * np.log(prob) + (1 - truth) * np.log(1 - prob)).mean(axis=1))
