"""A finished run's folder, as it lies there: its folds, its score, its members. No YAML and no project is needed.

Reads `cv.json` and each fold's `meta.json`; no weights are read here, and nothing is written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foldline.core.errors import FoldlineError, first_few
from foldline.core.progress import say
from foldline.core.records.cv import Cv
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.records.heads import FILE, Heads
from foldline.core.run_kinds import no_networks
from foldline.core.tables import sha256_file
from foldline.core.task import Array, Task
from foldline.scoring.blender import Blender

FEWEST_RANKED = 2  # pictures that have ranks among one another


@dataclass(frozen=True)
class FinishedRun:
    """A run, or an ensemble of runs.

    Attributes:
        folder: where it lies.
        name: the run's.
        cv: its score; None where it was not predicted, or `cv.json` is of other weights.
        folds: the folder and the meta of each trained fold; empty of an ensemble.
        members: of an ensemble; they may be ensembles themselves.
        heads: of a run of frozen features, which has no folds with networks of its own; None: it is none.
    """

    folder: Path
    name: str
    cv: Cv | None
    folds: "tuple[tuple[Path, FoldMeta], ...]" = ()
    members: "tuple[FinishedRun, ...]" = ()
    heads: Heads | None = None

    @property
    def trained(self) -> "list[FinishedRun]":
        """The runs that have networks or heads, each once: this one, or those that its members come down to."""
        if not self.members:
            return [self]
        return list({run.name: run for member in self.members for run in member.trained}.values())

    @property
    def first(self) -> FoldMeta:
        """The meta of the first fold there is: task and outputs are the same in all."""
        return self.trained[0].folds[0][1]

    @property
    def about(self) -> FoldMeta | Heads:
        """What says task, outputs and metric, which are the same in all runs."""
        own = self.trained[0]
        return own.folds[0][1] if own.heads is None else own.heads

    @property
    def task(self) -> Task:
        """The task, its outputs known."""
        return self.about.task.of(self.about.outputs)

    @property
    def views(self) -> list[str]:
        """Of each picture, over which a trained run's predictions are averaged: those of its score where it has one."""
        if self.heads is not None:
            return self.heads.views
        return list(self.folds[0][1].views if self.cv is None else self.cv.views)

    @property
    def how(self) -> str:
        """How the members are blended."""
        return (self.cv.blend if self.cv is not None else None) or "mean"

    @property
    def blender(self) -> Blender:
        """How the members become one."""
        if self.cv is None:
            return Blender(self.how, self.task)
        return Blender.of(self.how, self.cv.blend_fit, self.task, self.cv.prior_shift)

    def combine(self, predictions: Mapping[str, Array], rows_of: NDArray[np.int64] | None = None) -> Array:
        """[rows, outputs] of the predictions of the trained runs, by their names.

        Args:
            rows_of: [rows] the fold of each row whose label is known; a fitted blend takes what it fitted without it.

        Raises:
            FoldlineError: ranks are blended, and there is one row.
        """
        if not self.members:
            return predictions[self.name]
        if self.how == "rank_mean" and min(map(len, predictions.values())) < FEWEST_RANKED:
            raise FoldlineError(
                f"'{self.name}' blends the ranks that its members give the pictures: a single picture has none",
                where=str(self.folder),
                next='give several pictures, or blend by mean or gmean (make ensemble RUNS="a b" BLEND=mean)',
            )
        return self.blender({member.name: member.combine(predictions, rows_of) for member in self.members}, rows_of)


def read_finished(folder: Path, *, heads: bool = False) -> FinishedRun:
    """What lies in a run's folder, an ensemble's, an exported one, or in that of a single fold.

    An ensemble's members are looked for in its folder, then beside it.

    Args:
        heads: whether it, or a member, may be a run of frozen features.

    Raises:
        FoldlineError: there is no such folder, or no fold, or a member is not there, or its parts do not belong
            together.
    """
    if not folder.is_dir():
        raise FoldlineError(
            "there is no such folder", where=str(folder), next="give a run's folder, such as oof/<comp>/<run>"
        )
    if (folder / "meta.json").is_file():
        meta = FoldMeta.read(folder / "meta.json")
        return FinishedRun(folder, meta.run, None, ((folder, meta),))
    cv = Cv.read_if_there(folder / "cv.json")
    if cv is not None and cv.members:
        return _ensemble(folder, cv, heads=heads)
    if cv is not None and cv.head:
        if not heads:
            raise no_networks(str(folder))
        return _of_heads(folder, cv)
    folds = [(path.parent, FoldMeta.read(path)) for path in folder.glob("fold_*/meta.json")]
    if not folds:
        raise FoldlineError(
            "no finished fold is in this folder",
            where=str(folder),
            next="train it (make train-all), or give the folder that holds fold_0, fold_1 ...",
        )
    folds.sort(key=lambda fold: fold[1].fold)
    _require_alike([meta for _, meta in folds], folder)
    return FinishedRun(folder, folds[0][1].run, _own_score(cv, folds, folder), tuple(folds))


def beside(folder: Path, name: str, what: str) -> Path:
    """The folder of another run, which lies in this one's or beside it; raises FoldlineError where it is not there.

    Args:
        what: the other is to this one.
    """
    places = [place for place in (folder / name, folder.parent / name) if place.is_dir()]
    if not places:
        raise FoldlineError(
            f"{what}, and '{name}' is not there",
            where=str(folder),
            next="copy its folder beside this one, or make one folder of it all: foldline export folder",
        )
    return places[0]


def _of_heads(folder: Path, cv: Cv) -> FinishedRun:
    path = folder / FILE
    if not path.is_file():
        raise FoldlineError(
            f"the heads of '{cv.run}' were not kept: an earlier version fitted them",
            where=str(folder),
            next=Heads.made_by,
        )
    if cv.files.get(FILE, "") != sha256_file(path):
        raise FoldlineError(f"{FILE} is damaged, or not that of cv.json", where=str(folder), next=Heads.made_by)
    return FinishedRun(folder, cv.run, cv, heads=Heads.read(path))


def _ensemble(folder: Path, cv: Cv, *, heads: bool) -> FinishedRun:
    whole = f"'{cv.run}' is an ensemble of {first_few(cv.members)}"
    members = [read_finished(beside(folder, name, whole), heads=heads) for name in cv.members]
    run = FinishedRun(folder, cv.run, cv, members=tuple(members))
    _remark_stale_members(folder, cv, members)
    metas = [meta for own in run.trained for _, meta in own.folds]
    _require_same_task([*metas, *(own.heads for own in run.trained if own.heads is not None)], folder)
    return run


def _remark_stale_members(folder: Path, cv: Cv, members: list[FinishedRun]) -> None:
    """Says which members were predicted anew after the ensemble was made of them, where both records tell."""
    test = "test.parquet"
    known = {own.name: own.cv.files[test] for own in members if own.cv is not None and test in own.cv.files}
    stale = [name for name, sha256 in known.items() if cv.sha256.members.get(name, sha256) != sha256]
    if stale:
        say(
            f"warning: {folder}: {first_few(stale)} changed since the ensemble was made: its score and its rule of "
            "decision are of before; make ensemble makes it anew"
        )


def _require_same_task(parts: Sequence[FoldMeta | Heads], folder: Path) -> None:
    """Raises FoldlineError where networks and heads do not say the same things, or are of other folds."""
    if len({(str(part.task), *part.outputs) for part in parts}) > 1:
        raise FoldlineError("these folds have other tasks or classes, and cannot be averaged", where=str(folder))
    if len({part.sha256.folds for part in parts}) > 1:
        raise FoldlineError("these networks were made on different folds", where=str(folder))


def _require_alike(metas: list[FoldMeta], folder: Path) -> None:
    """Raises FoldlineError where networks do not say the same things, or folds are not of one run."""
    _require_same_task(metas, folder)
    if len({(meta.sha256.run, meta.height_width, meta.channels) for meta in metas}) > 1:
        raise FoldlineError(
            "these folds were trained with different choices: they are not of one run",
            where=str(folder),
            next="train the run anew with NAME=<new name>",
        )


def _own_score(cv: Cv | None, folds: list[tuple[Path, FoldMeta]], folder: Path) -> Cv | None:
    """The score, where it is of these weights; says where it is not."""
    if cv is None:
        return None
    odd = [meta.fold for _, meta in folds if meta.sha256.weights not in cv.sha256.weights]
    if odd:
        say(f"warning: {folder}: cv.json is of other weights than those of fold {', '.join(map(str, odd))}: not used")
        return None
    if len(folds) < len(cv.sha256.weights):
        say(f"note: {folder}: {len(folds)} of the {len(cv.sha256.weights)} folds that cv.json is of are there")
    return cv
