"""Stacking: a small model learns from the members' predictions what the labels are. Stacks [members, rows, outputs] in.

Logits of probabilities, or numbers, are its columns. Of two classes, sets and numbers each output sees what the members
say of itself alone; of more classes that exclude each other all see all. The penalty's strength is chosen by the folds
of the rows that it is fitted on. Breiman 1996, doi:10.1007/BF00117832.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.task import Array, Task, hot_truth
from foldline.scoring.blend import SMALLEST
from foldline.scoring.fitted.target import Target

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)  # of the penalty's inverse, for columns of spread 1
MOST_COLUMNS = 2000  # of one logistic regression
MOST_TREES_OUTPUTS = 20  # outputs whose trees are kept in cv.json
TREES = {
    "num_leaves": 7, "learning_rate": 0.05, "feature_fraction": 0.8, "lambda_l2": 1.0, "seed": 0, "verbose": -1,
    "deterministic": True, "force_row_wise": True, "num_threads": 1,
}  # fmt: skip
ROUNDS = 80


@dataclass(frozen=True)
class Stack:
    """Ridge for numbers, logistic regression for classes."""

    words: str = "stack (ridge, or logistic regression)"
    linear: bool = False
    needs_all: bool = True
    most: int = 200_000

    def loss(self, target: Target) -> str:
        """Log loss, or the square of numbers."""
        return "log loss" if target.task.has_classes else "square"

    def fit(self, stack: Array, target: Target) -> dict[str, Any]:
        """{"coef": [models][columns], "intercept": [models]} of columns as they are."""
        parts = [
            _linear(columns, truth, target.folds, weight, target.task, len(names))
            for columns, truth, weight, names in _problems(stack, target)
        ]
        coef, intercept = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        return {"coef": coef.tolist(), "intercept": intercept.tolist()}

    def apply(self, stack: Array, task: Task, fit: dict[str, Any]) -> Array:
        """[rows, outputs]."""
        coef, intercept = np.array(fit["coef"]), np.array(fit["intercept"])
        if _sees_all(task):
            return _softmax(_all_columns(stack) @ coef.T + intercept)
        own = [stack_columns(stack, task, j) @ coef[i] for i, j in enumerate(_outputs(stack, task))]
        return _predictions(np.stack(own, axis=1) + intercept, task)


@dataclass(frozen=True)
class StackTrees:
    """Gradient boosting by LightGBM, an extra: few small trees."""

    words: str = "stack (LightGBM)"
    linear: bool = False
    needs_all: bool = True
    most: int = 1_000_000

    def loss(self, target: Target) -> str:
        """As `Stack`."""
        return "log loss" if target.task.has_classes else "square"

    def fit(self, stack: Array, target: Target) -> dict[str, Any]:
        """{"trees": [models] the text of each}."""
        lightgbm = import_lightgbm()
        if stack.shape[2] > MOST_TREES_OUTPUTS:
            raise FoldlineError(
                f"{counted(stack.shape[2], 'outputs have')} too many trees to be kept; at most {MOST_TREES_OUTPUTS}",
                where="BLEND=stack_lightgbm",
                next="use BLEND=weights or BLEND=stack",
            )
        texts = []
        for columns, truth, weight, names in _problems(stack, target):
            how = {"objective": "multiclass", "num_class": len(names)} if len(names) > 1 else {"objective": "binary"}
            how = how if target.task.has_classes else {"objective": "regression"}
            least = {"min_data_in_leaf": max(10, len(truth) // 50)}
            data = lightgbm.Dataset(columns, truth, weight=weight, free_raw_data=False)
            texts.append(lightgbm.train(TREES | least | how, data, ROUNDS).model_to_string())
        return {"trees": texts}

    def apply(self, stack: Array, task: Task, fit: dict[str, Any]) -> Array:
        """[rows, outputs]."""
        lightgbm = import_lightgbm()
        models = [lightgbm.Booster(model_str=text) for text in fit["trees"]]
        if _sees_all(task):
            return np.asarray(models[0].predict(_all_columns(stack)), dtype=np.float64)
        said = [
            model.predict(stack_columns(stack, task, j)) for model, j in zip(models, _outputs(stack, task), strict=True)
        ]
        values: Array = np.stack(said, axis=1)
        return np.concatenate([1 - values, values], axis=1) if task.two_classes else values


def import_lightgbm() -> Any:
    """The module; raises FoldlineError where the extra is not installed."""
    try:
        import lightgbm
    except ImportError as error:
        raise FoldlineError(
            "LightGBM is not installed", where="BLEND=stack_lightgbm", next='pip install "foldline[lightgbm]"'
        ) from error
    return lightgbm


def stack_columns(stack: Array, task: Task, output: int) -> Array:
    """[rows, members] what the members say of one output: logits, or numbers."""
    own = stack[..., output].T
    return np.log(_inside(own) / (1 - _inside(own))) if task.has_classes else own


def _inside(prob: Array) -> Array:
    return np.clip(prob, SMALLEST, 1 - SMALLEST)


def _all_columns(stack: Array) -> Array:
    """[rows, members * classes] the logs of the probabilities, those of a member with the mean 0."""
    logs = np.log(_inside(stack))
    logs = logs - logs.mean(axis=2, keepdims=True)
    return np.asarray(logs.transpose(1, 0, 2).reshape(stack.shape[1], -1))


def _sees_all(task: Task) -> bool:
    return task.exclusive and not task.two_classes


def _outputs(stack: Array, task: Task) -> list[int]:
    """The outputs that have a model of their own: of two classes the second alone."""
    return [1] if task.two_classes else list(range(stack.shape[2]))


def _problems(stack: Array, target: Target) -> Iterator[tuple[Array, Array, Array | None, list[int]]]:
    """(columns, truth, weight, classes) of each model; rows of shares stand once for each of their classes."""
    task, classes = target.task, list(range(stack.shape[2]))
    if _sees_all(task):
        columns = _all_columns(stack)
        if columns.shape[1] > MOST_COLUMNS:
            raise FoldlineError(
                f"{counted(len(stack), 'members')} of {len(classes)} classes are "
                f"{counted(columns.shape[1], 'columns')}, too many for a stack",
                where="BLEND",
                next="use BLEND=weights or BLEND=hill_climb",
            )
        if task.soft:
            yield (
                np.repeat(columns, len(classes), axis=0),
                np.tile(classes, len(columns)),
                target.truth.ravel(),
                classes,
            )
        else:
            yield columns, target.truth, None, classes
        return
    truth = hot_truth(target.truth, task, stack.shape[2]).astype(np.float64) if task.has_classes else target.truth
    for j in _outputs(stack, task):
        yield stack_columns(stack, task, j), truth.reshape(len(truth), -1)[:, j], None, [j]


def _linear(
    columns: Array, truth: Array, folds: Any, weight: Array | None, task: Task, classes: int
) -> tuple[Array, Array]:  # fmt: skip
    """([models, columns], [models]) the coefficients and intercepts; the penalty by the folds of these rows."""
    mean, spread = columns.mean(axis=0), columns.std(axis=0)
    scaled = (columns - mean) / np.where(spread > 0, spread, 1)
    folds = np.repeat(folds, len(truth) // len(folds))
    fit = _logistic if task.has_classes else _ridge
    best, lowest = STRENGTHS[1], np.inf
    for strength in STRENGTHS if len(np.unique(folds)) > 1 else ():
        loss = 0.0
        for inside in (folds == k for k in np.unique(folds)):
            own = None if weight is None else weight[~inside]
            model = fit(scaled[~inside], truth[~inside], own, classes, strength)
            loss += _loss(model, scaled[inside], truth[inside], None if weight is None else weight[inside], task)
        if loss < lowest:
            best, lowest = strength, loss
    coef, intercept = fit(scaled, truth, weight, classes, best)
    coef = coef / np.where(spread > 0, spread, 1)
    return coef, intercept - coef @ mean


def _ridge(columns: Array, truth: Array, weight: Array | None, classes: int, strength: float) -> tuple[Array, Array]:  # noqa: ARG001
    from sklearn.linear_model import Ridge

    found = Ridge(alpha=1 / strength).fit(columns, truth)
    return np.asarray(found.coef_)[None], np.asarray([found.intercept_])


def _logistic(columns: Array, truth: Array, weight: Array | None, classes: int, strength: float) -> tuple[Array, Array]:
    """A class that these rows lack is all but impossible; of one class alone everything is."""
    from sklearn.linear_model import LogisticRegression

    there = np.unique(truth if weight is None else truth[weight > 0]).astype(int)
    models = classes if classes > 1 else 1
    coef, intercept = np.zeros((models, columns.shape[1])), np.full(models, np.log(SMALLEST))
    if len(there) < 2:
        intercept[there[0] if models > 1 else 0] = 0.0 if models > 1 else np.log(SMALLEST) * (1 - 2 * there[0])
        return coef, intercept
    found = LogisticRegression(C=strength, max_iter=500).fit(columns, truth.astype(int), weight)
    own, beside = found.coef_, found.intercept_
    if models == 1:
        return np.asarray(own), np.asarray(beside)
    if len(there) == 2:
        own, beside = np.concatenate([-own, own]) / 2, np.concatenate([-beside, beside]) / 2
    coef[there], intercept[there] = own, beside
    return coef, intercept


def _loss(model: tuple[Array, Array], columns: Array, truth: Array, weight: Array | None, task: Task) -> float:
    """The sum over the rows."""
    said = columns @ model[0].T + model[1]
    if not task.has_classes:
        return float(((said[:, 0] - truth) ** 2).sum())
    if said.shape[1] == 1:
        return float(np.logaddexp(0, np.where(truth > 0, -said[:, 0], said[:, 0])).sum())
    own = -np.log(np.maximum(_softmax(said)[np.arange(len(truth)), truth.astype(int)], SMALLEST))
    return float(own.sum() if weight is None else (own * weight).sum())


def _softmax(logits: Array) -> Array:
    prob = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(prob / prob.sum(axis=1, keepdims=True))


def _predictions(said: Array, task: Task) -> Array:
    """[rows, outputs] of what each output's own model says: logits, or numbers."""
    if not task.has_classes:
        return said
    prob: Array = 1 / (1 + np.exp(-np.clip(said, -50, 50)))
    return np.concatenate([1 - prob, prob], axis=1) if task.two_classes else prob
