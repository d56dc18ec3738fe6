"""What truth and predictions say, row by row and class by class. Arrays in, numbers out; reads and writes nothing.

`truth` and `predicted` have the shapes of `reported_run.ReportedRun`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldline.core.task import Array, Task
from foldline.report.run.reported_run import Floats, ReportedRun
from foldline.scoring.metrics.classification import confusion_matrix
from foldline.scoring.metrics.ranking import binary_auc, binary_average_precision, order_codes
from foldline.scoring.row_loss import portions, true_class

Indices = NDArray[np.intp]


def margin(task: Task, predicted: Floats) -> Array:
    """[rows] how sure each row is, in [0, 1]: the lead over the second class; of multi-label, mean |2p - 1|.

    >>> from foldline.core.task import TASKS
    >>> margin(TASKS["multiclass"], np.array([[0.5, 0.4, 0.1]])).round(2)
    array([0.1])
    """
    if task.targets:
        parts = [margin(block.task, predicted[:, block.columns]) for block in task.blocks if block.task.has_classes]
        return np.asarray(np.mean(parts, axis=0))
    every = portions(*predicted.shape)
    if len(every) > 1:
        return np.concatenate([margin(task, predicted[some]) for some in every])
    if task.label_sets:
        return np.asarray(np.abs(2 * predicted - 1).mean(axis=1), dtype=np.float64)
    top = np.partition(predicted, -2, axis=1)[:, -2:]
    return np.asarray(top[:, 1] - top[:, 0], dtype=np.float64)


def confusion(task: Task, truth: Array, predicted: Floats) -> NDArray[np.int64]:
    """[classes, classes] rows by true class (first axis) and most probable class (second)."""
    top = predicted.argmax(axis=1).astype(np.float64)
    return confusion_matrix(true_class(task, truth).astype(np.float64), top, predicted.shape[1])


def confused_pairs(task: Task, truth: Array, predicted: Floats, most: int) -> list[tuple[int, int, int]]:
    """The pairs (true class, predicted class, rows) that are confused most often; fine for 65,000 classes.

    >>> from foldline.core.task import TASKS
    >>> prob = np.array([[0.1, 0.9], [0.2, 0.8], [0.0, 1.0]])
    >>> confused_pairs(TASKS["multiclass"], np.array([0.0, 0.0, 1.0]), prob, most=5)
    [(0, 1, 2)]
    """
    true, top = true_class(task, truth), predicted.argmax(axis=1)
    wrong = true != top
    pairs, counts = np.unique(np.stack([true[wrong], top[wrong]], axis=1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    return [(int(pairs[i, 0]), int(pairs[i, 1]), int(counts[i])) for i in order]


def ratio(top: Array, bottom: Array) -> Array:
    """Element by element; NaN where the bottom is 0."""
    quotient: Array = np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom > 0)
    return quotient


def class_counts(task: Task, truth: Array, predicted: Floats) -> dict[str, Array]:
    """For each class: `rows`, `precision`, `recall`, `f1`; [classes] each, NaN where undefined.

    The decision is the most probable class; of multi-label, every class with p >= 0.5.
    """
    classes = predicted.shape[1]
    if task.label_sets:
        labels = predicted >= 0.5
        rows, chosen, right = truth.sum(axis=0), labels.sum(axis=0), (labels & (truth > 0.5)).sum(axis=0)
    else:
        true, top = true_class(task, truth), predicted.argmax(axis=1)
        rows, chosen = np.bincount(true, minlength=classes), np.bincount(top, minlength=classes)
        right = np.bincount(true[true == top], minlength=classes)
    rows, chosen, right = (np.asarray(part, dtype=np.float64) for part in (rows, chosen, right))
    f1 = ratio(2 * right, rows + chosen)
    return {"rows": rows, "precision": ratio(right, chosen), "recall": ratio(right, rows), "f1": f1}


def one_against_rest(task: Task, truth: Array, column: int) -> NDArray[np.bool_]:
    """[rows] whether each row is of this class."""
    is_class = truth[:, column] > 0.5 if task.label_sets else true_class(task, truth) == column
    return np.asarray(is_class, dtype=np.bool_)


def area(is_class: NDArray[np.bool_], prob: Floats) -> tuple[float, float]:
    """(AUC, average precision); both NaN where only one kind of row exists.

    The metrics' own (`scoring.metrics.ranking`), from one sort: a page has hundreds.

    >>> area(np.array([True, False, True, False]), np.array([0.9, 0.8, 0.7, 0.1]))
    (0.75, 0.8333333333333333)
    """
    if is_class.all() or not is_class.any():
        return float("nan"), float("nan")
    codes = order_codes(prob[:, None].astype(np.float64))[:, 0].astype(np.int64)
    truth = is_class.astype(np.float64)
    return binary_auc(truth, codes), binary_average_precision(truth, codes)


def roc(is_class: NDArray[np.bool_], prob: Floats, points: int = 300) -> tuple[Array, Array]:
    """(false positive rate, true positive rate) of a ROC curve, thinned to about `points` points."""
    from sklearn.metrics import roc_curve

    false_positive, true_positive, _ = roc_curve(is_class, prob)
    keep = np.unique(np.linspace(0, len(false_positive) - 1, points).astype(int))
    return np.asarray(false_positive[keep]), np.asarray(true_positive[keep])


@dataclass(frozen=True)
class Reliability:
    """Predicted probability against observed frequency, in bins. All arrays are [bins], empty bins left out.

    `low` and `high` are the 95 % interval of the observed frequency (Wilson 1927, doi:10.1080/01621459.1927.10502953).
    `error` is the expected calibration error: the mean gap, weighted by rows (Naeini et al. 2015).
    """

    predicted: Array
    observed: Array
    low: Array
    high: Array
    rows: Array
    error: float


def reliability(prob: Floats, happened: NDArray[np.bool_], bins: int = 10) -> Reliability:
    """Bins of equal width over [0, 1].

    >>> reliability(np.array([0.75, 0.75, 0.75, 0.75]), np.array([True, True, True, False])).error
    0.0
    """
    sums = np.zeros((3, bins))
    for some in portions(len(prob), 1):
        bin_of = np.clip((prob[some] * bins).astype(int), 0, bins - 1)
        sums += [np.bincount(bin_of, weights=each, minlength=bins) for each in (None, prob[some], happened[some])]
    full = sums[0] > 0
    rows = sums[0, full]
    predicted, observed = sums[1:, full] / rows
    z = 1.959964
    middle = (observed + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * np.sqrt(observed * (1 - observed) / rows + z**2 / (4 * rows**2))
    error = float((np.abs(predicted - observed) * rows).sum() / rows.sum())
    return Reliability(predicted, observed, np.maximum(middle - half, 0), np.minimum(middle + half, 1), rows, error)


def calibration(run: ReportedRun) -> tuple[Reliability, str]:
    """The reliability of a classification run, and what its probabilities are about."""
    if run.task.two_classes:
        name = run.outputs[-1]
        return reliability(run.predicted[:, -1], one_against_rest(run.task, run.truth, 1)), f"of “{name}”"
    if run.task.label_sets:
        return reliability(run.predicted.ravel(), run.truth.ravel() > 0.5), "of every class, pooled"
    right = run.predicted.argmax(axis=1) == true_class(run.task, run.truth)
    return reliability(run.predicted.max(axis=1), right), "of the most probable class"


def regression_errors(truth: Array, predicted: Floats) -> list[dict[str, Any]]:
    """For each output: RMSE, MAE, bias (mean of predicted - true) and R² (NaN where the truth is constant)."""
    error = predicted - truth
    around_mean = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    unexplained = ratio((error**2).sum(axis=0), around_mean)
    return [
        {
            "rmse": float(np.sqrt((error[:, i] ** 2).mean())),
            "mae": float(np.abs(error[:, i]).mean()),
            "bias": float(error[:, i].mean()),
            "r2": float(1 - unexplained[i]),
        }
        for i in range(truth.shape[1])
    ]
