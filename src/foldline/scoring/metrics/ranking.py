"""Metrics that need only the order of scores. Reads 0/1 truth and scores, returns one number.

Scores come as dense ranks (`order_codes`): a metric of the order is the same for them, and counting
replaces sorting, which makes a bootstrap of 1,000 resamples cheap.
"""

from collections.abc import Callable, Iterator
from typing import Annotated

import numpy as np

from foldline.core.task import Array
from foldline.scoring.metrics.metric import Codes, Rows, Table, Truth, mean_defined

Levels = Annotated[Array, "*parts levels"]


def order_codes(scores: Table) -> Table:
    """[rows, outputs] each column's dense ranks: 0 for its smallest value; equal values are equal.

    >>> order_codes(np.array([[0.5], [-2.0], [0.5]]))
    array([[1.],
           [0.],
           [1.]])
    """
    columns = [np.unique(column, return_inverse=True)[1] for column in scores.T]
    return np.stack(columns, axis=1).astype(np.float64)


def level_counts(truth: Rows, codes: Codes) -> tuple[Array, Array]:
    """Positive and negative rows at each level of the score, the highest level first."""
    size = int(codes.max()) + 1
    everything = np.bincount(codes, minlength=size)
    positive = np.bincount(codes[truth > 0], minlength=size)
    return positive[::-1].astype(np.float64), (everything - positive)[::-1].astype(np.float64)


def auc_of_counts(positive: Levels, negative: Levels) -> Array:
    """AUC of the rows at each level of a score, the highest first; nan where one class is missing."""
    pairs = positive.sum(axis=-1) * negative.sum(axis=-1)
    below = negative.sum(axis=-1, keepdims=True) - np.cumsum(negative, axis=-1)
    won = (positive * (below + negative / 2)).sum(axis=-1)
    return np.asarray(np.where(pairs > 0, won / np.where(pairs > 0, pairs, 1.0), np.nan))


def average_precision_of_counts(positive: Levels, negative: Levels) -> Array:
    """Average precision of the rows at each level of a score, the highest first; nan where no row is positive."""
    true, predicted = positive.sum(axis=-1), np.cumsum(positive + negative, axis=-1)
    precision = np.cumsum(positive, axis=-1) / np.maximum(predicted, 1.0)
    found = (positive * precision).sum(axis=-1)
    return np.asarray(np.where(true > 0, found / np.where(true > 0, true, 1.0), np.nan))


def binary_auc(truth: Rows, codes: Codes) -> float:
    """P(score of a positive > score of a negative) + half of the ties; nan where one class is missing."""
    return float(auc_of_counts(*level_counts(truth, codes)))


def band_area(truth: Rows, codes: Codes, low: float, high: float) -> float:
    """The area under the ROC curve between the true-positive rates `low` and `high`; 0 to high - low.

    It is the integral of 1 - false-positive rate over that band; equal scores join by a straight line.
    """
    positive, negative = level_counts(truth, codes)
    if positive.sum() == 0 or negative.sum() == 0:
        return float("nan")
    steps = positive > 0
    tpr = np.concatenate([[0.0], np.cumsum(positive)[steps] / positive.sum()])
    fpr_after = (np.cumsum(negative) / negative.sum())[steps]
    fpr_before = fpr_after - negative[steps] / negative.sum()
    start, end = np.clip(tpr[:-1], low, high), np.clip(tpr[1:], low, high)
    # Inside a step the rate runs straight from fpr_before to fpr_after: its mean is its middle.
    share = ((start + end) / 2 - tpr[:-1]) / np.diff(tpr)
    return float(((end - start) * (1 - fpr_before - share * (fpr_after - fpr_before))).sum())


def binary_average_precision(truth: Rows, codes: Codes) -> float:
    """The sum of (recall step)·precision over the score's levels; nan where no row is positive.

    Source: scikit-learn `average_precision_score` (no interpolation).
    """
    return float(average_precision_of_counts(*level_counts(truth, codes)))


def over_columns(metric: Callable[[Array, Codes], float], truth: Truth, codes: Table) -> float:
    """The mean over the columns for which the metric is defined; nan where it is defined for none.

    Class indices are taken as one class against the rest; of two classes only the last column counts.
    """
    return mean_defined([metric(true, codes[:, j].astype(np.int64)) for j, true in columns_of(truth, codes.shape[1])])


def columns_of(truth: Truth, outputs: int) -> Iterator[tuple[int, Rows]]:
    """The columns that count, and which rows are positive in each."""
    if truth.ndim == 1 and outputs == 2:
        yield 1, truth
        return
    for j in range(outputs):
        yield j, truth[:, j] if truth.ndim == 2 else (truth == j).astype(np.float64)


def auc(truth: Truth, codes: Table) -> float:
    """Area under the ROC curve; 0 to 1, 0.5 is chance. Several columns: their mean (one class against the rest).

    Undefined (only one class in the truth): nan; such columns are left out of a mean.
    Source: Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747.
    """
    return over_columns(binary_auc, truth, codes)


def average_precision(truth: Truth, codes: Table) -> float:
    """Average precision; 0 to 1, chance is the share of positives. Several columns: their mean (mAP).

    Undefined (no positive row): nan; such columns are left out of the mean.
    """
    return over_columns(binary_average_precision, truth, codes)


def weighted_auc(truth: Rows, codes: Table) -> float:
    """AUC in which the area below a true-positive rate of 0.4 counts twice, divided by its largest value; 0 to 1.

    The exact area; the grader's public script samples it at the curve's points and may differ by about 1 / positives.
    Undefined (only one class in the truth): nan.
    Source: https://www.kaggle.com/c/alaska2-image-steganalysis (Evaluation).
    """
    column = codes.astype(np.int64)[:, -1]
    return (2 * band_area(truth, column, 0.0, 0.4) + band_area(truth, column, 0.4, 1.0)) / 1.4


def partial_auc(truth: Rows, codes: Table, rate: float) -> float:
    """The ROC area above a true-positive rate; 0 to 1 - rate.

    Undefined (only one class in the truth): nan. Source: https://www.kaggle.com/c/isic-2024-challenge (Evaluation).
    """
    return band_area(truth, codes.astype(np.int64)[:, -1], rate, 1.0)
