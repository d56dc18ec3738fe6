"""Labels that are probably wrong, by out-of-fold predictions: confident learning for classes, residuals for numbers.

Arrays in, suspects out; reads and writes nothing. A suspect is no proof: hard and rare pictures look the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldline.core.task import Array, Block, Task
from foldline.scoring.metrics.metric import Predicted
from foldline.scoring.metrics.portions import portions_of

FAR = 3.5  # robust deviations from which on a number is an outlier (Iglewicz and Hoaglin 1993)
NORMAL = 0.6745  # the median absolute deviation of a standard normal


@dataclass(frozen=True)
class Suspect:
    """A label that the predictions contradict.

    Attributes:
        row: its place among the rows.
        target: the label of a set, the target of several, the number of several; empty where there is only one.
        given: what the label says; predicted: what the model says instead. Of a set's label 0 or 1.
        score: how strong the contradiction is. Classes: the lead of the predicted one over the given one, in (0, 1].
            Numbers and shares: robust deviations, at least `FAR`.
    """

    row: int
    target: str
    given: str
    predicted: str
    score: float


def suspects(task: Task, truth: Array, predicted: Predicted, outputs: Sequence[str]) -> list[Suspect]:
    """All labels that are suspected, the strongest first; of several targets each one's strongest in turn.

    Args:
        truth: as `Task.truth` gives it.
        predicted: [rows, outputs] out-of-fold: probabilities or values; nothing is suspected by ranks.
        outputs: the names of the columns.
    """
    found = [
        _of_block(block, block.truth(truth), predicted[:, block.columns], outputs) for block in task.of(outputs).blocks
    ]
    ranked = [(place, one) for block in found for place, one in enumerate(block)]
    return [one for _, one in sorted(ranked, key=lambda pair: pair[0])]


def _of_block(block: Block, truth: Array, predicted: Predicted, outputs: Sequence[str]) -> list[Suspect]:
    names, task = block.outputs(outputs), block.task
    if task.single_label:
        found = _classes(block.name, truth.astype(np.intp), predicted, names)
    elif task.label_sets:
        found = [
            one
            for i, name in enumerate(names)
            for one in _classes(
                name, truth[:, i].astype(np.intp), np.stack([1 - predicted[:, i], predicted[:, i]], axis=1), ["0", "1"]
            )
        ]
    elif task.soft:
        found = _shares(block.name, truth, predicted, names)
    else:
        found = [
            one for i, name in enumerate(names) for one in _numbers(block.name or name, truth[:, i], predicted[:, i])
        ]
    return sorted(found, key=lambda one: (-one.score, one.row))


def confident_class(given: NDArray[np.intp], prob: Predicted) -> NDArray[np.intp]:
    """[rows] the class that each row most probably is of, -1 where no class is likely enough to say so.

    A class is likely enough from that probability on which its own rows have on average, so a class that the model
    is never sure of needs less. The counts of (given, confident) are the confident joint of Northcutt, Jiang and Chuang
    2021, "Confident Learning: Estimating Uncertainty in Dataset Labels", doi:10.1613/jair.1.12125.

    Args:
        given: [rows] the class of the label.
        prob: [rows, classes] out-of-fold probabilities.

    >>> given, prob = np.array([0, 0, 0, 1, 1]), np.array([0.9, 0.8, 0.1, 0.2, 0.1])
    >>> confident_class(given, np.stack([prob, 1 - prob], axis=1)).tolist()
    [0, 0, 1, -1, 1]
    """
    classes = prob.shape[1]
    rows = np.bincount(given, minlength=classes)
    own = np.bincount(given, weights=prob[np.arange(len(given)), given], minlength=classes)
    enough = np.where(rows > 0, own / np.maximum(rows, 1), np.inf)
    found = np.empty(len(given), dtype=np.intp)
    for some in portions_of(prob):
        likely = np.where(prob[some] >= enough - 1e-9, prob[some], -1.0)
        found[some] = np.where(likely.max(axis=1) >= 0, likely.argmax(axis=1), -1)
    return found


def _classes(target: str, given: NDArray[np.intp], prob: Predicted, names: Sequence[str]) -> list[Suspect]:
    """Rows whose confident class is another one than the given, and more probable."""
    if not len(given):
        return []
    other = confident_class(given, prob)
    rows = np.arange(len(given))
    lead = prob[rows, other].astype(np.float64) - prob[rows, given].astype(np.float64)
    odd = np.flatnonzero((other >= 0) & (other != given) & (lead > 0))
    return [Suspect(int(i), target, names[given[i]], names[other[i]], float(lead[i])) for i in odd]


def deviations(error: Array) -> Array:
    """[rows] how many robust deviations each error lies from their median; 0 where they do not vary.

    >>> deviations(np.array([-1.0, 0.0, 1.0, 0.0, 10.0])).round(2).tolist()
    [-0.67, 0.0, 0.67, 0.0, 6.74]
    """
    apart = error - np.median(error)
    spread = np.median(np.abs(apart)) / NORMAL
    # where more than half are exactly alike, the mean deviation is taken (Iglewicz and Hoaglin 1993)
    spread = spread or 1.2533 * float(np.abs(apart).mean())
    least = 1e-9 * float(np.abs(error).max(initial=0.0))  # below it only rounding differs
    return np.asarray(apart / spread) if spread > least else np.zeros(len(error))


def _numbers(target: str, truth: Array, predicted: Predicted) -> list[Suspect]:
    if not len(truth):
        return []
    far = np.abs(deviations(predicted - truth))
    odd = np.flatnonzero(far >= FAR)
    return [Suspect(int(i), target, f"{truth[i]:g}", f"{predicted[i]:g}", float(far[i])) for i in odd]


def _shares(target: str, truth: Array, predicted: Predicted, names: Sequence[str]) -> list[Suspect]:
    """Rows whose shares are unusually far from the predicted ones: half the sum of all differences."""
    if not len(truth):
        return []
    far = deviations(np.abs(truth - predicted).sum(axis=1) / 2)
    odd = np.flatnonzero(far >= FAR)
    top = [(int(truth[i].argmax()), int(predicted[i].argmax())) for i in odd]
    return [
        Suspect(int(i), target, f"{names[a]} {truth[i, a]:.2f}", f"{names[b]} {predicted[i, b]:.2f}", float(far[i]))
        for i, (a, b) in zip(odd, top, strict=True)
    ]
