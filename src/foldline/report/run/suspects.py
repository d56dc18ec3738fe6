"""Labels that are probably wrong: the list for a file, and the strongest with their pictures. A run in.

Writes nothing; the stage writes the list beside the report.
"""

from dataclasses import replace
from typing import Any

import pandas as pd

from foldline.report.look import formats
from foldline.report.run import pictures
from foldline.report.run.pictures import Card
from foldline.report.run.reported_run import ReportedRun
from foldline.scoring.label_errors import Suspect

FILE = "suspects.csv"
MOST_LINES, MOST_CARDS = 50, 12
COLUMNS = ["row_id", "target", "given", "predicted", "score"]


def table(run: ReportedRun) -> pd.DataFrame:
    """All of them, for `suspects.csv`: row_id, target, given, predicted, score (`scoring.label_errors.Suspect`)."""
    ids = run.oof["row_id"].tolist()
    lines = [(ids[one.row], one.target, one.given, one.predicted, f"{one.score:.4f}") for one in run.suspects]
    return pd.DataFrame(lines, columns=COLUMNS)


def shown(run: ReportedRun) -> dict[str, Any] | None:
    """The strongest, with pictures, and how many there are; None where nothing is suspected."""
    every = run.suspects
    if not every:
        return None
    ids = run.oof["row_id"].tolist()
    named = any(one.target for one in every)
    rows = len({one.row for one in every})
    lines = [
        {
            "row_id": formats.printable(str(ids[one.row])), "target": formats.printable(one.target),
            "given": formats.printable(one.given), "predicted": formats.printable(one.predicted), "score": one.score,
        }
        for one in every[:MOST_LINES]
    ]  # fmt: skip
    return {
        "lines": lines,
        "named": named,
        "total": len(every),
        "rows": rows,
        "share": rows / max(len(run.truth), 1),
        "cards": [card(run, one) for one in every[:MOST_CARDS]],
        "file": run.layout.relative(run.layout.run(run.comp, run.run) / FILE),
        "by_number": not any(part.has_classes for part in run.task.parts),
    }


def card(run: ReportedRun, one: Suspect) -> Card:
    """The row's card, with what is suspected instead of all that is predicted."""
    before = f"{formats.printable(one.target, 24)} " if one.target else ""
    given, predicted = (formats.printable(text, 40) for text in (one.given, one.predicted))
    return replace(
        pictures.card(run, one.row), truth=f"{before}{given}",
        predicted=f"{before}{predicted}, {strength(run, one)}", right=False, names=("given", "networks say"),
    )  # fmt: skip


def strength(run: ReportedRun, one: Suspect) -> str:
    """What a suspect's score is: of classes no probability, but how far one leads over the other."""
    of_class = any(
        block.task.label_sets or (block.task.single_label and block.name in ("", one.target))
        for block in run.task.blocks
    )
    return f"a lead of {formats.score(one.score, 2)}" if of_class else f"{formats.score(one.score, 1)} deviations off"
