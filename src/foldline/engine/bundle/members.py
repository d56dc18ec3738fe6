"""Which runs, folds and views go into a bundle, each checked to be what its score is of. Reads runs; writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from foldline.core.errors import FoldlineError, first_few, unknown
from foldline.core.paths import Layout
from foldline.core.provenance import current_cv, refuse_diverged_runs, require_current
from foldline.core.records.cv import Cv
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.records.heads import FILE, Heads
from foldline.core.run import Run
from foldline.core.run_folder import known_fold, resolve_run, wanted_folds
from foldline.core.tables import sha256_file
from foldline.engine.entities import between_by, together_by
from foldline.engine.finished.folder import read_finished
from foldline.engine.finished.heads import open_heads
from foldline.scoring.blender import Blender


@dataclass(frozen=True)
class Member:
    """A trained run of the bundle.

    Attributes:
        choices: that it was trained and predicted with.
        cv: its record.
        folds: the folder and the meta of each of its folds that take part.
        views: that take part, in the run's order.
    """

    run: str
    choices: Run
    cv: Cv
    folds: dict[Path, FoldMeta]
    views: list[str]

    @property
    def numbers(self) -> list[int]:
        """Of its folds."""
        return [meta.fold for meta in self.folds.values()]

    @property
    def together(self) -> str:
        """The column that names whose pictures it sees together; empty: each by itself."""
        return together_by(self.choices)

    @property
    def made_from(self) -> dict[str, str]:
        """The hashes of its weights."""
        return {str(meta.fold): meta.sha256.weights for meta in self.folds.values()}

    def neighbours(self, columns: Sequence[str]) -> tuple[int, str]:
        """`data.neighbours`, and the column that names among whose pictures these are."""
        return self.choices.data.neighbours, between_by(self.choices, columns)


@dataclass(frozen=True)
class HeadsMember:
    """A run of frozen features.

    Attributes:
        folder: the run's; record: what its heads are; cv: its score.
        numbers: of its folds that take part.
    """

    run: str
    folder: Path
    record: Heads
    cv: Cv
    numbers: list[int]

    @property
    def views(self) -> list[str]:
        """All of them, as its score is of."""
        return self.cv.views

    @property
    def together(self) -> str:
        """Features are of single pictures."""
        return ""

    @property
    def made_from(self) -> dict[str, str]:
        """The hash of its record, which has those of all else."""
        return {FILE: self.cv.files[FILE], "folds": ", ".join(map(str, self.numbers))}

    def neighbours(self, columns: Sequence[str]) -> tuple[int, str]:  # noqa: ARG002 - as of other members
        """None: `_heads` refuses networks that see some."""
        return 0, ""


AnyMember = Member | HeadsMember


@dataclass(frozen=True)
class Chosen:
    """What a bundle is of.

    Attributes:
        name: of the run or ensemble.
        cv: its record: score, blend, decision.
        members: the best first.
    """

    name: str
    cv: Cv
    members: list[AnyMember]

    @property
    def how(self) -> str:
        """How the members are blended."""
        return self.cv.blend or "mean"

    @property
    def blender(self) -> Blender:
        """How the members become one."""
        return Blender.of(self.how, self.cv.blend_fit, self.cv.task.of(self.cv.outputs), self.cv.prior_shift)


def choose(
    layout: Layout,
    comp: str,
    name: str,
    folds_sha256: str,
    k: int,
    *,
    only_folds: Sequence[int] = (),
    only_views: Sequence[str] = (),
    with_diverged: bool = False,
) -> Chosen:
    """A run, or an ensemble with its members.

    Args:
        name: of its folder below `oof/<comp>/`.
        k: how many folds there are.
        only_folds: leave out all others; only_views: alike. Empty: all take part.
        with_diverged: takes a run of which a fold diverged, too.

    Raises:
        FoldlineError: it is not predicted, or not with the folds, choices, weights and members of now; a fold diverged;
            no such fold or view.
    """
    cv = current_cv(layout, comp, name, folds_sha256)
    _refuse_stack(layout, cv)
    records = {run: current_cv(layout, comp, run, folds_sha256) for run in cv.members} or {name: cv}
    for run, record in records.items():
        if record.members:
            raise FoldlineError(
                f"'{run}' is an ensemble itself, and a bundle holds trained runs",
                where=layout.relative(layout.run(comp, name)),
                next=f'blend the runs themselves: make ensemble RUNS="{" ".join(record.members)} ..."',
            )
        predictions = sha256_file(layout.run(comp, run) / "test.parquet")
        if cv.members and cv.sha256.members.get(run) != predictions:
            raise FoldlineError(
                f"the ensemble '{name}' was made of other predictions of '{run}' than those of now",
                where=layout.relative(layout.run(comp, name)),
                next=f'make ensemble COMP={comp} RUNS="{" ".join(cv.members)}" NAME={name}',
            )
    if not with_diverged:
        refuse_diverged_runs(comp, records)
    members: list[AnyMember] = [
        _heads(layout, comp, record, only_folds, only_views)
        if record.head
        else _member(layout, comp, record, folds_sha256, k, only_folds, only_views)
        for record in records.values()
    ]
    members.sort(key=lambda member: _worth(member.cv), reverse=True)
    return Chosen(name, cv, members)


def neighbours_of(members: Sequence[AnyMember], columns: Sequence[str]) -> tuple[int, str]:
    """`data.neighbours` of all members, and the column that names among whose pictures these are.

    Args:
        columns: of the rows.

    Raises:
        FoldlineError: members have others each, and the notebook reads each picture once for all.
    """
    found = {own.run: own.neighbours(columns) for own in members}
    if len(set(found.values())) > 1:
        told = [f"{run}: {count} of the same {by}" if count else f"{run}: none" for run, (count, by) in found.items()]
        raise FoldlineError(
            f"the members see each picture between other neighbours, and a notebook reads its pictures once for all of "
            f"them: {first_few(told)}",
            where="data.neighbours",
            next='blend runs with the same neighbours (make ensemble RUNS="..."), or bundle one of them alone '
            "(make kernel RUN=...)",
        )
    return next(iter(found.values()))


def _refuse_stack(layout: Layout, cv: Cv) -> None:
    """Raises FoldlineError where the blend has no meaning without one of its members."""
    if cv.members and Blender.of(cv.blend or "mean", cv.blend_fit, cv.task.of(cv.outputs)).needs_all:
        raise FoldlineError(
            f"the ensemble '{cv.run}' is blended by {cv.blend}, and a notebook may have to leave members out for time",
            where=layout.relative(layout.run(cv.comp, cv.run)),
            next=f'make ensemble COMP={cv.comp} RUNS="{" ".join(cv.members)}" NAME={cv.run} BLEND=weights',
        )


def _member(
    layout: Layout, comp: str, cv: Cv, folds_sha256: str, k: int, only_folds: Sequence[int], only_views: Sequence[str]
) -> Member:
    _, choices = resolve_run(layout, comp, cv.run, "", [])
    predict = f"make predict COMP={comp} RUN={cv.run}"
    where = layout.relative(layout.run(comp, cv.run))
    if cv.views != choices.predict.views:
        raise FoldlineError(
            f"run '{cv.run}' was predicted with other views than predict.views names", where=where, next=predict
        )
    folders = [layout.fold(comp, cv.run, fold) for fold in wanted_folds(choices, k)]
    folds = {folder: FoldMeta.read(folder / "meta.json") for folder in folders}
    for meta in folds.values():
        require_current(layout, comp, choices, meta, folds_sha256)
    if [meta.sha256.weights for meta in folds.values()] != cv.sha256.weights:
        raise FoldlineError(
            f"run '{cv.run}' was predicted by other weights than those of now", where=where, next=predict
        )
    for fold in only_folds:
        known_fold(fold, k, where="--folds")
    kept = {folder: meta for folder, meta in folds.items() if not only_folds or meta.fold in only_folds}
    if not kept:
        raise FoldlineError(f"run '{cv.run}' has none of these folds", where="--folds", next="name one that it has")
    return Member(cv.run, choices, cv, kept, _views(cv, only_views))


def _heads(layout: Layout, comp: str, cv: Cv, only_folds: Sequence[int], only_views: Sequence[str]) -> HeadsMember:
    folder = layout.run(comp, cv.run)
    run = read_finished(folder, heads=True)
    assert run.heads is not None
    found = open_heads(folder, run.heads, torch.device("cpu"))  # what cannot predict there is refused here
    where = layout.relative(folder)
    if any(source.first[1].neighbours for source in found.sources):
        raise FoldlineError(
            f"the networks of '{cv.run}' see each picture between its neighbours, and notebooks make these for runs of "
            "networks alone",
            where=where,
            next="fit heads on features without data.neighbours",
        )
    if len(_views(cv, only_views)) < len(cv.views):
        raise FoldlineError(
            f"the heads of '{cv.run}' were fitted on {first_few(cv.views)}: none of these can be left out",
            where="--views",
            next="leave VIEWS out, or fit heads on fewer views",
        )
    kept = [fold for fold in found.folds if not only_folds or fold in only_folds]
    if not kept:
        raise FoldlineError(f"run '{cv.run}' has none of these folds", where="--folds", next="name one that it has")
    return HeadsMember(cv.run, folder, run.heads, cv, kept)


def _views(cv: Cv, only: Sequence[str]) -> list[str]:
    odd = [view for view in only if view not in cv.views]
    if odd:
        raise unknown("view", odd[0], cv.views, where=f"--views, run '{cv.run}': {first_few(cv.views)}")
    return [view for view in cv.views if not only or view in only]


def _worth(cv: Cv) -> float:
    """The pooled score by the default decision, in which all runs have one; more is better."""
    score = (cv.decision or {}).get("default_score", cv.pooled)
    sign = 1 if cv.direction == "max" else -1
    return float("-inf") if score is None else sign * float(score)
