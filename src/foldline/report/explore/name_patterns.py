"""Which column, or which part of the files' names, explains that pictures look the same. Tables in, candidates out."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from foldline.core.cells import all_numbers, is_missing
from foldline.models.metadata import metadata_columns
from foldline.readers.templates import Pattern, split_suffix
from foldline.report.explore.pairs import Pairs

FEWEST_PAIRS = 3
FEWEST_GROUPS = 10
JOINED = 0.7  # of the pairs: from here on a column explains them
BY_CHANCE = 0.1  # of all pairs of rows: up to here a column is fine enough to be a group
LIFT = 5.0  # how many times more often than by chance the pictures of a pair share a value
MOST_PARTS = 4  # of a name that a pattern may keep
SERIES, REST = "series", "rest"  # the columns that a pattern makes

# How columns of numbers are called that say who or what a picture is of.
_ID = re.compile(
    r"id$|id_|patient|subject|person|case|group|session|series|scene|study|camera|animal|location|site|slide"
)
_STOP = "_. -"  # what stands between the parts of a name


@dataclass(frozen=True)
class Explained:
    """A column or a pattern whose equal values join the pictures that look the same, and few others.

    Attributes:
        column: the metadata column; "" for a pattern.
        pattern: of the name without folder and ending, in the language of `train.extract`; "" for a column.
        example: a name and the part of it that is kept.
        joined: the share of the pairs whose rows have the same value.
        chance: the same of any two rows.
        pairs, groups: how many pairs were looked at, how many values there are.
    """

    column: str
    pattern: str
    example: tuple[str, str]
    joined: float
    chance: float
    pairs: int
    groups: int


def stems(frame: pd.DataFrame) -> list[str]:
    """[rows] the names of the pictures without folder and ending."""
    return [split_suffix(PurePosixPath(image.split("|")[0]).name)[0] for image in frame["image"].tolist()]


def explained_by(frame: pd.DataFrame, pairs: Pairs) -> Explained | None:
    """The best column or pattern for the pairs of training rows that no group joins yet; None where there is none.

    A column comes before a pattern that joins no more.
    """
    apart = [pair for pair in pairs.pairs if pair.left.table == pair.right.table == "train" and pair.groups_differ]
    left = np.array([pair.left.row for pair in apart], dtype=np.int64)
    right = np.array([pair.right.row for pair in apart], dtype=np.int64)
    if len(apart) < FEWEST_PAIRS:
        return None
    names = stems(frame)
    found = []
    for column, pattern, values in candidates(frame, names):
        code = pd.factorize(pd.Series(values, dtype=str))[0].astype(np.int64)
        sizes = np.bincount(code).astype(np.float64)
        joined = float((code[left] == code[right]).mean())
        chance = float((sizes * (sizes - 1)).sum() / max(len(code) * (len(code) - 1), 1))
        if joined >= max(JOINED, LIFT * chance) and chance <= BY_CHANCE and len(sizes) >= FEWEST_GROUPS:
            example = (names[left[0]], values[left[0]])
            found.append(Explained(column, pattern, example, joined, chance, len(apart), len(sizes)))
    return max(
        found, key=lambda one: (round(one.joined - one.chance, 2), one.column != "", -len(one.pattern)), default=None
    )


def candidates(frame: pd.DataFrame, names: Sequence[str]) -> Iterator[tuple[str, str, list[str]]]:
    """(column, pattern, [rows] values): the metadata columns, then the patterns that every name matches."""
    for column in metadata_columns(frame):
        missing = is_missing(frame[column])
        if all_numbers(frame.loc[~missing, column].unique().tolist()) and not _ID.search(column.lower()):
            continue  # an age or a size that twins share is no reason to stay together
        cells = zip(frame[column].tolist(), missing.tolist(), names, strict=True)
        yield column, "", [f"no {column} {name}" if unknown else cell for cell, unknown, name in cells]
    for pattern in patterns():
        matches = Pattern(pattern, where="train.extract").matches(names)
        if all(hit is not None for hit in matches):
            yield "", pattern, [hit[SERIES] for hit in matches if hit is not None]


def patterns() -> list[str]:
    """The beginnings of a name: its first 1 to MOST_PARTS parts, all but the last part, all but the last digits.

    >>> Pattern(patterns()[0], where="").matches(["p12_left_3"])
    [{'series': 'p12', 'rest': '_left_3'}]
    """
    part, more = f"[^{_STOP}]+", f"[{_STOP}]"
    first = [f"{{{SERIES}:{more.join([part] * count)}}}{{{REST}:{more}.*}}" for count in range(1, MOST_PARTS + 1)]
    return [*first, f"{{{SERIES}:.+}}{{{REST}:{more}{part}}}", f"{{{SERIES}:.*[^0-9]}}{{{REST}:[0-9]+}}"]
