"""What changing labels by predictions is worth to a score that can learn nothing: unseen, and in the nested way.

    python benchmarks/label_leak.py

Rows in clusters of pictures that look alike, whose labels are drawn at random: no honest out-of-fold score is above one
half. A network that is at its best here, the mean label of the nearest rows, stands for all. `unseen`: each fold trains
on labels that the run's own OOF predictions changed. `nested`: on labels that models changed which saw no row of the
fold (`train.labels: exclude`, `relabel`). Printed: OOF accuracy on the given labels, mean ± standard error.
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from foldline.core.task import TASKS
from foldline.scoring.label_errors import suspects

Floats = NDArray[np.float64]
OUTPUTS = ["0", "1"]
TASK = TASKS["binary"].of(OUTPUTS)


def predicted(x: Floats, y: Floats, of: Floats) -> Floats:
    """[rows, 2] by the rows (x, y): the mean label, weighted by nearness."""
    weight = np.exp(-((of[:, None] - x[None]) ** 2).sum(axis=2) * 8)
    positive = (weight @ y + 0.25) / (weight.sum(axis=1) + 0.5)
    return np.stack([1 - positive, positive], axis=1)


def out_of_fold(x: Floats, y: Floats, folds: NDArray[np.int64], without: int = -1) -> Floats:
    """[rows, 2] each row by a model that saw neither its fold nor `without`; of that fold nothing is said."""
    prob = np.full((len(x), 2), 0.5)
    for k in set(range(5)) - {without}:
        rest = (folds != k) & (folds != without)
        prob[folds == k] = predicted(x[rest], y[rest], x[folds == k])
    return prob


def score(x: Floats, y: Floats, folds: NDArray[np.int64], action: str, nested: bool) -> float:
    """The accuracy on the given labels of a run that excludes or relabels."""
    right = np.zeros(len(y))
    whole = out_of_fold(x, y, folds)
    for k in range(5):
        rest = folds != k
        prob = (out_of_fold(x, y, folds, without=k) if nested else whole)[rest]
        labels, kept = y[rest].copy(), np.ones(int(rest.sum()), dtype=bool)
        for one in suspects(TASK, labels.copy(), prob, OUTPUTS) if action else []:
            if action == "exclude":
                kept[one.row] = False
            else:
                labels[one.row] = float(one.predicted)
        answer = predicted(x[rest][kept], labels[kept], x[~rest])
        right[~rest] = answer.argmax(axis=1) == y[~rest]
    return float(right.mean())


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=50)
    draws = parser.parse_args().draws
    ways = [("", False), ("exclude", False), ("relabel", False), ("exclude", True), ("relabel", True)]
    scores = np.empty((draws, len(ways)))
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        x = np.repeat(rng.normal(0, 3, (50, 4)), 8, axis=0) + rng.normal(0, 0.1, (400, 4))
        y, folds = rng.integers(0, 2, 400).astype(np.float64), rng.permutation(400).astype(np.int64) % 5
        scores[draw] = [score(x, y, folds, *way) for way in ways]
    print("| labels | OOF accuracy |\n|---|---|")
    for place, (action, nested) in enumerate(ways):
        name = f"{action}, {'nested' if nested else 'unseen'}" if action else "as given"
        error = scores[:, place].std(ddof=1) / np.sqrt(draws)
        print(f"| {name} | {scores[:, place].mean():.4f} ± {error:.4f} |")


if __name__ == "__main__":
    main()
