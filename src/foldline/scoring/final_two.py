"""Which two submissions to select at the end: the best by cross-validation (CV), and the one that adds most to it.

A competition counts the better of two. A second one is therefore worth what it adds where the first is the worse one:
much, if it is nearly as good and errs on other rows; nothing, if it says the same or is far worse. Numbers in, a choice
out; scores are turned so that more is better before they come here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from foldline.core.task import Array

LEVEL = 0.95  # of every interval, and 1 - LEVEL of chance, from which on a correlation is believed
FEWEST = 3  # pairs of CV and LB, below which no order says anything
ORDERS = 9999  # drawn where there are more orders than that
FAR = 5.0  # times the usual deviation: a gap between CV and LB that is unlike the others'
Verdict = Literal["agree", "contradict", "unclear", "too few"]


@dataclass(frozen=True)
class Candidate:
    """A submission that may be selected.

    Attributes:
        name: in the ledger.
        cv: its pooled score out of fold; public: on the public leaderboard (LB). More is better.
        runs: the trained runs that it is made of.
        sent: whether Kaggle has it: only such can be selected.
    """

    name: str
    cv: float
    public: float | None = None
    runs: frozenset[str] = frozenset()
    sent: bool = True


@dataclass(frozen=True)
class Against:
    """The first choice against another candidate.

    Attributes:
        gain: how much better the first is by CV; below 0 where it is worse.
        deviation: the standard deviation of that difference over the rows; None where the rows are not known.
        agreement: of what both submit: a correlation, or the share of equal labels; None where a file is gone.
    """

    gain: float
    deviation: float | None = None
    agreement: float | None = None

    @property
    def chance(self) -> float | None:
        """The chance that the first is the better one of the two, as far as rows tell; None where nobody knows."""
        if self.deviation is None:
            return None
        return 0.5 if self.deviation == 0 else float(stats.norm.cdf(self.gain / self.deviation))

    @property
    def worth(self) -> float | None:
        """What having the other one too adds to the expected score, the better of both, on as many new rows.

        With D the difference on new rows, normal around `gain`, it is the mean of max(0, -D). Its variance is twice
        that over the known rows: once for what these do not tell, once for the new ones.

        >>> round(Against(0.0, 0.01).worth, 4), round(Against(0.02, 0.01).worth, 4), Against(0.0, 0.0).worth
        (0.0056, 0.0005, 0.0)
        """
        if self.deviation is None:
            return None
        spread = self.deviation * np.sqrt(2.0)
        if spread == 0:
            return max(0.0, -self.gain)
        z = self.gain / spread
        return float(spread * stats.norm.pdf(z) - self.gain * stats.norm.cdf(-z))


@dataclass(frozen=True)
class Correlation:
    """How CV and LB order the same submissions.

    Attributes:
        value: Spearman's; nan where one of them does not vary.
        low, high: its interval; nan where there are too few pairs for one.
        chance: the share of all orders that are as extreme.
        pairs: how many submissions have both.
    """

    value: float
    low: float
    high: float
    chance: float
    pairs: int

    @property
    def verdict(self) -> Verdict:
        """Agree or contradict only where chance makes such an order in less than one of twenty cases."""
        if self.pairs < FEWEST:
            return "too few"
        if not np.isfinite(self.value) or self.chance >= 1 - LEVEL:
            return "unclear"
        return "agree" if self.value > 0 else "contradict"


def correlation(cv: Sequence[float], public: Sequence[float]) -> Correlation:
    """Spearman's rank correlation of CV and LB with what a few pairs can tell of it.

    The chance is exact for up to seven pairs (all orders), else of 9,999 drawn ones. The interval is that of Bonett and
    Wright 2000 (doi:10.1007/BF02294183), from five pairs on.

    >>> correlation([1, 2, 3], [10, 20, 30])
    Correlation(value=1.0, low=nan, high=nan, chance=0.3333333333333333, pairs=3)
    """
    pairs, nothing = len(cv), float("nan")
    if pairs < FEWEST:
        return Correlation(nothing, nothing, nothing, 1.0, pairs)
    left, right = stats.rankdata(cv), stats.rankdata(public)
    if np.ptp(left) == 0 or np.ptp(right) == 0:
        return Correlation(nothing, nothing, nothing, 1.0, pairs)
    centred = (right - right.mean()) / (np.std(left) * np.std(right) * pairs)

    def statistic(ranks: Array, axis: int) -> Array:
        return np.asarray((ranks * centred).sum(axis=axis))

    test = stats.permutation_test(
        (left,), statistic, permutation_type="pairings", n_resamples=ORDERS, vectorized=True, rng=0
    )
    value, low, high = round(float(test.statistic), 12), nothing, nothing
    if pairs >= 5 and abs(value) < 1:
        width = stats.norm.ppf((1 + LEVEL) / 2) * np.sqrt((1 + value**2 / 2) / (pairs - 3))
        low, high = np.tanh(np.arctanh(value) + width * np.array([-1, 1]))
    return Correlation(value, float(low), float(high), float(test.pvalue), pairs)


@dataclass(frozen=True)
class Choice:
    """The proposal.

    Attributes:
        first: the best by CV.
        second: None where no other one adds anything.
        by: why the second: worth: it adds most; public: CV and LB contradict each other, and it is the best on LB;
            cv: the rows of no other one are known, and it is the next by CV.
        against: the first against each other candidate.
        correlation: of CV and LB.
        odd: candidates whose CV is unlike their LB, as the others' is not.
    """

    first: Candidate
    second: Candidate | None
    by: Literal["worth", "public", "cv", ""]
    against: Mapping[str, Against]
    correlation: Correlation
    odd: list[str]


def choose_two(candidates: Sequence[Candidate], compare: Callable[[Candidate, Candidate], Against]) -> Choice:
    """The best candidate by CV, and the best different one.

    Args:
        candidates: at least one, all honest: their scores are comparable.
        compare: the first against another one.
    """
    first = max(candidates, key=lambda one: (one.cv, one.sent, one.public is not None))
    others = [one for one in candidates if one is not first]
    against = {other.name: compare(first, other) for other in others}
    both = [one for one in candidates if one.public is not None]
    agreed = correlation([one.cv for one in both], [one.public for one in both if one.public is not None])
    second, by = _second(first, others, against, agreed)
    return Choice(first, second, by, against, agreed, _odd(both))


def _second(
    first: Candidate, others: Sequence[Candidate], against: Mapping[str, Against], agreed: Correlation
) -> tuple[Candidate | None, Literal["worth", "public", "cv", ""]]:
    ahead = [one for one in others if one.public is not None and one.public > (first.public or -np.inf)]
    if agreed.verdict == "contradict" and ahead:  # one of the two is wrong, and nobody knows which
        return max(ahead, key=lambda one: (one.public or -np.inf, one.cv)), "public"
    known = [one for one in others if (against[one.name].worth or 0) > 0]
    if known:
        return max(known, key=lambda one: (against[one.name].worth or 0, one.cv)), "worth"
    rest = [one for one in others if against[one.name].worth is None and against[one.name].agreement != 1]
    return (max(rest, key=lambda one: one.cv), "cv") if rest else (None, "")


def _odd(both: Sequence[Candidate]) -> list[str]:
    """Candidates whose CV lies further from their LB than the others', against the usual deviation of such gaps.

    A single one above them is what a leak looks like. Of fewer than five, none is called so.
    """
    if len(both) < 5:
        return []
    gaps = np.array([one.cv - (one.public or 0.0) for one in both])
    apart = np.abs(gaps - np.median(gaps))
    usual = stats.median_abs_deviation(gaps, scale="normal")
    return [one.name for one, distance in zip(both, apart, strict=True) if usual > 0 and distance > FAR * usual]


def agreement(left: Array, right: Array, *, labels: bool) -> float:
    """How far two submissions say the same: the share of equal lines, or the mean correlation of their columns.

    Args:
        left, right: [lines, outputs] numbers; where they are labels, 1 for each label that is given.

    >>> agreement(np.array([[0, 1], [1, 0]]), np.array([[0, 1], [0, 1]]), labels=True)
    0.5
    """
    if np.array_equal(left, right):
        return 1.0
    if labels:
        return float((left == right).all(axis=1).mean())
    varied = (np.ptp(left, axis=0) > 0) & (np.ptp(right, axis=0) > 0)
    if not varied.any():
        return float("nan")
    return float(np.mean([np.corrcoef(left[:, k], right[:, k])[0, 1] for k in np.flatnonzero(varied)]))
