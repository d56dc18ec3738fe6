"""Out-of-fold predictions of a small gradient boosting on a table of facts. Arrays in, arrays out; nothing is kept.

scikit-learn's HistGradientBoosting with fixed, small settings: nothing is tuned, so that nothing is fitted to the rows
that judge it. It takes missing numbers and words as they are.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.splits.shuffle import Indices

Floats = NDArray[np.float64]

TREES, FEWEST_TREES = 25, 6  # of one output; of many each has fewer, so that a probe of many classes takes no longer
RATE, LEAVES = 0.15, 8
MOST_WORDS = 60  # of a column; rarer ones are one word


@dataclass(frozen=True)
class Columns:
    """A table of facts as numbers.

    Attributes:
        names: the columns.
        values: [rows, columns], NaN where nothing is known; a word is its place by frequency.
        words: [columns] whether a column's numbers stand for words.
        known: [columns] the words in the order of their numbers; empty for a column of numbers.
    """

    names: list[str]
    values: Floats
    words: list[bool]
    known: list[list[str]]

    def only(self, rows: Indices) -> "Columns":
        """The same columns of some rows."""
        return Columns(self.names, self.values[rows], self.words, self.known)

    def says(self, place: int, value: float) -> str:
        """A value of a column, for a reader."""
        if not self.words[place]:
            return f"{value:g}"
        return f"'{self.known[place][int(value)]}'" if value < MOST_WORDS else "a rare word"


def as_columns(table: pd.DataFrame) -> Columns:
    """The columns of a table; those of text become words, in which "" is not known.

    >>> as_columns(pd.DataFrame({"px": [8.0, float("nan")], "format": ["png", ""]})).values.tolist()
    [[8.0, 0.0], [nan, nan]]
    """
    parts, words, known = [], list[bool](), list[list[str]]()
    for name in table.columns:
        column = table[name]
        words.append(not pd.api.types.is_numeric_dtype(column))
        codes, names = _word_codes(column.tolist()) if words[-1] else (column.to_numpy(dtype=np.float64), [])
        parts.append(codes)
        known.append(names)
    values = np.stack(parts, axis=1) if parts else np.zeros((len(table), 0))
    return Columns(list(table.columns), np.where(np.isfinite(values), values, np.nan), words, known)


def _word_codes(cells: Sequence[str]) -> tuple[Floats, list[str]]:
    """[cells] the place of each word by frequency, then by itself, NaN for ""; and the words, the first MOST_WORDS."""
    counts = Counter(cells)
    words = sorted((word for word in counts if word), key=lambda word: (-counts[word], word))
    place = {word: float(min(number, MOST_WORDS)) for number, word in enumerate(words)} | {"": np.nan}
    return np.array([place[cell] for cell in cells], dtype=np.float64), words[:MOST_WORDS]


@dataclass(frozen=True)
class OutOfFold:
    """Predictions of each row by a model that did not see its fold.

    Attributes:
        predicted: [rows, classes] probabilities, or [rows, 1] numbers.
        again: [rows, columns] changed facts -> the predictions of the same models.
    """

    predicted: Floats
    again: Callable[[Floats], Floats]


def out_of_fold(columns: Columns, truth: Floats, classes: int, fold: Indices, *, balanced: bool = False) -> OutOfFold:
    """Predicts each fold by a boosting of the other folds.

    Args:
        columns: [rows] facts.
        truth: [rows] class indices 0..classes-1, or numbers.
        classes: how many there are; 0: the truth is a number.
        fold: [rows] any whole numbers, two or more different ones.
        balanced: every class counts as much as any other.
    """
    from threadpoolctl import threadpool_limits

    parts: list[tuple[Indices, Callable[[Floats], Floats]]] = []
    with threadpool_limits(1):  # trees of some hundred rows: more threads only wait for one another
        for number in np.unique(fold).tolist():
            inside = np.flatnonzero(fold != number)
            parts.append((np.flatnonzero(fold == number), _fitted(columns, inside, truth[inside], classes, balanced)))

        def again(values: Floats) -> Floats:
            result = np.zeros((len(values), max(classes, 1)))
            with threadpool_limits(1):
                for rows, predict in parts:
                    result[rows] = predict(values[rows])
            return result

        return OutOfFold(again(columns.values), again)


def _fitted(columns: Columns, rows: Indices, truth: Floats, classes: int, balanced: bool) -> Callable[[Floats], Floats]:
    """A boosting of these rows: [n, columns] -> [n, classes] or [n, 1]; the mean where there is nothing to learn."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    present = np.unique(truth)
    told = np.asarray(
        np.isfinite(columns.values[rows]).any(axis=0)
    )  # scikit-learn cannot take a column of which nothing is known
    if len(present) < 2 or not told.any():
        constant = np.zeros(max(classes, 1))
        if classes and len(present):
            constant[present.astype(np.int64)] = 1 / len(present)
        elif len(present):
            constant[0] = float(truth.mean())
        return lambda values: np.tile(constant, (len(values), 1))
    words = [word for word, kept in zip(columns.words, told.tolist(), strict=True) if kept]
    options: dict[str, Any] = {
        "max_iter": max(FEWEST_TREES, TREES // max(1, len(present) - 1) if classes else TREES),
        "learning_rate": RATE if len(present) <= 2 or not classes else 2 * RATE,
        "max_leaf_nodes": LEAVES,
        "min_samples_leaf": max(3, min(20, len(rows) // 15)),
        "l2_regularization": 1.0,
        "early_stopping": False,
        "categorical_features": words if any(words) else None,
        "random_state": 0,
    }
    known = columns.values[rows][:, told]
    if not classes:
        number = HistGradientBoostingRegressor(**options).fit(known, truth)
        return lambda values: np.asarray(number.predict(values[:, told]))[:, None]
    model = HistGradientBoostingClassifier(**options, class_weight="balanced" if balanced else None)
    model.fit(known, truth.astype(np.int64))

    def predict(values: Floats) -> Floats:
        result = np.zeros((len(values), classes))
        result[:, present.astype(np.int64)] = model.predict_proba(values[:, told])
        return result

    return predict
