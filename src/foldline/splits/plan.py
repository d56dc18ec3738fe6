"""All steps from rows to folds: groups, holdout, split, checks.

Reads tables in memory, and image files where near-duplicates are wanted; writes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from foldline.core.cells import is_missing, plains, spellings, spellings_in_words
from foldline.core.competition import Competition
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.folds import MASK, as_scored
from foldline.core.tables import require_unique
from foldline.splits.checks import check_folds, class_counts, contents
from foldline.splits.groups import joined_groups
from foldline.splits.holdout import draw_holdout
from foldline.splits.splitters import ToSplit, choose_splitter, split, whole_classes
from foldline.splits.strata import make_strata

FindDuplicates = Callable[[pd.DataFrame], list[str]]


@dataclass(frozen=True)
class Plan:
    """A split.

    Attributes:
        tables: `folds` (training rows with their fold), `test`; where test labels are known `solution` too.
        outputs: the ordered class names, or the names of the numbers.
        splitter: the splitter's name.
        counts: the rows of each class in each fold; empty for a regression.
        findings: what the checks found, in plain words.
    """

    tables: dict[str, pd.DataFrame]
    outputs: list[str]
    splitter: str
    counts: dict[str, dict[str, int]]
    findings: list[str]


def make_plan(
    frame: pd.DataFrame,
    test: pd.DataFrame | None,
    facts: Competition,
    outputs: Sequence[str],
    *,
    hashes: Mapping[str, str],
    find_duplicates: FindDuplicates,
    where: str,
) -> Plan:
    """The folds of the training rows, and the test rows.

    Args:
        frame: the training rows, in any order.
        test: the test rows, with their label columns where these are public; None with a holdout.
        facts: the facts of the competition.
        outputs: the ordered class names, or names of the numbers.
        hashes: the sha256 of each image file.
        find_duplicates: rows -> [rows] a name for rows whose images look the same, "" for all others; called
            only where the facts want it.
        where: the file, for errors.

    Raises:
        FoldlineError: something that the facts name is not there, or the folds fail a check.
    """
    frame = _by_id(frame, f"{where}, training rows")
    given = _own_folds(frame, facts)
    frame, remarks = _with_groups(frame, facts, hashes, find_duplicates)
    if facts.holdout is None:
        assert test is not None
        tables = _given_test(_by_id(test, f"{where}, test rows"), facts, outputs, where)
    else:
        frame, given, tables = _hold_out(frame, given, facts, outputs)
    rows = _to_split(frame, given, facts, outputs, facts.folds.stratify)
    has_groups, stratify = rows.groups is not None, bool(facts.folds.stratify)
    splitter = choose_splitter(facts.folds.splitter, has_groups=has_groups, stratify=stratify)
    frame = frame.assign(fold=split(rows, splitter, facts.folds.k, facts.folds.seed))
    remarks += _new_in_words(frame, facts.folds.new_class)
    findings = remarks + check_folds(
        frame,
        tables["test"],
        facts.task,
        outputs,
        facts.folds.k,
        where=where,
        hashes=hashes,
        held_out=facts.holdout is not None,
        allow_missing_class=facts.folds.allow_missing_class,
        open_set=splitter == "open_set",
    )
    return Plan({"folds": frame, **tables}, list(outputs), splitter, _counts(frame, facts, outputs, where), findings)


def _by_id(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """The rows sorted by id, so that the order of the raw table changes nothing."""
    frame = frame.sort_values("row_id", ignore_index=True)
    require_unique(frame["row_id"], where=where)
    return frame


def _own_folds(frame: pd.DataFrame, facts: Competition) -> list[str] | None:
    """The cells of the user's own fold column, where the facts want it."""
    if facts.folds.splitter != "column":
        return None
    name = facts.folds.column or ""
    if name not in frame.columns:
        raise FoldlineError(
            f"the rows have no column '{name}'",
            where="folds.column",
            next=f"name it in train.metadata too; the rows have: {first_few(list(frame.columns), 20)}",
        )
    cells = frame[name]
    never = cells[np.array(plains(cells.tolist()), dtype=object) == "-1"]
    if len(never):
        raise FoldlineError(
            f"{counted(len(never), 'rows are')} in fold {never.iloc[0]}, so never validated on: every row of the "
            "folds is, once",
            where=f"folds.column: {name}",
            next=f'leave them out with train.without: {{{name}: "{never.iloc[0]}"}}; a file of them in a run\'s '
            "extra.rows is trained on in every fold and never validated on (docs/runs.md)",
        )
    used = spellings(cells)
    return cells.map(lambda cell: used.get(cell, cell)).tolist()


def _with_groups(
    frame: pd.DataFrame, facts: Competition, hashes: Mapping[str, str], find_duplicates: FindDuplicates
) -> tuple[pd.DataFrame, list[str]]:
    """`frame` with its columns in the order of the contract, and a `group` for rows that must stay together; findings.

    A group and an entity must not be torn, whatever the spelling; a row whose group is unknown stands alone.
    """
    frame = frame.drop(columns="fold", errors="ignore")
    keys, findings = [], []
    for name in (name for name in ("group", "entity") if name in frame.columns):
        cells = frame[name]
        if name == "group" and (unknown := is_missing(cells)).any():
            words = first_few([f"'{cell}'" for cell in cells[unknown].unique()])
            findings.append(f"{counted(int(unknown.sum()), 'rows have')} no group ({words}): each stands alone")
            cells = cells.mask(unknown, "")
        used = spellings(cells.tolist())
        if used:
            findings.append(f"{name}s of several spellings stay together: {spellings_in_words(cells, used)}")
        names = cells.tolist()
        keys.append([used.get(cell, cell) for cell in names] if used else names)
    if facts.folds.group_duplicates:
        same = pd.Series(contents(frame["image"].tolist(), hashes))
        keys += [same.where(same.duplicated(keep=False), "").tolist(), find_duplicates(frame)]
    if facts.folds.splitter == "open_set":
        split = facts.folds
        keys.append(whole_classes(frame["target"].tolist(), split.unseen, split.seed, split.new_class))
        findings.append(f"open set: {counted(len(set(keys[-1]) - {''}), 'classes lie')} in one fold alone")
    if keys:
        frame = frame.assign(group=joined_groups(frame["row_id"].tolist(), keys))
    targets = [name for name in frame.columns if name == "target" or name.startswith("target_")]
    first = ["row_id", "image", *targets, *[name for name in ("group", "entity") if name in frame.columns]]
    return frame[first + [name for name in frame.columns if name not in first]], findings


def _new_in_words(frame: pd.DataFrame, new_class: str) -> list[str]:
    """How many rows are scored as the class of what no training row shows, with what that means for the score."""
    if not new_class:
        return []
    new = as_scored(frame, new_class)["target"] == new_class
    unseen = int((new & (frame["target"] != new_class)).sum())
    words = f"{int(new.sum())} of {len(frame)} rows are scored as '{new_class}', {unseen} as no other fold has theirs"
    if not unseen:
        words = f"warning: {words}: nothing tells known classes from new ones; folds.splitter: open_set does"
    elif new.all():
        words = f"warning: {words}: who never says anything else is always right; lower folds.unseen"
    return [words]


def _to_split(
    frame: pd.DataFrame, given: list[str] | None, facts: Competition, outputs: Sequence[str], stratify: Sequence[str]
) -> ToSplit:
    """What the splitters look at. Groups of one row each are no groups, unless the facts ask for a grouped split."""
    groups = frame["group"].tolist() if "group" in frame.columns else None
    if (
        groups
        and len(set(groups)) == len(groups)
        and not any(word in facts.folds.splitter for word in ("grouped", "open_set"))
    ):
        groups = None
    return ToSplit(frame["row_id"].tolist(), make_strata(frame, facts.task, outputs, stratify), groups, given)


def _hold_out(
    frame: pd.DataFrame, given: list[str] | None, facts: Competition, outputs: Sequence[str]
) -> tuple[pd.DataFrame, list[str] | None, dict[str, pd.DataFrame]]:
    """The rows that stay for training, and the tables of those that are held out."""
    assert facts.holdout is not None
    rows = _to_split(frame, given, facts, outputs, facts.holdout.stratify)
    drawn = draw_holdout(rows, facts.holdout.fraction, facts.holdout.seed)
    held, rest = frame[drawn].reset_index(drop=True), frame[~drawn].reset_index(drop=True)
    kept = None if given is None else [cell for cell, out in zip(given, drawn, strict=True) if not out]
    return rest, kept, _apart(held, facts, outputs)


def _given_test(test: pd.DataFrame, facts: Competition, outputs: Sequence[str], where: str) -> dict[str, pd.DataFrame]:
    """The tables of test rows that the competition names: labels that are public go into the solution alone."""
    if not facts.has_solution:
        return {"test": test}
    facts.task.truth(test, outputs, where=f"{where}, test rows")
    return _apart(test, facts, outputs)


def _apart(labelled: pd.DataFrame, facts: Competition, outputs: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Test rows without their labels, and the solution with nothing else."""
    targets = facts.task.target_columns(outputs)
    test = labelled.drop(columns=[*targets, MASK], errors="ignore")
    return {"test": test, "solution": solution(labelled, targets)}


def solution(labelled: pd.DataFrame, targets: Sequence[str]) -> pd.DataFrame:
    """The id and the label columns of test rows; of an entity once.

    Raises:
        FoldlineError: the rows of an entity have different labels, so that it has no single one.
    """
    ids = "entity" if "entity" in labelled.columns else "row_id"
    table = labelled[[ids, *targets]].drop_duplicates()
    twice = table.loc[table[ids].duplicated(), ids].tolist()
    if twice:
        raise FoldlineError(
            f"{counted(len(twice), 'entities have')} rows with different labels: {first_few(twice)}",
            where="train.entity",
            next="leave train.entity out, or choose an entity whose rows share a label",
        )
    return table.reset_index(drop=True)


def _counts(frame: pd.DataFrame, facts: Competition, outputs: Sequence[str], where: str) -> dict[str, dict[str, int]]:
    table = class_counts(frame, facts.task, outputs, facts.folds.k, where=where).tolist()
    classes = facts.task.classes(outputs)
    return {str(fold): dict(zip(classes, row, strict=True)) for fold, row in enumerate(table)}
