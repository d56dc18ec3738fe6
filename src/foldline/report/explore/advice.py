"""What the probes would change in the facts of a competition: lines of YAML with the evidence for them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import yaml

from foldline.core.competition import Competition
from foldline.core.counted import counted
from foldline.core.errors import first_few
from foldline.report.explore.leak import Leaks
from foldline.report.explore.name_patterns import SERIES, Explained, explained_by, stems
from foldline.report.explore.pairs import Pair, Pairs
from foldline.report.explore.shift import Shift
from foldline.report.look import formats

MOST_IDS = 50  # rows that are named one by one in the facts


@dataclass(frozen=True)
class Advice:
    """One change of the facts.

    Attributes:
        name: group, duplicates, conflicts, across, order or shift.
        title: what to do, for a reader.
        text: the evidence.
        yaml: the lines for `configs/<comp>/competition.yaml`, to be joined with what stands there; "" where no line of
            the facts would mend it.
    """

    name: str
    title: str
    text: str
    yaml: str = ""


def advise(
    frame: pd.DataFrame,
    test: pd.DataFrame,
    facts: Competition,
    pairs: Pairs,
    leaks: Leaks,
    shifts: Sequence[Shift],
) -> list[Advice]:
    """What to change, the most useful first; empty where nothing was found.

    Args:
        frame, test: the rows, as `core.folds.Folds` has them.
        facts: what stands in the file now.
        pairs, leaks, shifts: what the probes found in these rows.
    """
    found = [
        _group(frame, facts, pairs),
        _duplicates(facts, pairs),
        _conflicts(frame, facts, pairs),
        _across(test, pairs),
        _order(frame, leaks),
        _shift(shifts),
    ]
    return [advice for advice in found if advice is not None]


def _group(frame: pd.DataFrame, facts: Competition, pairs: Pairs) -> Advice | None:
    """A group for what looks the same; with a group already there `folds.group_duplicates` is the way."""
    best = None if facts.train.group else explained_by(frame, pairs)
    if best is None:
        return None
    told = (
        f"{best.joined:.0%} of {best.pairs:,} pairs of training pictures that look the same share {{what}}, and "
        f"{best.chance:.1%} of any two pictures do. It makes {counted(best.groups, 'groups')}; rows of one group "
        "share a fold."
    )
    if best.column:
        column = formats.printable(best.column, 60)
        text = told.format(what=f"their '{column}'")
        return Advice("group", f"Group the rows by '{column}'", text, yaml_lines({"train": {"group": best.column}}))
    name, part = (formats.printable(text, 80) for text in best.example)
    text = told.format(what=f"the beginning of their names, such as '{part}' of '{name}'")
    return Advice("group", "Group the rows by a part of their names", text, extract_lines(frame, facts, best))


def extract_lines(frame: pd.DataFrame, facts: Competition, best: Explained) -> str:
    """The lines that make the group; "" where no column of the table is known to hold the names."""
    key = _name_template(frame, facts)
    if not key or key in facts.train.extract or SERIES in frame.columns:
        return ""
    return yaml_lines({"train": {"extract": {**facts.train.extract, key: best.pattern}, "group": SERIES}})


def _name_template(frame: pd.DataFrame, facts: Competition) -> str:
    """A column or template of the raw table that gives the pictures' names without folder and ending."""
    row_id, image = facts.train.row_id, facts.train.image
    if facts.train.reader == "folders":
        return "stem"
    if row_id and "{" not in row_id and stems(frame) == frame["row_id"].tolist():
        return row_id
    if isinstance(image, str) and "{" not in image:
        return f"{{{image}.stem}}"
    return ""


def _duplicates(facts: Competition, pairs: Pairs) -> Advice | None:
    torn = pairs.counts.get("folds_differ", 0)
    if not torn or facts.folds.group_duplicates:
        return None
    return Advice(
        "duplicates",
        "Keep pictures that look the same in one fold",
        f"{_pairs(torn)} of training pictures that look the same lie{'s' if torn == 1 else ''} in two folds: a network "
        "is then judged by pictures that it has seen, and the score is too good.",
        yaml_lines({"folds": {"group_duplicates": True}}),
    )


def _conflicts(frame: pd.DataFrame, facts: Competition, pairs: Pairs) -> Advice | None:
    """The same picture with two labels: one of them is wrong, and nobody but a person knows which."""
    if not pairs.counts.get("conflict"):
        return None
    sure = [pair for pair in pairs.pairs if pair.labels == "conflict" and pair.kind != "near"]
    rows = sorted({row for pair in sure for row in _rows(pair)})
    count = pairs.counts["conflict"]
    text = (
        f"{_pairs(count)} of training pictures look{'s' if count == 1 else ''} the same, but the labels differ: "
        f"{len(sure):,} the same to the pixel, {count - len(sure):,} nearly. Look whether a label is wrong, or whether "
        "what tells the pictures apart is small"
    )
    key = facts.train.row_id or ("path" if facts.train.reader == "folders" else "")
    if not rows or not key or len(rows) > MOST_IDS:
        return Advice("conflicts", "Look at pictures with two labels", f"{text}.")
    ids = [str(frame["row_id"].iloc[row]) for row in rows]
    already = facts.train.without.get(key, [])
    kept = [already] if isinstance(already, str) else list(already)
    text += f". To the pixel: {first_few([formats.printable(one, 60) for one in ids])}; keep one of each pair "
    text += "if you know which label is right."
    without = {**facts.train.without, key: [*kept, *ids]}
    return Advice(
        "conflicts", "Leave out pictures that have two labels", text, yaml_lines({"train": {"without": without}})
    )


def _rows(pair: Pair) -> tuple[int, int]:
    return pair.left.row, pair.right.row


def _across(test: pd.DataFrame, pairs: Pairs) -> Advice | None:
    across = pairs.counts.get("across", 0)
    if not across:
        return None
    rows = {pair.right.row for pair in pairs.pairs if pair.across}
    exact = {pair.right.row for pair in pairs.pairs if pair.across and pair.kind != "near"}
    share = f"{len(rows):,} of {len(test):,} test pictures" if len(rows) < len(test) else "All test pictures"
    same = f", {len(exact):,} of them the same to the pixel" if exact else ", none of them the same to the pixel"
    return Advice(
        "across",
        "Some test pictures look like training pictures",
        f"{share} {'looks' if len(rows) == 1 else 'look'} like a training picture{same}. The cross-validation says "
        "nothing wrong by it, but a score on the test set will be better than on pictures that are new.",
    )


def _order(frame: pd.DataFrame, leaks: Leaks) -> Advice | None:
    """Neighbours that share a label, and no group: what was taken together may be torn."""
    found = [one for one in leaks.suspected if one.name == "order"]
    if not found or "group" in frame.columns:
        return None
    return Advice(
        "order",
        "Look for what was taken together",
        f"The place of a picture in the order of names gives {found[0].metric} {found[0].score:.2f}, so neighbours "
        "share labels. If they come from one patient, device or session, a column that says so belongs into "
        "train.group: without it neighbours lie in different folds.",
    )


def _shift(shifts: Sequence[Shift]) -> Advice | None:
    strong = [one for one in shifts if one.grade in ("clear", "strong")]
    if not strong:
        return None
    worst = max(strong, key=lambda one: one.auc)
    return Advice(
        "shift",
        "Do not judge by the cross-validation score alone",
        f"{worst.text} A fold of your own that holds the most test-like rows (folds.splitter: column) would be nearer "
        "to the test set.",
    )


def _pairs(count: int) -> str:
    return counted(count, "pairs")


def yaml_lines(facts: dict[str, Any]) -> str:
    """Facts as the lines to copy."""
    return yaml.safe_dump(facts, sort_keys=False, allow_unicode=True, width=1000)
