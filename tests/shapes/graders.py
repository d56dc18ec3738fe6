"""What each competition's grader does, written from its published rule with numpy and scikit-learn alone.

Reads the submission and the sample as files, and the truth that was held back. Nothing of foldline is used.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

Floats = NDArray[np.float64]
Cells = list[list[str]]


class Refused(Exception):
    """The grader does not take the file: a slot would be lost."""


Rule = Callable[[Cells, list[Any], Sequence[str]], float]


def grade(submission: Path, sample: Path, truth: Mapping[str, Any], rule: Rule) -> float:
    """The score of a file; raises Refused for another header, other ids or cells that the rule refuses."""
    header, answers = read(submission)
    expected, wanted = read(sample)
    if header != expected:
        raise Refused(f"header {header}, expected {expected}")
    if sorted(answers) != sorted(wanted) or set(wanted) != set(truth):
        raise Refused(f"{len(answers)} ids, expected the sample's {len(wanted)}")
    return rule([answers[name] for name in truth], list(truth.values()), header[1:])


def read(path: Path) -> tuple[list[str], dict[str, list[str]]]:
    """The header, and the cells of each id."""
    with path.open(newline="") as handle:
        header, *lines = list(csv.reader(handle))
    answers = {line[0]: line[1:] for line in lines}
    if len(answers) != len(lines):
        raise Refused("an id stands twice")
    return header, answers


def numbers(cells: Cells, low: float = -np.inf, high: float = np.inf) -> Floats:
    """[rows, columns] the cells as numbers inside the range."""
    try:
        values = np.array(cells, dtype=np.float64)
    except ValueError as error:
        raise Refused(str(error)) from error
    if not (np.isfinite(values).all() and (values >= low).all() and (values <= high).all()):
        raise Refused(f"numbers outside {low} to {high}")
    return values


def auc(cells: Cells, truth: list[int], _: Sequence[str]) -> float:
    return float(metrics.roc_auc_score(truth, numbers(cells)[:, 0]))


def weighted_auc(cells: Cells, truth: list[int], _: Sequence[str]) -> float:
    """The area under the ROC curve, of which the part at true-positive rates below 0.4 counts twice; at most 1."""
    false, true, _thresholds = metrics.roc_curve(truth, numbers(cells)[:, 0], drop_intermediate=False)
    at = np.linspace(0, 1, 10_001)
    curve = np.interp(at, false, true)
    areas = [float(np.mean(np.clip(curve, low, high) - low)) for low, high in ((0.0, 0.4), (0.4, 1.0))]
    return (2 * areas[0] + areas[1]) / (2 * 0.4 + 0.6)


def mean_column_auc(cells: Cells, truth: list[Mapping[str, int]], header: Sequence[str]) -> float:
    values = numbers(cells)
    columns = [metrics.roc_auc_score([row[name] for row in truth], values[:, i]) for i, name in enumerate(header)]
    return float(np.mean(columns))


def log_loss(cells: Cells, truth: list[int], _: Sequence[str]) -> float:
    prob = np.clip(numbers(cells, 0, 1)[:, 0], 1e-15, 1 - 1e-15)
    right = np.array(truth)
    return float(-np.mean(right * np.log(prob) + (1 - right) * np.log(1 - prob)))


def log_loss_of_classes(cells: Cells, truth: list[str], header: Sequence[str]) -> float:
    prob = numbers(cells, 0, 1)
    if not np.allclose(prob.sum(axis=1), 1, rtol=0, atol=1e-6):
        raise Refused("a row does not sum to 1")
    own = prob[np.arange(len(truth)), [list(header).index(name) for name in truth]]
    return float(-np.mean(np.log(np.clip(own, 1e-15, 1))))


def quadratic_weighted_kappa(cells: Cells, truth: list[int], _: Sequence[str]) -> float:
    return float(metrics.cohen_kappa_score(truth, _whole(cells, 0, 4), weights="quadratic", labels=range(5)))


def accuracy(cells: Cells, truth: list[int], _: Sequence[str]) -> float:
    return float(np.mean(_whole(cells) == np.array(truth)))


def error(cells: Cells, truth: list[int], header: Sequence[str]) -> float:
    return 1 - accuracy(cells, truth, header)


def f1_macro(cells: Cells, truth: list[int], _: Sequence[str]) -> float:
    """The mean over the classes that stand in the truth or in the answers."""
    return float(metrics.f1_score(truth, _whole(cells), average="macro", zero_division=0))


def weighted_recall(cells: Cells, truth: list[tuple[str, int]], _: Sequence[str]) -> float:
    """The macro-averaged recall of each component, averaged with weights 2 (the root), 1 and 1."""
    said, right = _whole(cells), np.array([number for _, number in truth])
    of = np.array([component for component, _ in truth])
    recalls = {
        component: metrics.recall_score(right[of == component], said[of == component], average="macro", zero_division=0)
        for component in ("grapheme_root", "vowel_diacritic", "consonant_diacritic")
    }
    return float(np.average(list(recalls.values()), weights=[2, 1, 1]))


def f1_of_sets(cells: Cells, truth: list[str], _: Sequence[str]) -> float:
    """Micro F1 of sets of labels, separated by blanks."""
    said, right = [set(row[0].split()) for row in cells], [set(row.split()) for row in truth]
    both = sum(len(a & b) for a, b in zip(said, right, strict=True))
    return 2 * both / (sum(map(len, said)) + sum(map(len, right)))


def probabilistic_f1(cells: Cells, truth: list[int], _: Sequence[str]) -> float:
    """F1 of probabilities: each counts as so much of an answer."""
    prob, right = numbers(cells, 0, 1)[:, 0], np.array(truth)
    found = float(prob[right == 1].sum())
    precision, recall = found / max(float(prob.sum()), 1e-12), found / right.sum()
    return float(2 * precision * recall / (precision + recall)) if found else 0.0


def _whole(cells: Cells, low: float = -np.inf, high: float = np.inf) -> NDArray[np.int64]:
    """[rows] the first column, whose cells must be written as whole numbers."""
    if not all(row[0].strip().lstrip("-").isdigit() for row in cells):
        raise Refused("an answer is no whole number")
    return numbers(cells, low, high)[:, 0].astype(np.int64)
