"""Metadata against the target: what each column holds, and how far it goes with the label.

Tables in, lines of the page out; reads and writes nothing.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.cells import is_missing, numbers
from foldline.core.task import Array, Block
from foldline.report.explore.explored import Explored
from foldline.report.look import formats
from foldline.splits.strata import bin_codes, class_matrix

SHUFFLES = 200  # of the target, to see what chance alone gives; of many columns few then seem to say something
BINS = 8  # of numbers, for the share of the target's variance that they explain
MOST_WORDS = 50  # distinct words that are looked at one by one; all others together
OWN = {"row_id", "image", "target", "group", "entity", "fold"}


@dataclass(frozen=True)
class Column:
    """One column of metadata.

    Attributes:
        kind: numbers, or words.
        distinct: how many values there are.
        missing: the share of training cells without a value; missing_test: of the test rows, None without the column.
        unseen: the share of the test rows whose word no training row has; None of numbers.
        strength: of the association with the target, 0 to 1; chance: what 99 of 100 shuffled columns stay below.
        goes: strength is above what chance gives.
        detail: what the association is, in words.
        read: the run's network sees the column.
    """

    name: str
    kind: str
    distinct: int
    missing: float
    missing_test: float | None
    unseen: float | None
    strength: float
    chance: float
    goes: bool
    detail: str
    read: bool


def columns(explored: Explored) -> list[Column]:
    """Each column of metadata, the strongest first."""
    frame = explored.rows.frame
    names = [name for name in frame.columns if name not in OWN and not name.startswith("target_")]
    found = [_column(explored, str(name)) for name in names]
    return sorted(found, key=lambda column: -(column.strength - column.chance))


def _column(explored: Explored, name: str) -> Column:
    frame, test = explored.rows.frame, explored.rows.test
    cells, missing = frame[name], is_missing(frame[name])
    known = numbers(cells[~missing])
    kind = "numbers" if len(known) and np.isfinite(known).mean() > 0.5 and len(np.unique(known)) > 2 else "words"
    codes = _codes(cells, kind)
    strength, chance, block = max(
        ((*_association(codes, explored.rows.truth, block, explored), block) for block in explored.rows.task.blocks),
        key=lambda it: it[0] - it[1],
    )
    in_test = name in test.columns and len(test) > 0
    words = set(cells[~missing])
    unseen = float((~test[name].isin(words) & ~is_missing(test[name])).mean()) if in_test and kind == "words" else None
    return Column(
        formats.printable(name, 60), kind, int(cells[~missing].nunique()), float(missing.mean()),
        float(is_missing(test[name]).mean()) if in_test else None, unseen, strength, chance, strength > chance,
        _detail(cells, codes, kind, explored, block) if strength > chance else "", name in explored.run.model.metadata,
    )  # fmt: skip


def _codes(cells: "pd.Series[str]", kind: str) -> NDArray[np.int64]:
    """[rows] what is compared: bins of numbers, words; missing cells are a value of their own, 0."""
    missing = is_missing(cells).to_numpy()
    codes = np.zeros(len(cells), dtype=np.int64)
    if kind == "numbers":
        values = numbers(cells)
        known = np.isfinite(values)
        codes[known] = 1 + bin_codes(values[known], BINS)
        return codes
    counts = cells[~missing].value_counts()
    place = {word: 1 + min(i, MOST_WORDS) for i, word in enumerate(counts.index)}
    codes[~missing] = [place[word] for word in cells[~missing]]
    return codes


def _association(codes: NDArray[np.int64], truth: Array, block: Block, explored: Explored) -> tuple[float, float]:
    """(how much of the target the column explains, what 99 of 100 shuffles stay below).

    The share of the target's variance between the column's values (eta squared; of classes the mean over them,
    weighted by their variance: Goodman and Kruskal's tau).
    """
    matrix = _matrix(block, truth, explored)
    strength = _explained(codes, matrix)
    rng = np.random.default_rng(0)
    drawn = [_explained(rng.permutation(codes), matrix) for _ in range(_shuffles(matrix))]
    return strength, float(np.quantile(drawn, 0.99))


def _shuffles(matrix: Array) -> int:
    return max(20, min(SHUFFLES, int(2e8 / max(matrix.size, 1))))


def _matrix(block: Block, truth: Array, explored: Explored) -> Array:
    """[rows, outputs] the target as numbers; of many classes the 100 largest."""
    values = block.truth(truth)
    if not block.task.has_classes:
        return np.asarray(values.reshape(len(values), -1), dtype=np.float64)
    held = class_matrix(values, block.task, len(explored.rows.outputs[block.columns]))
    largest = np.argsort(-np.asarray(held.sum(axis=0)).reshape(-1), kind="stable")[:100]
    return np.asarray(held[:, largest].toarray(), dtype=np.float64)


def _explained(codes: NDArray[np.int64], matrix: Array) -> float:
    counts = np.bincount(codes)
    used = counts > 0
    sums = np.stack([np.bincount(codes, weights=column, minlength=len(counts))[used] for column in matrix.T])
    means, whole = sums / counts[used], matrix.mean(axis=0)
    between = float((counts[used] * (means - whole[:, None]) ** 2).sum())
    total = float(((matrix - whole) ** 2).sum())
    return between / total if total > 0 else 0.0


def _detail(cells: "pd.Series[str]", codes: NDArray[np.int64], kind: str, explored: Explored, block: Block) -> str:
    """The values that differ most from all rows, in words."""
    matrix = _matrix(block, explored.rows.truth, explored)
    whole = matrix.mean(axis=0)
    values = [int(code) for code in np.unique(codes) if (codes == code).sum() >= 5]
    if not values:
        return ""
    means = np.stack([matrix[codes == code].mean(axis=0) for code in values])
    spread = np.abs(means - whole) / np.maximum(matrix.std(axis=0), 1e-9)
    at, output = np.unravel_index(int(spread.argmax()), spread.shape)
    rows = codes == values[int(at)]
    where = _value(cells[rows], values[int(at)], kind)
    mean, usual = means[at, output], whole[output]
    if not block.task.has_classes:
        return f"{where}: mean {formats.score(float(mean), 3)}, of all rows {formats.score(float(usual), 3)}"
    held = class_matrix(block.truth(explored.rows.truth), block.task, len(explored.rows.outputs[block.columns]))
    largest = np.argsort(-np.asarray(held.sum(axis=0)).reshape(-1), kind="stable")[:100]
    label = formats.printable(block.outputs(explored.rows.outputs)[int(largest[output])], 40)
    return f"{where}: {formats.share(float(mean))} {label}, of all rows {formats.share(float(usual))}"


def _value(cells: "pd.Series[str]", code: int, kind: str) -> str:
    if code == 0:
        return "no value"
    if kind == "numbers":
        values = numbers(cells)
        return f"{np.nanmin(values):g} to {np.nanmax(values):g}"
    return f"'{formats.printable(str(cells.iloc[0]), 40)}'" if cells.nunique() == 1 else "rare words"
