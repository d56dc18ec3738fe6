"""The lines of a raw table before they are rows: parts of cells as columns, further tables joined, lines chosen."""

from pathlib import Path

import pandas as pd

from foldline.core.cells import plains, spellings, spellings_in_words
from foldline.core.competition import Join, RowFacts
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.progress import say
from foldline.core.tables import read_csv, read_json, read_parquet, require_file, require_unique
from foldline.readers.files import raw_path
from foldline.readers.json import frame_of
from foldline.readers.tables import as_texts, texts_of
from foldline.readers.templates import fill, match


def shape_lines(lines: pd.DataFrame, root: Path, rows: RowFacts, *, where: str) -> pd.DataFrame:
    """Applies `extract`, `join`, `where` and `without`, in this order."""
    for column, pattern in rows.extract.items():
        parts = match(fill(lines, column, where=f"{where}: extract"), pattern, where=f"{where}: extract")
        lines = lines.assign(**{name: parts[name] for name in parts.columns})
    for join in rows.join:
        lines = _joined(lines, root, join, where=where)
    for column, cells in rows.where.items():
        lines = lines[_holds(lines, column, cells, where)]
    for column, cells in rows.without.items():
        lines = lines[~_holds(lines, column, cells, where)]
    if lines.empty:
        raise FoldlineError("no line is left", where=where, next="check `file`, `where` and `without` in the facts")
    return lines.reset_index(drop=True)


def _holds(lines: pd.DataFrame, column: str, cells: str | list[str], where: str) -> "pd.Series[bool]":
    texts, wanted = fill(lines, column, where=f"{where}: where"), [cells] if isinstance(cells, str) else cells
    plainly = set(plains(wanted))
    held = pd.Series([text in plainly for text in plains(texts.tolist())], index=texts.index, dtype=bool)
    others = texts[held & ~texts.isin(wanted)]
    if len(others):
        say(
            f"{where}: {counted(len(others), f'cells of {column} are')} other spellings of the wanted: "
            f"{_quoted(others)}"
        )
    return held


def _quoted(texts: "pd.Series[str]") -> str:
    return first_few([f"'{text}'" for text in texts.unique()])


def _joined(lines: pd.DataFrame, root: Path, join: Join, *, where: str) -> pd.DataFrame:
    """`lines` with the columns of the joined table; the number and order of lines stay."""
    table = read_lookup(raw_path(root, join.file, where=where), separator=join.separator, encoding=join.encoding)
    if join.right not in table.columns:
        raise FoldlineError(
            f"{join.file} has no column '{join.right}'",
            where=f"{where}: join",
            next=f"its columns are: {first_few(list(table.columns), 20)}",
        )
    require_unique(table[join.right], where=f"{where}: join {join.file}")
    table = table.set_index(join.right, drop=False)
    keys = fill(lines, join.left, where=f"{where}: join")
    others = spellings(keys, table.index.tolist())
    if others:
        say(f"{where}: ids that {join.file} spells otherwise: {spellings_in_words(keys, others)}")
        keys = keys.map(lambda key: others.get(key, key))
    known = set(table.index)
    lost = [key for key in keys.unique().tolist() if key not in known]
    if lost and join.optional:
        say(f"{where}: {counted(len(lost), 'ids have')} no line in {join.file} and get empty cells: {first_few(lost)}")
    elif lost:
        raise FoldlineError(
            f"{counted(len(lost), 'ids have')} no line in {join.file}: {first_few(lost)}",
            where=f"{where}: join {join.left} = {join.right}",
            next="correct the columns, or set optional: true",
        )
    new = [name for name in table.columns if name not in lines.columns]
    cells = table.reindex(keys)[new].fillna("").astype(str)
    return lines.assign(**{name: cells[name].to_numpy() for name in new})


def read_lookup(path: Path, *, separator: str = ",", encoding: str = "utf-8") -> pd.DataFrame:
    """A table, or a JSON map as a table of `key` and `value`, all strings."""
    require_file(path)
    if path.suffix.lower() in (".parquet", ".pq"):
        return texts_of(read_parquet(path))
    if path.suffix.lower() != ".json":
        return read_csv(path, separator=separator, encoding=encoding)
    content = read_json(path)
    if isinstance(content, dict):
        return pd.DataFrame({"key": list(content), "value": as_texts(content.values())}, dtype=str)
    if isinstance(content, list) and all(isinstance(item, dict) for item in content):
        return frame_of(content).fillna("").astype(str)
    raise FoldlineError("must hold one map, or a list of maps", where=str(path))
