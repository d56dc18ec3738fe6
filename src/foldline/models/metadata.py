"""Table columns beside the picture, as the numbers that a network sees.

Reads tables of strings that others have read; writes nothing. The encoding is fitted on training rows and kept in the
fold's meta as JSON, so that prediction encodes new rows in the same way without the training table. All folds have the
same columns, so that their networks are alike; means, deviations and known words are of each fold's training rows.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.cells import all_numbers, is_missing, numbers
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.folds import MASK

MOST_WORDS = 50
_OWN = {"row_id", "image", "target", "group", "entity", "fold", MASK}


@dataclass(frozen=True)
class Column:
    """How one column becomes numbers.

    Attributes:
        kind: "number": (x - mean) / std, and where training rows lack it, 0 and a second number that is 1 for them.
            "word": a number for each word, 1 for that word, and one for all other words where training rows have some.
        mean: of the training rows that have a number; so is `std`, 1 where they are all the same.
        extra: whether there is a last number for missing cells ("number") or other words ("word").
        words: in the order of their numbers; "" stands for missing cells.
        silent: which of its numbers are always 0, since the fold's training rows never show another.
    """

    name: str
    kind: Literal["number", "word"]
    mean: float = 0.0
    std: float = 1.0
    extra: bool = False
    words: tuple[str, ...] = ()
    silent: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        """How many numbers a cell becomes."""
        return (1 if self.kind == "number" else len(self.words)) + self.extra

    def encode(self, cells: "pd.Series[str]") -> NDArray[np.float32]:
        """[rows, width]; raises FoldlineError for a word in a column of numbers."""
        result = np.zeros((len(cells), self.width), dtype=np.float32)
        known = self.as_numbers(cells)
        if self.kind == "number":
            missing = np.isnan(known)
            result[~missing, 0] = (known[~missing] - self.mean) / self.std
            result[missing, self.width - 1] = float(self.extra)
        else:
            there = known >= 0
            result[there, known[there].astype(np.int64)] = 1.0
            result[~there, len(self.words) :] = 1.0
        result[:, list(self.silent)] = 0.0
        return result

    def as_numbers(self, cells: "pd.Series[str]") -> NDArray[np.float64]:
        """[rows] a number (nan: missing), or the place of a word in `words` (-1: another one); raises as `encode`."""
        if self.kind == "word":
            places = {word: place for place, word in enumerate(self.words)}
            return np.array([places.get(word, -1) for word in _words(cells, self.words)], dtype=np.float64)
        result, missing = np.full(len(cells), np.nan), is_missing(cells).to_numpy(dtype=bool)
        result[~missing] = _finite(cells[~missing], self.name)
        return result

    def fitted_on(self, cells: "pd.Series[str]") -> "Column":
        """The same numbers, as these cells know them: their mean and deviation, and 0 for what they never show."""
        column = replace(self, silent=())
        if self.kind == "number":
            values = numbers(cells[~is_missing(cells)])
            mean, std = (float(values.mean()), float(values.std())) if len(values) else (0.0, 1.0)
            column = replace(column, mean=mean, std=std if std > 0 else 1.0)
        shown = column.encode(cells).any(axis=0)
        return replace(column, silent=tuple(np.flatnonzero(~shown).tolist()))


@dataclass(frozen=True)
class Encoding:
    """How some columns become numbers, in this order."""

    columns: tuple[Column, ...]

    @property
    def features(self) -> int:
        """How many numbers a row becomes."""
        return sum(column.width for column in self.columns)

    @property
    def names(self) -> list[str]:
        """The columns."""
        return [column.name for column in self.columns]

    def encode(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        """[rows, features] float32, all finite.

        Raises:
            FoldlineError: a column is not there, or a column of numbers holds a word.
        """
        lacking = [name for name in self.names if name not in frame.columns]
        if lacking:
            raise FoldlineError(
                f"only the training rows have the column {first_few(lacking)}: it cannot be a feature",
                where="model.metadata",
                next="take it out of model.metadata, or name it in test.metadata where the test table has it",
            )
        parts = [column.encode(frame[column.name]) for column in self.columns]
        return np.concatenate(parts, axis=1) if parts else np.zeros((len(frame), 0), dtype=np.float32)

    def fitted_on(self, frame: pd.DataFrame) -> "Encoding":
        """The same numbers a row, fitted on these rows alone: what a fold that trains on them may know.

        >>> rows = pd.DataFrame({"age": ["30", "50", "90"], "site": ["arm", "arm", "leg"]})
        >>> encoding = fit_encoding(rows, ["age", "site"]).fitted_on(rows[:2])
        >>> encoding.encode(rows).tolist()
        [[-1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [5.0, 0.0, 0.0]]
        """
        return Encoding(tuple(column.fitted_on(frame[column.name]) for column in self.columns))

    def as_json(self) -> list[dict[str, Any]]:
        """A JSON value."""
        return [
            {**asdict(column), "words": list(column.words), "silent": list(column.silent)} for column in self.columns
        ]

    @classmethod
    def from_json(cls, content: list[dict[str, Any]]) -> "Encoding":
        """The encoding that `as_json` gave."""
        lists = ("words", "silent")
        return cls(
            tuple(Column(**{**column, **{key: tuple(column.get(key, ())) for key in lists}}) for column in content)
        )


def fit_encoding(frame: pd.DataFrame, columns: Sequence[str], *, where: str = "model.metadata") -> Encoding:
    """How `columns` become numbers, from training rows alone.

    A column is one of numbers when each cell that is not missing is a finite number. A number for what the training
    rows never show (a missing cell, a rare word) would meet a random weight at test time, so there is none.

    >>> rows = pd.DataFrame({"age": ["30", "50", ""], "site": ["arm", "leg", "arm"]})
    >>> encoding = fit_encoding(rows, ["age", "site"])
    >>> encoding.encode(rows).tolist()
    [[-1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0]]

    Args:
        frame: training rows as in `folds/<comp>.csv`: cells are strings.
        columns: the metadata columns to use.
        where: the setting that names them.

    Raises:
        FoldlineError: a column is not among the metadata columns.
    """
    known = metadata_columns(frame)
    unknown = [name for name in columns if name not in known]
    if unknown:
        raise FoldlineError(
            f"no metadata column {first_few(unknown)} in the folds",
            where=where,
            next=f"known: {', '.join(known) or 'none'}; add it to train.metadata in the facts and make the folds again",
        )
    return Encoding(tuple(_fit_column(name, frame[name]) for name in columns))


def in_words(encoding: Encoding, frame: pd.DataFrame) -> list[str]:
    """A line for each column of which something is lost or odd; `frame` holds the rows that it was fitted on.

    >>> rows = pd.DataFrame({"age": ["30", "n.a.?", "41"], "site": ["arm", "arm", "arm"]})
    >>> in_words(fit_encoding(rows, ["age", "site"]), rows)
    ['age: taken as 3 words, since not all are numbers: n.a.?', 'site: the same in all rows, so it says nothing']
    """
    lines = []
    for column in encoding.columns:
        cells, few = frame[column.name], ""
        there = cells[~is_missing(cells)]
        words, strange = there.str.strip().nunique(), there[~np.isfinite(numbers(there))]
        if column.kind == "word" and column.extra:
            few = f", of which the {len(column.words)} most frequent count and the others as one"
        if words < 2 and len(there) in (0, len(cells)):
            lines.append(f"{column.name}: the same in all rows, so it says nothing")
        elif column.kind == "word" and 0 < len(strange) < len(there) / 2:
            odd = first_few(list(strange.unique()))
            lines.append(f"{column.name}: taken as {counted(words, 'words')}, since not all are numbers: {odd}{few}")
        elif few:
            lines.append(f"{column.name}: {counted(words, 'words')}{few}")
    return lines


def metadata_columns(frame: pd.DataFrame) -> list[str]:
    """The columns of a folds table that are metadata: neither ids, pictures, labels nor what the split needs."""
    return [name for name in frame.columns if name not in _OWN and not name.startswith("target_")]


def _fit_column(name: str, cells: "pd.Series[str]") -> Column:
    present = cells[~is_missing(cells)]
    if len(present) and all_numbers(present):
        values = numbers(present)
        std = float(values.std())
        return Column(name, "number", float(values.mean()), std if std > 0 else 1.0, len(present) < len(cells))
    counts = Counter(_words(cells))
    by_count = sorted(counts, key=lambda word: (-counts[word], word))
    return Column(name, "word", words=tuple(by_count[:MOST_WORDS]), extra=len(by_count) > MOST_WORDS)


def _words(cells: "pd.Series[str]", known: Collection[str] = ()) -> list[str]:
    """The cells without blanks around them; "" where one says that nothing is known, and is no known word."""
    plain = cells.str.strip()
    return plain.where(~is_missing(cells) | plain.isin(list(known)), "").tolist()


def _finite(cells: "pd.Series[str]", column: str) -> NDArray[np.float64]:
    values = numbers(cells)
    strange = cells[~np.isfinite(values)]
    if len(strange):
        raise FoldlineError(
            f"the metadata column '{column}' holds numbers in the training rows, and '{strange.iloc[0]}' here",
            where="model.metadata",
            next="mend the cell, or leave it empty where the number is not known",
        )
    return values
