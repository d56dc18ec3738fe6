"""Which part of the names, or which column, says what was taken together, where no two pictures are the same.

Pictures of one patient or scene need not be twins: they are nearer to one another than others of the same label.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.report.explore.explored import Explored
from foldline.report.explore.name_patterns import BY_CHANCE, FEWEST_GROUPS, Explained, candidates, stems

FEWEST_PAIRS = 20
NEARER = 0.7  # times the distance of two pictures of one label: from here on they were taken together
SURE = 0.75  # how often two of one series are nearer than two of one label; 0.5 is chance
IN_SERIES = 0.5  # the share of the rows that have another one in their series
Indices = NDArray[np.int64]


def taken_together(explored: Explored) -> tuple[Explained, float] | None:
    """The column or pattern whose rows look most alike, and their distance as a share of others'."""
    looks = explored.train_looks
    rows = looks.rows[looks.whole]
    if explored.facts.train.group or len(rows) < 2 * FEWEST_PAIRS:
        return None
    features = looks.coarse[looks.whole].astype(np.float64)
    features = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-6)
    label = _labels(explored)[rows]
    names = stems(explored.frame)
    found = []
    for column, pattern, values in candidates(explored.frame, names):
        code = pd.factorize(pd.Series(values, dtype=str))[0].astype(np.int64)
        ratio = _nearer(features, code[rows], label)
        if ratio is not None:
            sizes = np.bincount(code).astype(np.float64)
            chance = float((sizes * (sizes - 1)).sum() / (len(code) * (len(code) - 1)))
            most = int(sizes.argmax())
            at = int(np.flatnonzero(code == most)[0])
            found.append((Explained(column, pattern, (names[at], values[at]), 1.0, chance, 0, len(sizes)), ratio))
    return min(found, key=lambda one: (round(one[1], 2), one[0].column == "", len(one[0].pattern)), default=None)


def _labels(explored: Explored) -> Indices:
    """[rows of `frame`] the class of each row; 0 for all of them where a row has no single class."""
    block = explored.rows.task.blocks[0]
    truth = block.truth(explored.truth)
    return truth.astype(np.int64) if block.task.single_label else np.zeros(len(truth), dtype=np.int64)


def _nearer(features: NDArray[np.float64], code: Indices, label: Indices) -> float | None:
    """How far two rows of one series are apart, as a share of two of one label; None where that says nothing."""
    sizes = np.bincount(code)
    sizes = sizes[sizes > 0]
    rows = len(code)
    by_chance = float((sizes * (sizes - 1)).sum() / (rows * (rows - 1)))
    if len(sizes) < FEWEST_GROUPS or by_chance > BY_CHANCE or sizes[sizes > 1].sum() < IN_SERIES * rows:
        return None
    draw = np.random.default_rng(0).permutation(rows)
    within = _apart(features, draw, code, code, same=True)
    between = _apart(features, draw, label, code, same=False)
    if min(len(within), len(between)) < FEWEST_PAIRS:
        return None
    ratio = float(np.median(within) / max(float(np.median(between)), 1e-9))
    below = float(np.mean(np.searchsorted(np.sort(within), between) / len(within)))
    return ratio if ratio < NEARER and below > SURE else None


def _apart(
    features: NDArray[np.float64], draw: Indices, key: Indices, code: Indices, *, same: bool
) -> NDArray[np.float64]:
    """The distances of neighbours in a random order inside each key, of one series or of two."""
    order = draw[np.argsort(key[draw], kind="stable")]
    left, right = order[:-1], order[1:]
    chosen = (key[left] == key[right]) & ((code[left] == code[right]) == same)
    return np.asarray(np.linalg.norm(features[left[chosen]] - features[right[chosen]], axis=1), dtype=np.float64)
