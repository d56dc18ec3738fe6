"""Labels as training takes them: as given, as a person decided, or without those that are suspected. Fold by fold.

Reads `configs/<comp>/labels.csv`, or the validation predictions of the runs `<run>-without-<k>`: networks that saw
no row of fold k say which labels fold k's training leaves out, so that no label of its validation rows gets in.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.errors import FoldlineError
from foldline.core.folds import Folds
from foldline.core.label_file import Decided, label_column, read_labels
from foldline.core.nested import nested_metas
from foldline.core.paths import Layout
from foldline.core.run import Run
from foldline.core.tables import read_parquet
from foldline.core.task import Array
from foldline.scoring.label_errors import suspects


@dataclass(frozen=True)
class TrainingLabels:
    """The rows table with the labels that a fold's training takes.

    Attributes:
        frame: the rows; truth: their labels, as `Task.truth` gives them.
        kept: [rows] whether training takes a row; of the fold's own rows nothing is said.
        words: what was changed, in words; empty: nothing.
    """

    frame: pd.DataFrame
    truth: Array
    kept: NDArray[np.bool_]
    words: str = ""

    def part(self, rows: NDArray[np.int64]) -> "TrainingLabels":
        """Of some of the rows."""
        frame = self.frame.iloc[rows].reset_index(drop=True)
        return TrainingLabels(frame, self.truth[rows], self.kept[rows], self.words)

    def counts(self, given: pd.DataFrame, outside: NDArray[np.bool_]) -> tuple[int, int]:
        """How many of the rows `outside` the fold are left out, and how many of the others have another label."""
        other = (self.frame != given).any(axis=1).to_numpy() & self.kept
        return int((~self.kept & outside).sum()), int((other & outside).sum())


def training_labels(layout: Layout, comp: str, run: Run, folds: Folds, truth: Array, fold: int) -> TrainingLabels:
    """The labels that the training of a fold takes, by `train.labels`.

    Args:
        truth: of all rows, as they are given.

    Raises:
        FoldlineError: the file is not there or wrong; the runs that say what is suspected are not trained, or are of
            other folds; shares of classes that shall be relabelled.
    """
    name, frame = run.train.labels.name, folds.frame
    if name == "given":
        return TrainingLabels(frame, truth, np.ones(len(frame), dtype=bool))
    if name == "file":
        path = layout.competition_config(comp).parent / run.train.labels.options["file"]
        decided = read_labels(path, frame, folds.task, folds.outputs, where=layout.relative(path))
    else:
        decided = _suspected(layout, comp, run, folds, truth, fold)
    labelled = decided.labelled(frame)
    if decided.labels:
        truth = folds.task.truth(labelled, folds.outputs, where=f"train.labels: {name}")
    kept = ~frame["row_id"].isin(decided.excluded).to_numpy(dtype=bool)
    return TrainingLabels(labelled, truth, kept, decided.in_words())


def _suspected(layout: Layout, comp: str, run: Run, folds: Folds, truth: Array, fold: int) -> Decided:
    """What the networks that saw no row of the fold suspect among the other folds' rows."""
    options, task, outputs = run.train.labels.options, folds.task, folds.outputs
    relabel = run.train.labels.name == "relabel"
    if relabel and any(part.soft for part in task.parts):
        raise FoldlineError("shares of classes cannot be relabelled", where="train.labels", next="take exclude")
    metas = nested_metas(layout, comp, options["run"], fold, folds.k, folds.sha256)
    columns, numbers, tables = task.prediction_columns(outputs), folds.frame["fold"].to_numpy(), []
    for other, meta in metas.items():
        path = layout.fold(comp, meta.run, other) / "valid.parquet"
        table = read_parquet(path, required=("row_id", *columns))
        tables.append(table[table["row_id"].isin(folds.frame.loc[numbers == other, "row_id"])])
    table = pd.concat(tables, ignore_index=True)
    places = pd.Index(folds.frame["row_id"]).get_indexer(table["row_id"])
    found = suspects(task, truth[places], table[columns].to_numpy(dtype=np.float64), outputs)
    ids = table["row_id"].tolist()
    odd = [one for one in found if one.score >= options["least"]]
    if not relabel:
        return Decided(frozenset(ids[one.row] for one in odd), {})
    return Decided(frozenset(), {(ids[one.row], label_column(task, outputs, one.target)): one.predicted for one in odd})
