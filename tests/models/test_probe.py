"""The probe: never worse than a constant, whatever the task, the features and their scales."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from foldline.core.task import TASKS, Task, hot_truth
from foldline.models import probe
from foldline.models.probe import FittedHead, JudgingFits, fit_head

PLAIN = [task for name, task in TASKS.items() if name != "several"]
ROWS, WIDTH = 90, 60


def made(task: Task, signal: float, seed: int = 1) -> tuple[NDArray[np.float32], NDArray[np.float64], int]:
    """Features [1, rows, features], and labels that the first features tell as far as `signal` says."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(1, 2 * ROWS, WIDTH))
    outputs = 2 if task.two_classes else 3
    told = signal * x[0, :, :outputs] + rng.normal(size=(2 * ROWS, outputs))
    if task.single_label:
        return x.astype(np.float32), told.argmax(axis=1).astype(np.float64), outputs
    if task.label_sets:
        return x.astype(np.float32), (told > 0.5).astype(np.float64), outputs
    if task.soft:
        share = np.exp(told)
        return x.astype(np.float32), share / share.sum(axis=1, keepdims=True), outputs
    return x.astype(np.float32), told, outputs


def loss(head: FittedHead, x: NDArray[Any], truth: NDArray[Any], task: Task) -> float:
    """Of rows that the head has not seen: the squared error, or the log loss."""
    logits, hot = x @ head.weight.T + head.bias, hot_truth(truth, task, len(head.bias))
    if not task.has_classes:
        return float(((logits - hot) ** 2).mean())
    if task.label_sets:
        return float((np.logaddexp(0, logits) - logits * hot).mean())
    return float((np.logaddexp.reduce(logits, axis=1) - (logits * hot).sum(axis=1)).mean())


@pytest.mark.parametrize("task", PLAIN)
@pytest.mark.parametrize(("signal", "c"), [(0.0, 0.01), (0.0, 100.0), (3.0, 0.01)])
def test_a_probe_is_no_worse_than_a_constant(task: Task, signal: float, c: float) -> None:
    """More features than is good for so few rows; with signal 0 they say nothing, and c = 100 fits every row."""
    x, truth, outputs = made(task, signal)
    folds = np.arange(ROWS) % 4
    head = fit_head(x[:, :ROWS], truth[:ROWS], task, outputs, c, folds)
    constant = fit_head(0 * x[:, :ROWS], truth[:ROWS], task, outputs, c, folds)
    assert not constant.weight.any()
    new = x[0, ROWS:], truth[ROWS:], task
    assert loss(head, *new) <= loss(constant, *new) * (0.9 if signal else 1)
    assert head.joins(task) == bool(signal)
    assert head.poor.all() or signal


@pytest.mark.parametrize("task", PLAIN)
def test_a_feature_that_is_nearly_dead_outweighs_nothing(task: Task) -> None:
    """Alive in one training row, and thousands of its deviations large in a new one: R2 was -231 by this, and training
    that started from such a classifier blew up."""
    x, truth, outputs = made(task, 3.0)
    x[0, :, WIDTH - 5 :] = 0.0
    x[0, 7, WIDTH - 5 :] = 1e-3
    x[0, ROWS, WIDTH - 5 :] = 1.0
    head = fit_head(x[:, :ROWS], truth[:ROWS], task, outputs, 0.01, np.arange(ROWS) % 4)
    new, far = x[0, ROWS:].copy(), x[0, ROWS:].copy()
    new[0, WIDTH - 5 :] = 0.0
    assert np.abs((far - new) @ head.weight.T).max() < 0.5
    assert loss(head, far, truth[ROWS:], task) < 1.02 * loss(head, new, truth[ROWS:], task)


@pytest.mark.parametrize("task", [task for task in PLAIN if task.single_label])
def test_one_row_that_is_surely_wrong_does_not_cost_a_good_probe_its_place(task: Task) -> None:
    """The default competition has such rows: a log loss of hundreds, where all others are told well."""
    x, truth, outputs = made(task, signal=8.0)
    x = np.concatenate([x, np.zeros((1, 2 * ROWS, 1), dtype=np.float32)], axis=2)
    other = next(row for row in range(2 * ROWS) if truth[row] != truth[0] and row % 4)
    x[0, 0, -1], x[0, other, -1] = 1e-4, 1.0  # alive in two rows of different classes, which are held out apart
    assert not fit_head(x, truth, task, outputs, 0.01, np.arange(2 * ROWS) % 4).poor.any()


@pytest.mark.parametrize("task", PLAIN)
def test_heads_of_all_folds_share_the_fits_that_judge_them(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without fold 0 and fold 1 is without fold 1 and fold 0: six pairs of four folds, and a head for each."""
    x, truth, outputs = made(task, 1.0)
    fold, fits = np.arange(2 * ROWS) % 4, JudgingFits()
    seen: list[int] = []
    alone = [fit_head(x[:, fold != a], truth[fold != a], task, outputs, 0.1, fold[fold != a]) for a in range(4)]
    plain = probe._fit_blocks

    def counted(*given: Any) -> Any:
        seen.append(len(given[1]))
        return plain(*given)

    monkeypatch.setattr(probe, "_fit_blocks", counted)
    for a in range(4):
        rows = np.flatnonzero(fold != a)
        head = fit_head(x[:, rows], truth[rows], task, outputs, 0.1, fold[rows], rows, fits)
        for own, other in zip(
            (head.weight, head.bias, head.poor), (alone[a].weight, alone[a].bias, alone[a].poor), strict=True
        ):
            np.testing.assert_array_equal(own, other)
    assert sorted(seen) == [ROWS] * 6 + [2 * ROWS * 3 // 4] * 4
    assert not fits.kept


def test_a_fit_of_other_labels_is_another() -> None:
    """Of runs whose labels are corrected fold by fold."""
    task = TASKS["regression"]
    x, truth, outputs = made(task, 1.0)
    fits, rows = JudgingFits(), np.arange(2 * ROWS)

    def fit(y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return fits.fit(rows, y, lambda: probe._fit_blocks(x, y, task, outputs, 0.1))

    first, other, again = fit(truth), fit(-truth), fit(truth)
    assert again is first
    assert not np.allclose(other[0], first[0])


def test_rows_of_one_fold_are_held_out_too() -> None:
    x, truth, outputs = made(TASKS["regression"], 0.0)
    assert fit_head(x, truth, TASKS["regression"], outputs, 100.0, np.zeros(2 * ROWS, dtype=int)).poor.all()


def test_one_label_that_is_no_constant_lets_sets_join_and_one_number_that_is_none_does_not() -> None:
    poor = np.array([True, False])
    heads = FittedHead(np.zeros((2, 1)), np.zeros(2), poor), FittedHead(np.zeros((2, 1)), np.zeros(2), ~poor & poor)
    assert [head.joins(TASKS["multilabel"]) for head in heads] == [True, True]
    assert [head.joins(TASKS["regression"]) for head in heads] == [False, True]
