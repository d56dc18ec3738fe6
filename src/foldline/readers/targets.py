"""Raw labels become the label columns of rows: `target`, or `target_<class>` or `target_<target>` each."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from foldline.core.cells import LARGEST, is_missing, numbers, sorted_texts, spellings, spellings_in_words, tidy
from foldline.core.competition import Competition, RowFacts, Target
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.progress import say
from foldline.core.task import Task
from foldline.readers.files import raw_path
from foldline.readers.lines import read_lookup
from foldline.readers.outputs import given_classes
from foldline.readers.templates import fill

TRUE, FALSE = {"1", "true", "yes", "t", "y"}, {"0", "false", "no", "f", "n"}


def make_targets(
    lines: pd.DataFrame, ids: "pd.Series[str]", first: "pd.Series[bool]", root: Path, rows: RowFacts,
    facts: Competition, *, where: str,
) -> pd.DataFrame:  # fmt: skip
    """The label columns, one line for each row_id (the index).

    Args:
        lines: the raw table.
        ids: the row_id of each line; lines of one row_id are one row.
        first: whether a line is the first of its row.
        root: `input/<comp>`, for a file of class names.
        rows: holds the target's facts.
        facts: task and classes.
        where: the file of the facts, for messages.
    """
    target = rows.target if isinstance(rows.target, Target) else Target(column=rows.target)
    if facts.task.targets:
        return _several(lines, ids, first, target, rows, facts, where)
    names = _names(root, target, rows.encoding, where)
    if target.per is not None:
        wide = _pivot(lines, ids, target, names, rows, facts, where)
        return _from_columns(wide, list(wide.columns), rows, facts, where)
    if target.columns is not None:
        wide = pd.DataFrame({names.get(c, c): fill(lines, c, where=f"{where}: target") for c in target.columns})
        return _from_columns(wide[first].set_index(ids[first]), list(wide.columns), rows, facts, where)
    if target.column is None:
        raise FoldlineError("give 'target.column' or 'target.columns'", where=where)
    cells = fill(lines, target.column, where=f"{where}: target")
    if facts.task.label_sets:
        sets = cells.map(lambda cell: cell.split(target.separator) if target.separator else [cell])
        labels = pd.DataFrame({"row_id": ids, "label": sets}).explode("label")
        labels["label"] = _named(labels["label"].fillna("").str.strip(), names, facts.classes, where)
        return _from_sets(labels, ids[first].tolist(), facts, where)
    if facts.task.soft:
        raise FoldlineError("a soft task needs 'target.columns', one for each class", where=where)
    named = ["target"] if facts.task.has_classes and target.thresholds is None else []
    cells = _without_missing(cells[first].set_axis(ids[first]).to_frame("target"), rows, where, named)["target"]
    if target.thresholds is not None:
        cells = _by_threshold(cells, target.thresholds, facts.classes, where)
    elif facts.task.has_classes:
        cells = _named(cells, names, facts.classes, where)
    _check(cells, facts.task, facts.classes, where)
    return pd.DataFrame({"target": cells})


def _several(
    lines: pd.DataFrame, ids: "pd.Series[str]", first: "pd.Series[bool]", target: Target, rows: RowFacts,
    facts: Competition, where: str,
) -> pd.DataFrame:  # fmt: skip
    """`target_<name>` for each of several targets, from the columns of these names or those that the facts name."""
    targets = dict(facts.task.targets)
    columns = target.columns or list(targets)
    if target != Target(columns=target.columns) or len(columns) != len(targets):
        raise FoldlineError(
            f"several targets are read from a column each: target.columns, in the order {first_few(list(targets), 20)}",
            where=where,
        )
    cells = {f"target_{name}": fill(lines, column, where=f"{where}: target")
             for name, column in zip(targets, columns, strict=True)}  # fmt: skip
    named = {f"target_{name}" for name, part in targets.items() if part.has_classes}
    table = _without_missing(pd.DataFrame(cells)[first].set_index(ids[first]), rows, where, named)
    for name, part in targets.items():
        column, classes = f"target_{name}", given_classes(facts, name)
        if part.has_classes:
            table[column] = _named(table[column], {}, classes, where)
        _check(table[column], part, classes, where)
    return table


def class_names(root: Path, facts: Competition) -> dict[str, str]:
    """Raw label -> class name, from the facts and from the file that they name; empty where labels keep their names."""
    target = facts.train.target
    where = f"configs/{root.name}/competition.yaml"
    return _names(root, target, facts.train.encoding, where) if isinstance(target, Target) else {}


def _names(root: Path, target: Target, encoding: str, where: str) -> dict[str, str]:
    names: dict[str, str] = {}
    if target.names_file is not None:
        table = read_lookup(raw_path(root, target.names_file, where=where), encoding=encoding)
        names = dict(zip(table.iloc[:, 0], table.iloc[:, 1], strict=True))
    return names | (target.names or {})


def _named(labels: "pd.Series[str]", names: dict[str, str], classes: list[str] | None, where: str) -> "pd.Series[str]":
    """Raw labels as class names: without blanks around them, one spelling for each; what was joined is said."""
    known = [*names, *(classes or [])]
    tidied = {label: label if label in known else tidy(label) for label in labels.unique()}
    same = spellings(tidied.values(), known)
    used = {label: same.get(text, text) for label, text in tidied.items()}
    if words := spellings_in_words(labels, {label: text for label, text in used.items() if label != text}):
        say(f"{where}: labels are read without blanks and in one spelling: {words}")
    return labels.map({label: names.get(text, text) for label, text in used.items()})


def _by_threshold(
    cells: "pd.Series[str]", thresholds: list[float], classes: list[str] | None, where: str
) -> "pd.Series[str]":
    """A number becomes class i where i thresholds are <= it."""
    values = numbers(cells)
    _refuse_odd(cells.to_frame(), where)
    names = classes or [str(i) for i in range(len(thresholds) + 1)]
    if len(names) != len(thresholds) + 1:
        raise FoldlineError(
            f"{counted(len(thresholds), 'thresholds make')} {counted(len(thresholds) + 1, 'classes')}, not "
            f"{len(names)}",
            where=where,
        )
    codes = np.searchsorted(np.sort(thresholds), values, side="right")
    return pd.Series([names[code] for code in codes], index=cells.index, dtype=str)


def _check(cells: "pd.Series[str]", task: Task, classes: list[str] | None, where: str) -> None:
    """Every row has a label, and a known one where the facts name the classes."""
    if not task.has_classes:
        _refuse_odd(cells.to_frame(), where)
    elif classes is not None:
        _refuse(~cells.isin(classes), f"a label that is none of {first_few(classes)}", where)


def _from_sets(labels: pd.DataFrame, ids: list[str], facts: Competition, where: str) -> pd.DataFrame:
    """Sets of labels, a line for each label (an empty one is none), as 0/1 columns with a line for each of `ids`."""
    labels = labels[labels["label"] != ""]
    classes = facts.classes or sorted_texts(labels["label"].unique().tolist())
    strange = ~labels["label"].isin(classes)
    _refuse(strange.set_axis(labels["row_id"]), f"a label that is none of {first_few(classes)}", where)
    row = {name: i for i, name in enumerate(ids)}
    column = {name: i for i, name in enumerate(classes)}
    values = np.zeros((len(ids), len(classes)), dtype=int)
    values[labels["row_id"].map(row), labels["label"].map(column)] = 1
    return pd.DataFrame(values, index=pd.Index(ids), columns=[f"target_{name}" for name in classes]).astype(str)


def _pivot(
    lines: pd.DataFrame,
    ids: "pd.Series[str]",
    target: Target,
    names: dict[str, str],
    rows: RowFacts,
    facts: Competition,
    where: str,
) -> pd.DataFrame:
    """A long table (a line for each row and class) as one column for each class."""
    cells = fill(lines, target.column or "", where=f"{where}: target")
    classes = _named(fill(lines, target.per or "", where=f"{where}: target"), names, facts.classes, where)
    pairs = pd.DataFrame({"row_id": ids, "class": classes, "cell": cells}).drop_duplicates()
    twice = pairs.duplicated(["row_id", "class"])
    _refuse(twice.set_axis(pairs["row_id"]), "two labels for one class", where)
    wide = pairs.pivot(index="row_id", columns="class", values="cell").reindex(ids.unique())
    if rows.missing_targets == "stop":
        _refuse(wide.isna().any(axis=1), "no line for one of the classes", where)
    return pd.DataFrame(wide.fillna(""))


def _without_missing(cells: pd.DataFrame, rows: RowFacts, where: str, named: Collection[str] = ()) -> pd.DataFrame:
    """`cells` without the rows that lack a label; these are an error where `missing_targets` does not drop them.

    In the columns `named` any word may be a class (`none`), so only empty cells are missing there.
    """
    lacking = cells.apply(lambda column: column.str.strip() == "" if column.name in named else is_missing(column))
    bad, empty = lacking.any(axis=1), int(lacking.all(axis=1).sum())
    if not bad.any():
        return cells
    ids, count = [str(name) for name in cells.index[bad.to_numpy()]], len(cells.columns)
    what = "no label" if count == 1 else f"not all of their {counted(count, 'labels')} ({empty} of them none at all)"
    if rows.missing_targets == "stop" or bad.all():
        raise FoldlineError(
            f"{counted(len(ids), 'rows have')} {what}: {first_few(ids)}",
            where=f"{where}: target",
            next=f"of {len(cells)} rows {len(cells) - len(ids)} are whole; mend the facts or the table, or set "
            "missing_targets: drop to leave the others out",
        )
    say(f"{where}: {len(ids)} of {len(cells)} rows have {what}: {first_few(ids)}; left out")
    return pd.DataFrame(cells[~bad])


def _from_columns(wide: pd.DataFrame, names: list[str], rows: RowFacts, facts: Competition, where: str) -> pd.DataFrame:
    """One column for each class or number; for tasks with one class a row, the column that holds the 1."""
    classes = names if not facts.task.has_classes else (facts.classes or names)
    missing = [name for name in classes if name not in names]
    if missing:
        raise FoldlineError(
            f"no target column for the classes {first_few(missing)}",
            where=where,
            next=f"the columns stand for: {first_few(names, 20)}; name them with target.names",
        )
    wide = _without_missing(pd.DataFrame(wide[classes]), rows, where)
    if facts.task.soft or not facts.task.has_classes:
        _refuse_odd(wide, where)
        return wide.set_axis(["target"] if len(classes) == 1 else [f"target_{name}" for name in classes], axis=1)
    flags = pd.DataFrame({name: wide[name].map(_flag) for name in classes})
    _refuse_several_targets(wide, where)
    _refuse((flags < 0).any(axis=1), "a label that is neither 0 nor 1", where)
    if not facts.task.single_label:
        return flags.astype(str).set_axis([f"target_{name}" for name in classes], axis=1)
    _refuse(flags.sum(axis=1) != 1, "not exactly one class", where)
    return pd.DataFrame({"target": flags.idxmax(axis=1).astype(str)})


def _refuse_several_targets(wide: pd.DataFrame, where: str) -> None:
    """Raises FoldlineError where columns hold classes of their own instead of 0 and 1."""
    cells = {str(name): wide[name].str.strip().str.removesuffix(".0") for name in wide.columns}
    shares = [name for name, column in cells.items() if column.str.fullmatch(r"0?\.\d+").any()]
    held_by = {name: set(column) for name, column in cells.items()}
    flags = {"0", "1", "-1"}  # -1: uncertain, in some medical tables
    several = [
        f"{name} ({counted(len(held), 'classes')})"
        for name, held in held_by.items()
        if len(held) > 2 and not held <= flags
    ]
    if len(several) > 1 and not shares:
        raise FoldlineError(
            f"the columns {first_few(several)} hold classes each, not 0 and 1: these are several targets",
            where=f"{where}: target.columns",
            next=f"write the task as a mapping: `task: {{{several[0].rpartition(' (')[0]}: multiclass, ...}}`, see "
            "'Several targets' in docs/add-a-competition.md; numbers are `task: regression`",
        )


def _flag(cell: str) -> int:
    """1, 0, or -1 for a cell that is neither."""
    word = cell.strip().lower().removesuffix(".0")
    return 1 if word in TRUE else 0 if word in FALSE else -1


def _refuse_odd(cells: pd.DataFrame, where: str) -> None:
    """Raises FoldlineError where a cell is no number, infinite, or too large for a prediction, which is float32."""
    bad = cells.apply(lambda column: ~(np.abs(numbers(column)) <= LARGEST)).any(axis=1)
    _refuse(bad, "a label that is no finite number", where)


def _refuse(bad: "pd.Series[bool]", what: str, where: str) -> None:
    """Raises FoldlineError that names the first ids (the index) where `bad` holds."""
    if bad.any():
        ids = [str(name) for name in bad.index[bad.to_numpy()]]
        raise FoldlineError(
            f"{counted(len(ids), 'rows have')} {what}: {first_few(ids)}",
            where=f"{where}: target",
            next="mend the facts or the table",
        )
