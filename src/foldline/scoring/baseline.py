"""What an answer is worth that never looks at a picture: the same for every row. Arrays in, numbers out.

A score alone says little: 0.97 is poor where 98 % of the rows are of one class.
"""

from dataclasses import dataclass

import numpy as np

from foldline.core.errors import FoldlineError
from foldline.core.task import Array, Task
from foldline.scoring.metrics import metric_for, score


@dataclass(frozen=True)
class Baseline:
    """The score of the constant answer.

    Attributes:
        score: NaN where the metric is undefined for it.
        share: how much of the way from it to a perfect score the scored predictions go: 1 all of it, 0 none, below 0
            they are worse than the constant answer. NaN where no perfect score is known.
    """

    score: float
    share: float


def constant(truth: Array, task: Task, outputs: int) -> Array:
    """[rows, outputs] the same for every row: how often each class is true, and the mean of numbers.

    Labels that are decided from it are those of the most frequent class.

    >>> from foldline.core.task import TASKS
    >>> constant(np.array([0.0, 1.0, 1.0, 1.0]), TASKS["binary"], 2)[0].tolist()
    [0.25, 0.75]
    """
    row = np.zeros(outputs)
    for block in task.blocks:
        part = block.truth(truth)
        if block.task.single_label:
            places = len(range(outputs)[block.columns])
            row[block.columns] = np.bincount(part.astype(np.intp), minlength=places) / max(len(part), 1)
        else:
            row[block.columns] = part.mean(axis=0)
    return np.broadcast_to(row, (len(truth), outputs))


def baseline(name: str, truth: Array, scored: float | None, task: Task, outputs: int) -> Baseline:
    """What the constant answer scores, beside a score on the same rows.

    The labels' own frequencies are used: a little better than what could be known before.

    Args:
        scored: the score that it stands beside; None: undefined.

    >>> from foldline.core.task import TASKS
    >>> baseline("accuracy", np.array([0.0, 0.0, 0.0, 1.0]), 0.9, TASKS["binary"], 2)
    Baseline(score=0.75, share=0.6)
    """
    nothing = Baseline(float("nan"), float("nan"))
    if not len(truth):
        return nothing
    try:
        metric = metric_for(name, task)
        plain = score(metric, truth, constant(truth, task, outputs), task=task)
    except FoldlineError:  # a metric of the user's own that is gone, or that takes no such answer
        return nothing
    way = metric.best - plain
    known = scored is not None and np.isfinite(way) and way != 0
    return Baseline(plain, round((float(scored or 0) - plain) / way, 12) if known else float("nan"))
