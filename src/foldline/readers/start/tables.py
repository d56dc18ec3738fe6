"""A table that names pictures: which column is the picture, which the label, which joins rows."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from foldline.core.cells import is_missing, numbers, spellings, tidy
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.tables import read_csv, read_parquet
from foldline.readers.files import FileIndex
from foldline.readers.start.paths import UnclearLabelError
from foldline.readers.start.table_images import plain_name, set_images
from foldline.readers.start.table_rows import labelled, pictured
from foldline.readers.start.understood import Understood, listed, say_few
from foldline.readers.starter import GROUP_WORDS
from foldline.readers.tables import is_parquet, texts_of

ENDINGS = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".parquet", ".pq")
LABEL_WORDS = ("label", "labels", "class", "target", "category", "diagnosis", "species", "breed", "tags", "y", "score")
PART_WORDS = ("split", "part", "subset", "set", "partition", "fold_name")
TRAIN_CELLS, TEST_CELLS = {"train", "training"}, {"test", "testing", "holdout", "val", "valid", "validation"}
LOOKED_AT = 200  # lines whose cells are looked for among the files
FEW_VALUES = 20  # whole numbers of no more values are classes


def is_table(name: str) -> bool:
    """Whether a file's name says that it is a table."""
    return name.lower().endswith(ENDINGS)


def read_whole(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A table as text, and how the facts say that it is read; columns that hold whole files are left as they are."""
    if is_parquet(path):
        frame = read_parquet(path)
        encoded = [name for name in frame.columns if _holds_files(frame[name])]
        texts = texts_of(frame.drop(columns=encoded))
        return texts, {"reader": "parquet", "file": path.name} | ({"encoded": encoded[0]} if encoded else {})
    separator = _separator(path)
    return read_csv(path, separator=separator), {
        "reader": "csv",
        "file": path.name,
        **({} if separator == "," or ".tsv" in path.name.lower() else {"separator": separator}),
    }


def _holds_files(cells: "pd.Series[Any]") -> bool:
    first = next((cell for cell in cells if cell is not None), None)
    return isinstance(first, bytes) or (isinstance(first, dict) and "bytes" in first)


def _separator(path: Path) -> str:
    """What stands between the cells: what is most frequent in the first line."""
    if ".tsv" in path.name.lower():
        return "\t"
    if path.suffix.lower() == ".gz":
        return ","
    with path.open("rb") as handle:
        head = handle.readline(10_000).decode("utf-8", "replace")
    return max((",", ";", "\t", "|"), key=head.count)


def naming_table(root: Path, files: Sequence[str]) -> tuple[str | None, dict[str, str]]:
    """(The table below `root` that names pictures, None where there is none, the largest of several; the other tables:
    why each is not it)."""
    index, best, others = FileIndex(root), (0, ""), dict[str, str]()
    for name in (name for name in files if is_table(name) and name.count("/") <= 1):
        try:
            frame, how = read_whole(root / name)
        except FoldlineError as error:
            others |= {} if name.lower().endswith(".txt") else {name: error.what}
            continue
        if "encoded" in how or (len(frame.columns) > 1 and _image_column(frame, index)):
            best = max(best, (len(frame), name))
            others[name] = "it names pictures, too"
        elif not name.lower().endswith(".txt"):
            others[name] = "no column names pictures that are there"
    others.pop(best[1], None)
    return best[1] or None, others


def from_table(root: Path, name: str, label: str) -> Understood:
    """What a table says of the pictures.

    Args:
        root: the folder of the raw files.
        name: the table, below it.
        label: the column of the label (several: `a,b`); empty: look.

    Raises:
        FoldlineError: no column names pictures; several columns could be the label.
    """
    frame, how = read_whole(root / name)
    index, found = FileIndex(root), Understood()
    column = "" if "encoded" in how else _image_column(frame, index)
    if "encoded" not in how and not column:
        raise FoldlineError(
            "no column names the pictures",
            where=f"{root / name}: {first_few(list(frame.columns), 20)}",
            next="give file names as they are below the table's folder (not full paths), or the folder of the pictures",
        )
    _require_head(root / name, frame, column, index)
    found.facts["train"] = {**how, "file": name}
    if column:
        found.said.append(f"{name}: {counted(len(frame), 'lines')}; the column '{column}' names the picture")
        files = set_images(found, index, frame, column, root / name)
    else:
        found.facts["train"]["row_id"], files = "line", pd.Series(frame.index.astype(str), index=frame.index)
        found.said.append(f"{name}: {counted(len(frame), 'lines')}; the column '{how['encoded']}' holds the pictures")
    found.named = files[files != ""].tolist()
    targets = _targets(frame, column, label)
    found.columns = targets
    part = _part_column(frame, targets)
    learn = frame if part is None else frame[frame[part[0]].isin(part[1])]
    _set_labels(found, learn, column, targets, files)
    _set_group(found, learn, column, targets)
    if part is not None:
        _set_parts(found, files[frame[part[0]].isin(part[2])], *part)
    used = {column, how.get("encoded"), *targets, found.facts["train"].get("group"), part and part[0]}
    unused = [str(one) for one in frame.columns if one not in used and str(one).strip() and frame[one].nunique() > 1]
    if unused:
        found.said.append(f"columns not used: {listed(unused)}")
    return found


def _require_head(path: Path, frame: pd.DataFrame, column: str, index: FileIndex) -> None:
    """Raises where the first line is one of data: its picture would be lost, and columns be called by its cells."""
    if column and index.names.get(plain_name(column)):
        raise FoldlineError(
            "the table's first line names a picture, not the columns",
            where=f"{path}: {first_few(list(frame.columns), 5)}",
            next="put a line with the names of the columns before it, such as file,label",
        )


def _image_column(frame: pd.DataFrame, index: FileIndex) -> str:
    """The column most of whose cells name a picture; empty where there is none."""
    shares = {}
    for name in frame.columns:
        cells = frame[name].head(LOOKED_AT)
        hits = [bool(index.names.get(plain_name(cell))) for cell in cells]
        shares[str(name)] = sum(hits) / max(1, len(hits)) * (len(set(cells)) > 1 or len(cells) < 3)
    best = max(shares, key=lambda name: shares[name], default="")
    return best if best and shares[best] > 0.3 else ""


def _targets(frame: pd.DataFrame, image: str, label: str) -> list[str]:
    """The column or columns of the label."""
    if label:
        names = [name.strip() for name in label.split(",")]
        if odd := [name for name in names if name not in frame.columns]:
            raise FoldlineError(
                f"the table has no column '{odd[0]}'", where="--label", next=f"it has: {listed(list(frame.columns))}"
            )
        return names
    others = [str(name) for name in frame.columns if name not in (image, "") and not _is_other(str(name), frame[name])]
    named = [name for name in others if is_label_word(name)]
    flags = [name for name in others if set(frame[name].unique()) <= {"0", "1", "0.0", "1.0"}]
    if len(named) == 1:
        return named
    if len(flags) > 1 and len(flags) == len(others):
        return flags
    if len(others) == 1:
        return others
    if not others:
        raise FoldlineError(
            "no column could be the label: the others say the same in each line, or another thing in each",
            where=first_few(list(frame.columns), 20),
            next="name the column: LABEL=<column>",
        )
    cells = {name: frame.loc[~is_missing(frame[name]), name].drop_duplicates().tolist() for name in named or others}
    choices = {name: f"such as {listed(values[:3])}" for name, values in cells.items()}
    raise UnclearLabelError("several columns could be the label", choices, where=first_few(list(frame.columns), 20))


def is_label_word(name: str) -> bool:
    """Whether a column is called what labels are called."""
    return bool(set(re.split("[^a-z]+", name.lower())) & set(LABEL_WORDS))


def _is_other(name: str, cells: "pd.Series[str]") -> bool:
    """Whether a column is no label: an id, a group, a part of the data."""
    word = name.lower()
    is_id = word in ("id", "index", "row_id", "image_id", "uuid", "hash", "url", "md5") or word.endswith("_id")
    unique_text = cells.nunique() == len(cells) and bool(pd.isna(numbers(cells)).any()) and len(cells) > 10
    return is_id or unique_text or _is_group(word) or word in PART_WORDS or cells.nunique() < 2


def _is_group(word: str) -> bool:
    return any(group in word for group in GROUP_WORDS)


def _set_labels(
    found: Understood, frame: pd.DataFrame, image: str, targets: list[str], files: "pd.Series[str]"
) -> None:
    """Task and target; lines without a label, or without a picture, are left out and counted by the reader."""
    train = found.facts["train"]
    separator = ""
    if len(targets) == 1:
        separator = _set_separator(frame.loc[~is_missing(frame[targets[0]]), targets[0]])
        frame = labelled(found, frame, targets[0], sets=bool(separator))
    if image:
        frame = pictured(found, frame, image, targets, files)
    found.files = files[frame.index].tolist()
    if len(targets) > 1:
        _set_columns(found, frame, targets)
        return
    cells = frame[targets[0]]
    train["target"] = {"column": targets[0], "separator": separator} if separator else targets[0]
    if separator:
        found.facts["task"] = "multilabel"
        counts = Counter(word.strip() for cell in cells for word in cell.split(separator) if word.strip())
        found.said.append(f"{counted(len(counts), 'labels')}, several a picture: {_counted(counts)}")
        say_few(found, counts)
    elif _is_measured(cells):
        found.facts["task"], found.numbers = "regression", True
        values = numbers(cells)
        if values.min() == values.max():
            raise FoldlineError(
                f"all {counted(len(values), 'pictures have')} the number {values[0]:g}: there is nothing to predict",
                where=f"the column '{targets[0]}'",
                next="name another column: LABEL=<column>",
            )
        found.said.append(
            f"'{targets[0]}' is a number from {values.min():g} to {values.max():g}, mean {values.mean():g}"
        )
        found.guesses["task"] = f"regression: '{targets[0]}' holds numbers with {counted(cells.nunique(), 'values')}"
    else:
        tidied = cells.map(tidy)  # as the reader takes them
        same = spellings(tidied.unique().tolist())
        found.labels = [same.get(label, label) for label in tidied]
    if not separator:
        found.why["train"] = f"the label is the column '{targets[0]}'"


def _set_columns(found: Understood, frame: pd.DataFrame, targets: list[str]) -> None:
    """Several columns: 0 and 1 are labels that exclude one another or not, else numbers."""
    values = frame[targets].apply(pd.to_numeric, errors="coerce")
    if odd := [name for name in targets if values[name].isna().any()]:
        cell = frame.loc[values[odd[0]].isna(), odd[0]].iloc[0]
        raise FoldlineError(
            f"several columns are labels of 0 and 1, or numbers; '{odd[0]}' says '{cell}'",
            where="--label",
            next="name one column; or write the facts yourself (`targets`, docs/add-a-competition.md)",
        )
    found.facts["train"]["target"] = {"columns": targets}
    if values.isin([0, 1]).all().all():
        single = bool((values.sum(axis=1) == 1).all())
        found.facts["task"], found.facts["classes"] = "multiclass" if single else "multilabel", targets
        counts = Counter({name: int(values[name].sum()) for name in targets})
        found.said.append(
            f"{counted(len(targets), 'columns')} of 0 and 1, {'one' if single else 'any number'} a line: "
            f"{_counted(counts)}"
        )
        say_few(found, counts)
    else:
        found.facts["task"], found.numbers = "regression", True
        found.said.append(f"{counted(len(targets), 'numbers')}: {listed(targets)}")


def _counted(counts: "Counter[str]") -> str:
    return first_few([f"{name} ({count})" for name, count in counts.most_common()], 12)


def _set_separator(cells: "pd.Series[str]") -> str:
    """What separates the labels of a set in one cell; empty where cells hold one label each."""
    values = cells.unique().tolist()
    for separator in ("|", ";", ",", " "):
        split = [value for value in values if separator in value.strip()]
        words = {word.strip() for value in values for word in value.split(separator)}
        if split and len(words) < len(values) and any(value in words for value in values if separator not in value):
            return separator
    return ""


def _is_measured(cells: "pd.Series[str]") -> bool:
    """Whether cells are measurements: fractions, or whole numbers of many values that do not count from 0 or 1.

    Numbers with zeros before them, as 007, are names.
    """
    values = numbers(cells)
    if pd.isna(values).any() or cells.str.strip().str.fullmatch(r"0\d+").any():
        return False
    distinct = sorted(set(values.tolist()))
    if any(value % 1 for value in distinct):
        return True
    counts_on = distinct[0] in (0, 1) and distinct[-1] - distinct[0] == len(distinct) - 1
    return (
        len(distinct) > FEW_VALUES
        and len(cells) < 20 * len(distinct)
        and not (counts_on and len(cells) > 3 * len(distinct))
    )


def _part_column(frame: pd.DataFrame, targets: list[str]) -> tuple[str, list[str], list[str]] | None:
    """A column that says train and test, its cells that say train, and those that say test."""
    for name in (name for name in frame.columns if str(name).lower() in PART_WORDS and name not in targets):
        cells = frame[name].unique().tolist()
        train = [cell for cell in cells if cell.lower() in TRAIN_CELLS]
        test = [cell for cell in cells if cell.lower() in TEST_CELLS]
        if train and test and len(train) + len(test) == len(cells):
            return str(name), train, test
    return None


def _set_parts(found: Understood, files: "pd.Series[str]", name: str, learn: list[str], test: list[str]) -> None:
    """The rows of a test set that a column tells apart."""
    train = found.facts["train"]
    keep = {key: value for key, value in train.items() if key != "group"}
    found.facts["train"] = {**train, "where": {name: learn}}
    found.facts["test"] = {**keep, "where": {name: test}}
    found.test = files[files != ""].tolist()
    found.why["test"] = "its labels are read by `score` alone"
    found.guesses["train.where"] = f"the column '{name}' says which lines are for training: {listed(learn)}"
    found.said.append(f"the column '{name}' tells a test set apart: {listed(test)}; `score` grades on it, nothing else")


def _set_group(found: Understood, frame: pd.DataFrame, image: str, targets: list[str]) -> None:
    names = [str(name) for name in frame.columns if _is_group(str(name).lower()) and name not in (image, *targets)]
    if names:
        count = found.groups = frame[names[0]].nunique()
        found.facts["train"]["group"] = names[0]
        found.guesses["train.group"] = f"rows of one '{names[0]}' stay in one fold ({count} of them)"
        found.said.append(f"rows of one '{names[0]}' stay in one fold: {counted(count, 'groups')}")
