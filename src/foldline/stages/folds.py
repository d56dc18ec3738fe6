"""Raw files and facts become folds.

Reads `input/<comp>/` (with its manifest) and `configs/<comp>/competition.yaml`; writes `folds/<comp>.csv`,
`.test.csv` and `.json`; where the test labels are known (a holdout, or an official test set with public labels)
`.solution.csv`, and `.sample_submission.csv` where the competition has none. The CSV is written last, so where it is,
the other files are whole.
"""

import gc
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from foldline.core import label_file, own_code
from foldline.core.competition import Competition, RowFacts, load_competition
from foldline.core.counted import counted
from foldline.core.csv_text import csv_text
from foldline.core.differing import differing_keys
from foldline.core.errors import FoldlineError, first_few
from foldline.core.folds import edited, load_folds, read_folds_meta, shaping, way_to_new_folds
from foldline.core.paths import Layout
from foldline.core.processes import in_turn
from foldline.core.progress import say
from foldline.core.records.folds_meta import FoldsMeta, MadeFrom
from foldline.core.records.manifest import Manifest, RawHashes
from foldline.core.tables import read_csv, sha256_file, write_text
from foldline.readers import find_outputs, read_rows
from foldline.readers.files import FileIndex, list_files, tables_of
from foldline.scoring.cv import metric_names
from foldline.scoring.metrics import metric_for
from foldline.scoring.metrics.for_task import without_score
from foldline.submission.form import open_form, sample_path
from foldline.submission.made_sample import sample_text
from foldline.submission.meaning import rehearse

if TYPE_CHECKING:
    from foldline.splits.plan import Plan


def folds(layout: Layout, comp: str) -> FoldsMeta:
    """Writes the folds of `comp`, unless valid ones are there; gives what they are.

    Raises:
        FoldlineError: nothing is downloaded; the facts or raw files changed, or a file was edited, since folds were
            made; a row, label or image is broken or missing; the split fails its checks; the sample submission does
            not fit, or leaves open what its numbers mean.
    """
    path = layout.folds(comp)
    with in_turn(path.with_name(f".{path.stem}.lock"), f"the folds of '{comp}' are being made"):
        return _folds(layout, comp)


def _folds(layout: Layout, comp: str) -> FoldsMeta:
    facts = load_competition(layout, comp)
    if not Manifest.is_at(layout.manifest(comp)):
        where = layout.relative(layout.input(comp))
        raise FoldlineError("there is no manifest of the raw files", where=where, next=f"make download COMP={comp}")
    if facts.unconfirmed:
        guesses = ", ".join(f"{name} '{_fact(facts, name)}'" for name in facts.unconfirmed)
        where = layout.relative(layout.competition_config(comp))
        by = "by the competition's page" if facts.url else "where it is wrong"
        say(f"warning: GUESSED, and nobody has confirmed it yet: {guesses}. Mend {where} {by}, then")
        say("  delete its line `unconfirmed`. Another task means other folds; another metric ranks runs differently.")
    _say_new_files(layout, comp, facts)
    exists = layout.folds(comp).is_file()
    if exists and _is_current(layout, comp, facts):
        meta = read_folds_meta(layout, comp)
        say(
            f"folds/{comp}.csv is up to date: {counted(meta.rows, 'rows')} in {counted(meta.k, 'folds')}, "
            f"{counted(meta.test_rows, 'test rows')}"
        )
        said = _rehearse_submission(layout, comp, facts, meta.outputs, load_folds(layout, comp).frame)
        _say_findings([*meta.checks, *said, *_decided_labels(layout, comp, meta.outputs)])
        return meta
    with _uncollected():
        plan = _make(layout, comp, facts)
    texts = {kind: csv_text(table) for kind, table in plan.tables.items()}
    hashes = {kind: hashlib.sha256(text.encode()).hexdigest() for kind, text in texts.items()}
    if exists:
        _require_same(layout, comp, hashes)
    paths = _paths(layout, comp)
    for kind in sorted(texts.keys() - {"folds"}):
        write_text(paths[kind], texts[kind])
    if facts.makes_sample:
        write_text(paths["sample"], sample_text(plan.tables["test"], facts, plan.outputs))
        hashes["sample"] = sha256_file(paths["sample"])
    said = _rehearse_submission(layout, comp, facts, plan.outputs, plan.tables["folds"])
    meta = _meta(layout, comp, facts, plan, hashes)
    meta.write(layout.folds_meta(comp))
    write_text(paths["folds"], texts["folds"])
    say(f"wrote folds/{comp}.csv, splitter {plan.splitter}, and {counted(len(plan.tables['test']), 'test rows')}")
    _say_findings([*plan.findings, *said, *_decided_labels(layout, comp, plan.outputs)])
    return meta


def _fact(facts: Competition, name: str) -> object:
    """A fact by its dotted name."""
    part: object = facts
    for key in name.split("."):
        part = getattr(part, key, "?")
    return part


def _say_findings(findings: list[str]) -> None:
    for finding in findings:
        say(f"  {finding}")


def _rehearse_submission(
    layout: Layout, comp: str, facts: Competition, outputs: list[str], rows: pd.DataFrame
) -> list[str]:  # fmt: skip
    """What the cells of a submission will mean, in words, and labels that the metric cannot take; raises FoldlineError
    for what `ensemble` would refuse."""
    path, task = sample_path(layout, comp, facts), facts.task.of(outputs)
    metric_names(facts)
    truth = task.truth(rows, outputs, where=layout.relative(layout.folds(comp)))
    said = [f"warning: {line}" for line in without_score(metric_for(facts.metric, task), truth, task)]
    if not path.is_file():
        return [*said, f"{layout.relative(path)} is not there: training goes without it, make ensemble does not"]
    form, test = open_form(layout, comp, facts, outputs), read_csv(layout.test_rows(comp))
    form.require_ids(test["entity" if "entity" in test.columns else "row_id"])
    return said + [f"a submission: {line}" for line in rehearse(form, rows, layout.relative(path))]


def _decided_labels(layout: Layout, comp: str, outputs: list[str]) -> list[str]:
    """What a person decided about labels, checked; folds and scores are of all rows and their given labels."""
    path = layout.competition_config(comp).with_name(label_file.FILE)
    if not path.is_file():
        return []
    folds, where = load_folds(layout, comp), layout.relative(path)
    decided = label_file.read_labels(path, folds.frame, folds.task, outputs, where=where)
    still = f"; {counted(decided.open, 'lines are')} not decided" if decided.open else ""
    return [f"{where}: {decided.in_words()}, by runs with train.labels: file{still}"]


def _say_new_files(layout: Layout, comp: str, facts: Competition) -> None:
    """Says where a folder whose files are the rows holds some that came after the download, and so have no hash."""
    if all(rows is None or rows.reader != "folders" for rows in (facts.train, facts.test)):
        return
    known = Manifest.hashes_at(layout.manifest(comp))
    new = [path for path in list_files(layout.input(comp)) if path not in known]
    if new:
        where = layout.relative(layout.manifest(comp))
        say(f"warning: {counted(len(new), 'files are')} not in {where}, so they came later: {first_few(new, 3)}")
        say(f"  where you placed them yourself: rm {where} && make download COMP={comp}")


def _paths(layout: Layout, comp: str) -> dict[str, Path]:
    return {
        "folds": layout.folds(comp),
        "test": layout.test_rows(comp),
        "solution": layout.holdout_solution(comp),
        "sample": layout.holdout_sample(comp),
    }


def _is_current(layout: Layout, comp: str, facts: Competition) -> bool:
    """Whether the files are whole and belong to these facts and raw files; raises where they belong to others."""
    if not layout.folds_meta(comp).is_file():
        raise edited(layout, comp, layout.relative(layout.folds(comp)))
    meta = read_folds_meta(layout, comp)
    if sha256_file(layout.folds(comp)) != meta.sha256["folds"]:
        raise edited(layout, comp, layout.relative(layout.folds(comp)))
    now = shaping(facts, None if "classes" in meta.facts else meta.outputs)
    if now != meta.facts:
        changes = differing_keys(meta.facts, now)
        raise FoldlineError(
            f"the facts changed since the folds were made: {first_few(changes)}",
            where=layout.relative(layout.competition_config(comp)),
            next=f"put the facts back, or {way_to_new_folds(layout, comp)}",
        )
    paths = {kind: path for kind, path in _paths(layout, comp).items() if kind in meta.sha256}
    whole = all(path.is_file() and sha256_file(path) == meta.sha256[kind] for kind, path in paths.items())
    return whole and meta.made_from == _made_from(layout, comp, facts)


def _made_from(layout: Layout, comp: str, facts: Competition) -> MadeFrom:
    """What the files were made from besides the shaping facts; where it differs they are made again and compared."""
    root = layout.input(comp)
    all_rows = [rows for rows in (facts.train, facts.test) if rows is not None]
    paths = {path for rows in all_rows for path in tables_of(root, rows)}
    code = {rows.function: own_code.locate(layout, comp, rows.function) for rows in all_rows if rows.function}
    return MadeFrom(
        manifest_sha256=sha256_file(layout.manifest(comp)),
        submission=facts.submission.model_dump(mode="json", exclude_defaults=True),
        tables={path.relative_to(root).as_posix(): sha256_file(path) for path in sorted(paths)}
        | {function: own_code.sha256(place) for function, place in sorted(code.items())},
    )


def _require_same(layout: Layout, comp: str, hashes: dict[str, str]) -> None:
    """Raises where raw files that changed lead to other folds than those that are there."""
    if hashes["folds"] != read_folds_meta(layout, comp).sha256["folds"]:
        raise FoldlineError(
            "the raw files changed since the folds were made, and lead to other folds now",
            where=layout.relative(layout.manifest(comp)),
            next="put the files back (if they are as they were, this version reads them otherwise: CHANGELOG.md), or "
            f"{way_to_new_folds(layout, comp)}",
        )


@contextmanager
def _uncollected() -> Iterator[None]:
    """Millions of strings hold no circles: to look for some costs a tenth of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _make(layout: Layout, comp: str, facts: Competition) -> "Plan":
    """Reads the rows and splits them."""
    from foldline.splits.plan import make_plan

    root = layout.input(comp)
    index = FileIndex(root)
    frame = read_rows(root, facts.train, facts, with_target=True, index=index)
    outputs = find_outputs(frame, facts)
    test = None if facts.test is None else _read_test(root, facts.test, facts, outputs, index)
    for table, what in ((frame, "train"), (test, "test")):
        if table is not None:
            _require_images(index, table, what)
    return make_plan(
        frame,
        test,
        facts,
        outputs,
        hashes=RawHashes(layout.manifest(comp)),
        find_duplicates=partial(_find_duplicates, root),
        where=layout.relative(layout.folds(comp)),
    )


def _read_test(root: Path, rows: RowFacts, facts: Competition, outputs: list[str], index: FileIndex) -> pd.DataFrame:
    """The test rows, with their labels where the facts say how; these must be classes of the training rows."""
    known = facts if not facts.task.has_classes else facts.model_copy(update={"classes": outputs})
    if rows.function:  # it may have written files
        index = FileIndex(root)
    return read_rows(root, rows, known, with_target=rows.target is not None, index=index)


def _find_duplicates(root: Path, frame: pd.DataFrame) -> list[str]:
    from foldline.splits.duplicates import duplicate_keys

    return duplicate_keys(frame["row_id"].tolist(), [root / image.split("|")[0] for image in frame["image"]])


def _require_images(index: FileIndex, frame: pd.DataFrame, what: str) -> None:
    root, listed = index.root, index.files
    named = frame["image"].tolist()
    if listed.issuperset(named):  # nearly always, and there may be millions
        return
    images = [image for image in named if image not in listed]
    files = dict.fromkeys(file for image in images for file in image.split("|"))
    unlisted = [file for file in files if file not in listed]  # hidden ones, which a reader wrote
    missing = [file or "(no name)" for file in unlisted if file == "" or not (root / file).is_file()]
    if missing:
        raise FoldlineError(
            f"{counted(len(missing), 'images are')} missing: {first_few(missing)}",
            where=str(root),
            next=f"mend {what}.image in the facts, or download again",
        )


def _meta(layout: Layout, comp: str, facts: Competition, plan: "Plan", hashes: dict[str, str]) -> FoldsMeta:
    return FoldsMeta(
        comp=comp,
        task=facts.task,
        k=facts.folds.k,
        seed=facts.folds.seed,
        splitter=plan.splitter,
        outputs=plan.outputs,
        counts=plan.counts,
        rows=len(plan.tables["folds"]),
        test_rows=len(plan.tables["test"]),
        sha256=hashes,
        facts=shaping(facts),
        made_from=_made_from(layout, comp, facts),
        checks=plan.findings,
    )
