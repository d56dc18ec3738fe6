"""Bootstrap intervals: coverage, clusters, pairs, undefined resamples, speed."""

import time

import numpy as np
import pandas as pd
import pytest

from foldline.core.competition import Competition
from foldline.core.errors import FoldlineError
from foldline.core.task import TASKS, Array
from foldline.scoring.cv import cross_validation
from scoring.by_shape import bootstrap_interval, paired_difference, score


def binary(rows: int, seed: int, strength: float = 1.0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, rows).astype(float)
    positive = 1 / (1 + np.exp(-rng.normal(strength * (truth - 0.5), 1)))
    return truth, np.stack([1 - positive, positive], axis=1)


def test_the_interval_covers_the_true_accuracy_as_often_as_it_says() -> None:
    """Accuracy 0.8 in 300 repetitions: a 90 % interval covers it in about 90 % of them (2.5 sigma: 86 to 94)."""
    rng = np.random.default_rng(0)
    covered = 0
    for repetition in range(300):
        right = (rng.random(200) < 0.8).astype(float)
        prob = np.stack([1 - right, right], axis=1)
        low, high = bootstrap_interval("accuracy", np.ones(200), prob, level=0.9, resamples=300, seed=repetition)
        covered += low <= 0.8 <= high
    assert 0.855 <= covered / 300 <= 0.945


def test_same_seed_same_interval_and_it_holds_the_score() -> None:
    truth, prob = binary(300, 0)
    found = bootstrap_interval("auc", truth, prob, seed=3)
    assert found == bootstrap_interval("auc", truth, prob, seed=3)
    assert found != bootstrap_interval("auc", truth, prob, seed=4)
    assert found[0] < score("auc", truth, prob) < found[1]
    wide = bootstrap_interval("auc", truth, prob, seed=3, level=0.99)
    assert wide[0] < found[0]
    assert wide[1] > found[1]


def test_whole_clusters_are_drawn() -> None:
    """Ten rows of each patient say the same: the interval must be as wide as that of the patients alone."""
    truth, prob = binary(40, 1)
    patients = np.repeat(np.array([f"p{i}" for i in range(40)]), 10)
    many, many_prob = np.repeat(truth, 10), np.repeat(prob, 10, axis=0)
    low, high = bootstrap_interval("accuracy", many, many_prob, clusters=patients)
    alone = bootstrap_interval("accuracy", truth, prob)
    naive = bootstrap_interval("accuracy", many, many_prob)
    assert high - low == pytest.approx(alone[1] - alone[0], rel=0.15)
    assert naive[1] - naive[0] < 0.5 * (high - low)


def test_clusters_of_unequal_size_keep_their_rows_together() -> None:
    sizes = np.array([1, 2, 3])
    clusters = np.repeat(["a", "b", "c"], sizes)
    truth = np.arange(6, dtype=float)[:, None]
    seen = set()

    def remember(drawn: Array, _: Array) -> float:
        seen.add(tuple(sorted(drawn[:, 0].astype(int).tolist())))
        return 0.0

    from foldline.core.task import ALL
    from foldline.scoring.metrics.metric import Metric

    metric = Metric("remember", remember, "max", "value", ALL)
    bootstrap_interval(metric, truth, truth, clusters=clusters, resamples=200, task=TASKS["regression"])
    blocks = [(0,), (1, 2), (3, 4, 5)]
    expected = {tuple(sorted(x + y + z)) for x in blocks for y in blocks for z in blocks}
    assert seen == expected


def test_resamples_without_a_class_are_left_out() -> None:
    truth = np.array([0.0, 0, 0, 1])
    prob = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.5, 0.5]])
    low, high = bootstrap_interval("auc", truth, prob)
    assert 0 <= low < high <= 1
    assert all(np.isnan(end) for end in bootstrap_interval("auc", np.zeros(4), prob, task=TASKS["binary"]))


def test_pairs_cancel_what_the_rows_share() -> None:
    """The difference of two runs that are nearly the same is far surer than either score."""
    truth, prob = binary(400, 2)
    better = prob.copy()
    better[:, 1] += 0.02 * truth
    better[:, 0] = 1 - better[:, 1]
    difference, low, high = paired_difference("auc", truth, better, prob)
    assert difference == pytest.approx(score("auc", truth, better) - score("auc", truth, prob), abs=1e-12)
    assert 0 < low < difference < high
    single = bootstrap_interval("auc", truth, prob)
    assert high - low < 0.2 * (single[1] - single[0])
    other = paired_difference("auc", truth, prob, better)
    assert other == pytest.approx((-difference, -high, -low), abs=1e-12)
    assert paired_difference("accuracy", truth, prob, prob) == (0.0, 0.0, 0.0)


def test_clusters_of_another_length_are_refused() -> None:
    truth, prob = binary(10, 0)
    with pytest.raises(FoldlineError, match="9 clusters for 10 rows"):
        bootstrap_interval("auc", truth, prob, clusters=np.arange(9))


def test_a_thousand_aucs_of_two_thousand_rows_take_less_than_a_second() -> None:
    truth, prob = binary(2000, 0)
    start = time.process_time()
    bootstrap_interval("auc", truth, prob, resamples=1000)
    assert time.process_time() - start < 1.0


def test_an_undefined_score_has_no_interval() -> None:
    """A row of 100 below zero: hardly a third of the resamples lacks it, and a score of those would say too much."""
    facts = {
        "task": "regression",
        "metric": "rmsle",
        "train": {"reader": "csv", "file": "a.csv", "target": "y"},
        "holdout": {"fraction": 0.2},
    }
    size = np.linspace(1.0, 5.0, 100)
    table = pd.DataFrame({"row_id": range(100), "fold": np.arange(100) % 2, "target": size, "value": size + 0.1})
    competition = Competition.parse({"source": {"kind": "placed"}, **facts}, where="")
    assert None not in cross_validation(table.astype({"target": str}), competition, [""])["interval"]
    table.loc[3, "target"] = -5.0
    record = cross_validation(table.astype({"target": str}), competition, [""])
    assert (record["pooled"], record["interval"]) == (None, [None, None])
