"""The shift probe: can the test rows be told from the training rows? Adversarial validation, tables in, findings out.

On facts of the files and metadata by a small gradient boosting, on features of the pictures by a logistic regression,
both out of fold. Rows of one group, and pictures that look the same, are always in one fold: else what is merely known
again would look like a shift.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.counted import counted
from foldline.core.task import TASKS
from foldline.models.metadata import metadata_columns
from foldline.report.explore import leak_words
from foldline.report.explore.boosting import Floats, as_columns, out_of_fold
from foldline.report.explore.file_facts import KINDS, FileFacts
from foldline.report.explore.leak import metadata_table
from foldline.report.explore.leak_words import Carrier, Truth
from foldline.report.explore.rows_to_probe import FOLDS, clusters, sampled
from foldline.scoring.intervals import score_interval
from foldline.splits.assign import assign
from foldline.splits.shuffle import Indices, shuffle_ranks
from foldline.splits.splitters import sum_by_unit
from foldline.splits.strata import one_hot

MOST_ROWS = 3000  # of each side
FEWEST_ROWS = 20  # of each side
RESAMPLES = 400
COMPONENTS = 64  # of the features: principal components, since some hundred rows cannot weigh thousands of numbers
STRENGTH = 0.01  # of the logistic regression (C): weak, since it is judged by rows that it has not seen
WIDTHS = 1.5  # half widths of the interval that the AUC must be above chance: see `leak.WIDTHS`
# AUC from which on a shift has this name.
GRADES: tuple[tuple[float, "ShiftGrade"], ...] = ((0.80, "strong"), (0.65, "clear"), (0.55, "slight"))

ShiftGrade = Literal["none", "slight", "clear", "strong"]


@dataclass(frozen=True)
class Shift:
    """How well test rows can be told from training rows.

    Attributes:
        by: what they were told apart by.
        auc, low, high: out of fold, with the 95 % interval; 0.5 is chance.
        carriers: the facts that tell them apart, the most important first; empty for features, or without a shift.
        train_rows, test_rows: the places in their tables of the rows that were looked at.
        train_likeness, test_likeness: of these rows, the out-of-fold probability of being a test row, both sides
            weighing alike: 0.5 says nothing.
        title, text: for a reader.
        left_out: what was not looked at, in sentences.
    """

    by: Literal["facts", "features"]
    auc: float
    low: float
    high: float
    grade: ShiftGrade
    carriers: list[Carrier]
    train_rows: Indices
    test_rows: Indices
    train_likeness: Floats
    test_likeness: Floats
    title: str
    text: str
    left_out: list[str] = field(default_factory=list)

    def most_test_like(self, count: int) -> Indices:
        """The training rows that look most like test rows, first the most alike: in a shift the better judges."""
        return self.train_rows[np.argsort(-self.train_likeness, kind="stable")[:count]]

    def least_test_like(self, count: int) -> Indices:
        """The training rows that the test set has nothing like, the strangest first."""
        return self.train_rows[np.argsort(self.train_likeness, kind="stable")[:count]]

    def most_train_like(self, count: int) -> Indices:
        """The test rows that look most like training rows, the most alike first."""
        return self.test_rows[np.argsort(self.test_likeness, kind="stable")[:count]]

    def telling(self, count: int) -> Indices:
        """The test rows that give the test set away, the plainest first: training has nothing like them."""
        return self.test_rows[np.argsort(-self.test_likeness, kind="stable")[:count]]


@dataclass(frozen=True)
class _Sides:
    """The rows that are looked at, training rows first."""

    train_rows: Indices
    test_rows: Indices
    is_test: Floats
    units: Indices
    fold: Indices
    left_out: list[str]


def facts_shift(
    frame: pd.DataFrame,
    test: pd.DataFrame,
    train_facts: FileFacts,
    test_facts: FileFacts,
    *,
    train_same: Sequence[str] | None = None,
    test_same: Sequence[str] | None = None,
    seed: int = 0,
) -> Shift | None:
    """Whether files and metadata differ between training and test rows; None where there are too few rows or no facts.

    Names and their order are left out: the two sets are usually numbered apart.

    Args:
        frame, test: the rows, as `core.folds.Folds` has them.
        train_facts, test_facts: of the same rows.
        train_same, test_same: [rows] names of pictures that look the same, over both tables; "" for one alone.
    """
    sides = _sides(frame, test, train_same, test_same, seed)
    if sides is None:
        return None
    columns = [name for name in metadata_columns(frame) if name in test.columns]
    cells = pd.concat([frame[columns].iloc[sides.train_rows], test[columns].iloc[sides.test_rows]], ignore_index=True)
    known = [name for kind in ("bytes", "dimensions", "format", "exif") for name in KINDS[kind]]
    facts = pd.concat(
        [train_facts.table[known].iloc[sides.train_rows], test_facts.table[known].iloc[sides.test_rows]],
        ignore_index=True,
    )
    table = pd.concat([facts, metadata_table(cells, columns)], axis=1)
    table = table.loc[:, [table[name].nunique(dropna=False) > 1 for name in table.columns]]
    if len(table.columns) == 0:
        return None
    design = as_columns(table)
    prediction = out_of_fold(design, sides.is_test, 2, sides.fold, balanced=True)
    asked = Truth("", "class", sides.is_test, ["training", "test"])
    auc, low, high, grade = _score(sides, prediction.predicted[:, 1])
    carriers = leak_words.carriers(design, asked, prediction, "auc") if grade != "none" else []
    return _shift("facts", sides, prediction.predicted[:, 1], (auc, low, high, grade), carriers)


def features_shift(
    frame: pd.DataFrame,
    test: pd.DataFrame,
    train_features: NDArray[np.float32],
    test_features: NDArray[np.float32],
    *,
    train_same: Sequence[str] | None = None,
    test_same: Sequence[str] | None = None,
    seed: int = 0,
) -> Shift | None:
    """Whether the pictures themselves differ, by [rows, features] of a frozen network; None for too few rows.

    Rows whose features are not finite are left out.
    """
    sides = _sides(frame, test, train_same, test_same, seed)
    if sides is None or train_features.shape[1] == 0:
        return None
    features = np.concatenate([train_features[sides.train_rows], test_features[sides.test_rows]]).astype(np.float64)
    finite = np.asarray(np.isfinite(features).all(axis=1))
    sides = _only(sides, finite)
    if min((sides.is_test > 0).sum(), (sides.is_test == 0).sum()) < FEWEST_ROWS:
        return None
    likeness = _logistic(_components(features[finite]), sides.is_test, sides.fold)
    return _shift("features", sides, likeness, _score(sides, likeness), [])


def _sides(
    frame: pd.DataFrame,
    test: pd.DataFrame,
    train_same: Sequence[str] | None,
    test_same: Sequence[str] | None,
    seed: int,
) -> _Sides | None:
    left, right = sampled(frame, MOST_ROWS, seed), sampled(test, MOST_ROWS, seed)
    if min(len(left), len(right)) < FEWEST_ROWS:
        return None
    said = [
        f"{len(rows):,} of {len(table):,} {name} rows were looked at"
        for rows, table, name in ((left, frame, "training"), (right, test, "test"))
        if len(rows) < len(table)
    ]
    names = [
        name for name in ("row_id", "group") if name in frame.columns and (name in test.columns or name == "row_id")
    ]
    tables = [table[names].iloc[rows] for table, rows in ((frame, left), (test, right))]
    if names == ["row_id"] and "group" in frame.columns:
        tables[0] = frame[["row_id", "group"]].iloc[left]
        tables[1] = tables[1].assign(group="test " + tables[1]["row_id"])
        said.append("only the training rows have groups: pictures of one test group may be taken for a shift")
    # a row's own id joins nothing across the two sides: ids of given test rows may repeat those of training rows
    rows = pd.concat(
        [
            tables[0].assign(row_id="train " + tables[0]["row_id"]),
            tables[1].assign(row_id="test " + tables[1]["row_id"]),
        ]
    )
    same = None
    if train_same is not None and test_same is not None:
        same = [train_same[i] for i in left.tolist()] + [test_same[i] for i in right.tolist()]
    units = clusters(rows.reset_index(drop=True), same)
    is_test = np.repeat([0.0, 1.0], [len(left), len(right)])
    fold = _dealt(units, is_test, rows["row_id"].tolist(), seed)
    return None if fold is None else _Sides(left, right, is_test, units, fold, said)


def _dealt(units: Indices, is_test: Floats, ids: Sequence[str], seed: int) -> Indices | None:
    """[rows] folds with about the same share of test rows, units whole; None where there are not two for each side."""
    count = int(units.max()) + 1
    if min(len(np.unique(units[is_test == side])) for side in (0.0, 1.0)) < 2:
        return None
    first = np.unique(units, return_index=True)[1]
    held = sum_by_unit(one_hot(is_test.astype(np.int64), 2), units, count)
    ranks = shuffle_ranks([ids[i] for i in first.tolist()], seed, "shift")
    k = min(FOLDS, count)
    return assign(held, np.bincount(units).astype(np.float64), np.full(k, 1 / k), ranks)[units]


def _only(sides: _Sides, kept: "NDArray[np.bool_]") -> _Sides:
    if kept.all():
        return sides
    half = len(sides.train_rows)
    said = [*sides.left_out, f"{counted(int((~kept).sum()), 'rows have')} no finite features and were left out"]
    left, right = sides.train_rows[kept[:half]], sides.test_rows[kept[half:]]
    return _Sides(left, right, sides.is_test[kept], sides.units[kept], sides.fold[kept], said)


def _components(features: Floats) -> Floats:
    """[rows, at most COMPONENTS] principal components of deviation 1; without their labels, so nothing leaks."""
    from scipy.linalg import eigh

    scaled = features - features.mean(axis=0)
    deviation = scaled.std(axis=0)
    scaled = scaled[:, deviation > 0] / deviation[deviation > 0]
    if scaled.shape[1] == 0:
        return np.zeros((len(features), 1))
    count = min(COMPONENTS, scaled.shape[1], max(1, len(scaled) // 10))
    size = scaled.shape[1]
    values, vectors = eigh(scaled.T @ scaled / len(scaled), subset_by_index=[size - count, size - 1])
    return np.asarray((scaled @ vectors) / np.sqrt(np.maximum(values, 1e-12)))


def _logistic(values: Floats, is_test: Floats, fold: Indices) -> Floats:
    """[rows] the out-of-fold probability of being a test row, both sides weighing alike."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    result = np.full(len(values), 0.5)
    with threadpool_limits(1):
        for number in np.unique(fold).tolist():
            inside, outside = fold != number, fold == number
            if len(np.unique(is_test[inside])) == 2:
                model = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=500)
                model.fit(values[inside], is_test[inside])
                result[outside] = model.predict_proba(values[outside])[:, 1]
    return result


def _score(sides: _Sides, likeness: Floats) -> tuple[float, float, float, ShiftGrade]:
    task, predicted = TASKS["binary"], np.stack([1 - likeness, likeness], axis=1)
    auc = Truth("", "class", sides.is_test, ["training", "test"]).score("auc", predicted)
    low, high, _ = score_interval(
        "auc", sides.is_test, predicted, task=task, clusters=sides.units, resamples=RESAMPLES, level=0.95
    )
    low, high = (low, high) if np.isfinite(low) else (0.5, 0.5)
    sure = auc - WIDTHS * (auc - low) > 0.5
    grade: ShiftGrade = next((name for least, name in GRADES if auc >= least and sure), "none")
    return auc, low, high, grade


_TITLES: dict[ShiftGrade, str] = {
    "none": "The test {what} look like the training {what}",
    "slight": "The test {what} differ slightly from the training {what}",
    "clear": "The test {what} differ clearly from the training {what}",
    "strong": "The test {what} can be told from the training {what}",
}
_MEANS: dict[ShiftGrade, str] = {
    "none": "The cross-validation score can stand for the test set, as far as this probe sees",
    "slight": "The cross-validation score may be a little too good or too bad for the test set",
    "clear": "Expect another score on the test set than the cross-validation says; the training rows that look most "
    "like test rows are the better judges",
    "strong": "The cross-validation score says little about the test set; judge by the training rows that look most "
    "like test rows, and look at the pictures that give it away",
}


def _shift(
    by: Literal["facts", "features"],
    sides: _Sides,
    likeness: Floats,
    scored: tuple[float, float, float, ShiftGrade],
    carriers: list[Carrier],
) -> Shift:
    auc, low, high, grade = scored
    what = "files" if by == "facts" else "pictures"
    told = "facts of the files and metadata" if by == "facts" else "features of the pictures"
    text = (
        f"By {told}, test rows are told from training rows with an AUC of {auc:.2f}, interval {low:.2f} to {high:.2f} "
        f"(chance: 0.50).{leak_words.in_words(carriers)} {_MEANS[grade]}."
    )
    half = len(sides.train_rows)
    return Shift(
        by, auc, low, high, grade, carriers, sides.train_rows, sides.test_rows, likeness[:half], likeness[half:],
        _TITLES[grade].format(what=what), text, sides.left_out,
    )  # fmt: skip
