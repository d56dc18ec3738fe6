"""A first `competition.yaml`, made by looking at the raw files and the sample submission; a person confirms it.

Reads the files below `input/<comp>`, writes nothing: the download stage writes the text.
"""

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import yaml

from foldline.core.cells import is_missing
from foldline.core.errors import FoldlineError
from foldline.core.source_facts import Source
from foldline.core.tables import read_csv
from foldline.core.task import TASKS
from foldline.readers.files import FileIndex
from foldline.readers.start.paths import LAST, UnclearLabelError, from_paths
from foldline.readers.templates import split_suffix

HEAD_LINES = 5000  # lines of a table that are looked at to guess what a label is
CLASSES_LIMIT = 1000  # whole numbers with more values than this are taken for measurements
METRICS = {"binary": "auc", "multiclass": "accuracy", "multilabel": "mean_column_auc", "regression": "rmse"}
GROUP_WORDS = ("patient", "subject", "group", "location", "person", "site")


@dataclass
class Starter:
    """What was found: facts, and remarks that become comments."""

    facts: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def starter_facts(root: Path, source: Source) -> str:
    """The text of a starter `competition.yaml` for the raw files below `root`.

    The id column, the kind of submission, the layout and the task are guessed; the metric cannot be, and is left for
    the person to confirm: until the line `unconfirmed` is deleted, other stages say that it is a guess.
    """
    index = FileIndex(root)
    tables = {name: _head(root / name) for name in sorted(index.files) if _is_table(name)}
    sample = next((name for name in tables if "sample" in PurePosixPath(name).name.lower()), None)
    starter = Starter()
    labels = tables[sample].columns[1:].tolist() if sample else []
    id_column = str(tables[sample].columns[0]) if sample else ""
    train = _train_table(tables, sample, id_column, labels)
    if train is not None:
        _from_table(starter, index, train, tables[train], [id_column, *labels])
    else:
        _from_paths(starter, index, test_too=sample is None)
    _test_rows(starter, index, tables, sample, id_column)
    if sample:
        starter.facts["submission"] = {"sample": sample}
    return _text(starter, source, root.name)


def _is_table(name: str) -> bool:
    return name.lower().endswith((".csv", ".tsv", ".csv.gz"))


def _head(path: Path) -> pd.DataFrame:
    """The first lines of a table; an empty table where it cannot be read as one."""
    try:
        return read_csv(path, separator="\t" if ".tsv" in path.name.lower() else ",").head(HEAD_LINES)
    except FoldlineError:
        return pd.DataFrame()


def _train_table(tables: dict[str, pd.DataFrame], sample: str | None, id_column: str, labels: list[str]) -> str | None:
    """The table that most likely holds the labels: it has the sample's columns, and `train` or `label` in its name."""

    def score(name: str) -> int:
        """How much speaks for a table; 0: nothing."""
        columns, word = set(tables[name].columns), PurePosixPath(name).name.lower()
        return 2 * bool(columns & set(labels)) + (id_column in columns) + ("train" in word) + ("label" in word)

    names = [n for n in tables if n != sample and "test" not in n.lower() and len(tables[n].columns) > 1]
    best = max(names, key=score, default=None)
    return best if best is not None and score(best) > 0 else None


def _from_table(starter: Starter, index: FileIndex, name: str, table: pd.DataFrame, sample: list[str]) -> None:
    """Facts of a table with ids and labels; `sample` holds the columns of the sample submission, its id first."""
    id_column, labels = sample[0], sample[1:]
    row_id = id_column if id_column in table.columns else str(table.columns[0])
    train: dict[str, Any] = {"reader": "csv", "file": name, "row_id": row_id}
    train["image"] = image_template(index, table, row_id, prefer="train") or _ask(starter, "image", "train/{id}.png")
    columns = [label for label in labels if label in table.columns]
    if len(columns) > 1:
        train["target"] = {"columns": columns}
        starter.facts["task"], starter.facts["classes"] = _task_of_columns(table[columns]), columns
    else:
        target = columns[0] if columns else str(table.columns[-1])
        starter.facts["task"] = _task_of_cells(table[target])
        several = TASKS[starter.facts["task"]].label_sets
        train["target"] = {"column": target, "separator": " "} if several else target
        if not columns:
            starter.remarks.append(f"target: the sample's label column is not in {name}; '{target}' is a guess")
    groups = [c for c in table.columns if any(word in c.lower() for word in GROUP_WORDS) and c != row_id]
    if groups:
        train["group"] = groups[0]
        starter.remarks.append(f"group: rows of one {groups[0]} stay in one fold; remove it if that is not wanted")
    starter.facts["train"] = train


def _from_paths(starter: Starter, index: FileIndex, *, test_too: bool) -> None:
    """Facts of a layout without a table: the label is a folder's name, or a part of the file's name.

    Args:
        test_too: where a test folder holds the same class folders, it becomes the test rows.
    """
    pictures = [path for path in sorted(index.files) if split_suffix(path)[1]]
    try:
        found = from_paths(pictures, "")
    except UnclearLabelError as unclear:
        found = from_paths(pictures, LAST)
        starter.remarks.append(f"pattern: {unclear.what}; the last folder is taken, check it")
    except FoldlineError as nothing:
        starter.facts["task"] = "multiclass"
        starter.facts["train"] = {"reader": "folders", "pattern": "{label}/*", "row_id": "path", "target": "label"}
        starter.remarks.append(f"pattern: {nothing.what}; mend it")
        return
    starter.facts["task"] = "binary" if len(set(found.labels)) == 2 else "multiclass"
    starter.facts["train"] = {**found.facts["train"], "row_id": "path"}
    starter.remarks += found.said
    if test_too and "test" in found.facts:
        starter.facts["test"] = {**found.facts["test"], "row_id": "path"}


def _test_rows(
    starter: Starter, index: FileIndex, tables: dict[str, pd.DataFrame], sample: str | None, id_column: str
) -> None:
    """Test rows from a table of its own, else from the sample, else a holdout; nothing where they are known."""
    if "test" in starter.facts:
        return
    name = next((n for n in tables if "test" in n.lower() and id_column in tables[n].columns and n != sample), sample)
    if name is None:
        starter.facts["holdout"] = {"fraction": 0.2}
        starter.remarks.append("holdout: no test rows were found, so a fifth of the training rows is held out")
        return
    image = image_template(index, tables[name], id_column, prefer="test") or _ask(starter, "image", "test/{id}.png")
    starter.facts["test"] = {"reader": "csv", "file": name, "row_id": id_column, "image": image}


def _ask(starter: Starter, setting: str, example: str) -> str:
    starter.remarks.append(f"{setting}: no picture was found for the first ids; correct the template '{example}'")
    return example


def image_template(index: FileIndex, table: pd.DataFrame, row_id: str, *, prefer: str) -> str | None:
    """A template for the pictures of a table, learned from the first lines whose file is found by name."""
    columns = [row_id, *[name for name in table.columns if name != row_id]]
    for _, line in table.head(20).iterrows():
        for column in columns:
            cell = str(line[column])
            hits = index.names.get(split_suffix(PurePosixPath(cell).name)[0].casefold(), []) if cell else []
            hits = sorted(hits, key=lambda path: prefer not in path.lower())
            if hits and split_suffix(hits[0])[1]:
                return _generalise(hits[0], line, column)
    return None


def _generalise(path: str, line: "pd.Series[Any]", column: str) -> str:
    """A path with the cells of its line replaced by their columns' names."""
    cell = str(line[column])
    if path.endswith(cell):
        head, tail = path[: len(path) - len(cell)], f"{{{column}}}"
    else:
        stem, suffix = split_suffix(path)
        head = stem[: len(stem) - len(split_suffix(cell)[0])]
        tail = f"{{{column}.stem}}{suffix}" if split_suffix(cell)[1] else f"{{{column}}}{suffix}"
    others = {str(line[name]): str(name) for name in reversed(line.index) if str(line[name]) and name != column}
    parts = [f"{{{others[part]}}}" if part in others and len(part) > 1 else part for part in head.split("/")]
    return "/".join(parts) + tail


def _task_of_cells(cells: "pd.Series[str]") -> str:
    values = cells[~is_missing(cells)].unique().tolist()
    numbers = pd.to_numeric(pd.Series(values), errors="coerce")
    if numbers.isna().any():
        words = {word for value in values for word in value.split(" ")}
        separated = any(" " in value for value in values) and len(words) < len(values)
        return "multilabel" if separated else "binary" if len(values) == 2 else "multiclass"
    if len(values) == 2:
        return "binary"
    whole = (numbers % 1 == 0).all() and not any("." in value for value in values)
    return "multiclass" if whole and len(values) <= CLASSES_LIMIT else "regression"


def _task_of_columns(cells: pd.DataFrame) -> str:
    numbers = cells.apply(pd.to_numeric, errors="coerce")
    if not numbers.isin([0, 1]).all().all():
        whole = (numbers.dropna() % 1 == 0).all().all() and (numbers.dropna() >= 0).all().all()
        return "soft" if whole else "regression"
    return "multiclass" if (numbers.sum(axis=1) == 1).all() else "multilabel"


def _text(starter: Starter, source: Source, comp: str) -> str:
    """The file: what must be confirmed stands in comments above."""
    task = starter.facts["task"]
    page = f"https://www.kaggle.com/competitions/{source.name}" if source.kind == "kaggle" else ""
    facts: dict[str, Any] = {
        "title": comp,
        "url": page,
        "source": source.model_dump(mode="json", exclude_defaults=True),
        "task": task,
        **({"classes": starter.facts["classes"]} if "classes" in starter.facts and TASKS[task].has_classes else {}),
        "metric": METRICS.get(task, "log_loss"),
        **{key: starter.facts[key] for key in ("train", "test", "holdout", "submission") if key in starter.facts},
        "unconfirmed": ["metric", "task"],
    }
    lines = [
        f"# Facts of {comp}, guessed from its files. Confirm each line against the competition's page, above all",
        f"#   metric: '{facts['metric']}' is only what usually fits the task; take the competition's own",
        f"#   task: '{task}' (binary, multiclass, multilabel, ordinal, regression or soft)",
        *[f"#   {remark}" for remark in starter.remarks],
        "# and delete the last line, `unconfirmed`, when you have.",
    ]
    body = yaml.safe_dump(facts, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    return "\n".join(lines) + "\n" + body
