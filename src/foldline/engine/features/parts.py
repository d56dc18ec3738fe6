"""The columns that heads see, a part each: features of a network, metadata, or what other runs predict.

Reads the folds and other runs' predictions; writes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.folds import Folds
from foldline.core.paths import Layout
from foldline.core.prediction_blocks import PredictionBlocks
from foldline.core.progress import say
from foldline.core.provenance import current_cv, refuse_diverged_runs, require_unlearnt
from foldline.core.records.cv import Cv
from foldline.core.records.heads import SourceRecord
from foldline.core.task import Array
from foldline.engine.finished.heads import WHERE, encoded
from foldline.models.metadata import Encoding, fit_encoding, in_words
from foldline.models.probe import Features

SMALLEST = 1e-6  # of a probability whose logarithm is taken


@dataclass(frozen=True)
class Part:
    """Some columns of all rows.

    Attributes:
        own: (fold) -> [views, training rows, columns] as the head of this fold sees them; test: of the test rows.
        shared: whether `own` is the same for all folds.
        bad: pictures of training rows that cannot be read.
        lacking: training rows, by id, that it knows nothing of.
        optimistic: why a score that stands on it is.
        keeps: of a network, writes it into a folder as heads that are kept need it, and says what it is.
        encoding: of metadata, how they became numbers.
    """

    title: str
    own: Callable[[int], Features]
    test: Callable[[int], Features]
    shared: bool
    bad: list[str] = field(default_factory=list)
    lacking: frozenset[str] = frozenset()
    optimistic: list[str] = field(default_factory=list)
    keeps: Callable[[Path], SourceRecord] | None = None
    encoding: Encoding | None = None


def metadata_part(folds: Folds, columns: list[str]) -> Part:
    """Table columns as numbers; raises FoldlineError for one that is not there, in the test rows either."""
    encoding = fit_encoding(folds.frame, columns, where=WHERE)
    own, test = encoded(encoding, folds.frame), encoded(encoding, folds.test)
    for line in in_words(encoding, folds.frame):
        say(f"metadata: {line}")
    return Part("metadata", lambda _: own, lambda _: test, shared=True, encoding=encoding)


def run_part(layout: Layout, comp: str, run: str, folds: Folds) -> Part:
    """What another run predicts, as logits of classes and as numbers.

    A training row's are out of fold: no network that saw its label. A test row's are those of the same fold's networks
    where the run has these (a single network, as for the training rows), else the run's own mean.

    Raises:
        FoldlineError: it is not predicted on these folds, diverged, or lacks rows.
    """
    cv = current_cv(layout, comp, run, folds.sha256)
    refuse_diverged_runs(comp, {run: cv})
    require_unlearnt(layout, comp, {run: cv}, "columns.runs")
    folder = layout.run(comp, run)
    oof = PredictionBlocks(folder / "oof.parquet", folds.task, folds.outputs)
    place = pd.Index(oof.ids).get_indexer(pd.Index(folds.frame["row_id"]))
    lacking = _lacking(run, cv, folds, place < 0)
    own = _logits(oof.values().astype(np.float64), folds)[:, np.maximum(place, 0)]
    tests: dict[str, Features] = {}

    def test(fold: int) -> Features:
        part = f"fold_{fold}/test.parquet"
        name = part if part in cv.files else "test.parquet"
        if name not in tests:
            cv.require_files(folder, name)
            blocks = PredictionBlocks(folder / name, folds.task, folds.outputs, ids=folds.test["row_id"])
            tests[name] = _logits(blocks.values().astype(np.float64), folds)
        return tests[name]

    return Part(
        run, lambda _: own, test, shared=True, lacking=lacking,
        optimistic=[f"{run}: {reason}" for reason in cv.optimistic],
    )  # fmt: skip


def _lacking(run: str, cv: Cv, folds: Folds, absent: NDArray[np.bool_]) -> frozenset[str]:
    """The training rows that a run says nothing of; raises FoldlineError where that is not for a broken picture."""
    frame = folds.frame[absent]
    odd = frame.loc[~frame["image"].isin(list(cv.left_out)), "row_id"].tolist()
    if odd:
        raise FoldlineError(
            f"run '{run}' has no out-of-fold prediction of {counted(len(odd), 'rows')}: {first_few(odd)}",
            where="columns.runs",
            next="train all of its folds (train.folds: [])",
        )
    return frozenset(frame["row_id"])


def _logits(prob: Array, folds: Folds) -> Features:
    """[1, rows, columns]: of classes that exclude each other the logarithms about their mean (of two the difference),
    of labels their logits, of numbers these."""
    parts = []
    for block in folds.task.blocks:
        values = prob[:, block.columns]
        if block.task.has_classes:
            logs = np.log(np.maximum(values, SMALLEST))
            if block.task.label_sets:
                values = logs - np.log(np.maximum(1 - values, SMALLEST))
            elif values.shape[1] == 2:
                values = logs[:, 1:] - logs[:, :1]
            else:
                values = logs - logs.mean(axis=1, keepdims=True)
        parts.append(values)
    return np.concatenate(parts, axis=1).astype(np.float32)[None]
