"""Readers of tables: CSV, TSV and Parquet. Every cell becomes a string, as it stands in the file."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from foldline.core.competition import RowFacts
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.progress import say
from foldline.core.tables import read_csv, read_parquet
from foldline.readers.files import file_names, raw_files
from foldline.readers.pictures import numbered_columns, write_encoded


def read_table(root: Path, rows: RowFacts) -> pd.DataFrame:
    """All lines of the table or tables that the facts name."""
    frames = [_read_one(root, path, rows) for path in raw_files(root, rows)]
    if any(set(frame.columns) != set(frames[0].columns) for frame in frames):
        raise FoldlineError(f"the tables {', '.join(file_names(rows))} have different columns", where=str(root))
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def _read_one(root: Path, path: Path, rows: RowFacts) -> pd.DataFrame:
    if is_parquet(path):
        frame = read_parquet(path)
        numbers = set(numbered_columns(frame, rows.pixels)) if rows.pixels else set()  # 32,000 a picture stay numbers
        kept = [name for name in frame.columns if name != rows.encoded]
        words = texts_of(frame[[name for name in kept if name not in numbers]])
        table = frame[kept].assign(**{name: words[name] for name in words.columns})
        return table if rows.encoded is None else write_encoded(table, frame, root, path, rows.encoded)
    separator = separator_of(path, rows)
    frame = read_csv(path, separator=separator, columns=rows.columns or (), encoding=rows.encoding)
    _remark(path, frame, separator, rows)
    return frame


def is_parquet(path: Path) -> bool:
    """Whether a table's name says Parquet."""
    return path.suffix.lower() in (".parquet", ".pq")


def separator_of(path: Path, rows: RowFacts) -> str:
    """What stands between the cells of a text table: as the facts say; they say nothing of a `.tsv`: a tab."""
    is_tsv = ".tsv" in [suffix.lower() for suffix in path.suffixes] and rows.separator == ","
    return "\t" if is_tsv else rows.separator


def _remark(path: Path, frame: pd.DataFrame, separator: str, rows: RowFacts) -> None:
    """Says what is most likely no intention in a table: cells of several lines, columns of one name."""
    pixels = set(numbered_columns(frame, rows.pixels)) if rows.pixels else set()
    held = [frame[name].str.contains("\n", regex=False) for name in frame.columns if name not in pixels]
    broken = sum(int(cells.sum()) for cells in held)
    if broken:
        first = next(int(cells.argmax()) + 1 for cells in held if cells.any())
        say(
            f"warning: {path.name}: {counted(broken, 'cells hold')} several lines of the file, that of row "
            f"{first} first; "
            "a quote that is not closed makes rows vanish so"
        )
    numbered = [name for name in frame.columns if name.rpartition(".")[0] in frame.columns and not rows.columns]
    if numbered:
        places = [str(i) for i in range(len(frame.columns))]
        names = read_csv(path, separator=separator, columns=places, encoding=rows.encoding).iloc[0]
        for name in names[names.duplicated()].unique():
            say(f"warning: {path.name}: several columns are called '{name}'; the later ones are '{name}.1' ...")


def texts_of(frame: pd.DataFrame) -> pd.DataFrame:
    """Every cell of a typed table as text."""
    texts = {name: pd.Series(as_texts(frame[name].tolist()), frame.index, dtype=str) for name in frame.columns}
    return frame.assign(**texts)


def as_texts(cells: Iterable[Any]) -> list[str]:
    """Typed cells as text: a missing cell (None, NA, NaN) is empty."""
    return ["" if cell is None or cell is pd.NA or cell != cell else str(cell) for cell in cells]  # noqa: PLR0124 - NaN
