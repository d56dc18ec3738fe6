"""Boosted trees by LightGBM, an extra: for columns that are unlike one another, as metadata and other runs are."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from foldline.core.errors import FoldlineError
from foldline.core.task import Array, hot_truth
from foldline.models.fitted.spec import Answers, Fit, Parts, Settings

MANY_COLUMNS = 100  # of so many each tree looks at a share
FEW_ROWS = 20  # a leaf, at most; of few rows fewer


def boosted(fit: Fit, asked: Sequence[Parts], grid: Sequence[Settings]) -> Answers:
    """`leaves` a tree, and `trees`: all numbers of trees come from one fit of the most. `rate` is the learning rate."""
    own, others = _joined(fit.x), [_joined(x) for x in asked]
    models: list[Any] = []
    leaves = 0.0
    for settings in grid:
        if settings["leaves"] != leaves:
            leaves = settings["leaves"]
            most = max(one["trees"] for one in grid if one["leaves"] == leaves)
            models = _one(fit, own, leaves, most) if fit.task.single_label else _each(fit, own, leaves, most)
        yield [_predicted(fit, models, x, int(settings["trees"])) for x in others]


def _joined(x: Parts) -> Array:
    return np.concatenate(x, axis=1).astype(np.float64)


def _each(fit: Fit, own: Array, leaves: float, trees: float) -> list[Any]:
    """A model for each output: a label, a share or a number."""
    truth = hot_truth(fit.truth, fit.task, fit.outputs).astype(np.float64)
    objective = "binary" if fit.task.label_sets else "cross_entropy" if fit.task.has_classes else "regression"
    return [_train(fit, own, truth[:, j], {"objective": objective}, leaves, trees) for j in range(fit.outputs)]


def _one(fit: Fit, own: Array, leaves: float, trees: float) -> list[Any]:
    """One model of classes that exclude each other."""
    several = {"objective": "multiclass", "num_class": fit.outputs}
    return [_train(fit, own, fit.truth, {"objective": "binary"} if fit.outputs == 2 else several, leaves, trees)]


def _train(fit: Fit, x: Array, y: Array, objective: dict[str, Any], leaves: float, trees: float) -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise FoldlineError(
            "the head 'lightgbm' needs a package that is not installed",
            where="head.name",
            next="pip install 'foldline[lightgbm]'",
        ) from error
    options = {
        **objective, "num_leaves": int(leaves), "learning_rate": fit.fixed["rate"], "verbosity": -1,
        "min_data_in_leaf": max(2, min(FEW_ROWS, len(x) // 50)), "seed": fit.seed, "deterministic": True,
        "force_row_wise": True, "num_threads": int(os.environ.get("OMP_NUM_THREADS", "0")),
        "feature_fraction": 1.0 if x.shape[1] <= MANY_COLUMNS else MANY_COLUMNS / x.shape[1],
    }  # fmt: skip
    return lightgbm.train(options, lightgbm.Dataset(x, y, params={"verbosity": -1}), num_boost_round=int(trees))


def _predicted(fit: Fit, models: list[Any], x: Array, trees: int) -> Array:
    """[rows, outputs]."""
    found = [np.asarray(model.predict(x, num_iteration=trees), dtype=np.float64) for model in models]
    if fit.task.single_label:
        return np.stack([1 - found[0], found[0]], axis=1) if found[0].ndim == 1 else found[0]
    prob = np.stack(found, axis=1)
    return prob / prob.sum(axis=1, keepdims=True) if fit.task.exclusive else prob
