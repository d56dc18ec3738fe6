"""The choice of the final two: known cases, and simulated competitions whose right answer is known."""

import math

import numpy as np
import pytest

from foldline.core.task import Array
from foldline.scoring.final_two import Against, Candidate, agreement, choose_two, correlation


def unlike(first: Candidate, other: Candidate) -> Against:
    return Against(first.cv - other.cv, 0.01, 0.9)


def test_the_second_is_the_one_that_adds_most_not_the_next_by_cv() -> None:
    found = choose_two(
        [Candidate("best", 0.92), Candidate("twin", 0.9199), Candidate("other", 0.918), Candidate("weak", 0.85)],
        lambda first, other: Against(first.cv - other.cv, {"twin": 1e-5, "other": 0.006, "weak": 0.01}[other.name]),
    )
    assert (found.first.name, found.second and found.second.name, found.by) == ("best", "other", "worth")
    assert (found.against["other"].chance or 0) == pytest.approx(0.6306, abs=1e-4)


def test_what_a_second_is_worth_is_what_draws_say() -> None:
    """The mean of the better of two over simulated new rows, above the mean of the first."""
    gain, deviation, rng = 0.004, 0.006, np.random.default_rng(0)
    difference = rng.normal(gain, deviation * math.sqrt(2), 400_000)  # what is not known, and new rows
    assert Against(gain, deviation).worth == pytest.approx(float(np.maximum(0, -difference).mean()), rel=0.02)


def test_one_alone_has_no_second_and_nor_have_twins() -> None:
    alone = choose_two([Candidate("a", 0.9, 0.8)], unlike)
    assert (alone.first.name, alone.second, alone.correlation.verdict) == ("a", None, "too few")
    twins = choose_two([Candidate("a", 0.9), Candidate("b", 0.9)], lambda *_: Against(0.0, 0.0, 1.0))
    assert twins.second is None
    gone = choose_two([Candidate("a", 0.9), Candidate("b", 0.9)], lambda *_: Against(0.0, None, 1.0))
    assert gone.second is None


def test_of_equal_ones_the_first_is_one_that_was_sent() -> None:
    found = choose_two([Candidate("a", 0.9, sent=False), Candidate("b", 0.9, 0.8)], unlike)
    assert found.first.name == "b"


def test_where_the_rows_are_gone_the_second_is_the_next_by_cv() -> None:
    found = choose_two(
        [Candidate("a", 0.9), Candidate("b", 0.89), Candidate("c", 0.88)],
        lambda first, other: Against(first.cv - other.cv, None, None if other.name == "c" else 1.0),
    )
    assert (found.second and found.second.name, found.by) == ("c", "cv")
    assert found.against["c"].chance is None


def test_where_the_leaderboard_contradicts_cv_the_second_is_its_best() -> None:
    scores = zip([0.95, 0.94, 0.93, 0.92, 0.91], [-0.5, -0.4, -0.3, -0.1, -0.2], strict=True)  # a loss, turned
    found = choose_two([Candidate(f"r{i}", cv, public) for i, (cv, public) in enumerate(scores)], unlike)
    assert found.correlation.verdict == "unclear"  # 8 % of all orders are as extreme
    found = choose_two([Candidate(f"r{i}", -i / 10, float(i)) for i in range(5)], unlike)
    assert found.correlation.verdict == "contradict"
    assert (found.first.name, found.second and found.second.name, found.by) == ("r0", "r4", "public")


def test_a_score_that_is_far_from_its_leaderboard_is_named() -> None:
    honest = [Candidate(f"r{i}", 0.9 + i / 100, 0.88 + i / 100 + i % 2 / 500) for i in range(5)]
    assert choose_two(honest, unlike).odd == []
    assert choose_two([*honest, Candidate("leaky", 0.99, 0.85)], unlike).odd == ["leaky"]


def test_the_chance_of_a_correlation_is_exact() -> None:
    found = correlation([1, 2, 3, 4, 5], [2, 1, 3, 4, 5])
    assert (found.value, found.pairs, found.verdict) == (0.9, 5, "unclear")
    assert found.chance == pytest.approx(10 / 120)  # of 120 orders, five at each end
    assert -0.2 < found.low < 0.4 < 0.98 < found.high < 1
    assert correlation([1, 2, 3, 4, 5], [1, 2, 3, 4, 5]).verdict == "agree"
    assert correlation([1, 2], [1, 2]).verdict == "too few"
    assert correlation([1, 1, 1], [1, 2, 3]).verdict == "unclear"
    many = np.arange(30.0)
    assert correlation([*many], [*(many + np.tile([0.0, 3.0], 15))]).verdict == "agree"


def test_agreement_of_numbers_is_their_correlation() -> None:
    left = np.array([[0.1, 5.0], [0.2, 5.0], [0.4, 5.0]])
    assert agreement(left, 2 * left + 1, labels=False) == pytest.approx(1.0)
    assert agreement(left, -left, labels=False) == pytest.approx(-1.0)
    assert math.isnan(agreement(left, 0 * left, labels=False))


def test_cv_chooses_better_than_a_public_leaderboard_and_worth_better_than_the_next() -> None:
    """Simulated competitions: 2,000 rows at home, 300 public and 2,000 private ones; runs come in families that err
    on the same rows. The mean private score of what each rule chooses."""
    rng = np.random.default_rng(0)
    won: dict[str, list[float]] = {rule: [] for rule in ("cv", "public", "worth", "next")}
    for _ in range(400):
        quality = 0.90 + 0.005 * rng.normal(size=9)
        cv, public, private = (_scores(quality, rows, rng) for rows in (2000, 300, 2000))
        won["cv"].append(private[cv.argmax()])
        won["public"].append(private[public.argmax()])
        found = choose_two([Candidate(str(i), cv[i], public[i]) for i in range(9)], _in_families)
        assert found.second is not None
        won["worth"].append(private[[int(found.first.name), int(found.second.name)]].max())
        won["next"].append(private[cv.argsort()[-2:]].max())
    mean = {rule: float(np.mean(scores)) for rule, scores in won.items()}
    assert mean["cv"] > mean["public"] + 0.001
    assert mean["worth"] > mean["next"] > mean["cv"]


def _scores(quality: Array, rows: int, rng: np.random.Generator) -> Array:
    """Nine runs in three families: what they have in common of their errors is nine tenths of the variance."""
    deviation = 0.3 / math.sqrt(rows)
    shared = np.repeat(rng.normal(size=3), 3)
    return quality + deviation * (math.sqrt(0.9) * shared + math.sqrt(0.1) * rng.normal(size=9))


def _in_families(first: Candidate, other: Candidate) -> Against:
    same = int(first.name) // 3 == int(other.name) // 3
    return Against(first.cv - other.cv, 0.3 / math.sqrt(2000) * math.sqrt(2 * (0.1 if same else 1.0)))
