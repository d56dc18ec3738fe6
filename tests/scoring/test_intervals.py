"""Bootstrap intervals: coverage, clusters, pairs, undefined resamples, speed."""

import time

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from numpy.typing import NDArray

from foldline.core.competition import Competition
from foldline.core.errors import FoldlineError
from foldline.core.task import TASKS, Array
from foldline.scoring import intervals
from foldline.scoring.cv import cross_validation
from interval_coverage import CASES, coverage
from scoring.by_shape import paired_difference, score, score_interval


def binary(rows: int, seed: int, strength: float = 1.0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, rows).astype(float)
    positive = 1 / (1 + np.exp(-rng.normal(strength * (truth - 0.5), 1)))
    return truth, np.stack([1 - positive, positive], axis=1)


@pytest.mark.parametrize(("rows", "group"), [(30, 1), (60, 1), (1000, 1), (100, 4), (1000, 4)])
def test_intervals_hold_the_true_score_as_often_as_they_say(rows: int, group: int) -> None:
    """95 % of 60 intervals, less 3 standard errors of 2.8 %; near the bound more often, never rarer.

    The whole table is in docs/intervals.md (benchmarks/interval_coverage.py).
    """
    for case in CASES:
        if rows == 1000 and case.words not in ("true accuracy 0.80", "0.80", "0.69", "0.92", "normal errors"):
            continue  # where nothing is near an edge, to save time
        heavy = case.words == "heavy tails"
        held, _ = coverage(case, rows, group=group, repeats=60, resamples=120)
        assert held >= (0.65 if heavy else 0.86), case


def test_groups_make_intervals_as_wide_as_their_evidence() -> None:
    """Four rows of a group with half of their luck in common; without the groups the intervals hold it too rarely."""
    for case in (CASES[0], CASES[2], CASES[8]):
        held, width = coverage(case, 100, group=4, repeats=80, resamples=150)
        assert held >= 0.87, case
        assert width > 1.2 * coverage(case, 100, group=1, repeats=20, resamples=150)[1]


def test_a_perfect_score_is_not_sure() -> None:
    """96 of 96 right: Clopper and Pearson say 0.962 to 1; others end below their best, too."""
    truth = np.tile([0.0, 1.0], 48)
    prob = np.stack([1 - truth, truth], axis=1)
    exact = intervals.score_interval("accuracy", truth, prob, task=TASKS["binary"])
    assert (round(exact.low, 3), exact.high, exact.method) == (0.962, 1.0, "exact")
    assert intervals.score_interval("error", truth, prob, task=TASKS["binary"])[:2] == pytest.approx(
        (0.0, 1 - exact.low)
    )
    for name in ("auc", "f1", "cohen_kappa", "balanced_accuracy", "average_precision", "matthews"):
        low, high, method = intervals.score_interval(name, truth, prob, task=TASKS["binary"])
        assert 0.85 < low < 0.985, name
        assert (high, method) == (1.0, "BCa, at the bound")
    low, high = score_interval("rmse", truth[:, None], truth[:, None])
    assert low == 0.0
    assert 0.05 < high < 0.3


def test_few_groups_that_are_all_right_say_little() -> None:
    """Four patients of 24 rows are four things seen, not 96."""
    truth = np.tile([0.0, 1.0], 48)
    prob = np.stack([1 - truth, truth], axis=1)
    low, high = score_interval("accuracy", truth, prob, clusters=np.arange(96) // 24)
    assert low < 0.45  # four of four, exactly: 0.398; less by the few groups
    assert high == 1.0
    assert score_interval("auc", truth, prob, clusters=np.arange(96) // 24)[0] < 0.8
    assert np.isnan(score_interval("auc", truth, prob, clusters=np.zeros(96))).all()


def test_bca_is_scipys() -> None:
    """scipy's BCa of the same statistic, both with many draws; the t level of 200 rows widens ours by a hundredth."""
    truth, prob = binary(200, 5, strength=2.0)
    logit = np.log(prob[:, 1] / prob[:, 0])
    with np.errstate(all="ignore"):
        theirs = scipy.stats.bootstrap(
            (truth, logit),
            lambda t, x: score("auc", t, np.stack([1 / (1 + np.exp(x)), 1 / (1 + np.exp(-x))], axis=1)),
            paired=True, vectorized=False, n_resamples=3000, method="BCa", rng=1,
        ).confidence_interval  # fmt: skip
    ours = score_interval("auc", truth, prob, resamples=3000)
    width = theirs.high - theirs.low
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.05 * width)
    plain = np.quantile([score("auc", truth[i], prob[i]) for i in draws_of(200, 3000)], [0.025, 0.975])
    assert abs(ours[0] - theirs.low) < abs(plain[0] - theirs.low)  # the correction is seen


def draws_of(rows: int, count: int) -> "NDArray[np.int64]":
    return np.random.default_rng(2).integers(0, rows, (count, rows))


def test_same_seed_same_interval_and_it_holds_the_score() -> None:
    truth, prob = binary(300, 0)
    found = score_interval("auc", truth, prob, seed=3)
    assert found == score_interval("auc", truth, prob, seed=3)
    assert found != score_interval("auc", truth, prob, seed=4)
    assert found[0] < score("auc", truth, prob) < found[1]
    wide = score_interval("auc", truth, prob, seed=3, level=0.99)
    assert wide[0] < found[0]
    assert wide[1] > found[1]


def test_whole_clusters_are_drawn() -> None:
    """Ten rows of each patient say the same: the interval must be as wide as that of the patients alone."""
    truth, prob = binary(40, 1)
    patients = np.repeat(np.array([f"p{i}" for i in range(40)]), 10)
    many, many_prob = np.repeat(truth, 10), np.repeat(prob, 10, axis=0)
    low, high = score_interval("accuracy", many, many_prob, clusters=patients)
    alone = score_interval("accuracy", truth, prob)
    naive = score_interval("accuracy", many, many_prob)
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
    score_interval(metric, truth, truth, clusters=clusters, resamples=200, task=TASKS["regression"])
    blocks = [(0,), (1, 2), (3, 4, 5)]
    expected = {tuple(sorted(x + y + z)) for x in blocks for y in blocks for z in blocks}
    without_one = {tuple(sorted(x + y)) for x in blocks for y in blocks if x != y}
    assert seen == expected | without_one | {tuple(range(6))}


def test_resamples_without_a_class_are_left_out() -> None:
    truth = np.array([0.0, 0, 0, 1])
    prob = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.5, 0.5]])
    low, high = score_interval("auc", truth, prob)
    assert 0 <= low < high <= 1
    assert all(np.isnan(end) for end in score_interval("auc", np.zeros(4), prob, task=TASKS["binary"]))


def test_pairs_cancel_what_the_rows_share() -> None:
    """The difference of two runs that are nearly the same is far surer than either score."""
    truth, prob = binary(400, 2)
    better = prob.copy()
    better[:, 1] += 0.02 * truth
    better[:, 0] = 1 - better[:, 1]
    difference, low, high = paired_difference("auc", truth, better, prob)
    assert difference == pytest.approx(score("auc", truth, better) - score("auc", truth, prob), abs=1e-12)
    assert 0 < low < difference < high
    single = score_interval("auc", truth, prob)
    assert high - low < 0.2 * (single[1] - single[0])
    other = paired_difference("auc", truth, prob, better)
    assert other == pytest.approx((-difference, -high, -low), abs=1e-12)
    assert paired_difference("accuracy", truth, prob, prob) == (0.0, 0.0, 0.0)


def test_clusters_of_another_length_are_refused() -> None:
    truth, prob = binary(10, 0)
    with pytest.raises(FoldlineError, match="9 clusters for 10 rows"):
        score_interval("auc", truth, prob, clusters=np.arange(9))


def test_a_thousand_aucs_of_two_thousand_rows_take_less_than_a_second() -> None:
    truth, prob = binary(2000, 0)
    start = time.process_time()
    score_interval("auc", truth, prob, resamples=1000)
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
