"""Metrics of numbers. Reads truth and value arrays, both [rows, outputs], returns one number."""

from collections.abc import Callable

import numpy as np

from foldline.core.task import Array
from foldline.scoring.metrics.metric import Rows, Table, mean_defined


def rmse(truth: Table, value: Table) -> float:
    """The root of the mean squared error over all cells; 0 is best, in the target's unit."""
    return float(np.sqrt(((truth - value) ** 2).mean()))


def mean_column_rmse(truth: Table, value: Table) -> float:
    """The mean of each column's RMSE; 0 is best, in the target's unit."""
    return float(np.sqrt(((truth - value) ** 2).mean(axis=0)).mean())


def rmsle(truth: Table, value: Table) -> float:
    """RMSE of log(1 + number), for truths >= 0; 0 is best. Predictions below 0 count as 0.

    Undefined (a truth of -1 or less): nan.
    """
    if (truth <= -1).any():
        return float("nan")
    return rmse(np.log1p(truth), np.log1p(np.clip(value, 0, None)))


def absolute_error_rows(truth: Table, value: Table) -> Rows:
    """[rows] the mean absolute error of each row's columns; their mean is the MAE, 0 is best."""
    return np.asarray(np.abs(truth - value).mean(axis=1))


def _columns(metric: Callable[[Array, Array], float], truth: Table, value: Table) -> float:
    return mean_defined([metric(truth[:, j], value[:, j]) for j in range(truth.shape[1])])


def _r2(truth: Rows, value: Rows) -> float:
    if len(truth) < 2:
        return float("nan")
    error = float(((truth - value) ** 2).sum())
    spread = float(((truth - truth.mean()) ** 2).sum())
    if np.ptp(truth) == 0:
        return 1.0 if error == 0 else 0.0
    return 1 - error / spread


def r2(truth: Table, value: Table) -> float:
    """The share of the truth's variance that is explained; at most 1, 0 is predicting the mean. Mean over columns.

    Undefined: fewer than two rows: nan; equal truths: 1 where all are met, else 0 (scikit-learn's rule).
    """
    return _columns(_r2, truth, value)


def _pearson(truth: Rows, value: Rows) -> float:
    if len(truth) < 2 or np.ptp(truth) == 0 or np.ptp(value) == 0:
        return float("nan")
    left, right = truth - truth.mean(), value - value.mean()
    below = np.sqrt(left @ left) * np.sqrt(right @ right)
    return float(np.clip(left @ right / below, -1, 1)) if below > 0 else float("nan")


def pearson(truth: Table, value: Table) -> float:
    """The linear correlation; -1 to 1. Mean over columns. Undefined (equal truths or equal predictions): nan."""
    return _columns(_pearson, truth, value)


def _spearman(truth: Rows, value: Rows) -> float:
    from scipy.stats import rankdata

    return _pearson(rankdata(truth), rankdata(value))


def spearman(truth: Table, value: Table) -> float:
    """The correlation of the ranks, ties sharing their mean rank; -1 to 1. Mean over columns.

    Undefined (equal truths or equal predictions): nan. Source: Spearman 1904, doi:10.2307/1412159.
    """
    return _columns(_spearman, truth, value)
