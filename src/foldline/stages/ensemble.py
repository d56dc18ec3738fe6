"""Stage ensemble: one or more runs become one submission that the grader accepts.

Reads the members' `oof.parquet`, `test.parquet` and `cv.json`; writes, for two members or more, a run folder of
its own with the same three files; and `submissions/<comp>/<name>.csv` with its ledger entry `.json`. Where the
submission holds labels, `cv.json` gets the scores of the labels that are submitted, and how they were decided.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foldline.core.competition import Competition, load_competition
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.features_run import FeaturesRun
from foldline.core.folds import Folds, as_scored, load_folds
from foldline.core.paths import Layout
from foldline.core.prediction_blocks import PredictionBlocks, PredictionWriter
from foldline.core.progress import result, say
from foldline.core.provenance import current_cv, refuse_diverged_runs, require_told_apart, require_unlearnt
from foldline.core.records.cv import Cv, CvHashes, Seconds
from foldline.core.records.entry import CvScore, Entry
from foldline.core.replacing import move_files
from foldline.core.run_folder import predictions_of, resolve_any
from foldline.core.tables import scratch_folder, sha256_file, sha256_files
from foldline.scoring.blender import Blender
from foldline.scoring.choose import How, decision_in_words, in_digits, stored_decision
from foldline.scoring.cv import cross_validation, pooled_score
from foldline.scoring.fitted.catalogue import FITTED
from foldline.scoring.fitted.choose import chosen_fit, fit_in_words
from foldline.scoring.fitted.runs import MOST, read_oof
from foldline.scoring.prior_shift import ratio_of, require_shares, shift_in_words, shift_record
from foldline.submission.form import Form, open_form, sample_path
from foldline.submission.known import validation_rows
from foldline.submission.meaning import require_same_meaning
from foldline.submission.source import predictions_in
from foldline.submission.writing import write_submission

# what a member's record says of its own blend, heads or networks, and an ensemble of it is not
OWN = {"blend_fit", "blend_scores", "prior_shift", "head", "chosen", "compile", "compile_seconds"}
FILES = ("oof.parquet", "test.parquet")
OF_ONE = ("temperature",)  # fitted blends that change a single run, too


def ensemble(
    layout: Layout, comp: str, runs: list[str], *, name: str = "", blend: str = "mean", overrides: Sequence[str] = (),
    decide: How = "fitted", prior: str = "train", with_diverged: bool = False,
) -> tuple[str, bool]:  # fmt: skip
    """Blends the members and writes the submission.

    Args:
        runs: the members; one is its own ensemble, unless the blend is of `OF_ONE`.
        name: the ensemble's name, default: the members' names joined by `+`; of one member: the name that it was
            trained under.
        blend: an entry of `scoring.blend.BLENDS` or `scoring.fitted.catalogue.FITTED`.
        overrides: the settings that the one member was trained with.
        decide: how labels are decided where the submission holds them: fitted on the OOF predictions, where that is
            better by cross-fitting, or always the default (largest probability, 0.5).
        prior: em: test predictions are corrected for the shares of classes that they show; train: they are not.
        with_diverged: takes members of which a fold diverged, too.

    Returns:
        The name of the run that the submission is of, and whether anything was written.

    Raises:
        FoldlineError: a member is not predicted or was made on other folds; the submission fails the gate, or means
            something else than the predictions.
    """
    if len(set(runs)) != len(runs):
        raise FoldlineError(f"a run is named twice: {' '.join(runs)}", where="RUNS")
    facts, folds = load_competition(layout, comp), load_folds(layout, comp)
    if len(runs) == 1 and blend in FITTED and blend not in OF_ONE:
        raise FoldlineError(f"blend '{blend}' needs two runs or more", where="BLEND", next='name them: RUNS="a b"')
    if prior == "em":
        require_shares(folds.task, blend, entities="entity" in folds.frame.columns)
    blended = len(runs) > 1 or blend in OF_ONE or prior == "em"
    alone = ("", []) if blended else (name, list(overrides))
    runs = [_current_name(layout, comp, run, *alone) for run in runs]
    name = name if blended and name else "+".join(runs)
    if blended and name in runs:
        raise FoldlineError(
            f"the ensemble cannot have its member's name '{name}'", where="NAME", next="add NAME=<new name>"
        )
    if blended and (layout.run(comp, name) / "run.json").is_file():
        raise FoldlineError(
            f"'{name}' is a trained run, whose predictions an ensemble of that name would replace",
            where="NAME", next="add NAME=<new name>",
        )  # fmt: skip
    with predictions_of(layout, comp, [name, *runs], f"the submission of '{name}' is being made"):
        how = blend if blended else None
        return name, _make(layout, comp, name, runs, how, decide, facts, folds, with_diverged, prior)


def _make(
    layout: Layout, comp: str, name: str, runs: list[str], blend: str | None, decide: How, facts: Competition,
    folds: Folds, with_diverged: bool, prior: str,
) -> bool:  # fmt: skip
    """The submission, unless it is there; gives whether it was written.

    Args:
        blend: None: there is one member, its own ensemble.
    """
    records = {run: current_cv(layout, comp, run, folds.sha256) for run in runs}
    if not with_diverged:
        refuse_diverged_runs(comp, records)
    hashes = {run: sha256_file(layout.run(comp, run) / "test.parquet") for run in runs}
    sample, form = sample_path(layout, comp, facts), open_form(layout, comp, facts, folds.outputs)
    made_from = {
        "folds": folds.sha256, "members": hashes, "blend": blend,
        "metric": facts.metric, "decide": decide,
        "submission": facts.submission.model_dump(mode="json", exclude_defaults=True),
        "sample": sha256_file(sample), "meaning": form.meaning, **({"prior": prior} if prior != "train" else {}),
    }  # fmt: skip
    path = layout.submission(comp, name)
    if _is_current(layout, comp, name, path, made_from):
        say(f"{layout.relative(path)} is up to date")
        return False
    record, folder = records[runs[0]], layout.run(comp, name)
    if blend:
        with scratch_folder(folder) as scratch:  # what is there stays whole until all of the new is
            record = _write_blend(layout, comp, name, records, blend, facts, folds, hashes, prior, scratch)
            record = _write_scores(name, record, facts, folds, form, decide, scratch, blended=True)
            move_files(scratch, folder, [*FILES, "cv.json"])
    else:
        record = _write_scores(name, record, facts, folds, form, decide, folder, blended=False)
    if blend:
        members = ", ".join(f"{run} {_by_default(member)}" for run, member in records.items())
        say(f"{name}: OOF {record.metric} {_by_default(record)}; its members: {members}")
    for run, member in records.items():
        if member.remark:
            say(f"note: {run}: {member.remark}")
    _write_submission(layout, comp, name, record, facts, folds, form, made_from)
    return True


def _current_name(layout: Layout, comp: str, run: str, name: str, overrides: list[str]) -> str:
    """The member's folder name, checked: its YAML still says what it was trained and predicted with."""
    cv = Cv.read_if_there(layout.run(comp, name or run) / "cv.json")
    if cv is not None and cv.members:
        return name or run  # an ensemble: it has no choices of its own
    name, choices = resolve_any(layout, comp, run, name, overrides)
    if isinstance(choices, FeaturesRun):
        return name  # its folder was made by these choices, views and all
    if cv is not None and cv.views != choices.predict.views:
        raise FoldlineError(
            f"run '{name}' was predicted with the views {', '.join(cv.views)}, "
            f"and now has {', '.join(choices.predict.views)}",
            where="predict.views",
            next=f"make predict COMP={comp} RUN={name}",
        )
    return name


def _is_current(layout: Layout, comp: str, name: str, path: Path, made_from: dict[str, Any]) -> bool:
    entry = Entry.read_if_there(path.with_suffix(".json"))
    cv = Cv.read_if_there(layout.run(comp, name) / "cv.json")
    if entry is None or cv is None or not path.is_file():
        return False
    if cv.members and cv.files != sha256_files(layout.run(comp, name), cv.files):
        return False  # another blend of this name was begun and did not come to its end
    made = entry.made_from == made_from and entry.is_of(cv) and entry.decision == cv.decision
    return made and entry.sha256 == sha256_file(path)


def _write_blend(
    layout: Layout, comp: str, name: str, records: dict[str, Cv], how: str, facts: Competition, folds: Folds,
    hashes: dict[str, str], prior: str, folder: Path,
) -> Cv:  # fmt: skip
    """Writes the predictions of an ensemble into a folder; its record still has the scores of its first member."""
    runs, members = list(records), list(records.values())
    blender, fitted = _fitted(layout, comp, records, how, facts, folds)
    _blend(layout, comp, runs, folder / "oof.parquet", blender, folds)
    _blend(layout, comp, runs, folder / "test.parquet", blender, folds, folds.test["row_id"])
    if prior == "em":
        shift = _shift(folder, facts, folds)
        blender, fitted = replace(blender, ratio=ratio_of(shift)), {**fitted, "prior_shift": shift}
        _blend(layout, comp, runs, folder / "test.parquet", blender, folds, folds.test["row_id"])
    left_out = {image: digest for member in members for image, digest in member.left_out.items()}
    first = Cv.model_validate(members[0].model_dump(by_alias=True, exclude_unset=True, exclude=OWN))
    return first.model_copy(
        update={
            "run": name,
            "metrics": {metric: scores for member in members for metric, scores in member.metrics.items()},
            "views": sorted({view for member in members for view in member.views}),
            "members": runs,
            "blend": blender.name,
            **fitted,
            "sha256": CvHashes(folds=folds.sha256, run=None, members=hashes),
            "optimistic": sorted({reason for member in members for reason in member.optimistic}),
            "below_probe": [],
            "oof_of": "",
            "diverged": [f"{run}, {reason}" for run, member in records.items() for reason in member.diverged],
            "seconds": Seconds(
                train=round(sum(member.seconds.train or 0.0 for member in members), 1),
                predict=round(sum(member.seconds.predict or 0.0 for member in members), 1),
            ),
            "files": sha256_files(folder, FILES),
            "device": "; ".join(sorted({member.device for member in members})),
        }
        | ({"left_out": left_out} if left_out else {})
    )


def _fitted(
    layout: Layout, comp: str, records: dict[str, Cv], how: str, facts: Competition, folds: Folds
) -> tuple[Blender, dict[str, Any]]:  # fmt: skip
    """How the runs are blended, fitted where that is asked for, and what `cv.json` says of the fit."""
    if how not in FITTED:
        return Blender(how, folds.task.of(folds.outputs)), {}
    if how not in OF_ONE:
        require_told_apart(records, how)
    if FITTED[how].needs_all:
        require_unlearnt(layout, comp, records, f"BLEND={how}, RUNS")
    oof = read_oof({run: layout.run(comp, run) for run in records}, facts, folds.outputs)
    found = chosen_fit(how, oof)
    for line in fit_in_words(found, facts.metric):
        say(line)
    assert found.blender.fit is not None
    return found.blender, {"blend_fit": found.blender.fit.record(), "blend_scores": found.scores}


def _shift(folder: Path, facts: Competition, folds: Folds) -> dict[str, Any]:
    """The shares of classes among the test rows, by an ensemble's predictions of them; of many rows by some."""
    oof = read_oof({"": folder}, facts, folds.outputs)
    blocks = PredictionBlocks(folder / "test.parquet", folds.task, folds.outputs)
    step = -(-len(blocks) * len(folds.outputs) // MOST)
    test = np.concatenate([values[(-place.start) % step :: step] for place, values in blocks])
    shift = shift_record(oof.target, oof.values[""], test, folds.outputs)
    for line in shift_in_words(shift, facts.metric):
        say(line)
    return shift


def _write_scores(
    name: str, record: Cv, facts: Competition, folds: Folds, form: Form, decide: How, folder: Path, *, blended: bool
) -> Cv:
    """`cv.json` with the scores of what is submitted; a trained run's stays as it is where nothing is decided."""
    labels = form.holds_labels
    blocks, further = PredictionBlocks(folder / "oof.parquet", folds.task, folds.outputs), list(record.metrics)
    oof, prob = blocks.rows(), blocks.values()
    if not (labels or record.decision or record.metric != facts.metric or blended):
        pooled = pooled_score(oof, facts, folds.outputs, prob)
        if np.isclose(pooled, np.nan if record.pooled is None else record.pooled, equal_nan=True):
            return record
        say(f"{name}: scored anew, {in_digits(pooled)}; cv.json said {in_digits(record.pooled)}")
    how = decide if labels else None
    scores = cross_validation(oof, facts, folds.outputs, prob=prob, metrics=further, decide=how)
    record = record.changed(**scores)
    record.write(folder / "cv.json")
    words = decision_in_words(record.decision, facts.metric) if record.decision else ""
    if words:
        say(f"{name}: {words}")
    return record


def _by_default(record: Cv) -> str:
    """The pooled score by the default decision, in which all runs have one."""
    return in_digits((record.decision or {}).get("default_score", record.pooled))


def _blend(
    layout: Layout, comp: str, runs: list[str], path: Path, blender: Blender, folds: Folds,
    ids: "pd.Series[str] | None" = None,
) -> None:  # fmt: skip
    """Writes the members' predictions, joined by id and blended; ids that a member lacks are an error.

    Rows of folds (OOF) are blended by what was fitted without their fold.

    Args:
        path: the ensemble's file; the members' have the same name.
        ids: of its rows, in order; None: those of the first member.
    """
    outputs = folds.outputs

    def opened(run: str) -> PredictionBlocks:
        return PredictionBlocks(layout.run(comp, run) / path.name, folds.task, outputs, ids=ids)

    first = opened(runs[0])
    ids = first.ids
    members, rows = {runs[0]: first, **{run: opened(run) for run in runs[1:]}}, first.rows()
    fold_of = rows["fold"].to_numpy() if path.name == "oof.parquet" else None
    with PredictionWriter.open(path, folds.task, outputs, ids=ids, sums=blender.sums_to_one) as writer:
        for place, values in blender.blocks(members, fold_of):
            writer.write(rows.iloc[place], values)


def _write_submission(
    layout: Layout, comp: str, name: str, record: Cv, facts: Competition, folds: Folds, form: Form,
    made_from: dict[str, Any],
) -> None:  # fmt: skip
    """The CSV, through the gates, and its ledger entry, which is there first."""
    folder, path = layout.run(comp, name), layout.submission(comp, name)
    where, how = layout.relative(path), facts.submission.aggregate

    scored = as_scored(folds.frame, facts.folds.new_class)

    def judge() -> str:
        return require_same_meaning(form, validation_rows(form, folder / "oof.parquet", scored, record), where)

    def enter(file: Path, found: str) -> None:
        digest = sha256_file(file)
        Entry(
            comp=comp, run=name, name=name, file=path.name, sha256=digest,
            time=datetime.now(UTC).isoformat(timespec="seconds"), metric=record.metric,
            cv=CvScore(pooled=record.pooled, mean=record.mean, std=record.std), decision=record.decision,
            folds_sha256=folds.sha256, members=list(made_from["members"]), meaning=form.meaning, graded=found,
            made_from=made_from, predictions=record.files.get("test.parquet", ""), diverged=record.diverged,
            **_sent_before(path, digest),
        ).write(path.with_suffix(".json"))  # fmt: skip

    ids = folds.test["row_id"]
    with predictions_in(folder / "test.parquet", folds.task, folds.outputs, ids=ids, how=how) as source:
        decision = stored_decision(record.decision)
        lines, found = write_submission(path, form, source, decision, where=where, judge=judge, entered=enter)
    result(
        f"wrote {layout.relative(path)}: {counted(lines, 'lines')}, accepted by the gate; {found}",
        submission=str(path), metric=record.metric, score=record.pooled,
    )  # fmt: skip


def _sent_before(path: Path, digest: str) -> dict[str, Any]:
    """What happened to the very file of this sha256, and the entries of other files that were sent under its name.

    A file that was sent is never sent again unasked, and its score stays in the ledger.
    """
    old = Entry.read_if_there(path.with_suffix(".json"))
    versions = [] if old is None else [old.without_earlier(), *old.earlier]
    same = next((entry for entry in versions if entry.sha256 == digest), None)
    fate = {key: getattr(same, key, None) for key in ("message", "kaggle", "public", "private")}
    return {**fate, "earlier": [entry for entry in versions if entry is not same and entry.kaggle is not None]}
