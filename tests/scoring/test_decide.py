"""Decisions: each fit finds the best that there is, never loses to the default, and is honest when cross-fitted."""

from dataclasses import asdict
from itertools import product

import numpy as np
import pytest

from foldline.core.errors import FoldlineError
from foldline.core.task import TASKS, Array, Task
from foldline.scoring.decide import Decision, cross_fitted, decide, default_decision, fit_decision, top_k
from foldline.scoring.metrics import METRICS
from scoring.by_shape import score, score_labels
from tasks import fitting


def sets(rows: int, outputs: int, seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    truth = (rng.random((rows, outputs)) < 0.2).astype(float)
    return truth, np.clip(0.25 * truth + 0.4 * rng.random((rows, outputs)), 0, 1).round(3)


def ordinal(rows: int, seed: int, classes: int = 4) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    truth = rng.choice(classes, rows, p=[0.6, 0.2, 0.1, 0.1])
    logits = -np.abs(np.arange(classes)[None] - truth[:, None] * 0.7) + rng.normal(0, 0.8, (rows, classes))
    prob = np.exp(logits)
    return truth.astype(float), prob / prob.sum(axis=1, keepdims=True)


LABELS = [(name, task) for name, metric in METRICS.items() if metric.input == "label" for task in fitting(metric.kinds)]


@pytest.mark.parametrize(("name", "task"), LABELS)
def test_a_fit_never_loses_to_the_default(name: str, task: Task) -> None:
    truth, prob = ordinal(150, 0)
    if task.label_sets:
        truth, prob = sets(150, 3, 0)
    elif task.two_classes:
        truth, prob = (truth > 1).astype(float), np.stack([prob[:, :2].sum(axis=1), prob[:, 2:].sum(axis=1)], axis=1)
    elif not task.has_classes:
        truth, prob = truth[:, None], (prob @ np.arange(4.0))[:, None]
    elif task.soft:
        truth = np.eye(4)[truth.astype(int)]
    decision = fit_decision(name, truth, prob, task)
    metric = METRICS[name]
    flat = truth[:, 0] if not task.has_classes else truth
    fitted = score_labels(name, flat, decide(decision, prob))
    default = score_labels(name, flat, decide(default_decision(task, prob.shape[1]), prob))
    assert not metric.better(default, fitted)
    assert default == pytest.approx(score(name, truth, prob, task=task), abs=1e-12)
    assert Decision(**asdict(decision)) == decision


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["f1_macro", "f1_micro", "fbeta_micro@2", "fbeta_macro@0.5"])
def test_thresholds_of_sets_are_the_best_there_are(name: str, seed: int) -> None:
    """Every combination of thresholds for two outputs, by brute force."""
    truth, prob = sets(25, 2, seed)
    levels = [[*np.unique(prob[:, j]), 2.0] for j in range(2)]
    best = max(score_labels(name, truth, (prob >= np.array(pair)).astype(float)) for pair in product(*levels))
    decision = fit_decision(name, truth, prob, TASKS["multilabel"])
    assert score_labels(name, truth, decide(decision, prob)) == pytest.approx(best, abs=1e-12)


def test_the_threshold_of_a_rare_class_is_the_best_there_is() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random(150) < 0.1).astype(float)
    positive = np.clip(0.1 * truth + 0.2 * rng.random(150), 0, 1)
    prob = np.stack([1 - positive, positive], axis=1)
    best = max(score_labels("f1", truth, (positive >= level).astype(float)) for level in np.unique(positive))
    decision = fit_decision("f1", truth, prob, TASKS["binary"])
    assert score_labels("f1", truth, decide(decision, prob)) == pytest.approx(best, abs=1e-12)
    assert score("f1", truth, prob) == 0


def test_cuts_beat_the_largest_probability_on_rare_grades() -> None:
    truth, prob = ordinal(600, 1)
    decision = fit_decision("quadratic_weighted_kappa", truth, prob, TASKS["ordinal"])
    assert decision.kind == "cuts"
    assert list(decision.numbers) == sorted(decision.numbers)
    fitted = score_labels("quadratic_weighted_kappa", truth, decide(decision, prob))
    assert fitted > score("quadratic_weighted_kappa", truth, prob, task=TASKS["ordinal"]) + 0.02


def test_cuts_that_lose_to_the_largest_probability_are_not_taken() -> None:
    """The expected class does not order these rows, their largest probability does."""
    prob = np.array([[0.52, 0.0, 0.48], [0.3, 0.4, 0.3], [0.47, 0.05, 0.48], [0.0, 0.6, 0.4], [0.9, 0.1, 0.0]])
    truth = np.array([0.0, 1.0, 2.0, 1.0, 0.0])
    assert fit_decision("quadratic_weighted_kappa", truth, prob, TASKS["ordinal"]) == Decision("argmax")


def test_cross_fitted_labels_never_saw_their_own_fold() -> None:
    truth, prob = ordinal(300, 2)
    folds = np.arange(300) % 3
    found = cross_fitted("quadratic_weighted_kappa", truth, prob, folds, TASKS["ordinal"])
    changed = truth.copy()
    changed[folds == 1] = 0  # other labels in fold 1 must not change what fold 1 is given
    again = cross_fitted("quadratic_weighted_kappa", changed, prob, folds, TASKS["ordinal"])
    assert (found[folds == 1] == again[folds == 1]).all()
    assert (found[folds != 1] != again[folds != 1]).any()
    with pytest.raises(FoldlineError, match="two folds"):
        cross_fitted("f1", truth, prob, np.zeros(300, dtype=np.int64), TASKS["ordinal"])


def test_noise_gains_by_fitting_and_not_by_cross_fitting() -> None:
    """Predictions that know nothing: the fitted kappa is above 0 by optimism, the cross-fitted one is not."""
    rng = np.random.default_rng(0)
    fitted, honest = [], []
    for _ in range(10):
        truth, prob = rng.integers(0, 4, 60).astype(float), rng.dirichlet(np.ones(4), 60)
        decision = fit_decision("quadratic_weighted_kappa", truth, prob, TASKS["ordinal"])
        fitted.append(score_labels("quadratic_weighted_kappa", truth, decide(decision, prob)))
        labels = cross_fitted("quadratic_weighted_kappa", truth, prob, np.arange(60) % 5, TASKS["ordinal"])
        honest.append(score_labels("quadratic_weighted_kappa", truth, labels))
    assert np.mean(fitted) > 0.1
    assert np.mean(honest) < 0.05


def test_a_row_that_reaches_no_threshold_may_get_its_nearest_label() -> None:
    prob = np.array([[0.1, 0.4], [0.6, 0.4]])
    assert decide(Decision("thresholds", (0.3, 0.5)), prob).tolist() == [[0, 0], [1, 0]]
    assert decide(Decision("thresholds", (0.3, 0.5), minimum=1), prob).tolist() == [[0, 1], [1, 0]]
    truth, prob = sets(80, 3, 0)
    truth[np.arange(80), np.arange(80) % 3] = 1
    assert (decide(fit_decision("f1_samples", truth, prob, TASKS["multilabel"]), prob).sum(axis=1) >= 1).all()


def test_an_output_without_positives_keeps_the_middle() -> None:
    truth, prob = sets(60, 2, 0)
    truth[:, 1] = 0
    decision = fit_decision("f1_macro", truth, prob, TASKS["multilabel"])
    assert decide(decision, prob)[:, 1].sum() <= decide(default_decision(TASKS["multilabel"], 2), prob)[:, 1].sum()


def test_ranked_lists_put_the_first_of_equals_first() -> None:
    assert top_k(np.array([[0.2, 0.4, 0.4], [0.9, 0.0, 0.1]]), 2).tolist() == [[1, 2], [0, 2]]


def test_whole_numbers_of_a_regression() -> None:
    value = np.array([[0.4], [0.5], [2.6], [-1.2]])
    assert decide(default_decision(TASKS["regression"], 1), value).tolist() == [0, 1, 3, -1]
    assert decide(Decision("cuts", (0.45, 2.0)), value).tolist() == [0, 1, 2, 0]
