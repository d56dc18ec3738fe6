"""A blend that says how sure it is: the mean of the logits, over a temperature. Stacks [members, rows, outputs] in.

Guo et al. 2017, https://arxiv.org/abs/1706.04599. Of a single run it is the run's own calibration.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from foldline.core.errors import FoldlineError
from foldline.core.task import Array, Task, hot_truth
from foldline.scoring.blend import SMALLEST, gmean
from foldline.scoring.fitted.target import Target

COLDEST, HOTTEST = 0.05, 20.0


@dataclass(frozen=True)
class Temperature:
    """One number for all members: above 1 predictions become less sure, below 1 surer. Their order stays."""

    words: str = "geometric mean at a fitted temperature"
    linear: bool = False
    needs_all: bool = False
    most: int = 20_000_000

    def loss(self, target: Target) -> str:  # noqa: ARG002
        """Log loss."""
        return "log loss"

    def fit(self, stack: Array, target: Target) -> dict[str, Any]:
        """{"temperature": one number} of the smallest log loss.

        Raises:
            FoldlineError: the target is a number.
        """
        from scipy.optimize import minimize_scalar

        task = target.task
        if not task.has_classes:
            raise FoldlineError("a temperature is for probabilities", where="BLEND=temperature", next="use BLEND=mean")
        mixed, hot = gmean(stack, task), hot_truth(target.truth, task, stack.shape[2])

        def loss(log_temperature: float) -> float:
            prob = np.clip(tempered(mixed, task, float(np.exp(log_temperature))), SMALLEST, 1 - SMALLEST)
            no = (1 - hot) * np.log(1 - prob) if task.label_sets else 0.0
            return float(-(hot * np.log(prob) + no).mean())

        found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
        return {"temperature": float(np.exp(found.x))}

    def apply(self, stack: Array, task: Task, fit: dict[str, Any]) -> Array:
        """[rows, outputs]."""
        return tempered(gmean(stack, task), task, fit["temperature"])


def tempered(prob: Array, task: Task, temperature: float) -> Array:
    """[rows, outputs] probabilities whose logits are divided by the temperature.

    >>> from foldline.core.task import TASKS
    >>> tempered(np.array([[0.8, 0.2]]), TASKS["binary"], 2.0).round(3).tolist()
    [[0.667, 0.333]]
    """
    logs = np.log(np.clip(prob, SMALLEST, 1.0)) / temperature
    yes: Array = np.exp(logs - logs.max(axis=1, keepdims=True)) if task.exclusive else np.exp(logs)
    if task.exclusive:
        return np.asarray(yes / yes.sum(axis=1, keepdims=True))
    no: Array = np.exp(np.log(np.clip(1 - prob, SMALLEST, 1.0)) / temperature)
    return yes / (yes + no)
