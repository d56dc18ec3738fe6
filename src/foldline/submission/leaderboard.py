"""A submission at Kaggle: marked so that it is found again, waited for, and its score written into the ledger entry.

What a file and a notebook's version have in common once they are submitted.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from foldline.core.asking import ask
from foldline.core.competition import Competition
from foldline.core.errors import FoldlineError
from foldline.core.progress import say
from foldline.core.records.entry import Entry, Kaggle
from foldline.sources.kaggle import competition_page, run_client, wait_for

Item = dict[str, Any]


def kaggle_slug(facts: Competition, comp: str) -> str:
    """The competition's name at Kaggle; raises FoldlineError where it comes from elsewhere."""
    slug = next((source.name for source in facts.source.alternatives() if source.kind == "kaggle"), "")
    if not slug:
        by_hand = "upload the file by hand where the competition lives"
        raise FoldlineError(
            f"'{comp}' does not come from a Kaggle competition (its source is {facts.source.kind})",
            where=f"configs/{comp}/competition.yaml: source.kind",
            next=f"make score COMP={comp}" if facts.has_solution else by_hand,
        )
    return slug


def require_yes(yes: bool, question: str) -> None:
    """Raises FoldlineError unless the person says yes at the terminal, or has said so before (`yes`)."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise FoldlineError("nobody is there to say yes", where="submit", next="YES=1 submits unasked")
    if ask(f"{question} [y/N] ").lower() not in ("y", "yes"):
        raise FoldlineError("not submitted, as you said; no slot was spent")


def is_sent(entry: Entry, digest: str, slug: str, where: str) -> bool:
    """Whether what has this sha256 is at Kaggle and has no score yet; a scored one is refused, since a slot is dear.

    After an upload that was interrupted, or whose answer was lost, Kaggle's own list is asked.

    Args:
        where: the file, for the message.
    """
    kaggle = entry.kaggle
    if kaggle is None or entry.sha256 != digest:
        return False
    if kaggle.status in ("complete", "error"):
        raise FoldlineError(
            f"this very submission was sent before: public score {entry.public}, status {kaggle.status}",
            where=where,
            next="make ensemble or make kernel with NAME=<new name>; `foldline ledger` shows all submissions",
        )
    return kaggle.status == "pending" or _find(slug, tag(entry)) is not None


def hand_in(place: Path, entry: Entry, slug: str, what: list[str]) -> Entry:
    """Submits. The entry says `uploading` until the client has said that Kaggle took it.

    Args:
        place: of the ledger entry.
        what: the client's arguments that name the file, or the notebook's version.
    """
    entry = entry.model_copy(update={"public": None, "private": None, "kaggle": Kaggle(ref=None, status="uploading")})
    entry.write(place)
    message = f"--message={entry.message} {tag(entry)}"  # one word: a message may begin with a dash
    output = run_client(["competitions", "submit", "-c", slug, *what, message], page=competition_page(slug))
    entry = entry.model_copy(update={"kaggle": Kaggle(ref=None, status="pending")})
    entry.write(place)
    say("\n".join(line for line in output.splitlines() if line.strip()))
    return entry


def wait_for_score(place: Path, entry: Entry, slug: str, wait_seconds: float, poll_seconds: float) -> Entry:
    """Looks at Kaggle's list until the submission has a score; writes what it finds into the entry at `place`.

    Raises:
        FoldlineError: Kaggle could not score it; no score in time.
    """
    mark = tag(entry)

    def look() -> Entry | None:
        item = _find(slug, mark)
        if item is None:
            return None
        status = str(item["status"]).rpartition(".")[2].lower()
        found = entry.model_copy(update={
            "kaggle": Kaggle(ref=str(item["ref"]), status=status),
            "public": _number(item["publicScore"]), "private": _number(item["privateScore"]),
        })  # fmt: skip
        found.write(place)
        return found if status in ("complete", "error") else None

    page = f"{competition_page(slug)}/submissions"
    found = wait_for(look, wait_seconds, poll_seconds)
    if found is None or found.kaggle is None:
        raise FoldlineError(
            f"no score after {wait_seconds:.0f} s; Kaggle may still be at work",
            where=page,
            next="run the same command again: it goes on waiting and sends nothing twice",
        )
    if found.kaggle.status == "error":
        reason = _scoring_error(str(found.kaggle.ref), slug)
        raise FoldlineError(f"Kaggle could not score the submission{reason}", where=page, next="see there")
    say(f"{found.name}: public {found.public}, private {found.private}, {cv_in_words(found)}")
    return found


def tag(entry: Entry) -> str:
    """What marks a submission in Kaggle's list, so that it is found again without trusting any order."""
    return f"[{entry.name} {entry.sha256[:8]}]"


def cv_in_words(entry: Entry) -> str:
    """The entry's CV score as a person reads it."""
    if entry.score.pooled is None:
        return "no CV score"
    spread = "" if entry.score.std is None else f" ± {entry.score.std:.5f}"  # of a single fold there is none
    return f"CV {entry.metric} {entry.score.pooled:.5f}{spread}"


def _find(slug: str, mark: str) -> Item | None:
    """The newest submission of the signed-in person that is marked so."""
    arguments = ["competitions", "submissions", "-c", slug, "--format", "json"]
    output = run_client(arguments, page=competition_page(slug))
    start = re.search(r"^\[", output, re.MULTILINE)
    items: list[Item] = json.loads(output[start.start() :]) if start else []  # else "No submissions found"
    return next((item for item in items if mark in item["description"]), None)


def _scoring_error(ref: str, slug: str) -> str:
    """What Kaggle says went wrong, after a colon; empty where it says nothing."""
    try:
        output = run_client(["competitions", "submission", ref], page=competition_page(slug))
    except FoldlineError:
        return ""
    reason = re.search(r"^Error:\s*(.*?)^\S", output, re.MULTILINE | re.DOTALL)
    return f": {' '.join(reason[1].split())[:500]}" if reason else ""


def _number(text: object) -> float | None:
    """A score, or nothing while there is none (the private one, until a competition ends)."""
    return None if text in (None, "") else float(str(text))
