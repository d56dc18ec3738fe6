"""Stage submit, of a notebook: reads a rehearsed bundle, pushes it to Kaggle, hands its version to the competition.

    submissions/<comp>/<name>.kernel/  ->  dataset  ->  ready?  ->  notebook  ->  run  ->  its submission.csv, the gate
        ->  the competition  ->  wait  ->  <name>.kernel.json: CV, version, minutes, public, private

Each step is written into `kernel.json` before Kaggle is called and after it has answered. The same command therefore
goes on where it was interrupted, looks at Kaggle for what a lost answer was about, and sends nothing twice.
"""

from datetime import UTC, datetime
from pathlib import Path

from foldline.core.competition import Competition, load_competition
from foldline.core.errors import FoldlineError, first_few
from foldline.core.folds import read_folds_meta
from foldline.core.paths import Layout
from foldline.core.processes import lock
from foldline.core.progress import say
from foldline.core.records.cv import Cv
from foldline.core.records.entry import CvScore, Entry, Notebook
from foldline.core.records.kernel import KernelEntry, Pushed, bundle_sha256
from foldline.core.records.offline import OfflineReport
from foldline.core.tables import sha256_file
from foldline.sources.kaggle import POLL_SECONDS
from foldline.submission.form import open_form
from foldline.submission.leaderboard import cv_in_words, hand_in, is_sent, kaggle_slug, require_yes, wait_for_score
from foldline.submission.pushing import OUTPUT, REPORT, SUBMISSION, Pushing

DATASET_SECONDS = 3600.0  # Kaggle unpacks some gigabytes in minutes
RUN_SECONDS = 13 * 3600.0  # a run of 12 hours, the longest that there is, and an hour in the queue


def submit_kernel(
    layout: Layout,
    comp: str,
    name: str,
    message: str,
    *,
    yes: bool,
    force: bool = False,
    wait_seconds: float | None = None,
    poll_seconds: float = POLL_SECONDS,
) -> Entry:
    """Pushes the bundle `submissions/<comp>/<name>.kernel`, submits the version that comes of it, waits for its score.

    Args:
        layout: the project.
        comp: the competition; its source must be Kaggle.
        name: the bundle.
        message: what Kaggle shows beside the submission; empty: the name and the CV score.
        yes: whether the person has said yes already; else the terminal asks.
        force: takes a bundle that was not rehearsed with success, pushes one again whose run failed there, and submits
            a file that the gate at home refuses.
        wait_seconds: how long to wait for each of dataset, run and score; None: an hour, and 13 hours.
        poll_seconds: the first pause between two looks.

    Returns:
        The ledger entry.

    Raises:
        FoldlineError: the bundle is not rehearsed; Kaggle refuses, fails, or does not finish in time; the same bundle
            was submitted before.
    """
    facts = load_competition(layout, comp)
    slug = kaggle_slug(facts, comp)
    folder, place = layout.kernel(comp, name), layout.kernel_entry(comp, name)
    record = KernelEntry.read(folder / "kernel.json", next=f"make kernel COMP={comp} RUN={name}")
    where = layout.relative(folder)
    run_seconds = RUN_SECONDS if wait_seconds is None else wait_seconds
    with lock(folder / ".lock", f"the bundle {name} is being submitted"):
        digest, entry = bundle_sha256(folder), Entry.read_if_there(place)
        if entry is None or not is_sent(entry, digest, slug, where):
            _require_of_now(layout, record, where, force=force)
            _require_rehearsed(record, digest, where, force=force)
            entry = _entry(layout, record, facts, digest, entry)
            cv = cv_in_words(entry)
            _warn_of_time(record)
            require_yes(
                yes, f"push {where} ({cv}) and submit it to {slug}? It spends GPU time and one of today's slots"
            )
            pushing = Pushing(folder, record, digest, poll_seconds)
            pushing.dataset(DATASET_SECONDS if wait_seconds is None else wait_seconds)
            pushing.kernel(again=force)
            pushing.wait_for_run(run_seconds)
            _require_whole(folder / OUTPUT / REPORT, force=force)
            _pass_gate(layout, comp, facts, folder / OUTPUT / SUBMISSION, force=force)
            notebook = _notebook(pushing.pushed)
            entry = entry.model_copy(update={"notebook": notebook, "message": message or f"{name} {cv}"})
            named = ["-k", notebook.kernel, "-v", str(notebook.version), "-f", SUBMISSION]
            entry = hand_in(place, entry, slug, named)
        return wait_for_score(place, entry, slug, run_seconds, poll_seconds)


def _require_of_now(layout: Layout, record: KernelEntry, where: str, *, force: bool) -> None:
    """Raises FoldlineError where a run changed since the bundle was made: the ledger would tell the new one's CV."""
    made: dict[str, str] = record.made_from.get("cv", {})
    files = {run: layout.run(record.comp, run) / "cv.json" for run in made}
    changed = [run for run, path in files.items() if path.is_file() and sha256_file(path) != made[run]]
    if not changed:
        return
    what = f"{record.title} was made before {first_few(changed)} changed: its cv.json is another one now"
    if not force:
        next = f"make kernel and make rehearse COMP={record.comp} NAME={record.name}; to push it all the same: FORCE=1"
        raise FoldlineError(what, where=where, next=next)
    say(f"{what}; pushed all the same, as you said")


def _require_rehearsed(record: KernelEntry, digest: str, where: str, *, force: bool) -> None:
    """Raises FoldlineError unless these very bytes were run here as Kaggle would, with success."""
    rehearsal = record.rehearsal
    if rehearsal is None:
        what = f"{record.title} was not rehearsed"
    elif not rehearsal.passed:
        what = f"the rehearsal of {record.title} failed: {'; '.join(rehearsal.notes) or 'see its log'}"
    elif rehearsal.bundle != digest:
        what = f"{record.title} is not the one that was rehearsed: its files have changed since then"
    else:
        return
    if not force:
        next = f"make rehearse COMP={record.comp} NAME={record.name}; to push it all the same: FORCE=1"
        raise FoldlineError(what, where=where, next=next)
    say(f"{what}; pushed all the same, as you said")


def _warn_of_time(record: KernelEntry) -> None:
    budget = record.budget
    if budget and budget.seconds > budget.limit_seconds:
        forecast, limit = budget.seconds / 60, budget.limit_seconds / 60
        say(f"{record.title} is forecast at {forecast:.0f} min of {limit:.0f}: it will leave out views, then members")


def _entry(layout: Layout, record: KernelEntry, facts: Competition, digest: str, old: Entry | None) -> Entry:
    """The ledger entry of a bundle that is about to be submitted; those of earlier bundles of its name stay in it."""
    run, cv = record.name, Cv.read_if_there(layout.run(record.comp, record.name) / "cv.json")
    if cv is None and len(record.members) == 1:
        run = record.members[0]
        cv = Cv.read_if_there(layout.run(record.comp, run) / "cv.json")
    score = CvScore() if cv is None else CvScore(pooled=cv.pooled, mean=cv.mean, std=cv.std)
    earlier = [] if old is None else [old.without_earlier(), *old.earlier]
    return Entry(
        comp=record.comp, run=run, name=record.name, file=f"{record.name}.kernel", sha256=digest,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        metric=facts.metric if cv is None else cv.metric, cv=score,
        decision=None if cv is None else cv.decision, diverged=[] if cv is None else cv.diverged,
        folds_sha256=sha256_file(layout.folds(record.comp)) if cv is None else cv.sha256.folds,
        members=record.members if len(record.members) > 1 else [],
        earlier=[entry for entry in earlier if entry.kaggle is not None and entry.sha256 != digest],
    )  # fmt: skip


def _require_whole(path: Path, *, force: bool) -> None:
    """Says what the run at Kaggle made its file of; raises FoldlineError where a member failed there."""
    report = OfflineReport.read_if_there(path)
    if report is None:
        return
    say(
        f"at Kaggle, on {report.device}: {report.rows_predicted} of {report.rows} rows predicted, "
        f"{report.passes_done} of {report.passes_planned} folds x views"
    )
    for reason, count in report.priors.items():
        say(f"{count} of {report.answers} answers are the training prior: {reason}")
    failed = "; ".join(f"{run}: {error}" for run, error in report.failed.items())
    if failed and not force:
        raise FoldlineError(
            f"members failed at Kaggle, and would again on the hidden test set: {failed}",
            where=str(path),
            next="mend that, then make kernel and make rehearse; to submit without them: FORCE=1",
        )


def _notebook(pushed: Pushed) -> Notebook:
    assert pushed.version is not None
    return Notebook(kernel=pushed.kernel, version=pushed.version, minutes=pushed.minutes)


def _pass_gate(layout: Layout, comp: str, facts: Competition, path: Path, *, force: bool) -> None:
    """Checks what the run wrote for the test set that is visible there against the sample at home: no slot is lost."""
    try:
        form = open_form(layout, comp, facts, read_folds_meta(layout, comp).outputs)
        form.check_file(path, layout.relative(path))
    except FoldlineError as error:
        if not force:
            raise FoldlineError(
                f"what the notebook wrote does not pass the gate: {error.what}",
                where=error.where,
                next="mend that; where only the sample at Kaggle is another one than yours: FORCE=1",
            ) from error
        say(f"the gate at home refuses what the notebook wrote ({error.what}); submitted all the same, as you said")
