"""Boosted trees by LightGBM, an extra: for columns that are unlike one another, as metadata and other runs are."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from foldline.core.errors import FoldlineError
from foldline.core.task import Array, Task, hot_truth
from foldline.models.fitted.spec import About, Fit, Kept, Parts, Settings

MANY_COLUMNS = 100  # of so many each tree looks at a share
FEW_ROWS = 20  # a leaf, at most; of few rows fewer


@dataclass(frozen=True)
class BoostedHead:
    """The first `trees` of each model: one model of classes that exclude each other, else one an output."""

    models: list[Any]
    trees: int
    task: Task

    def see(self, x: Parts) -> Array:
        """[rows, columns]."""
        return _joined(x)

    def answer(self, seen: Array) -> Array:
        """[rows, outputs]."""
        asked = {"num_iteration": self.trees, "num_threads": _threads()}
        found = [np.asarray(model.predict(seen, **asked), dtype=np.float64) for model in self.models]
        if self.task.single_label:
            return np.stack([1 - found[0], found[0]], axis=1) if found[0].ndim == 1 else found[0]
        prob = np.stack(found, axis=1)
        return prob / prob.sum(axis=1, keepdims=True) if self.task.exclusive else prob

    def kept(self) -> Kept:
        """LightGBM's own text of each model."""
        return Kept({}, [model.model_to_string(num_iteration=self.trees) for model in self.models])

    @classmethod
    def stored(cls, kept: Kept, about: About) -> Self:
        """What `kept` gave; raises FoldlineError where LightGBM is not installed."""
        library = _lightgbm()
        models = [library.Booster(model_str=text) for text in kept.texts]
        return cls(models, int(about.settings["trees"]), about.task)


def boosted(fit: Fit, grid: Sequence[Settings]) -> Iterator[BoostedHead]:
    """`leaves` a tree, and `trees`: all numbers of trees come from one fit of the most. `rate` is the learning rate."""
    own = _joined(fit.x)
    models: list[Any] = []
    leaves = 0.0
    for settings in grid:
        if settings["leaves"] != leaves:
            leaves = settings["leaves"]
            most = max(one["trees"] for one in grid if one["leaves"] == leaves)
            models = _one(fit, own, leaves, most) if fit.task.single_label else _each(fit, own, leaves, most)
        yield BoostedHead(models, int(settings["trees"]), fit.task)


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
    library = _lightgbm()
    options = {
        **objective, "num_leaves": int(leaves), "learning_rate": fit.fixed["rate"], "verbosity": -1,
        "min_data_in_leaf": max(2, min(FEW_ROWS, len(x) // 50)), "seed": fit.seed, "deterministic": True,
        "force_row_wise": True, "num_threads": _threads(),
        "feature_fraction": 1.0 if x.shape[1] <= MANY_COLUMNS else MANY_COLUMNS / x.shape[1],
    }  # fmt: skip
    return library.train(options, library.Dataset(x, y, params={"verbosity": -1}), num_boost_round=int(trees))


def _threads() -> int:
    return int(os.environ.get("OMP_NUM_THREADS", "0"))


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise FoldlineError(
            "the head 'lightgbm' needs a package that is not installed",
            where="head.name",
            next="pip install 'foldline[lightgbm]'",
        ) from error
    return lightgbm
