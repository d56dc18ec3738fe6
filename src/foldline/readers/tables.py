"""Readers of tables: CSV, TSV and Parquet. Every cell becomes a string, as it stands in the file."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from foldline.core.competition import RowFacts
from foldline.core.errors import FoldlineError
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
    if path.suffix.lower() in (".parquet", ".pq"):
        frame = read_parquet(path)
        numbers = set(numbered_columns(frame, rows.pixels)) if rows.pixels else set()  # 32,000 a picture stay numbers
        kept = [name for name in frame.columns if name != rows.encoded]
        words = texts_of(frame[[name for name in kept if name not in numbers]])
        table = frame[kept].assign(**{name: words[name] for name in words.columns})
        return table if rows.encoded is None else write_encoded(table, frame, root, path, rows.encoded)
    is_tsv = ".tsv" in [suffix.lower() for suffix in path.suffixes] and rows.separator == ","
    separator = "\t" if is_tsv else rows.separator
    return read_csv(path, separator=separator, columns=rows.columns or (), encoding=rows.encoding)


def texts_of(frame: pd.DataFrame) -> pd.DataFrame:
    """Every cell of a typed table as text."""
    texts = {name: pd.Series(as_texts(frame[name].tolist()), frame.index, dtype=str) for name in frame.columns}
    return frame.assign(**texts)


def as_texts(cells: Iterable[Any]) -> list[str]:
    """Typed cells as text: a missing cell (None, NA, NaN) is empty."""
    return ["" if cell is None or cell is pd.NA or cell != cell else str(cell) for cell in cells]  # noqa: PLR0124 - NaN
