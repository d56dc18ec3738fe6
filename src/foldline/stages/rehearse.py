"""Stage rehearse: runs a bundle here as Kaggle would, on a hidden test set made of training rows, and grades its file.

Reads `submissions/<comp>/<name>.kernel/`, raw files, folds and OOF predictions; writes the result into its
`kernel.json`, and `rehearsal.log` beside it. Everything else lies in a temporary folder.
"""

import shutil
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import foldline
from foldline.core.competition import load_competition
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.folds import load_folds
from foldline.core.paths import Layout
from foldline.core.progress import say
from foldline.core.provenance import current_cv
from foldline.core.records.bundle import Bundle
from foldline.core.records.cv import Cv
from foldline.core.records.kernel import DATASET, DATASET_METADATA, KernelEntry, Rehearsal, bundle_sha256, dataset_slug
from foldline.core.records.offline import OfflineReport
from foldline.core.tables import read_parquet, write_csv, write_text
from foldline.engine.offline.answers import NO_TIME
from foldline.rehearsal.environment import fresh_environment
from foldline.rehearsal.grade import Grade, grade, pass_gate
from foldline.rehearsal.hidden import Hidden, Home, build
from foldline.rehearsal.notebook import script_of
from foldline.rehearsal.sandbox import Limits, Outcome, run_script
from foldline.rehearsal.tree import set_modes, stamp
from foldline.scoring.choose import in_digits, stored_decision
from foldline.submission.form import sample_path

GRACE_SECONDS = 60.0  # beyond the limit until it is ended: wheels are installed before the notebook's clock starts
KAGGLE_GB = 29.0  # of memory, of a notebook with a T4
LAST_LINES = 15
LOG = "rehearsal.log"


@dataclass(frozen=True)
class _Bundle:
    """What is rehearsed: the bundle's folder, its two records, and its OOF score."""

    place: Path
    entry: KernelEntry
    record: Bundle
    cv: Cv

    @property
    def dataset(self) -> Path:
        """What is uploaded as a data set."""
        return self.place / DATASET

    @property
    def competition(self) -> str:
        """The competition's folder below the inputs."""
        return self.record.slug or self.record.comp


@dataclass(frozen=True)
class _Result:
    """What the file is worth: in words, as a grade (None where nothing was compared), and whether its time ran out."""

    words: str
    grade: Grade | None
    cut: bool


def rehearse(
    layout: Layout, comp: str, name: str, *, fast: bool = False, limit: float | None = None,
    memory: float | None = None, lines: int | None = None,
) -> Rehearsal:  # fmt: skip
    """Rehearses the bundle `name`, writes what came of it into its `kernel.json`, and gives that.

    Args:
        fast: in this environment instead of a fresh one, without installing the bundle's wheels.
        limit: seconds that the notebook may take; default: the bundle's. A run that is cut by it is not recorded.
        memory: GB that it may take; default: what a notebook has at Kaggle.
        lines: of the hidden sample; default: twice the visible ones, and at most 2,000.

    Raises:
        FoldlineError: there is no bundle; the notebook failed, wrote no file, one that the gate refuses, or one that
            scores something else than OOF says.
    """
    bundle, digest = _open(layout, comp, name), bundle_sha256(layout.kernel(comp, name))
    with tempfile.TemporaryDirectory(prefix="foldline-rehearsal-", ignore_cleanup_errors=True) as folder:
        root = Path(folder).resolve()
        home = _home(layout, bundle)
        hidden = build(home, root / "input" / bundle.competition, lines=lines)
        say("hidden test set: " + "; ".join(hidden.notes))
        outcome, changed = _run(bundle, hidden, root, fast=fast, limit=limit, memory=memory)
        shutil.copyfile(root / LOG, bundle.place / LOG)
        made = Rehearsal(
            passed=False, bundle=digest, time=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(outcome.seconds, 1), rows=len(hidden.rows), notes=[*hidden.notes, outcome.isolation],
        )  # fmt: skip
        try:
            _require_unchanged(changed)
            result = _judge(layout, bundle, home, hidden, outcome, root)
        except FoldlineError as error:
            _record(bundle, made.model_copy(update={"notes": [error.what, *made.notes]}))
            raise
    say(result.words)
    if result.cut:
        say("a run that is cut counts for nothing: submit wants one that is not")
        return made
    scores = {"score": result.grade.score, "expected": result.grade.expected} if result.grade else {}
    made = made.model_copy(update={"passed": True, **scores})
    _record(bundle, made)
    return made


def _open(layout: Layout, comp: str, name: str) -> _Bundle:
    place = layout.kernel(comp, name)
    entry = KernelEntry.read(place / "kernel.json", next=f"make kernel COMP={comp} NAME={name}")
    rows = load_folds(layout, comp)
    record = Bundle.read(place / DATASET / "bundle.json")
    return _Bundle(place, entry, record, current_cv(layout, comp, record.name, rows.sha256))


def _record(bundle: _Bundle, rehearsal: Rehearsal) -> None:
    bundle.entry.changed(rehearsal=rehearsal.model_dump()).write(bundle.place / "kernel.json")


def _home(layout: Layout, bundle: _Bundle) -> Home:
    """What the hidden test set is made of: the rows that a fold of every member can be asked about."""
    record = bundle.record
    facts, rows = load_competition(Bundle.project(bundle.dataset), record.comp), load_folds(layout, record.comp)
    known = read_parquet(layout.run(record.comp, record.name) / "oof.parquet")["row_id"]
    folds = set.intersection(*(set(member.folds) for member in record.members))
    train = rows.frame[rows.frame["fold"].isin(folds) & rows.frame["row_id"].isin(known)]
    sample = sample_path(layout, record.comp, load_competition(layout, record.comp))
    raw = layout.input(record.comp)
    train, beside = train.reset_index(drop=True), {*record.together, *([record.between] if record.neighbours else [])}
    return Home(raw, facts, record.outputs, train, rows.test, sample, record.sample, beside)


def _run(
    bundle: _Bundle, hidden: Hidden, root: Path, *, fast: bool, limit: float | None, memory: float | None
) -> tuple[Outcome, list[str]]:  # fmt: skip
    """Runs the notebook's cells below `root`, where `input/` holds the competition already; which inputs changed."""
    inputs, working = root / "input", root / "working"
    shutil.copytree(
        bundle.dataset, inputs / dataset_slug(bundle.place), ignore=shutil.ignore_patterns(Path(DATASET_METADATA).name)
    )
    working.mkdir()
    write_text(root / "notebook.py", script_of(bundle.place, install=not fast))
    variables = {"FOLDLINE_INPUTS": str(inputs)} | ({"FOLDLINE_LIMIT": str(limit)} if limit else {})
    if hidden.made:
        write_csv(root / "folds.csv", hidden.rows[["row_id", "fold"]])
        variables["FOLDLINE_REHEARSAL"] = str(root / "folds.csv")
    wheels = list((bundle.dataset / "wheels").glob("*.whl"))
    python = Path(sys.executable) if fast else fresh_environment(root / "environment", wheels)
    before = stamp(inputs)
    say(f"running the notebook; what it says comes to {root / LOG}")
    set_modes(inputs, writable=False)
    try:
        outcome = run_script(
            python, root / "notebook.py", inputs=inputs, folder=working, log=root / LOG,
            limits=Limits((limit or bundle.record.limit_seconds) + GRACE_SECONDS, (memory or KAGGLE_GB) * 1e9),
            variables=variables, path=[Path(foldline.__file__).parents[1]] if fast else [],
        )  # fmt: skip
    finally:
        set_modes(inputs, writable=True)
    where = "this environment" if fast else "a fresh environment"
    peak = f", {outcome.peak_bytes / 1e9:.1f} GB of memory at most" if outcome.peak_bytes else "; NO memory was watched"
    say(f"ran the notebook in {where}, {outcome.isolation}: {outcome.seconds:.0f} s{peak}")
    return outcome, sorted({path for path, _ in before.items() ^ stamp(inputs).items()})


def _require_unchanged(changed: list[str]) -> None:
    """Raises FoldlineError where the inputs were written to."""
    if changed:
        raise FoldlineError(
            f"the notebook wrote into its inputs, which cannot be at Kaggle: {first_few(changed)}",
            next="this is a bug, unless your own code does it",
        )


def _judge(
    layout: Layout, bundle: _Bundle, home: Home, hidden: Hidden, outcome: Outcome, root: Path
) -> _Result:  # fmt: skip
    """Grades what the notebook left; raises FoldlineError where that is not what it should be."""
    log = bundle.place / LOG
    submission, report = root / "working" / "submission.csv", root / "working" / "offline.json"
    if outcome.ended or outcome.code or not submission.is_file():
        what = outcome.ended or (f"exit code {outcome.code}" if outcome.code else "it wrote no submission.csv")
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]:
            say(f"  | {line}")
        raise FoldlineError(
            f"the notebook failed: {what}", where=layout.relative(log), next="mend it, then make kernel"
        )
    form, frame = pass_gate(home, root / "input" / bundle.competition, submission)
    told = OfflineReport.read(report)
    cut = told.passes_done < told.passes_planned or NO_TIME in told.priors
    found = None
    if hidden.made:
        oof = read_parquet(layout.run(bundle.record.comp, bundle.record.name) / "oof.parquet")
        found = grade(home, hidden, form, frame, oof, stored_decision(bundle.record.decision))
    words = _words(layout, bundle, found, told, cut=cut)
    if found is not None and not cut and not found.holds and not _less(layout, bundle):
        raise FoldlineError(
            words,
            where=layout.relative(log),
            next="nothing is the matter with the gate; the log says what was predicted",
        )
    return _Result(words, found, cut)


def _less(layout: Layout, bundle: _Bundle) -> bool:
    """Whether the bundle leaves out members or views of what OOF is of."""
    runs = bundle.cv.members or [bundle.record.name]
    views = {run: Cv.read(layout.run(bundle.record.comp, run) / "cv.json").views for run in runs}
    return views != {member.run: member.views for member in bundle.record.members}


def _words(layout: Layout, bundle: _Bundle, found: Grade | None, told: OfflineReport, *, cut: bool) -> str:
    """The result in a line."""
    file = f"the gate accepts the {counted(told.lines, 'lines')}"
    if cut:
        file = f"valid, but cut: {told.passes_done} of {told.passes_planned} passes; {file}"
    if found is None:
        return f"{file}; NOT graded, since the labels of the visible test rows are not known"
    metric = bundle.record.metric
    scores = f"{metric} {in_digits(found.score)} of {found.lines} hidden lines, {in_digits(found.expected)} by OOF"
    differ = f"they differ by {found.difference:.2g}, {found.allowed:.2g} is allowed"
    lines = f"{counted(found.differing, 'lines are')} not the same, by {found.largest:.2g} at most"
    less = " (not compared: the bundle leaves out members or views)" if _less(layout, bundle) else ""
    return f"{file}; {scores}; {differ}{less}; {lines}"
