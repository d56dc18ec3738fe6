"""What an answer scores that never looks at a picture: the known values of well-known metrics."""

import numpy as np
import pytest

from foldline.core.task import TASKS, task_from
from foldline.scoring.baseline import baseline, constant

FOUR = np.array([0.0, 0.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("metric", "plain", "share"),
    [
        ("auc", 0.5, 0.8),
        ("accuracy", 0.75, 0.6),
        ("f1", 0.0, 0.9),
        ("log_loss", -0.75 * np.log(0.75) - 0.25 * np.log(0.25), None),
    ],
)
def test_two_classes(metric: str, plain: float, share: float | None) -> None:
    found = baseline(metric, FOUR, 0.9 if share else 0.0, TASKS["binary"], 2)
    assert found.score == pytest.approx(plain)
    assert found.share == pytest.approx(share or 1.0)


def test_numbers_get_their_mean() -> None:
    truth = np.array([[1.0, 10.0], [3.0, 30.0]])
    assert constant(truth, TASKS["regression"], 2).tolist() == [[2.0, 20.0]] * 2
    assert baseline("r2", truth, 0.5, TASKS["regression"], 2).score == pytest.approx(0.0)
    assert baseline("r2", truth, -0.5, TASKS["regression"], 2).share == pytest.approx(-0.5)


def test_several_targets_get_each_their_own() -> None:
    task = task_from({"kind": "multiclass", "weight": "regression"}).of(["kind=a", "kind=b", "weight="])
    assert constant(np.array([[0.0, 4.0], [1.0, 6.0]]), task, 3)[0].tolist() == [0.5, 0.5, 5.0]


def test_what_is_undefined_stays_so() -> None:
    one_class = baseline("auc", np.zeros(5), None, TASKS["binary"], 2)
    gone = baseline("gone.py:score", FOUR, 0.3, TASKS["binary"], 2)
    assert np.isnan([one_class.score, one_class.share, gone.score, gone.share]).all()
    assert np.isnan(baseline("accuracy", FOUR, None, TASKS["binary"], 2).share)
