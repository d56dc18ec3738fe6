"""Metrics of decided labels. Reads label arrays, returns one number.

Labels are either [rows] class indices (one class a row) or [rows, outputs] of 0 and 1 (sets).
Every function takes (truth, labels) of equal shape and returns a float.
"""

import numpy as np
from numpy.typing import NDArray

from foldline.core.task import Array
from foldline.scoring.metrics.metric import Labels, Rows


def right_rows(truth: Labels, labels: Labels) -> Rows:
    """[rows] of 1 where the label, or the whole set of labels, is right, else 0."""
    equal = truth == labels
    return np.asarray((equal if equal.ndim == 1 else equal.all(axis=1)).astype(np.float64))


def wrong_rows(truth: Labels, labels: Labels) -> Rows:
    """[rows] of 1 where the label, or any label of the set, is wrong, else 0."""
    return 1.0 - right_rows(truth, labels)


def label_counts(truth: Labels, labels: Labels) -> tuple[Array, Array, Array]:
    """For each class or column: how often it is right, how often true, how often predicted.

    Classes that neither truth nor labels hold are left out (scikit-learn's rule); columns never are.

    >>> label_counts(np.array([0, 2, 2]), np.array([0, 2, 0]))
    (array([1., 1.]), array([1., 2.]), array([2., 1.]))
    """
    if truth.ndim == 2:
        hits, true, predicted = (truth * labels).sum(axis=0), truth.sum(axis=0), labels.sum(axis=0)
        return hits.astype(np.float64), true.astype(np.float64), predicted.astype(np.float64)
    hits, true, predicted = _bincounts(truth, labels)
    there = (true + predicted) > 0
    return hits[there], true[there], predicted[there]


def _bincounts(truth: Labels, labels: Labels) -> tuple[Array, Array, Array]:
    true_index, predicted_index = truth.astype(np.int64), labels.astype(np.int64)
    size = int(max(true_index.max(), predicted_index.max())) + 1
    hits = np.bincount(true_index[true_index == predicted_index], minlength=size)
    true, predicted = np.bincount(true_index, minlength=size), np.bincount(predicted_index, minlength=size)
    return hits.astype(np.float64), true.astype(np.float64), predicted.astype(np.float64)


def balanced_accuracy(truth: Labels, labels: Labels) -> float:
    """The mean recall over the classes that the truth holds; 0 to 1, chance is 1 / classes.

    Source: Brodersen et al. 2010, doi:10.1109/ICPR.2010.764; multi-class as in scikit-learn.
    """
    hits, true, _ = label_counts(truth, labels)
    return float((hits[true > 0] / true[true > 0]).mean())


def _f(hits: Array, true: Array, predicted: Array, beta: float, empty: float = 0.0) -> Array:
    """F-beta from counts; `empty` where a class is neither true nor predicted."""
    below = beta**2 * true + predicted
    return np.where(below > 0, (1 + beta**2) * hits / np.where(below > 0, below, 1.0), empty)


def fbeta(truth: Labels, labels: Labels, beta: float = 1.0) -> float:
    """F-beta of class 1: (1 + b²)·precision·recall / (b²·precision + recall); 0 to 1.

    Undefined (no positive row and none predicted): 0. Source: van Rijsbergen 1979, chapter 7.
    """
    true, predicted = truth == 1, labels == 1
    return float(_f((true & predicted).sum(), true.sum(), predicted.sum(), beta))


def fbeta_macro(truth: Labels, labels: Labels, beta: float = 1.0) -> float:
    """The plain mean of each class's F-beta, over classes that truth or labels hold; 0 to 1.

    A multi-label column that is neither true nor predicted counts 0. Source: scikit-learn `f1_score`.
    """
    return float(_f(*label_counts(truth, labels), beta).mean())


def precision(truth: Labels, labels: Labels) -> float:
    """The share of rows called class 1 that are; 0 to 1, 0 where none is called so. Source: scikit-learn."""
    return fbeta(truth, labels, beta=0.0)


def recall(truth: Labels, labels: Labels) -> float:
    """The share of class 1's rows that are called so; 0 to 1, 0 where there is none. Source: scikit-learn."""
    return fbeta(labels, truth, beta=0.0)


def precision_macro(truth: Labels, labels: Labels) -> float:
    """The plain mean of each class's precision, over classes that truth or labels hold; 0 to 1.

    A class that is never predicted counts 0. Source: scikit-learn `precision_score`.
    """
    return fbeta_macro(truth, labels, beta=0.0)


def recall_macro(truth: Labels, labels: Labels) -> float:
    """The plain mean of each class's recall, over classes that truth or labels hold; 0 to 1.

    A class that is predicted and never true counts 0, which `balanced_accuracy` leaves out. Source: scikit-learn
    `recall_score`.
    """
    return fbeta_macro(labels, truth, beta=0.0)


def fbeta_micro(truth: Labels, labels: Labels, beta: float = 1.0) -> float:
    """F-beta of all classes' counts added up; 0 to 1. With one label a row it is the accuracy.

    Undefined (no label true and none predicted): 0. Source: scikit-learn `f1_score`.
    """
    hits, true, predicted = label_counts(truth, labels)
    return float(_f(hits.sum(), true.sum(), predicted.sum(), beta))


def fbeta_weighted(truth: Labels, labels: Labels, beta: float = 1.0) -> float:
    """The mean of each class's F-beta, weighted by how often it is true; 0 to 1, 0 where no label is true.

    Source: scikit-learn `f1_score`.
    """
    hits, true, predicted = label_counts(truth, labels)
    return float((_f(hits, true, predicted, beta) * true).sum() / max(true.sum(), 1.0))


def fbeta_samples_rows(truth: Labels, labels: Labels, beta: float = 1.0) -> Rows:
    """[rows] F-beta of each row's set of labels; an empty set that is predicted empty counts 1.

    Source: scikit-learn `f1_score(average="samples", zero_division=1)`.
    """
    return _f((truth * labels).sum(axis=1), truth.sum(axis=1), labels.sum(axis=1), beta, empty=1.0)


def matthews(truth: Labels, labels: Labels) -> float:
    """The Matthews correlation, for any number of classes (R_K); -1 to 1, 0 is chance.

    Undefined (truth or labels hold one class only): 0. Source: Gorodkin 2004, doi:10.1016/j.compbiolchem.2004.09.006.
    """
    hits, true, predicted = label_counts(truth, labels)
    rows = float(len(truth))
    left, right = rows**2 - float((true**2).sum()), rows**2 - float((predicted**2).sum())
    if left == 0 or right == 0:
        return 0.0
    return float((hits.sum() * rows - (true * predicted).sum()) / np.sqrt(left) / np.sqrt(right))


def cohen_kappa(truth: Labels, labels: Labels) -> float:
    """Agreement beyond chance, (observed - expected) / (1 - expected); at most 1, 0 is chance.

    Undefined (truth and labels hold the same single class): nan. Source: Cohen 1960, doi:10.1177/001316446002000104.
    """
    hits, true, predicted = label_counts(truth, labels)
    rows = float(len(truth))
    expected = float((true * predicted).sum()) / rows**2
    return float((hits.sum() / rows - expected) / (1 - expected)) if expected < 1 else float("nan")


def quadratic_weighted_kappa(truth: Labels, labels: Labels) -> float:
    """Kappa with squared distances of the class indices as weights; at most 1, 0 is chance.

    1 - mean (t - p)² / E (t - p)², the expectation over independent t and p. It needs no matrix.
    Undefined (truth and labels hold the same single class): nan.
    Source: Cohen 1968, doi:10.1037/h0026256; https://www.kaggle.com/c/aptos2019-blindness-detection (Evaluation).
    """
    expected = float((truth**2).mean() + (labels**2).mean() - 2 * truth.mean() * labels.mean())
    if expected <= 0 or (np.ptp(truth) == 0 and np.ptp(labels) == 0 and truth[0] == labels[0]):
        return float("nan")
    return float(1 - ((truth - labels) ** 2).mean() / expected)


def confusion_matrix(truth: Labels, labels: Labels, classes: int) -> NDArray[np.int64]:
    """[classes, classes] counts: rows are the true class, columns the predicted one."""
    flat = truth.astype(np.int64) * classes + labels.astype(np.int64)
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes)
