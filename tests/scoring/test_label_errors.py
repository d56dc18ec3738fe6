"""Suspected labels: planted errors are found, clean labels are left alone."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from foldline.core.task import TASKS, Array, task_from
from foldline.scoring.label_errors import suspects

NAMES = ["a", "b", "c", "d"]


def out_of_fold(given: NDArray[np.intp], features: Array) -> Array:
    """[rows, classes] what a plain model says of rows that it has not seen; it is trained on the given labels."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    return np.asarray(
        cross_val_predict(LogisticRegression(max_iter=500), features, given, cv=5, method="predict_proba")
    )


def made(classes: int, rows: int = 1200, apart: float = 3.0) -> tuple[NDArray[np.intp], Array, np.random.Generator]:
    rng = np.random.default_rng(0)
    true = rng.integers(0, classes, rows)
    return true, rng.normal(0, 1, (rows, 8)) + apart * np.eye(8)[true], rng


@pytest.mark.parametrize("classes", [2, 4])
def test_planted_flips_stand_at_the_top(classes: int) -> None:
    true, features, rng = made(classes)
    flipped = rng.random(len(true)) < 0.2
    given = np.where(flipped, (true + rng.integers(1, classes, len(true))) % classes, true)
    task = TASKS["binary" if classes == 2 else "multiclass"]
    found = suspects(task, given.astype(float), out_of_fold(given, features), NAMES[:classes])
    rows = [one.row for one in found]
    planted = int(flipped.sum())
    assert flipped[rows[: planted // 2]].mean() >= 0.97
    assert flipped[rows[:planted]].mean() >= 0.85
    assert flipped[rows].sum() >= 0.7 * planted
    assert all(one.score >= other.score for one, other in pairwise(found))
    mended = [NAMES.index(one.predicted) == true[one.row] for one in found[: planted // 2]]
    assert np.mean(mended) >= 0.97


def test_clean_labels_have_few_suspects() -> None:
    true, features, _ = made(4, apart=4.0)
    assert len(suspects(TASKS["multiclass"], true.astype(float), out_of_fold(true, features), NAMES)) <= 0.02 * len(
        true
    )


def test_a_rare_class_that_is_never_sure_is_not_suspected_as_a_whole() -> None:
    given = np.array([0.0] * 95 + [1.0] * 5)
    prob = np.where(given == 1, 0.3, 0.05) + np.linspace(0, 0.02, 100)
    assert suspects(TASKS["binary"], given, np.stack([1 - prob, prob], axis=1), ["no", "yes"]) == []


def test_each_label_of_a_set_is_judged_by_itself() -> None:
    rng = np.random.default_rng(1)
    truth = (rng.random((300, 3)) < 0.3).astype(float)
    prob = np.clip(0.1 + 0.8 * truth + rng.normal(0, 0.05, truth.shape), 0, 1)
    truth[7, 1] = 1 - truth[7, 1]
    found = suspects(TASKS["multilabel"], truth, prob, NAMES[:3])
    assert (found[0].row, found[0].target, found[0].given) == (7, "b", f"{truth[7, 1]:g}")
    assert len(found) == 1


def test_numbers_that_are_far_off() -> None:
    rng = np.random.default_rng(2)
    truth = rng.normal(50, 20, (600, 1))
    predicted = truth + rng.normal(3, 2, truth.shape)
    truth[[5, 9], 0] += [40, -60]
    found = suspects(TASKS["regression"], truth, predicted, [""])
    assert [one.row for one in found[:2]] == [9, 5]
    assert len(found) <= 4
    assert suspects(TASKS["regression"], truth, truth + 1.0, [""]) == []


def test_shares_that_are_far_off() -> None:
    rng = np.random.default_rng(3)
    truth = rng.dirichlet([2, 2], 200)
    predicted = 0.9 * truth + 0.1 * rng.dirichlet([2, 2], 200)
    truth[11] = 1 - truth[11] if abs(truth[11, 0] - 0.5) > 0.3 else [1, 0]
    predicted[11] = [0, 1]
    assert suspects(TASKS["soft"], truth, predicted, ["x", "y"])[0].row == 11


def test_several_targets_take_turns() -> None:
    task = task_from({"kind": "multiclass", "weight": "regression"})
    truth = np.column_stack([np.tile([0.0, 1.0], 50), np.arange(100.0)])
    predicted = np.column_stack([np.where(truth[:, :1] == [[0, 1]], 0.9, 0.1), truth[:, 1] + np.tile([0.1, -0.1], 50)])
    predicted[4] = [0.02, 0.98, 400]
    found = suspects(task, truth, predicted, ["kind=a", "kind=b", "weight="])
    assert [(one.row, one.target) for one in found[:2]] == [(4, "kind"), (4, "weight")]
    assert (found[0].given, found[0].predicted) == ("a", "b")


def test_nothing_of_nothing() -> None:
    for name, outputs in (("binary", 2), ("multilabel", 2), ("regression", 1), ("soft", 2)):
        task = TASKS[name]
        truth = np.zeros(0) if task.single_label else np.zeros((0, outputs))
        assert suspects(task, truth, np.zeros((0, outputs)), NAMES[:outputs]) == []
