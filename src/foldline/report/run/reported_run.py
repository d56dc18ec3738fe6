"""Everything that a report knows about one run.

Reads: `configs/<comp>/competition.yaml`, `folds/<comp>.csv` and `.json`; of the run's folder `cv.json`, `oof.parquet`,
`run.json` and each `fold_<k>/meta.json`, `log.csv` and `steps.csv` where they exist (an ensemble has no folds of its
own); the members' `cv.json`; the ledger entries of the run. Writes nothing.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core import tables
from foldline.core.competition import Competition, load_competition
from foldline.core.errors import FoldlineError
from foldline.core.folds import load_folds, read_folds_meta
from foldline.core.paths import Layout
from foldline.core.prediction_blocks import PredictionBlocks
from foldline.core.records.cv import Cv
from foldline.core.records.entry import Entry
from foldline.core.records.first_score import FirstScore
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.records.folds_meta import FoldsMeta
from foldline.core.records.same import differences
from foldline.core.run import Run
from foldline.core.run_folder import stored_features, stored_run, wanted_folds
from foldline.core.task import Array, Task
from foldline.images.files.intensity import Intensity
from foldline.report.look import formats
from foldline.report.look.formats import metric_title
from foldline.scoring.baseline import Baseline, baseline
from foldline.scoring.label_errors import Suspect, suspects
from foldline.scoring.metrics.for_task import reach

Floats = NDArray[np.floating[Any]]
HeatMap = NDArray[np.float32]


@dataclass(frozen=True)
class Looks:
    """Where networks looked in some rows.

    Attributes:
        heat: [height, width] in [0, 1] of the whole picture, by the row's place in `oof`.
        note: what the maps show, or why there are none; a sentence, or empty.
    """

    heat: dict[int, HeatMap] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class ReportedRun:
    """One run, read.

    Attributes:
        truth: [rows] class indices for single-label tasks, else [rows, outputs]; see `Task.truth`.
        oof: `row_id`, `fold` and what else stands beside the predictions.
        predicted: [rows, outputs] float32, probabilities or values, in the order of `oof`.
        images: [rows] the image path of each row below `input/<comp>`; empty where the folds file lost the row.
        rows_expected: the rows that the folds file has in the scored folds.
        metas, logs, steps: by fold number; empty for an ensemble. Cells of the tables are numbers, an empty one is NaN.
        members: the members' `cv.json` by name; None where a member's folder is gone.
        folds_sha256: the hash of the folds file as it is now.
        head: the choices of a run of frozen features; None: it is none.
        first_score: of the probe on frozen features alone; None: it was not scored.
        looks: where its networks looked, which whoever has networks computes.
    """

    layout: Layout
    comp: str
    run: str
    facts: Competition
    task: Task
    outputs: list[str]
    cv: Cv
    folds_meta: FoldsMeta
    folds_sha256: str
    oof: pd.DataFrame
    images: list[str]
    rows_expected: int
    truth: Array
    predicted: Floats
    choices: dict[str, Any] | None = None
    head: dict[str, Any] | None = None
    metas: dict[int, FoldMeta] = field(default_factory=dict)
    logs: dict[int, pd.DataFrame] = field(default_factory=dict)
    steps: dict[int, pd.DataFrame] = field(default_factory=dict)
    members: dict[str, Cv | None] = field(default_factory=dict)
    ledger: list[Entry] = field(default_factory=list)
    first_score: FirstScore | None = None
    looks: Looks = field(default_factory=Looks)

    @property
    def targets(self) -> "list[tuple[str, ReportedRun]]":
        """The run as if each target were its only one, by name; a run of one target once, without a name."""
        return [
            (block.name, replace(
                self, task=block.task, outputs=block.outputs(self.outputs), truth=block.truth(self.truth),
                predicted=self.predicted[:, block.columns],
            ))
            for block in self.task.blocks
        ]  # fmt: skip

    @property
    def unit(self) -> str:
        """What the score counts: single rows, or entities of several rows."""
        return "entities" if "entity" in self.oof.columns else "rows"

    @property
    def probabilities(self) -> bool:
        """Whether `predicted` are probabilities: ranks and values of a regression are none."""
        return self.task.has_classes and self.cv.blend != "rank_mean"

    @property
    def metric(self) -> str:
        """The metric's name for a reader."""
        return metric_title(self.cv.metric)

    @cached_property
    def baseline(self) -> Baseline:
        """What an answer scores that never looks at a picture, on the rows (or entities) that are scored."""
        table = self.oof.drop_duplicates("entity") if "entity" in self.oof.columns else self.oof
        truth = self.task.truth(table, self.outputs, where="oof.parquet")
        return baseline(self.cv.metric, truth, self.cv.pooled, self.task, len(self.outputs))

    @cached_property
    def suspects(self) -> list[Suspect]:
        """The suspected labels, the strongest first; none where predictions are ranks, which say nothing of a row."""
        if self.task.has_classes and not self.probabilities:
            return []
        return suspects(self.task, self.truth, self.predicted, self.outputs)

    @property
    def decimals(self) -> int:
        """How many decimals the metric's scores deserve, by the interval of the pooled one."""
        return formats.decimals(self.cv.interval)

    @property
    def reach(self) -> tuple[float, float]:
        """The smallest and the largest score of the metric."""
        return reach(self.cv.metric, self.task)

    @property
    def fold_numbers(self) -> list[int]:
        """The folds that are scored, in the order of `cv.per_fold`; with `train.folds` not all there are."""
        return _fold_numbers(self.oof)

    @property
    def k(self) -> int:
        """The number of folds that are scored."""
        return len(self.fold_numbers)

    @property
    def all_k(self) -> int:
        """The number of folds that there are; of a run on other folds than the present ones, those that it has."""
        return self.k if differences(self.cv, folds=self.folds_sha256) else self.folds_meta.k

    @property
    def intensity(self) -> Intensity:
        """How the run's pictures become 8 bits."""
        intensity: Intensity = (self.choices or {}).get("data", {}).get("intensity", "auto")
        return intensity


def read_run(layout: Layout, comp: str, run: str) -> ReportedRun:
    """Reads a run's folder; raises FoldlineError where `predict` or `ensemble` has not run yet."""
    folder = layout.run(comp, run)
    cv = Cv.read_if_there(folder / "cv.json")
    if cv is None:
        raise FoldlineError(
            f"run '{run}' has no out-of-fold score yet",
            where=layout.relative(folder / "cv.json"),
            next=f"make predict COMP={comp} RUN={run}",
        )
    cv.require_files(folder)
    stored, outputs = stored_run(layout, comp, run), cv.outputs
    head = stored_features(layout, comp, run)
    task = cv.task.of(outputs)
    blocks = PredictionBlocks(folder / "oof.parquet", task, outputs)
    tables.require_columns(pd.DataFrame(columns=blocks.beside), ["fold"], where=str(blocks.path))
    oof, folds = blocks.rows(), load_folds(layout, comp)
    image_of = folds.frame.set_index("row_id")["image"]
    numbers = _fold_numbers(oof)
    return ReportedRun(
        layout=layout,
        comp=comp,
        run=run,
        facts=load_competition(layout, comp),
        task=task,
        outputs=outputs,
        cv=cv,
        folds_meta=read_folds_meta(layout, comp),
        folds_sha256=folds.sha256,
        oof=oof,
        images=image_of.reindex(oof["row_id"]).fillna("").tolist(),
        rows_expected=int(folds.frame["fold"].isin(numbers).sum()),
        truth=task.truth(oof, outputs, where=layout.relative(folder / "oof.parquet")),
        predicted=blocks.values(),
        choices=None if stored is None else stored.choices(),
        head=None if head is None else head.choices(),
        metas=_metas(layout, comp, run, numbers if stored is None else _trained(stored, folds.k, numbers)),
        logs=_tables(layout, comp, run, numbers, "log.csv", ["epoch", "train_loss", "valid_loss", "score"]),
        steps=_tables(layout, comp, run, numbers, "steps.csv", ["step", "epoch", "lr"]),
        members={name: Cv.read_if_there(layout.run(comp, name) / "cv.json") for name in cv.members},
        ledger=_ledger(layout, comp, run),
        first_score=FirstScore.read_if_there(layout.first_score(comp, run)),
    )


def _trained(run: Run, k: int, scored: list[int]) -> list[int]:
    """The folds that have networks: those that are scored, but for a network on all rows."""
    return wanted_folds(run, k) if run.on_all_rows else scored


def _fold_numbers(oof: pd.DataFrame) -> list[int]:
    return sorted(int(number) for number in oof["fold"].unique())


def _metas(layout: Layout, comp: str, run: str, numbers: list[int]) -> dict[int, FoldMeta]:
    metas = {k: FoldMeta.read_if_there(layout.fold(comp, run, k) / "meta.json") for k in numbers}
    return {k: meta for k, meta in metas.items() if meta is not None}


def _tables(
    layout: Layout, comp: str, run: str, numbers: list[int], name: str, required: list[str]
) -> dict[int, pd.DataFrame]:
    """A CSV file of each fold that has it, as numbers; an empty cell is NaN."""
    paths = {k: layout.fold(comp, run, k) / name for k in numbers}
    logs = {k: tables.read_csv(path, required=required) for k, path in paths.items() if path.is_file()}
    return {k: log.apply(pd.to_numeric, errors="coerce") for k, log in logs.items()}


def _ledger(layout: Layout, comp: str, run: str) -> list[Entry]:
    """The submissions that were made from this run, oldest first."""
    entries = map(Entry.read, sorted(layout.submission(comp, "x").parent.glob("*.json")))
    return sorted((entry for entry in entries if entry.run == run), key=lambda entry: entry.time)
