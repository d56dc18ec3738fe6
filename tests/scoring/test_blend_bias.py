"""The nested score of a fitted blend is what it scores on new rows: 50 made competitions (benchmarks/blend_bias.py)."""

import numpy as np
import pytest

import blend_bias
from blend_bias import CASES, trials

DRAWS = 50


@pytest.mark.parametrize("case", [case for case in CASES if case.metric in ("log_loss", "rmse")])
def test_nested_scores_are_unbiased_and_fitted_ones_are_not(
    case: blend_bias.Case, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(blend_bias, "FRESH", 2000)
    monkeypatch.setattr(blend_bias, "RESAMPLES", 100)
    drawn = [trials(case, 200, ["weights"], seed) for seed in range(DRAWS)]
    luck = np.array([one["mean"].nested for one in drawn])  # of the rows: nothing is fitted in a mean
    nested, fitted = (np.array([getattr(one["weights"], key) for one in drawn]) - luck for key in ("nested", "fitted"))
    error = nested.std(ddof=1) / DRAWS**0.5
    assert nested.mean() < 2.5 * error, "not too good"
    assert nested.mean() > -2.5 * error - 0.01, "not too bad either, but for the fold that each fit lacks"
    assert fitted.mean() > 3 * fitted.std(ddof=1) / DRAWS**0.5, "on the rows that it was fitted on it is too good"
    assert np.mean([one["weights"].inside for one in drawn]) >= 0.84, "the interval holds in 42 of 50 or more"
