"""What the app has before it: a finished run, its networks, and its rows with their predictions.

Reads the run's folder, the folds and, where that is asked for, the held-out labels; writes nothing.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np

from foldline.app.rows import Rows, make_rows
from foldline.core.errors import FoldlineError, first_few
from foldline.core.folds import load_folds
from foldline.core.paths import Layout
from foldline.core.predictions import read_predictions
from foldline.core.progress import say
from foldline.core.records.manifest import Manifest
from foldline.core.tables import read_csv
from foldline.core.task import Task
from foldline.engine.finished.member import Member
from foldline.engine.finished.model import Model, load
from foldline.report.run.reported_run import ReportedRun, read_run

OOF, TEST = "training", "test"


@dataclass(frozen=True)
class OpenRun:
    """A finished run, ready to be asked.

    Attributes:
        rows: what can be browsed, by its name: the training rows out of fold, and the test rows where there are any.
        hashes: of the competition's files, by their path below `input/<comp>`.
        lock: whoever computes with the networks holds it.
    """

    layout: Layout
    comp: str
    name: str
    model: Model
    reported: ReportedRun
    rows: dict[str, Rows]
    hashes: dict[str, str]
    lock: Lock = field(default_factory=Lock)

    @property
    def task(self) -> Task:
        """Its outputs are known."""
        return self.model.task

    @property
    def first(self) -> Member:
        """The run whose networks are looked into: the only one, or an ensemble's first."""
        return self.model.with_networks[0]

    @property
    def blends_ranks(self) -> bool:
        """Whether the ensemble averages ranks, which a single picture has none of."""
        records = [self.reported.cv, *self.reported.members.values()]
        return any(cv is not None and cv.blend == "rank_mean" for cv in records)

    @cached_property
    def _rows_by_hash(self) -> dict[str, tuple[str, int]]:
        return {
            self.hashes[image]: (kind, place)
            for kind, rows in reversed(self.rows.items())
            for place, image in enumerate(rows.images)
            if image in self.hashes
        }

    def row_of(self, sha256: str) -> tuple[str, int] | None:
        """(kind, place) of the row whose picture has this content; None: no row's has."""
        return self._rows_by_hash.get(sha256)

    def files(self, image: str) -> tuple[Path, ...]:
        """The files of a row's picture; several are stacked as channels."""
        return tuple(self.layout.input(self.comp) / file for file in image.split("|"))


def open_run(layout: Layout, comp: str, name: str, *, device: str = "auto", test: bool = False) -> OpenRun:
    """A run, or an ensemble, that is trained and predicted.

    Args:
        device: auto, cpu, cuda, cuda:1 or mps.
        test: the held-out labels of test rows are shown.

    Raises:
        FoldlineError: it is not trained and predicted, or its networks read metadata.
    """
    folder = layout.run(comp, name)
    if not (folder / "cv.json").is_file():
        raise FoldlineError(
            f"the run '{name}' is not trained and predicted yet: there is nothing to ask",
            where=layout.relative(folder),
            next=f"make ensemble COMP={comp} RUN={name}",
        )
    reported, model = read_run(layout, comp, name), load(folder, device=device)
    _refuse_all_rows(model)
    _refuse_metadata(model)
    _refuse_entities(model)
    rows = {OOF: _oof_rows(reported, model), TEST: _test_rows(layout, comp, name, model, test=test)}
    manifest = Manifest.read_if_there(layout.manifest(comp))
    hashes = {} if manifest is None else manifest.hashes
    return OpenRun(layout, comp, name, model, reported, {key: own for key, own in rows.items() if len(own)}, hashes)


def _refuse_all_rows(model: Model) -> None:
    for member in model.with_networks:
        if member.metas[0].on_all_rows:
            raise FoldlineError(
                f"'{member.run}' is one network that saw every training row: none of its answers to these is one to an "
                "unseen picture",
                where="train.folds: all",
                next=f"open the run of the folds, '{member.metas[0].folds_of}'; make predict-files asks this network",
            )


def _refuse_metadata(model: Model) -> None:
    readers = {member.run: member.metadata for member in model.members if member.metadata}
    for run, columns in readers.items():
        raise FoldlineError(
            f"the networks of '{run}' read metadata beside the picture ({first_few(columns)}), and a picture that is "
            "dropped into the app has none",
            where="model.metadata",
            next="open a run without metadata; foldline predict-files takes a table of them (--metadata)",
        )


def _refuse_entities(model: Model) -> None:
    for member in model.with_networks:
        if member.metas[0].sees_entities or member.metas[0].neighbours:
            raise FoldlineError(
                f"the networks of '{member.run}' see several pictures of an entity together, and the app shows "
                "them one by one",
                where="model.entity, data.neighbours",
                next="open a run of single pictures; make report shows this one's answers",
            )


def _oof_rows(run: ReportedRun, model: Model) -> Rows:
    prob = run.predicted.astype(np.float64)
    folds = run.oof["fold"].to_numpy(dtype=np.int64)
    return make_rows(
        model.task, run.oof["row_id"].tolist(), run.images, prob, model.decision, truth=run.truth, folds=folds
    )


def _test_rows(layout: Layout, comp: str, name: str, model: Model, *, test: bool) -> Rows:
    """The test rows, whose held-out labels are read only where they are asked for."""
    frame = load_folds(layout, comp).test
    table = read_predictions(layout.run(comp, name) / "test.parquet", model.task, model.outputs, ids=frame["row_id"])
    prob, truth = table[model.columns].to_numpy(dtype=np.float64), None
    solution = layout.holdout_solution(comp)
    if test and solution.is_file():
        labels = read_csv(solution)
        known = frame[["row_id"]].merge(labels, left_on="row_id", right_on=labels.columns[0], how="left")
        truth = model.task.truth(known, model.outputs, where=layout.relative(solution))
    elif test:
        say("no held-out labels of test rows are known: --test shows none")
    return make_rows(
        model.task, frame["row_id"].tolist(), frame["image"].tolist(), prob, model.decision, truth=truth, folds=None
    )
