"""Metrics of probabilities. Reads truth and probability arrays, returns one number for each row, or one number.

`truth` is [rows] class indices, or [rows, outputs] of shares (soft labels) or of 0 and 1 (multi-label);
`prob` is [rows, outputs] in 0 to 1.
"""

import numpy as np

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.task import Array
from foldline.scoring.metrics.metric import Rows, Table, Truth

SMALLEST = 1e-15  # the clip that Kaggle's log loss states: max(min(p, 1 - 1e-15), 1e-15)


def _pick(prob: Table, truth: Rows) -> Rows:
    """[rows] the probability of each row's true class."""
    return np.take_along_axis(prob, truth.astype(np.int64)[:, None], axis=1)[:, 0]


def _log(prob: Array) -> Array:
    return np.log(np.clip(prob, SMALLEST, 1 - SMALLEST))


def _shares(prob: Table) -> Table:
    """Rows divided by their sum, as Kaggle does; a row of zeros becomes equal shares."""
    total = prob.sum(axis=1, keepdims=True)
    return np.where(total > 0, prob / np.where(total > 0, total, 1.0), 1.0 / prob.shape[1])


def log_loss_rows(truth: Truth, prob: Table) -> Rows:
    """[rows] -log of the true class's probability, in nats; soft labels weigh the classes.

    Rows are divided by their sum, then clipped to 1e-15 and 1 - 1e-15, so 34.5 is the worst.
    Source: https://www.kaggle.com/c/dog-breed-identification (Evaluation).
    """
    shares = _shares(prob)
    if truth.ndim == 1:
        return -_log(_pick(shares, truth))
    return np.asarray(-(truth * _log(shares)).sum(axis=1))


def column_log_loss(truth: Truth, prob: Table) -> Table:
    """[rows, outputs] the binary log loss of each cell, clipped to 1e-15 and 1 - 1e-15."""
    return -(truth * _log(prob) + (1 - truth) * _log(1 - prob))


def column_log_loss_rows(truth: Truth, prob: Table) -> Rows:
    """[rows] the mean binary log loss of each row's columns."""
    return np.asarray(column_log_loss(truth, prob).mean(axis=1))


def weighted_log_loss(truth: Truth, prob: Table, weights: Array) -> float:
    """Log loss in which each class or column has a weight; the weights are normalised.

    One label a row: sum of w[true class]·loss / sum of w[true class]. Multi-label: each column's mean loss,
    averaged with the weights (https://www.kaggle.com/c/rsna-intracranial-hemorrhage-detection, Evaluation).
    Undefined (all true classes have weight 0): nan.
    """
    if len(weights) != prob.shape[1]:
        raise FoldlineError(
            f"weighted_log_loss has {counted(len(weights), 'weights')} for {counted(prob.shape[1], 'classes')}",
            where="metric",
        )
    if truth.ndim == 2:
        return float(column_log_loss(truth, prob).mean(axis=0) @ weights / weights.sum())
    rows = weights[truth.astype(np.int64)]
    return float(log_loss_rows(truth, prob) @ rows / rows.sum()) if rows.sum() > 0 else float("nan")


def kl_divergence_rows(truth: Truth, prob: Table) -> Rows:
    """[rows] Kullback-Leibler divergence of the prediction from soft labels, in nats; 0 is best.

    sum of t·log(t / p), where 0·log 0 is 0 and p is clipped as in log loss.
    Source: Kullback and Leibler 1951, doi:10.1214/aoms/1177729694.
    """
    if truth.ndim == 1:
        return log_loss_rows(truth, prob)
    entropy = (truth * np.log(np.where(truth > 0, truth, 1.0))).sum(axis=1)
    return np.asarray(entropy + log_loss_rows(truth, prob))


def brier_rows(truth: Truth, prob: Table) -> Rows:
    """[rows] the squared distance of the probabilities from the truth, averaged over the outputs; 0 to 1.

    For two classes it is (p - y)². Source: Brier 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2,
    divided by the number of outputs.
    """
    if truth.ndim == 2:
        return np.asarray(((prob - truth) ** 2).mean(axis=1))
    right = _pick(prob, truth)
    return np.asarray(((prob**2).sum(axis=1) - right**2 + (1 - right) ** 2) / prob.shape[1])


def rank_of_truth(truth: Rows, prob: Table) -> Rows:
    """[rows] how many classes stand before the true one; of equal probabilities the first class leads.

    >>> rank_of_truth(np.array([1.0]), np.array([[0.4, 0.4, 0.2]]))
    array([1.])
    """
    right = _pick(prob, truth)[:, None]
    before = np.arange(prob.shape[1])[None, :] < truth[:, None]
    return np.asarray(((prob > right) | ((prob == right) & before)).sum(axis=1).astype(np.float64))


def top_rows(truth: Rows, prob: Table, k: int) -> Rows:
    """[rows] of 1 where the true class is among the k most probable, else 0."""
    return (rank_of_truth(truth, prob) < k).astype(np.float64)


def missed_rows(truth: Rows, prob: Table, k: int) -> Rows:
    """[rows] of 1 where the true class is not among the k most probable, else 0."""
    return 1.0 - top_rows(truth, prob, k)


def average_precision_at_rows(truth: Truth, prob: Table, k: int) -> Rows:
    """[rows] average precision of the k most probable classes; their mean is MAP@k, 0 to 1.

    One label a row: 1 / place of the true class, or 0 beyond k. Sets: the precision at each place that holds
    a true label, summed and divided by min(k, true labels); a row with no label counts 0.
    Source: https://www.kaggle.com/c/humpback-whale-identification (Evaluation).
    """
    if truth.ndim == 1:
        rank = rank_of_truth(truth, prob)
        return np.where(rank < k, 1 / (rank + 1), 0.0)
    order = np.argsort(-prob, axis=1, kind="stable")[:, :k]
    hits = np.take_along_axis(truth, order, axis=1)
    precision = np.cumsum(hits, axis=1) / np.arange(1, order.shape[1] + 1)
    return np.asarray((precision * hits).sum(axis=1) / np.clip(truth.sum(axis=1), 1, k))


def global_average_precision(truth: Rows, prob: Table) -> float:
    """GAP, or micro AP at 1: all rows' best answers in one list, the most confident first; 0 to 1.

    1/rows · sum of precision(place)·right(place). A row whose probabilities are all 0 gives no answer, and counts
    among the rows. Equally confident answers share the precision after the last of them, so that order is no luck.
    Undefined (no right answer): 0. Source: https://www.kaggle.com/c/landmark-recognition-challenge (Evaluation).
    """
    confidence = prob.max(axis=1)
    given = confidence > 0
    right = (prob.argmax(axis=1) == truth)[given]
    if not right.any():
        return 0.0
    level = np.unique(-confidence[given], return_inverse=True)[1]  # 0: the most confident
    hits, answers = np.bincount(level, weights=right), np.bincount(level)
    return float((hits * np.cumsum(hits) / np.cumsum(answers)).sum() / len(truth))


def probabilistic_f1(truth: Rows, prob: Table) -> float:
    """F1 in which each positive probability counts as that much of a prediction; 0 to 1.

    Only sums of p over positive and negative rows enter. Undefined (no positive row, or all p = 0): 0.
    Source: Yacouby and Axman 2020, doi:10.18653/v1/2020.eval4nlp-1.9;
    https://www.kaggle.com/c/rsna-breast-cancer-detection (Evaluation).
    """
    positive = prob[:, -1]
    hits, predicted, true = float(positive @ truth), float(positive.sum()), float(truth.sum())
    # 2·P·R / (P + R) with P = hits / predicted and R = hits / true.
    return 2 * hits / (predicted + true) if hits > 0 else 0.0
