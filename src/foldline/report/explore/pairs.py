"""Pictures that occur twice: byte for byte, pixel for pixel, or nearly; among training rows and across to the test.

Reads the pictures once each, by `splits.duplicates`, and writes nothing. What matters comes first: pairs whose labels
disagree, then pairs of training and test rows, then pairs that are in two folds. Turned, mirrored and cropped copies,
and pictures without any detail, are not found unless they are the same bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.task import Task
from foldline.images.files.decode import preview
from foldline.images.files.header import BadImageError
from foldline.splits.checks import contents
from foldline.splits.duplicates import MAX_DISTANCE, image_hashes, near_pairs
from foldline.splits.shuffle import Indices

Floats = NDArray[np.float64]

MOST_DECODED = 300  # pairs of equal hashes that are decoded to see whether their pixels are equal
MOST_COUNTED = 5_000_000  # pairs that are kept: films have millions
PIECE = 1_000_000  # found pairs, repeated ones too, that wait to be taken in
TOLERANCE = 0.25  # standard deviations of a number (or share): below it two labels agree

Kind = Literal["bytes", "pixels", "near"]
Labels = Literal["equal", "conflict", "unknown"]


@dataclass(frozen=True, order=True)
class Place:
    """A row: its table and its place there."""

    table: Literal["train", "test"]
    row: int


@dataclass(frozen=True)
class Pair:
    """Two rows whose pictures are the same or nearly so.

    Attributes:
        left, right: the rows; a test row stands right.
        distance: how many of the 256 bits of their perceptual hashes differ, 0 to MAX_DISTANCE.
        kind: the same bytes, the same pixels in other bytes, or nearly the same.
        labels: whether the two labels agree; of a test row nothing is known.
        folds_differ, groups_differ: of two training rows; rows without a group count as groups of their own.
    """

    left: Place
    right: Place
    distance: int
    kind: Kind
    labels: Labels
    folds_differ: bool
    groups_differ: bool

    @property
    def across(self) -> bool:
        """Whether one is a training row and the other a test row."""
        return self.left.table != self.right.table

    @property
    def rank(self) -> tuple[int, int, int, Place, Place]:
        """What matters most is smallest: conflicts, across to the test, across folds, all others; then the nearest."""
        order = 0 if self.labels == "conflict" else 1 if self.across else 2 if self.folds_differ else 3
        return order, ("bytes", "pixels", "near").index(self.kind), self.distance, self.left, self.right


@dataclass(frozen=True)
class Pairs:
    """What was found.

    Attributes:
        pairs: the most important ones, ordered by `Pair.rank`.
        counts: how many pairs there are in all: `pairs`, `bytes`, `near` (others), `conflict`, `across`,
            `folds_differ`; and `train_rows`, `test_rows`: rows that have a twin. In a set of pictures alike each is
            paired with its neighbours in the set, equal ones with the first of them.
        same_train, same_test: [rows] one name for rows whose pictures look the same, over both tables; "" for none.
        sets: the sets of two and more, each sorted, those of the first pairs first.
        left_out: what was not compared, in sentences.
    """

    pairs: list[Pair] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    same_train: list[str] = field(default_factory=list)
    same_test: list[str] = field(default_factory=list)
    sets: list[list[Place]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Rows:
    """Both tables as one, training rows first: [rows] of numbers that are equal where what they stand for is.

    Attributes:
        labels: [training rows, targets]; two that differ by more than `tolerance` disagree.
    """

    train: int
    files: list[Path]
    bytes: Indices
    fold: Indices
    group: Indices
    labels: Floats
    tolerance: Floats

    def place(self, row: int) -> Place:
        return Place("train", row) if row < self.train else Place("test", row - self.train)


def find_pairs(
    root: Path,
    frame: pd.DataFrame,
    test: pd.DataFrame,
    hashes: Mapping[str, str],
    task: Task,
    outputs: Sequence[str],
    *,
    most: int = 2000,
) -> Pairs:
    """All pairs of rows whose pictures are the same or nearly so; of stacked pictures the first is compared.

    Args:
        root: the folder `input/<comp>`.
        frame, test: the rows, as `core.folds.Folds` has them; `fold` and `group` may be missing.
        hashes: the sha256 of each file by its path (`Manifest.hashes`); others are compared by their look alone.
        task, outputs: what the target columns mean.
        most: how many pairs are listed; all are counted.
    """
    rows = _rows(root, frame, test, hashes, task, outputs)
    places, looks = image_hashes(rows.files)
    left_out = []
    if len(places) < len(rows.files):
        left_out.append(
            f"{counted(len(rows.files) - len(places), 'pictures were')} compared by their bytes alone: they "
            "cannot be read as "
            "pictures here, or show no detail"
        )
    found = Collected(len(rows.files))
    found.add(_with_first(rows.bytes), np.zeros(len(rows.files), dtype=np.int64))
    for piece in near_pairs(looks, MAX_DISTANCE):
        found.add(places[piece], np.bitwise_count(looks[piece[0]] ^ looks[piece[1]]).sum(axis=1).astype(np.int64))
    return _ranked(rows, found, left_out, most)


def _rows(
    root: Path, frame: pd.DataFrame, test: pd.DataFrame, hashes: Mapping[str, str], task: Task, outputs: Sequence[str]
) -> _Rows:
    images = [*frame["image"].tolist(), *test["image"].tolist()]
    names = pd.Series(contents(images, hashes), dtype=str)
    unknown = np.full(len(test), -1, dtype=np.int64)
    fold = frame["fold"].astype("int64") if "fold" in frame.columns else np.zeros(len(frame), dtype=np.int64)
    group = pd.factorize(frame["group"])[0] if "group" in frame.columns else np.arange(len(frame))
    labels, tolerance = _labels(frame, task, outputs)
    return _Rows(
        train=len(frame),
        files=[root / image.split("|")[0] for image in images],
        bytes=pd.factorize(names)[0].astype(np.int64),
        fold=np.concatenate([np.asarray(fold, dtype=np.int64), unknown]),
        group=np.concatenate([np.asarray(group, dtype=np.int64), unknown]),
        labels=labels,
        tolerance=tolerance,
    )


def _labels(frame: pd.DataFrame, task: Task, outputs: Sequence[str]) -> tuple[Floats, Floats]:
    """[rows, targets] numbers and [targets] how far two may be apart and still agree: classes not at all."""
    if len(frame) == 0:
        return np.zeros((0, 1)), np.zeros(1)
    truth = task.truth(frame, outputs, where="the rows table")
    parts, tolerance = list[Floats](), list[Floats]()
    for block in task.of(outputs).blocks:
        values = block.truth(truth).reshape(len(frame), -1)
        exact = block.task.single_label or block.task.label_sets
        parts.append(values)
        tolerance.append(np.zeros(values.shape[1]) if exact else TOLERANCE * values.std(axis=0))
    return np.concatenate(parts, axis=1), np.concatenate(tolerance)


def _with_first(numbers: Indices) -> Indices:
    """[2, places] each place with the first one of the same number.

    >>> _with_first(np.array([0, 1, 0])).tolist()
    [[0, 1, 0], [0, 1, 2]]
    """
    first = np.full(int(numbers.max(initial=-1)) + 1, len(numbers))
    np.minimum.at(first, numbers, np.arange(len(numbers)))
    return np.stack([first[numbers], np.arange(len(numbers))])


def _ranked(rows: _Rows, found: "Collected", left_out: list[str], most: int) -> Pairs:
    """The pairs in the order of what matters, and their counts."""
    left, right, distance = found.pairs()
    train, across = right < rows.train, (left < rows.train) & (right >= rows.train)
    same_bytes = rows.bytes[left] == rows.bytes[right]
    conflict, torn = np.zeros(len(left), dtype=bool), train & (rows.fold[left] != rows.fold[right])
    apart = np.abs(rows.labels[left[train]] - rows.labels[right[train]])
    conflict[train] = (apart > rows.tolerance).any(axis=1)
    order = np.where(conflict, 0, np.where(across, 1, np.where(torn, 2, 3)))
    chosen = np.lexsort((right, left, distance, ~same_bytes, order))[:most]
    listed = [
        Pair(
            rows.place(int(left[i])), rows.place(int(right[i])), int(distance[i]),
            "bytes" if same_bytes[i] else "near",
            "conflict" if conflict[i] else "equal" if train[i] else "unknown",
            bool(torn[i]), bool(train[i] and rows.group[left[i]] != rows.group[right[i]]),
        )
        for i in chosen.tolist()
    ]  # fmt: skip
    names = found.names()
    counts = {
        "pairs": len(left), "bytes": int(same_bytes.sum()), "near": int((~same_bytes).sum()),
        "conflict": int(conflict.sum()), "across": int(across.sum()), "folds_differ": int(torn.sum()),
        "train_rows": sum(map(bool, names[: rows.train])), "test_rows": sum(map(bool, names[rows.train :])),
    }  # fmt: skip
    if found.full:
        left_out = [*left_out, f"more than {MOST_COUNTED:,} pairs were found: the counts stop there"]
    elif len(left) > most:
        left_out = [*left_out, f"{counted(len(left), 'pairs were')} found: the {most:,} that matter most are listed"]
    listed = _with_pixels(listed, rows)
    return Pairs(listed, counts, names[: rows.train], names[rows.train :], _sets(listed, names, rows), left_out)


def _sets(listed: Sequence[Pair], names: Sequence[str], rows: _Rows) -> list[list[Place]]:
    """The sets of rows that look the same, in the order of their first listed pairs, then of their first rows."""
    members = dict[str, list[Place]]()
    for row, name in enumerate(names):
        if name:
            members.setdefault(name, []).append(rows.place(row))
    number = {place: name for name, places in members.items() for place in places}
    order = dict.fromkeys([*(number[pair.left] for pair in listed), *members])
    return [members[name] for name in order]


def _with_pixels(listed: Sequence[Pair], rows: _Rows) -> list[Pair]:
    """Calls the pairs so whose pixels are equal; looked at are the first MOST_DECODED of those with equal hashes."""
    result, looked = list[Pair](), 0
    for pair in listed:
        alike = pair.kind == "near" and pair.distance == 0 and looked < MOST_DECODED
        looked += alike
        result.append(replace(pair, kind="pixels") if alike and _equal_pixels(pair, rows) else pair)
    return sorted(result, key=lambda pair: pair.rank)


def _equal_pixels(pair: Pair, rows: _Rows) -> bool:
    files = [rows.files[place.row + (rows.train if place.table == "test" else 0)] for place in (pair.left, pair.right)]
    try:
        one, other = map(preview, files)
    except (BadImageError, FoldlineError):  # FoldlineError: a package that reads this kind is not installed
        return False
    return bool(np.array_equal(one, other))


class Collected:
    """Pairs of places as they are found: each is kept once, up to MOST_COUNTED; all are joined to sets.

    >>> found = Collected(4)
    >>> found.add(np.array([[0, 2, 1], [2, 0, 1]]), np.array([3, 3, 0]))
    >>> [part.tolist() for part in found.pairs()], found.names()
    ([[0], [2], [3]], ['same:0', '', 'same:0', ''])
    """

    def __init__(self, size: int) -> None:
        self.size, self.full = size, False
        self.codes = np.zeros(0, dtype=np.int64)  # left * size + right
        self.distances = np.zeros(0, dtype=np.int64)
        self.number = np.arange(size)
        self.waiting: list[tuple[Indices, Indices]] = []
        self.count = 0

    def add(self, pairs: Indices, distance: Indices) -> None:
        """[2, pairs] places and [pairs] their distance; a place with itself is no pair."""
        real = pairs[0] != pairs[1]
        left, right = np.minimum(*pairs)[real], np.maximum(*pairs)[real]
        self.waiting.append((left * self.size + right, distance[real]))
        self.count += len(left)
        if self.count > PIECE:
            self._settle()

    def _settle(self) -> None:
        """Takes in what waits, so that a million repeated pairs need no room."""
        codes = np.concatenate([part for part, _ in self.waiting] or [self.codes[:0]])
        distances = np.concatenate([part for _, part in self.waiting] or [self.codes[:0]])
        self.waiting, self.count = [], 0
        if len(codes) == 0:
            return
        left, right = self.number[codes // self.size], self.number[codes % self.size]
        graph = coo_matrix((np.ones(len(left), dtype=np.int8), (left, right)), shape=(self.size, self.size))
        self.number = np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)[self.number]
        if not self.full:
            both = np.concatenate([self.codes, codes])
            self.codes, first = np.unique(both, return_index=True)
            self.distances = np.concatenate([self.distances, distances])[first]
            self.full = len(self.codes) > MOST_COUNTED

    def pairs(self) -> tuple[Indices, Indices, Indices]:
        """[pairs] left and right, the left place first, and their distances."""
        self._settle()
        return self.codes // max(self.size, 1), self.codes % max(self.size, 1), self.distances

    def names(self) -> list[str]:
        """[places] one name for the places of a set, "" for one alone."""
        self._settle()
        _, first, inverse, count = np.unique(self.number, return_index=True, return_inverse=True, return_counts=True)
        inverse = inverse.reshape(-1)
        return [f"same:{first[i]}" if count[i] > 1 else "" for i in inverse.tolist()]
