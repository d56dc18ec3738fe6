"""Stage submit: reads a submission file and its ledger entry, uploads it, writes the score into the entry.

    submissions/<comp>/<name>.csv  ->  gate  ->  a person's yes  ->  upload  ->  wait  ->  <name>.json: public, private

The entry is written before the upload too, so that one that was interrupted is found again instead of sent twice.
`ledger` shows every entry, with the score in cross-validation (CV) beside that of the leaderboard (LB).
"""

from pathlib import Path

from foldline.core.competition import Competition, load_competition
from foldline.core.errors import FoldlineError
from foldline.core.folds import read_folds_meta
from foldline.core.paths import Layout
from foldline.core.progress import say, say_table
from foldline.core.provenance import say_older
from foldline.core.records.entry import Entry
from foldline.core.tables import require_file
from foldline.sources.kaggle import POLL_SECONDS
from foldline.submission.form import open_form
from foldline.submission.leaderboard import cv_in_words, hand_in, is_sent, kaggle_slug, require_yes, wait_for_score


def submit(
    layout: Layout,
    comp: str,
    name: str,
    message: str,
    *,
    yes: bool,
    wait_seconds: float = 900.0,
    poll_seconds: float = POLL_SECONDS,
) -> Entry:
    """Sends `submissions/<comp>/<name>.csv` to Kaggle and waits for its score.

    Called again for a submission that is under way, it goes on waiting and spends nothing.

    Args:
        layout: the project.
        comp: the competition; its source must be Kaggle.
        name: the submission.
        message: what Kaggle shows beside it; empty: the name and the CV score.
        yes: whether the person has said yes already; else the terminal asks.
        wait_seconds: how long to wait for the score.
        poll_seconds: the first pause between two looks.

    Returns:
        The ledger entry.

    Raises:
        FoldlineError: the gate refuses the file; the person says no; Kaggle refuses or cannot be reached; the same
            file was submitted before; the score does not come in time.
    """
    facts = load_competition(layout, comp)
    slug = kaggle_slug(facts, comp)
    path = layout.submission(comp, name)
    place = path.with_suffix(".json")
    entry = _entry(layout, comp, name)
    entry.require_file(path)
    if not is_sent(entry, entry.sha256, slug, layout.relative(path)):
        _pass_gate(layout, comp, facts, path)
        say_older(layout, entry)
        cv = cv_in_words(entry)
        require_yes(yes, f"send {layout.relative(path)} ({cv}) to {slug}? It spends one of today's slots")
        entry = entry.model_copy(update={"message": message or f"{name} {cv}"})
        entry = hand_in(place, entry, slug, ["-f", str(path)])
    return wait_for_score(place, entry, slug, wait_seconds, poll_seconds)


def _entry(layout: Layout, comp: str, name: str) -> Entry:
    path = layout.submission(comp, name)
    ensemble = f"make ensemble COMP={comp} RUN={name}"
    require_file(path, next=ensemble)
    return Entry.read(path.with_suffix(".json"), next=ensemble)


def _pass_gate(layout: Layout, comp: str, facts: Competition, path: Path) -> None:
    """The same checks as `foldline check`: what the grader would refuse costs no slot."""
    where = layout.relative(path)
    if facts.submission.where:
        raise FoldlineError(
            "the file holds only some lines of the sample, those of `submission.where`: Kaggle would refuse it",
            where=where,
            next="join it with the submissions of the other lines and upload that by hand (docs/add-a-competition.md)",
        )
    outputs = read_folds_meta(layout, comp).outputs
    open_form(layout, comp, facts, outputs).check_file(path, where)


def ledger(layout: Layout, comp: str | None) -> list[Entry]:
    """Shows every submission of a competition, or of all: CV and LB side by side, newest first.

    A file that was sent and then made anew has a line for each.

    Returns:
        The entries.
    """
    folder = layout.root / "submissions"
    files = sorted(folder.glob(f"{comp or '*'}/*.json"))
    every = [version for entry in map(Entry.read, files) for version in (entry, *entry.earlier)]
    entries = sorted(every, key=lambda entry: entry.time, reverse=True)
    if not entries:
        say(f"no submissions yet{f' of {comp}' if comp else ''}: make ensemble writes one")
        return []
    header = ["time", "competition", "name", "metric", "CV", "std", "public", "private", "status"]
    say_table([header, *map(_ledger_line, entries)])
    return entries


def _ledger_line(entry: Entry) -> list[str]:
    scores = [entry.score.pooled, entry.score.std, entry.public, entry.private]
    shown = ["-" if score is None else f"{score:.5f}" for score in scores]
    when, status = entry.time[:16].replace("T", " "), entry.kaggle.status if entry.kaggle else "not sent"
    name = entry.file if entry.notebook else entry.name
    if entry.notebook:
        took = "" if entry.notebook.minutes is None else f", {entry.notebook.minutes} min"
        status += f" (v{entry.notebook.version}{took})"
    return [when, entry.comp, name, entry.metric, *shown, status]
