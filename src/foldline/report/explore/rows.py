"""The rows that are looked at: those of the folds that are written, or those that `make folds` would write.

Reads the raw tables, the facts and, where they are there, the folds; writes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from foldline.core.competition import Competition, RowFacts
from foldline.core.errors import FoldlineError
from foldline.core.folds import load_folds, read_folds_meta, shaping
from foldline.core.paths import Layout
from foldline.core.records.manifest import Manifest
from foldline.core.task import Array, Task
from foldline.readers import find_outputs, read_rows
from foldline.splits.duplicates import duplicate_keys
from foldline.splits.plan import make_plan

LENIENT = {"missing_images": "drop", "missing_targets": "drop"}


@dataclass(frozen=True)
class Rows:
    """The rows of a competition before anything is trained.

    Attributes:
        frame: the training rows, with `fold` (int64) where they can be split.
        test: the test rows, without labels; none where there are none, or the holdout cannot be drawn.
        outputs, task: what the target columns mean.
        truth: as `Task.truth` gives it.
        hashes: the sha256 of each raw file, by its path below `input/<comp>`.
        splitter: of the folds; empty where there are none.
        written: the folds lie in `folds/<comp>.csv`; else they are those that would be written.
        findings: what the checks of the folds found, in words.
        stopped: what `make folds` would stop at; empty where it would not.
        left_out: what kept rows from being read, where the facts do not leave them out themselves.
        order: the place of each training row in the raw table, by its id; none where folders are the table.
    """

    frame: pd.DataFrame
    test: pd.DataFrame
    outputs: list[str]
    task: Task
    truth: Array
    hashes: dict[str, str]
    splitter: str = ""
    written: bool = False
    findings: Sequence[str] = ()
    stopped: str = ""
    left_out: str = ""
    order: dict[str, int] = field(default_factory=dict)

    @property
    def k(self) -> int:
        """How many folds there are; 0 where the rows cannot be split."""
        return int(self.frame["fold"].max()) + 1 if "fold" in self.frame.columns else 0


def gather_rows(layout: Layout, comp: str, facts: Competition) -> Rows:
    """The rows by the facts of now, and their folds as far as there can be any.

    Raises:
        FoldlineError: nothing is downloaded; the raw files cannot be read as the facts say.
    """
    if not Manifest.is_at(layout.manifest(comp)):
        where = layout.relative(layout.input(comp))
        raise FoldlineError("there is no manifest of the raw files", where=where, next=f"make download COMP={comp}")
    hashes = Manifest.read(layout.manifest(comp)).hashes
    if layout.folds(comp).is_file() and layout.folds_meta(comp).is_file():
        meta = read_folds_meta(layout, comp)
        if meta.facts == shaping(facts, meta.outputs if "classes" not in meta.facts else None):
            folds = load_folds(layout, comp)
            truth = folds.task.truth(folds.frame, folds.outputs, where=layout.relative(layout.folds(comp)))
            return Rows(
                folds.frame, folds.test, folds.outputs, folds.task, truth, hashes,
                splitter=meta.splitter, written=True, findings=meta.checks,
                order=_order(facts, _read(layout.input(comp), facts.train, facts)[0]),
            )  # fmt: skip
        stale = f"warning: {layout.relative(layout.folds(comp))} was made by other facts: shown is what they say now"
        new = _as_they_would_be(layout, comp, facts, hashes)
        return replace(new, findings=[stale, *new.findings])
    return _as_they_would_be(layout, comp, facts, hashes)


def _as_they_would_be(layout: Layout, comp: str, facts: Competition, hashes: dict[str, str]) -> Rows:
    """The rows and folds that `make folds` would write; without folds where it would stop."""
    root, where = layout.input(comp), layout.relative(layout.folds(comp))
    frame, left_out = _read(root, facts.train, facts)
    outputs = find_outputs(frame, facts)
    task = facts.task.of(outputs)
    test = _test_rows(root, facts, task)
    try:
        plan = make_plan(
            frame, test, facts, outputs, hashes=hashes, find_duplicates=partial(_alike, root), where=where
        )  # fmt: skip
    except FoldlineError as error:
        truth = task.truth(frame, outputs, where=where)
        bare = pd.DataFrame(columns=["row_id", "image"], dtype=str) if test is None else test
        return Rows(
            frame, bare, outputs, task, truth, hashes,
            stopped=_in_line(error), left_out=left_out, order=_order(facts, frame),
        )  # fmt: skip
    split = plan.tables["folds"]
    return Rows(
        split, plan.tables["test"], outputs, task, task.truth(split, outputs, where=where), hashes,
        splitter=plan.splitter, findings=plan.findings, left_out=left_out, order=_order(facts, frame),
    )  # fmt: skip


def _read(root: Path, rows: RowFacts, facts: Competition) -> tuple[pd.DataFrame, str]:
    """The training rows; where some lack their picture or label the others, and what was said of these."""
    try:
        return read_rows(root, rows, facts, with_target=True), ""
    except FoldlineError as error:
        said = _in_line(error)
        if rows == rows.model_copy(update=LENIENT):
            raise
        try:
            return read_rows(root, rows.model_copy(update=LENIENT), facts, with_target=True), said
        except FoldlineError:
            raise error from None


def _order(facts: Competition, frame: pd.DataFrame) -> dict[str, int]:
    """The place of each row in a raw table. Files in folders have no order of their own."""
    return {} if facts.train.reader == "folders" else {row: place for place, row in enumerate(frame["row_id"])}


def _test_rows(root: Path, facts: Competition, task: Task) -> pd.DataFrame | None:
    """The test rows that the competition names, with their labels where these are public: the plan takes them off."""
    if facts.test is None:
        return None
    known = facts.model_copy(update={"classes": list(task.known)}) if facts.task.has_classes else facts
    return read_rows(root, facts.test, known, with_target=facts.test.target is not None)


def _alike(root: Path, frame: pd.DataFrame) -> list[str]:
    return duplicate_keys(frame["row_id"].tolist(), [root / image.split("|")[0] for image in frame["image"]])


def _in_line(error: FoldlineError) -> str:
    return f"{error.what} ({error.next})" if error.next else error.what


def some(rows: int, most: int, seed: int = 0) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """At most `most` of `rows` row numbers, in order, the same ones every time."""
    if rows <= most:
        return np.arange(rows, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False)).astype(np.int64)
