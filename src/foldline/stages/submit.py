"""Stage submit: reads a submission file and its ledger entry, uploads it, writes the score into the entry.

    submissions/<comp>/<name>.csv  ->  gate  ->  a person's yes  ->  upload  ->  wait  ->  <name>.json: public, private

The entry is written before the upload too, so that one that was interrupted is found again instead of sent twice.
`ledger` shows every entry, with the score in cross-validation (CV) beside that of the leaderboard (LB).
"""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from foldline.core.competition import Competition, load_competition
from foldline.core.errors import FoldlineError
from foldline.core.folds import read_folds_meta
from foldline.core.paths import Layout
from foldline.core.progress import say, say_table
from foldline.core.records.entry import Entry, Kaggle
from foldline.core.tables import read_csv, require_file
from foldline.sources.kaggle import competition_page, run_client
from foldline.submission.form import open_form

POLL_SECONDS = 5.0  # between two looks at the score at first; each wait is half as long again, up to a minute
LONGEST_POLL_SECONDS = 60.0


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
    slug = _slug(facts, comp)
    path = layout.submission(comp, name)
    entry = _entry(layout, comp, name)
    entry.require_file(path)
    digest = entry.sha256
    if not _is_sent(entry, digest, slug, layout.relative(path)):
        _pass_gate(layout, comp, facts, path)
        _require_yes(yes, f"send {layout.relative(path)} ({_cv(entry)}) to {slug}? It spends one of today's slots")
        entry = entry.model_copy(update={
            "message": message or f"{name} {_cv(entry)}", "sha256": digest, "public": None, "private": None,
            "kaggle": Kaggle(ref=None, status="uploading"),
        })  # fmt: skip
        entry.write(path.with_suffix(".json"))
        entry = _upload(path, entry, slug, _tag(name, digest))
    return _wait(path, entry, slug, wait_seconds, poll_seconds)


def _slug(facts: Competition, comp: str) -> str:
    if facts.source.kind != "kaggle":
        by_hand = "upload the file by hand where the competition lives"
        raise FoldlineError(
            f"'{comp}' does not come from a Kaggle competition (its source is {facts.source.kind})",
            where=f"configs/{comp}/competition.yaml: source.kind",
            next=f"make score COMP={comp}" if facts.has_solution else by_hand,
        )
    return facts.source.name


def _entry(layout: Layout, comp: str, name: str) -> Entry:
    path = layout.submission(comp, name)
    ensemble = f"make ensemble COMP={comp} RUN={name}"
    require_file(path, next=ensemble)
    return Entry.read(path.with_suffix(".json"), next=ensemble)


def _is_sent(entry: Entry, digest: str, slug: str, where: str) -> bool:
    """Whether this very file is at Kaggle and has no score yet; a scored one is refused, since a slot is dear.

    After an upload that was interrupted, or whose answer was lost, Kaggle's own list is asked.
    """
    kaggle = entry.kaggle
    if kaggle is None or entry.sha256 != digest:
        return False
    if kaggle.status in ("complete", "error"):
        raise FoldlineError(
            f"this very file was submitted before: public score {entry.public}, status {kaggle.status}",
            where=where,
            next="make ensemble with another NAME or RUN; `foldline ledger` shows all submissions",
        )
    tag = _tag(entry.name, digest)
    return kaggle.status == "pending" or any(tag in item["description"] for item in list_submissions(slug))


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
    open_form(layout, comp, facts, outputs).check(read_csv(path), where)


def _require_yes(yes: bool, question: str) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise FoldlineError("nobody is there to say yes", where="submit", next="set YES=1 (or --yes) to submit unasked")
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise FoldlineError("not submitted, as you said; no slot was spent")


def _tag(name: str, digest: str) -> str:
    """What marks a submission in Kaggle's list, so that it is found again without trusting any order."""
    return f"[{name} {digest[:8]}]"


def _upload(path: Path, entry: Entry, slug: str, tag: str) -> Entry:
    """Sends the file. The entry says `uploading` until the client has said that Kaggle took it."""
    message = f"--message={entry.message} {tag}"  # one word: a message may begin with a dash
    arguments = ["competitions", "submit", "-c", slug, "-f", str(path), message]
    output = run_client(arguments, page=competition_page(slug))
    entry = entry.model_copy(update={"kaggle": Kaggle(ref=None, status="pending")})
    entry.write(path.with_suffix(".json"))
    say("\n".join(line for line in output.splitlines() if line.strip()))
    return entry


def _wait(path: Path, entry: Entry, slug: str, wait_seconds: float, poll_seconds: float) -> Entry:
    """Looks at Kaggle's list until the submission has a score; writes what it finds into the entry."""
    tag = _tag(entry.name, entry.sha256)
    for _ in _pauses(wait_seconds, poll_seconds):
        item = next((item for item in list_submissions(slug) if tag in item["description"]), None)
        if item is None:
            continue
        status = str(item["status"]).rpartition(".")[2].lower()
        entry = entry.model_copy(update={
            "kaggle": Kaggle(ref=str(item["ref"]), status=status),
            "public": _number(item["publicScore"]), "private": _number(item["privateScore"]),
        })  # fmt: skip
        entry.write(path.with_suffix(".json"))
        if status == "error":
            raise FoldlineError(
                "Kaggle could not score the submission", where=f"{competition_page(slug)}/submissions", next="see there"
            )
        if status == "complete":
            say(f"{entry.name}: public {entry.public}, private {entry.private}, {_cv(entry)}")
            return entry
    raise FoldlineError(
        f"no score after {wait_seconds:.0f} s; Kaggle may still be at work",
        where=f"{competition_page(slug)}/submissions",
        next="run the same command again: it goes on waiting and sends nothing twice",
    )


def _pauses(
    wait_seconds: float,
    poll_seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[float]:
    """Yields at once, then after growing pauses, until the time is up."""
    end, pause = clock() + wait_seconds, poll_seconds
    yield 0.0
    while clock() < end:
        sleep(min(pause, max(0.0, end - clock())))
        yield pause
        pause = min(pause * 1.5, LONGEST_POLL_SECONDS)


def list_submissions(slug: str) -> list[dict[str, Any]]:
    """Kaggle's newest submissions of the signed-in person, newest first."""
    arguments = ["competitions", "submissions", "-c", slug, "--format", "json"]
    output = run_client(arguments, page=competition_page(slug))
    start = re.search(r"^\[", output, re.MULTILINE)
    if start is None:
        return []  # "No submissions found"
    content: list[dict[str, Any]] = json.loads(output[start.start() :])
    return content


def _number(text: object) -> float | None:
    """A score, or nothing while there is none (the private one, until a competition ends)."""
    return None if text in (None, "") else float(str(text))


def _cv(entry: Entry) -> str:
    """The entry's CV score as a person reads it."""
    if entry.score.pooled is None:
        return "no CV score"
    spread = "" if entry.score.std is None else f" ± {entry.score.std:.5f}"  # of a single fold there is none
    return f"CV {entry.metric} {entry.score.pooled:.5f}{spread}"


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
    return [when, entry.comp, entry.name, entry.metric, *shown, status]
