"""Stage offline: what the notebook of a bundle calls on Kaggle, without network, on hidden test rows.

Reads a bundle (`bundle.json` and the project beside it) and the competition's folder below `/kaggle/input`; writes
`submission.csv` and `offline.json`. A file of training priors is written first, so that there is one at any moment.

One broken picture, a missing one, an odd cell, a member that fails, a clock that runs out: the rows concerned get the
training prior, which is counted and said, and the notebook goes on. It ends with an error where the bundle is damaged,
where rows cannot be read at all, and where most answers are priors though there was time: such a file says nothing of
the run, and a submission that fails is better than one that is silently worthless.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from foldline.core.competition import Competition
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.paths import Layout
from foldline.core.progress import say
from foldline.core.records.bundle import Bundle
from foldline.core.records.offline import MemberShare, OfflineReport, RowsAtLevel
from foldline.core.tables import read_csv, require_file, write_csv
from foldline.engine.offline.answers import NO_TIME, Answers, answers, only_priors
from foldline.engine.offline.clock import Clock, TimeIsUp, alarm
from foldline.engine.offline.hidden import Hidden, find_competition, hidden_rows, mended, open_facts, scratch_project
from foldline.scoring.choose import stored_decision
from foldline.submission.form import Form

if TYPE_CHECKING:
    from foldline.engine.offline.passes import Passes

INPUTS = Path("/kaggle/input")
REPORT = "offline.json"
MOST_PRIORS = 0.5  # of the answers may be priors for other reasons than the clock


@dataclass
class _Work:
    """What there is so far; an alarm may end it at any line."""

    layout: Layout
    bundle: Bundle
    facts: Competition
    form: Form
    clock: Clock
    hidden: Hidden | None = None
    passes: "Passes | None" = None
    mended_cells: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Counts the seconds of a part, also of one that ends early."""
        start = self.clock.now()
        try:
            yield
        finally:
            self.seconds[part] = round(self.clock.now() - start, 3)


def offline(
    bundle: Path, inputs: Path | None = None, out: Path = Path("submission.csv"), *,
    limit_seconds: float | None = None, started: float | None = None, rehearsal: Path | None = None,
    device: str = "auto",
) -> OfflineReport:  # fmt: skip
    """Predicts the hidden test rows and writes the submission, in time.

    Args:
        bundle: the folder that holds `bundle.json`.
        inputs: what holds the competition's folder; default: `FOLDLINE_INPUTS`, else `/kaggle/input`.
        out: the submission; the report is written beside it.
        limit_seconds: from `started`; default: `FOLDLINE_LIMIT`, else the bundle's.
        started: `time.time()` of the notebook's first line; default: now.
        rehearsal: a CSV of `row_id` and `fold`: these rows are predicted by that fold alone, so that their score can be
            compared with the OOF score; default: `FOLDLINE_REHEARSAL`, else none.
        device: auto, cpu, cuda ...

    Raises:
        FoldlineError: the bundle is damaged, the competition or its sample is not there, rows cannot be read, or most
            answers are priors though there was time. Where the sample was found, `out` holds valid priors then.
    """
    spent = 0.0 if started is None else max(0.0, time.time() - started)
    inputs = Path(os.environ.get("FOLDLINE_INPUTS", INPUTS)) if inputs is None else inputs
    if rehearsal is None and "FOLDLINE_REHEARSAL" in os.environ:
        rehearsal = Path(os.environ["FOLDLINE_REHEARSAL"])
    record = Bundle.read(bundle / "bundle.json")
    limit = _limit(record) if limit_seconds is None else limit_seconds
    clock, out = Clock(limit, time.monotonic() - spent), out.absolute()
    competition = find_competition(inputs, record)
    say(f"{record.name}: {competition}; {clock.left / 60:.0f} min left")
    with tempfile.TemporaryDirectory(prefix="foldline-", ignore_cleanup_errors=True) as scratch:
        layout = scratch_project(Path(scratch).resolve(), record, bundle, competition)
        facts, form = open_facts(layout, record)
        work = _Work(layout, record, facts, form, clock)
        _write_priors(work, out)
        try:
            with alarm(clock.left):
                record.require_files(bundle)
                _predict(work, rehearsal, device)
        except TimeIsUp:
            say("WARNING: the time is up; what is done so far is written")
        return _finish(work, out, str(competition / record.sample))


def _limit(bundle: Bundle) -> float:
    """The seconds that `FOLDLINE_LIMIT` says, else the bundle."""
    given = os.environ.get("FOLDLINE_LIMIT", str(bundle.limit_seconds))
    try:
        return float(given)
    except ValueError as error:
        raise FoldlineError(f"'{given[:50]}' is no number of seconds", where="FOLDLINE_LIMIT") from error


def offline_here(
    layout: Layout, comp: str, name: str, *, inputs: Path, out: Path | None, device: str = "auto"
) -> OfflineReport:  # fmt: skip
    """Does what a bundle's notebook does, with the folder of a competition that lies here.

    Args:
        name: of the bundle, `submissions/<comp>/<name>.kernel/`.
        inputs: as Kaggle's: the folder that holds the competition's.
        out: default: `submission.csv` in the working folder.

    Raises:
        FoldlineError: as `offline`; or there is no such bundle.
    """
    bundle = layout.kernel(comp, name) / "dataset"
    require_file(bundle / "bundle.json", next=f"make kernel COMP={comp} RUN={name}")
    return offline(bundle, inputs, out or Path("submission.csv"), device=device)


def _write_priors(work: _Work, out: Path) -> None:
    """A valid file, before anything can go wrong."""
    _write(work, only_priors(work.bundle, dict.fromkeys(work.form.kind.ids, "")), out)
    say(f"wrote {out.name} of training priors, in case that all else fails")


def _write(work: _Work, found: Answers, out: Path) -> pd.DataFrame:
    """The submission, through the gate."""
    frame = work.form.write(found.table, stored_decision(work.bundle.decision))
    work.form.check(frame, str(out))
    write_csv(out, frame)
    return frame


def _predict(work: _Work, rehearsal: Path | None, device: str) -> None:
    """As many rows as the time allows; what is done stands in `work`."""
    with work.timed("read"):
        work.hidden = hidden_rows(work.layout, work.bundle, work.facts, work.form)
    say(
        f"{counted(len(work.hidden.rows), 'hidden test rows')}; the sample asks for "
        f"{counted(len(set(work.form.kind.ids)), 'answers')}"
    )
    if not len(work.hidden.rows):
        return
    from foldline.engine.offline.members import ALL_FOLDS, load_members
    from foldline.engine.offline.passes import Passes

    with work.timed("load"):
        members = load_members(work.layout, work.bundle, len(work.hidden.rows), device)
    rows, work.mended_cells = work.hidden.rows, work.hidden.mended
    for member in members:
        rows, count = mended(rows, member.metadata)
        work.mended_cells += count
    fold_of = np.full(len(rows), ALL_FOLDS) if rehearsal is None else _folds_of(rows, rehearsal, ALL_FOLDS)
    work.passes = Passes(rows, members, work.clock, work.bundle.batch_size, fold_of, work.hidden.unit)
    work.passes.run(work.layout.input(work.bundle.comp))


def _folds_of(rows: pd.DataFrame, rehearsal: Path, otherwise: int) -> "np.typing.NDArray[np.int64]":
    """[rows] the one fold that may predict each row."""
    table = read_csv(rehearsal, required=["row_id", "fold"])
    folds = dict(zip(table["row_id"], table["fold"].astype(int), strict=True))
    return np.array([folds.get(name, otherwise) for name in rows["row_id"]], dtype=np.int64)


def _finish(work: _Work, out: Path, sample: str) -> OfflineReport:
    """The submission of what is there, and its report."""
    ids, hidden, passes = list(work.form.kind.ids), work.hidden, work.passes
    with work.timed("write"):
        found = only_priors(work.bundle, dict.fromkeys(ids, NO_TIME))
        if hidden is not None:
            reasons = np.full(len(hidden.rows), NO_TIME, dtype=object) if passes is None else passes.reasons
            members, fold_of = ([], None) if passes is None else (passes.members, passes.fold_of)
            found = answers(hidden, members, reasons, work.bundle, work.facts, ids, fold_of=fold_of)
        lines = len(_write(work, found, out))
    report = _report(work, found, lines, sample)
    report.write(out.with_name(REPORT))
    _say(report, out)
    odd = sum(count for why, count in found.counts.items() if why != NO_TIME)
    if odd > MOST_PRIORS * report.answers:
        raise FoldlineError(
            f"{odd} of {report.answers} answers are training priors though there was time: this file says nothing of "
            f"'{report.name}'",
            where="; ".join(f"{why}: {first_few(names, 3)}" for why, names in report.prior_ids.items()),
            next=f"{REPORT} lists pictures and errors; the first of them: "
            f"{first_few([*report.failed.values(), *report.bad_pictures.values()], 1) or 'none'}",
        )
    return report


def _report(work: _Work, found: Answers, lines: int, sample: str) -> OfflineReport:
    report = OfflineReport(
        name=work.bundle.name, sample=sample, limit_seconds=work.clock.limit_seconds, lines=lines, device="",
        answers=len(set(work.form.kind.ids)), priors=found.counts, prior_ids=found.first_ids(),
        mended_cells=work.mended_cells,
        passes_planned=sum(member.passes for member in work.bundle.members),
    )  # fmt: skip
    if work.hidden is not None:
        report = report.changed(rows=len(work.hidden.rows), rows_not_asked=work.hidden.not_asked)
    if work.passes is not None:
        report = report.changed(**_progress(work.passes))
        work.seconds |= {"pictures": round(work.passes.waited, 3), "predict": round(work.passes.predicted, 3)}
    return report.changed(seconds=work.seconds | {"total": round(work.clock.spent, 3)})


def _progress(passes: "Passes") -> dict[str, object]:
    """How far the rows got."""
    from foldline.engine.machine.device import describe

    predicted = sum(passes.levels.values())
    levels = [
        RowsAtLevel(rows=rows, members=[MemberShare(run=own.run, folds=own.folds, views=own.views) for own in level])
        for level, rows in passes.levels.items()
    ]
    return {
        "device": describe(passes.members[0].model.device),
        "rows_predicted": predicted,
        "images_per_second": round(predicted / passes.predicted, 2) if predicted and passes.predicted else None,
        "levels": [level.model_dump() for level in levels],
        "passes_done": min((sum(own.passes for own in level) for level in passes.levels), default=0),
        "bad_pictures": dict(list(passes.bad.items())[:100]),
        "failed": passes.failed,
        "rehearsed": int((passes.fold_of >= 0).sum()),
    }


def _say(report: OfflineReport, out: Path) -> None:
    """What was written, in a few lines."""
    seconds = ", ".join(f"{part} {value:.0f} s" for part, value in report.seconds.items())
    say(f"wrote {out.name}: {counted(report.lines, 'lines')}, accepted by the gate; {report.rows_predicted} of "
        f"{report.rows} rows "
        f"predicted; {seconds} of {report.limit_seconds:.0f} s")  # fmt: skip
    for why, count in report.priors.items():
        say(f"WARNING: {count} of {report.answers} answers are the training prior: {why} "
            f"({first_few(report.prior_ids[why], 3)})")  # fmt: skip
    if report.passes_done < report.passes_planned:
        say(f"WARNING: cut for time: {report.passes_done} of {report.passes_planned} passes for some rows")
