"""A target or a truth with a dimension too many, [4, 1] for [4], would broadcast in silence; here it fails."""

from typing import Annotated, Any

import numpy as np
import pytest
import torch

from contracts import ShapeError, checked
from foldline.core.choices import Mix
from foldline.core.run import Loss
from foldline.core.task import TASKS
from foldline.engine.losses.catalogue import build_objective
from foldline.images.mix import mix
from foldline.scoring.metrics import METRICS

COLUMN = np.ones((4, 1))


@pytest.mark.parametrize("name", ["focal", "asymmetric", "poly", "bi_tempered", "kl", "arcface"])
def test_a_loss_refuses_a_column_for_a_target(name: str) -> None:
    objective = build_objective(Loss(name=name), TASKS["multiclass"], list("abc"), np.arange(3.0))
    with pytest.raises(ShapeError, match=r"is \[4, 1\], not \[batch"):
        objective.function(torch.randn(4, 3), torch.ones(4, 1))


@pytest.mark.parametrize(
    ("name", "prediction"),
    [
        ("rmse", np.ones((4, 3))),
        ("mae", np.ones((4, 3))),
        ("accuracy", np.ones(4)),
        ("quadratic_weighted_kappa", np.ones(4)),
        ("brier", np.full((4, 3), 1 / 3)),
        ("log_loss", np.full((4, 3), 1 / 3)),
    ],
)
def test_a_metric_refuses_a_column_for_a_truth(name: str, prediction: Any) -> None:
    with pytest.raises(ShapeError):
        METRICS[name].function(COLUMN, prediction)


def test_mixing_refuses_pictures_and_targets_of_other_lengths() -> None:
    settings = Mix(name="mixup")
    assert mix(torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 1, 0]), 2, settings, 0)[1].shape == (4, 2)
    for pictures, target in ((torch.rand(4, 3, 2, 2), torch.rand(1, 2)), (torch.rand(4, 2, 2), torch.rand(4, 2))):
        with pytest.raises(ShapeError):
            mix(pictures, target, 2, settings, 0)


def test_names_bind_over_arguments_and_the_result() -> None:
    def joined(
        a: Annotated[Any, "rows *more"],
        b: Annotated[Any, "rows | rows 3"] | None = None,
        *,
        c: Annotated[Any, "*more"] | None = None,
    ) -> tuple[Annotated[Any, "rows"], int]:
        return (a if b is None else b), 1

    function = checked(joined)  # type: ignore[arg-type]
    assert function(np.ones(2))[1] == 1
    assert function(np.ones((2, 5)), np.ones(2), c=np.ones(5))[1] == 1
    for args, kwargs in (
        ((np.ones((2, 5)),), {}),  # what it returns
        ((np.ones(2), np.ones(3)), {}),
        ((np.ones((2, 5)), np.ones(2)), {"c": np.ones(4)}),
        ((np.float64(1),), {}),
    ):
        with pytest.raises(ShapeError):
            function(*args, **kwargs)
