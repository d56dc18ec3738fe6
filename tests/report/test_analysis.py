"""The numbers of the report against plain definitions and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score

from foldline.core.task import CLASSES, TASKS, Task, hot_truth
from foldline.report.look import palette
from foldline.report.run import analysis
from foldline.scoring.row_loss import portions, row_loss
from tasks import fitting

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("task", [TASKS["multiclass"], TASKS["multilabel"]], ids=str)
def test_class_counts_agree_with_scikit_learn(task: Task) -> None:
    prob = RNG.dirichlet(np.ones(4), 200)
    if task.label_sets:
        truth = (RNG.random((200, 4)) < 0.3).astype(float)
        prob, plain, guess = prob * 2, truth, prob * 2 >= 0.5
    else:
        truth = RNG.integers(0, 4, 200).astype(float)
        plain, guess = truth, prob.argmax(axis=1)
    found = analysis.class_counts(task, truth, prob)
    for name, function in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        np.testing.assert_allclose(found[name], function(plain, guess, average=None), rtol=1e-12)


def test_areas_agree_with_scikit_learn() -> None:
    is_class = RNG.random(300) < 0.2
    prob = np.round(0.3 * is_class + RNG.random(300) * 0.7, 2)  # with ties
    expected = (roc_auc_score(is_class, prob), average_precision_score(is_class, prob))
    assert analysis.area(is_class, prob) == pytest.approx(expected, rel=1e-12)
    assert np.isnan(analysis.area(np.ones(3, dtype=bool), prob[:3])).all()


def test_confusion_has_labels_downwards() -> None:
    counts = analysis.confusion(
        TASKS["binary"], np.array([0.0, 1.0, 1.0]), np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])
    )
    assert counts.tolist() == [[1, 0], [1, 1]]


def test_nothing_is_confused() -> None:
    assert analysis.confused_pairs(TASKS["binary"], np.array([0.0, 1.0]), np.eye(2), most=5) == []


def test_reliability_counts_every_row_once() -> None:
    prob = np.array([0.0, 0.05, 0.5, 0.99, 1.0])
    found = analysis.reliability(prob, np.array([False, True, True, True, True]))
    assert found.rows.tolist() == [2, 1, 2]
    assert found.observed.tolist() == [0.5, 1.0, 1.0]
    assert (found.low <= found.observed).all()
    assert (found.observed <= found.high).all()
    assert found.error == pytest.approx((2 * 0.475 + 0.5 + 2 * 0.005) / 5)


def test_row_loss_orders_rows_by_how_wrong_they_are() -> None:
    prob = np.array([[0.9, 0.1], [0.5, 0.5], [0.0, 1.0]], dtype=np.float32)
    for truth in (np.zeros(3), np.tile([1.0, 0.0], (3, 1))):
        task = TASKS["binary" if truth.ndim == 1 else "soft"]
        loss = row_loss(task, truth, prob)
        assert np.isfinite(loss).all()
        assert loss[0] < loss[1] < loss[2]
    values = row_loss(TASKS["regression"], np.array([[0.0], [2.0], [4.0]]), np.array([[0.0], [3.0], [0.0]]))
    assert values.argmax() == 2


def test_regression_errors_of_a_constant_truth() -> None:
    (found,) = analysis.regression_errors(np.ones((3, 1)), np.array([[1.0], [2.0], [3.0]]))
    assert found["bias"] == pytest.approx(1.0)
    assert found["rmse"] == pytest.approx(np.sqrt(5 / 3))
    assert np.isnan(found["r2"])


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("palette", [palette.LIGHT, palette.DARK], ids=["light", "dark"])
@pytest.mark.parametrize("role", ["ink", "muted", "accent", "warm"])
def test_text_has_enough_contrast(palette: dict[str, str], role: str) -> None:
    """WCAG 2.2, 1.4.3: at least 4.5 to 1."""
    low, high = sorted([_luminance(palette[role]), _luminance(palette["paper"])])
    assert (high + 0.05) / (low + 0.05) >= 4.5


@pytest.mark.parametrize("task", fitting(CLASSES), ids=str)
def test_some_rows_at_a_time_say_the_same(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    classes = 2 if task.two_classes else 3
    prob = RNG.dirichlet(np.ones(classes), 50).astype(np.float32)
    truth = hot_truth(RNG.integers(0, classes, 50).astype(float), TASKS["multiclass"], classes).astype(np.float64)
    truth = truth.argmax(axis=1).astype(np.float64) if task.single_label else truth
    happened = RNG.random(50) < 0.5

    def said() -> list[object]:
        curve = analysis.reliability(prob[:, 0], happened)
        return [*row_loss(task, truth, prob), *analysis.margin(task, prob), *curve.rows, *curve.observed]

    whole = said()
    monkeypatch.setattr("foldline.scoring.row_loss.AT_A_TIME", 7)
    assert len(portions(50, 3)) == 25
    assert said() == pytest.approx(whole, rel=1e-12)
