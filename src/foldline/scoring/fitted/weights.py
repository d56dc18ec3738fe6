"""Blends by weights: predictions are the weighted mean of the members'. Stacks [members, rows, outputs] in.

| the way | its weights |
|---|---|
| weights | one a member, all >= 0, their sum 1: the smallest log loss (numbers: mean square), by SLSQP |
| class_weights | the same for each output by itself |
| hill_climb | by the competition's metric: a bag is filled, each time with the member that helps most |

The metric itself takes the loss's place where it has a gradient: log loss, Brier score, mean square, mean absolute.
Hill climbing: Caruana et al. 2004, doi:10.1145/1015330.1015432.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from foldline.core.task import Array, Task, hot_truth
from foldline.scoring.blend import SMALLEST
from foldline.scoring.fitted.target import Target

STEPS = 40  # members in the bag at most: weights of 2.5 %
NOTHING = 1e-4  # a weight below is 0
SQUARES = ("brier", "rmse", "mean_column_rmse", "r2", "pearson", "spearman", "rmsle", "quadratic_weighted_kappa")


@dataclass(frozen=True)
class _ByWeights:
    """What blends by weights share: they are linear, and some of the members can be left out."""

    words: str = ""
    linear: bool = True
    needs_all: bool = False
    most: int = 20_000_000

    def loss(self, target: Target) -> str:
        """What is made small: log loss, square or absolute."""
        return loss_of(target)

    def apply(self, stack: Array, task: Task, fit: dict[str, Any]) -> Array:
        """[rows, outputs]."""
        return weighted(stack, task, np.array(fit["weights"]))


@dataclass(frozen=True)
class SharedWeights(_ByWeights):
    """One weight a member, for all outputs."""

    words: str = "weighted mean"

    def fit(self, stack: Array, target: Target) -> dict[str, Any]:
        """{"weights": [members]}."""
        return {"weights": simplex(stack, target.truth, target.task, loss_of(target)).tolist()}


@dataclass(frozen=True)
class ClassWeights(_ByWeights):
    """A weight for each member and output."""

    words: str = "mean by weights for each output"

    def fit(self, stack: Array, target: Target) -> dict[str, Any]:
        """{"weights": [members][outputs]}."""
        loss, task = loss_of(target), target.task
        if task.exclusive:
            found = _per_class(stack, hot_truth(target.truth, task, stack.shape[2]).astype(np.float64))
        else:
            truth = target.truth.reshape(len(target), -1)
            columns = range(stack.shape[2])
            found = np.stack([simplex(stack[..., [j]], truth[:, [j]], task, loss) for j in columns], axis=1)
        return {"weights": found.tolist()}


@dataclass(frozen=True)
class HillClimb(_ByWeights):
    """Weights that are counts in a bag, by the competition's metric."""

    words: str = "mean of a bag that hill climbing filled"
    most: int = 1_000_000

    def loss(self, target: Target) -> str:
        """The metric."""
        return target.metric.name if target.metric else ""

    def fit(self, stack: Array, target: Target) -> dict[str, Any]:
        """{"weights": [members]}, the best of all bags on the way; equal ones where no bag has a score."""
        bag, best, kept = np.zeros(len(stack)), -np.inf, np.ones(len(stack))
        total = np.zeros(stack.shape[1:])
        for step in range(1, STEPS + 1):
            values = [target.value((total + member) / step) for member in stack]
            place = int(np.argmax(values))
            if not np.isfinite(values[place]):
                break
            bag[place] += 1
            total += stack[place]
            if values[place] > best:
                best, kept = values[place], bag.copy()
        return {"weights": (kept / kept.sum()).tolist()}


def weighted(stack: Array, task: Task, weights: Array) -> Array:
    """[rows, outputs] the weighted mean; of weights for each output the rows sum to 1 again.

    Args:
        stack: [members, rows, outputs].
        weights: [members] or [members, outputs], each column's sum 1.
    """
    if weights.ndim == 1:
        return np.asarray(np.tensordot(weights, stack, axes=1))
    found: Array = np.einsum("mo,mro->ro", weights, stack)
    return found / np.maximum(found.sum(axis=1, keepdims=True), SMALLEST) if task.exclusive else found


def some_weights(weights: Array, places: list[int]) -> Array:
    """The weights of some members, their sum 1; equal ones where all of these had none.

    >>> some_weights(np.array([0.5, 0.25, 0.25]), [1, 2]).tolist()
    [0.5, 0.5]
    """
    kept = weights[places]
    total = kept.sum(axis=0)
    return np.asarray(np.where(total > 0, kept / np.where(total > 0, total, 1), 1 / len(places)))


def loss_of(target: Target) -> str:
    """Which loss stands for the metric: itself where it has a gradient, else log loss, or the square of numbers."""
    name = target.metric.name if target.metric else ""
    if target.task.has_classes:
        return "square" if name == "brier" else "log loss"
    return "absolute" if name == "mae" else "square"


def simplex(stack: Array, truth: Array, task: Task, loss: str) -> Array:
    """[members] the weights >= 0 with the sum 1 whose mean has the smallest loss; equal ones where none is found."""
    from scipy.optimize import minimize

    members = len(stack)
    equal = np.full(members, 1 / members)
    if members == 1:
        return equal
    value = _loss(stack, truth, task, loss)
    found = minimize(
        value, equal, jac=True, method="SLSQP", bounds=[(0.0, 1.0)] * members,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(len(w))},
        options={"maxiter": 200, "ftol": 1e-10},
    )  # fmt: skip
    weights = np.clip(np.nan_to_num(found.x), 0, 1)
    weights[weights < NOTHING] = 0
    weights = weights / weights.sum() if weights.sum() > 0 else equal
    return weights if value(weights)[0] <= value(equal)[0] else equal


def _loss(stack: Array, truth: Array, task: Task, loss: str) -> Any:
    """A function of weights [members]: (the loss, its gradient)."""
    if loss == "log loss" and task.single_label:  # of a row only its own class counts
        chosen = np.clip(stack[:, np.arange(len(truth)), truth.astype(np.int64)], SMALLEST, 1)

        def of_class(w: Array) -> tuple[float, Array]:
            mixed = np.maximum(w @ chosen, SMALLEST)
            return float(-np.log(mixed).mean()), -(chosen / mixed).mean(axis=1)

        return of_class
    hot = hot_truth(truth, task, stack.shape[2]).ravel() if task.has_classes else truth.ravel()
    flat = stack.reshape(len(stack), -1)
    spread = max(float(np.var(hot)), SMALLEST)

    def of_numbers(w: Array) -> tuple[float, Array]:
        error = w @ flat - hot
        if loss == "absolute":
            return float(np.abs(error).mean() / spread**0.5), flat @ np.sign(error) / (len(hot) * spread**0.5)
        return float((error**2).mean() / spread), 2 * flat @ error / (len(hot) * spread)

    def of_probabilities(w: Array) -> tuple[float, Array]:
        mixed = np.clip(w @ flat, SMALLEST, 1 - SMALLEST)
        no = 0.0 if task.exclusive else 1 - hot
        value = -(hot * np.log(mixed) + no * np.log(1 - mixed)).mean()
        return float(value), flat @ (no / (1 - mixed) - hot / mixed) / len(hot)

    return of_probabilities if loss == "log loss" else of_numbers


def _per_class(stack: Array, hot: Array) -> Array:
    """[members, classes] weights, each class's sum 1, of the smallest log loss after rows sum to 1 again."""
    from scipy.optimize import minimize

    members, rows, classes = stack.shape

    def value(flat: Array) -> tuple[float, Array]:
        free = flat.reshape(members, classes)
        weights = np.exp(free - free.max(axis=0))
        weights /= weights.sum(axis=0)
        mixed = np.maximum(np.einsum("mo,mro->ro", weights, stack), SMALLEST)
        total = mixed.sum(axis=1, keepdims=True)
        loss = -(hot * np.log(mixed / total)).sum() / rows
        slope = np.einsum("mro,ro->mo", stack, (1 / total - hot / mixed) / rows)
        return float(loss), (weights * (slope - (weights * slope).sum(axis=0))).ravel()

    found = minimize(value, np.zeros(members * classes), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    free = np.nan_to_num(found.x).reshape(members, classes)
    weights = np.exp(free - free.max(axis=0))
    weights /= weights.sum(axis=0)
    weights[weights < NOTHING] = 0
    return np.asarray(weights / weights.sum(axis=0))
