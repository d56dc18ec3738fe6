"""Stage kernel: a trained run, or an ensemble, becomes a notebook that predicts at Kaggle without network.

Reads runs, folds and facts; writes `submissions/<comp>/<name>.kernel/`: `dataset/` (wheels, weights, facts) and
`kernel/` (the notebook) as Kaggle's client uploads them, and `kernel.json`. Says how long the notebook will take.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from foldline.core.competition import Competition, load_competition
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.folds import Folds, load_folds
from foldline.core.paths import Layout
from foldline.core.picture_kinds import HEAD, picture_kind
from foldline.core.progress import say
from foldline.core.records.bundle import Bundle, BundleMember
from foldline.core.records.cv import Cv
from foldline.core.records.kernel import DATASET, KERNEL, Budget, KernelEntry, bundle_sha256
from foldline.core.tables import read_parquet, remove, scratch_folder, sha256_file, sha256_files
from foldline.core.task import hot_truth
from foldline.engine.bundle.budget import MARGIN, in_hours
from foldline.engine.bundle.members import Chosen, HeadsMember, choose, neighbours_of
from foldline.engine.bundle.notebook import Names, write_metadata, write_notebook
from foldline.engine.bundle.project import own_files, write_facts
from foldline.engine.bundle.wheels import own_sha256, write_wheels
from foldline.scoring.choose import in_digits
from foldline.sources.kaggle_user import known_user
from foldline.submission.form import open_form

if TYPE_CHECKING:
    from foldline.engine.bundle.built import Built

EXTRAS = {"dcm": "dicom", "tif": "tif"}  # what reads these pictures
KINDS_OF = 200  # pictures whose kind is looked at


def kernel(
    layout: Layout, comp: str, *, run: str = "", name: str = "", runs: Sequence[str] = (), gpu: str = "t4",
    hours: float = 9.0, hidden_rows: int | None = None, owner: str = "", folds: Sequence[int] = (),
    views: Sequence[str] = (), with_diverged: bool = False, device: str = "auto",
) -> KernelEntry:  # fmt: skip
    """Writes the bundle of a run or an ensemble, unless it is there already.

    Args:
        run: the run, or the name of an ensemble; name: the same, where it has another name than `run`.
        runs: the members of an ensemble that exists, under their names joined by `+`, or under `name`.
        gpu: Kaggle's, t4 or l4; none: the notebook runs on CPUs.
        hours: that the notebook may take.
        hidden_rows: pictures of the hidden test set; None: as the facts say, else those of the visible one.
        owner: the user's name at Kaggle; empty: as the client's settings say, else whoever submits.
        folds: that take part, by number; views: alike; empty: all.
        with_diverged: takes runs of which a fold diverged, too.
        device: on which members are tried.

    Raises:
        FoldlineError: a member is not predicted, stale or diverged; a wheel that is needed cannot be had.
    """
    facts, rows = load_competition(layout, comp), load_folds(layout, comp)
    name = name or ("+".join(runs) if len(runs) > 1 else "".join(runs) or run)
    _require_members(layout, comp, name, runs)
    chosen = choose(
        layout, comp, name, rows.sha256, rows.k, only_folds=folds, only_views=views, with_diverged=with_diverged
    )
    neighbours_of(chosen.members, list(rows.frame.columns))
    place = layout.kernel(comp, name)
    before = KernelEntry.read_if_there(place / "kernel.json")
    owner = owner or known_user() or (before.owner if before else "")
    names, told = Names.of(owner, comp, name, _slug(facts)), _told(comp, facts, chosen)
    if not names.competition:
        say(f"note: {comp} is no competition of Kaggle's (its source is {facts.source.kind}): none is attached")
    if chosen.cv.decision is None and open_form(layout, comp, facts, rows.outputs).holds_labels:
        say(f"note: labels will be decided by default; make ensemble COMP={comp} RUN={name} looks for what is better")
    budget = _budget(facts, rows, hidden_rows, hours, gpu)
    made_from = _made_from(layout, comp, rows, chosen) | {"gpu": gpu, "hours": hours, "hidden_rows": budget.rows}
    if before is not None and before.made_from == made_from and before.bundle == bundle_sha256(place):
        write_metadata(place, names, gpu, told)
        before = before.changed(owner=owner)
        before.write(place / "kernel.json")
        took = before.budget or budget
        say(f"{layout.relative(place)} is up to date: {in_hours(took.seconds)} of {in_hours(took.limit_seconds)}")
        return before
    with scratch_folder(place.parent, place.name) as scratch:
        oof = read_parquet(layout.run(comp, name) / "oof.parquet")
        built = _write_dataset(layout, facts, rows, chosen, oof, scratch / DATASET, hours, device)
        write_notebook(scratch, names, told)
        write_metadata(scratch, names, gpu, told)
        budget, digest = _say_budget(layout, facts, rows, chosen, built, oof, budget, device), bundle_sha256(scratch)
        entry = KernelEntry(
            comp=comp, name=name, members=[member.run for member in chosen.members], made_from=made_from,
            bundle=digest, time=datetime.now(UTC).isoformat(timespec="seconds"), owner=owner,
            half=[one.member.run for one in built if one.half], budget=budget, **_happened(before, digest),
        )  # fmt: skip
        _replace(place, scratch, entry)
    say(f"wrote {layout.relative(place)}; next: make rehearse COMP={comp} NAME={name}")
    return entry


def _happened(before: KernelEntry | None, digest: str) -> dict[str, Any]:
    """What stays of the bundle of before: the rehearsal of these very bytes, and what Kaggle has of any."""
    if before is None:
        return {}
    same = before.rehearsal is not None and before.rehearsal.bundle == digest
    return {"rehearsal": before.rehearsal if same else None, "pushed": before.pushed}


def _replace(place: Path, scratch: Path, entry: KernelEntry) -> None:
    """Puts the new bundle in place of the old one. Its record goes first, so that what was pushed is never forgotten:
    its hash tells other folders from its own."""
    entry.write(place / "kernel.json")
    for room in (DATASET, KERNEL):
        remove(place / room)
        (scratch / room).replace(place / room)


def _require_members(layout: Layout, comp: str, name: str, runs: Sequence[str]) -> None:
    """Raises FoldlineError where several runs are asked for that are not blended, or not these."""
    if len(runs) < 2:
        return
    ensemble = f'make ensemble COMP={comp} RUNS="{" ".join(runs)}" NAME={name}'
    cv = Cv.read(layout.run(comp, name) / "cv.json", next=ensemble)
    if set(cv.members) != set(runs):
        raise FoldlineError(
            f"'{name}' is no ensemble of {' and '.join(runs)}",
            where=layout.relative(layout.run(comp, name)),
            next=ensemble,
        )


def _slug(facts: Competition) -> str:
    """The competition's name at Kaggle; empty where it is none of theirs."""
    return next((source.name for source in facts.source.alternatives() if source.kind == "kaggle"), "")


def _told(comp: str, facts: Competition, chosen: Chosen) -> str:
    """What the bundle holds, for the notebook's and the data set's first lines."""
    members = ", ".join(
        f"{member.run} ({counted(len(member.numbers), 'folds')}, {counted(len(member.views), 'views')})"
        for member in chosen.members
    )
    score = f"{chosen.cv.metric} {in_digits(chosen.cv.pooled)} out of fold"
    licence = f"\n\nLicence of the pictures: {facts.licence}" if facts.licence else ""
    return f"Weights and code of foldline for {comp}: {members}; {score}.{licence}"


def _budget(facts: Competition, rows: Folds, given: int | None, hours: float, gpu: str) -> Budget:
    """What is asked of the notebook; how long it will take is not known yet."""
    count, said_by = given, "the hidden test set's, as --hidden-rows says"
    if count is None:
        count, said_by = facts.hidden_rows, "the hidden test set's, as the facts say"
    if count is None:
        count = len(rows.test)
        said_by = "those of the visible test set; how many the hidden one has nobody said (HIDDEN_ROWS=)"
    return Budget(rows=count, rows_from=said_by, limit_seconds=hours * 3600, seconds=0, gpu=gpu, images_per_second={})


def _made_from(layout: Layout, comp: str, rows: Folds, chosen: Chosen) -> dict[str, Any]:
    """What decides the bundle's bytes, as hashes."""
    weights = {member.run: member.made_from for member in chosen.members}
    runs = dict.fromkeys([chosen.name, *weights])
    return {
        "foldline": own_sha256(),
        "facts": sha256_file(layout.competition_config(comp)),
        "code": {file.as_posix(): sha256_file(layout.root / file) for file in own_files(layout, comp)},
        "folds": rows.sha256,
        "cv": {run: sha256_file(layout.run(comp, run) / "cv.json") for run in runs},
        "weights": weights,
        "views": {member.run: member.views for member in chosen.members},
    }


def _write_dataset(
    layout: Layout, facts: Competition, rows: Folds, chosen: Chosen, oof: pd.DataFrame, folder: Path, hours: float,
    device: str,
) -> "list[Built]":  # fmt: skip
    """The data set: the members, facts, wheels, and `bundle.json`, which holds the hashes of all."""
    from foldline.engine.bundle.built import build_member
    from foldline.engine.machine.device import pick_device

    comp, inside = chosen.cv.comp, Bundle.project(folder)
    neighbours, between = neighbours_of(chosen.members, list(rows.frame.columns))
    needed = {between, *(member.together for member in chosen.members)}
    sample = write_facts(layout, comp, facts, inside, needed)
    wheels = write_wheels(folder / "wheels", _extras(layout, comp, rows, chosen))
    on = pick_device(device)
    built = [build_member(layout, facts, rows.outputs, member, oof, inside, on) for member in chosen.members]
    for package, reason in wheels.items():
        say(f"wheel of {package}: {reason}")
    truth = rows.task.truth(rows.frame, rows.outputs, where=layout.relative(layout.folds(comp)))
    prior = hot_truth(truth, rows.task, len(rows.outputs)).mean(axis=0, dtype=np.float64)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    Bundle(
        comp=comp, slug=_slug(facts), name=chosen.name, task=rows.task, outputs=rows.outputs, metric=facts.metric,
        members=[
            BundleMember(run=one.run, folds=one.numbers, views=one.views, together=one.together,
                         whole=isinstance(one, HeadsMember))
            for one in chosen.members
        ],
        blend=chosen.how, decision=chosen.cv.decision, prior=dict(zip(rows.outputs, prior.tolist(), strict=True)),
        limit_seconds=hours * 3600 * (1 - MARGIN), half=all(one.half for one in built), sample=sample,
        files=sha256_files(folder, files), neighbours=neighbours, between=between, **_blended(chosen.cv),
    ).write(folder / "bundle.json")  # fmt: skip
    _say_sizes(folder)
    return built


def _blended(cv: Cv) -> dict[str, Any]:
    """What was fitted and estimated for the blend, where something was."""
    found = {"blend_fit": cv.blend_fit, "prior_shift": cv.prior_shift}
    return {key: value for key, value in found.items() if value is not None}


def _extras(layout: Layout, comp: str, rows: Folds, chosen: Chosen) -> set[str]:
    """The extras of foldline that the competition's pictures need, by the first bytes of some of them, and heads."""
    heads = {member.record.head for member in chosen.members if isinstance(member, HeadsMember)}
    images = [*rows.test["image"], *rows.frame["image"]]
    kinds = set()
    for image in images[:: max(1, len(images) // KINDS_OF)]:
        path = layout.input(comp) / image.partition("|")[0]
        if path.is_file():
            with path.open("rb") as file:
                kinds.add(picture_kind(file.read(HEAD)))
    return {EXTRAS[kind] for kind in kinds if kind in EXTRAS} | ({"lightgbm"} & heads)


def _say_sizes(folder: Path) -> None:
    """What the data set weighs."""
    sizes = {path: path.stat().st_size / 1e6 for path in folder.rglob("*") if path.is_file()}
    parts = {
        "weights": sum(size for path, size in sizes.items() if path.suffix == ".safetensors"),
        "wheels": sum(size for path, size in sizes.items() if path.suffix == ".whl"),
    }
    told = ", ".join(f"{what} {size:.1f}" for what, size in parts.items())
    say(f"the data set has {sum(sizes.values()):.1f} MB in {counted(len(sizes), 'files')} ({told})")


def _say_budget(
    layout: Layout, facts: Competition, rows: Folds, chosen: Chosen, built: "list[Built]", oof: pd.DataFrame,
    budget: Budget, device: str,
) -> Budget:  # fmt: skip
    """Says how long the notebook will take, and what to leave out where that is too long."""
    from foldline.engine.bundle.built import plan_of
    from foldline.engine.bundle.forecast import say_budget, say_proposal, worth_of
    from foldline.engine.machine.device import pick_device

    plan = plan_of(built, budget.rows, budget.gpu, pick_device(device))
    speeds = {load.run: round(load.images_per_second, 1) for load in plan.loads}
    budget = budget.model_copy(update={"seconds": round(plan.seconds), "images_per_second": speeds})
    say_budget(plan, budget)
    if not plan.fits(budget.limit_seconds):
        worth = worth_of(layout, facts, rows, chosen, built, oof)
        say_proposal(plan, budget.limit_seconds, worth, chosen.cv.comp, chosen.name)
    return budget
