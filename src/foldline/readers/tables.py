"""Readers of tables: CSV, TSV and Parquet. Every cell becomes a string, as it stands in the file."""

from pathlib import Path, PurePosixPath

import pandas as pd

from foldline.core.competition import Rows
from foldline.core.errors import FoldlineError
from foldline.core.tables import read_csv, read_parquet


def raw_path(root: Path, name: str, *, where: str) -> Path:
    """A path below `root` that facts or a table name; raises FoldlineError where it leaves `root`."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise FoldlineError(f"the path leaves the folder of the raw files: '{name}'", where=where)
    return root / path


def raw_files(root: Path, rows: Rows) -> list[Path]:
    """The files that `rows.file` names, sorted; `*` stands for several."""
    if not rows.file:
        raise FoldlineError("setting 'file' is missing", where=f"reader {rows.reader}", next="name the table to read")
    path = raw_path(root, rows.file, where="file")
    if "*" not in rows.file:
        if not path.exists():
            raise _missing(root, path)
        return [path]
    found = sorted(hit for hit in root.glob(rows.file) if hit.is_file())
    if not found:
        raise _missing(root, path)
    return found


def _missing(root: Path, path: Path) -> FoldlineError:
    """Names what does lie there: the folder that holds it, or the first one that exists."""
    folder = path.parent
    while not folder.is_dir() and folder != root:
        folder = folder.parent
    held = sorted(child.name for child in folder.iterdir()) if folder.is_dir() else []
    return FoldlineError(
        f"no such file: {path.relative_to(root).as_posix()}",
        where=str(folder),
        next=f"it holds: {', '.join(held[:20]) or 'nothing'}; correct 'file' in the facts",
    )


def read_table(root: Path, rows: Rows) -> pd.DataFrame:
    """All lines of the table or tables that the facts name."""
    frames = [_read_one(path, rows) for path in raw_files(root, rows)]
    if any(set(frame.columns) != set(frames[0].columns) for frame in frames):
        raise FoldlineError(f"the tables '{rows.file}' have different columns", where=str(root))
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def _read_one(path: Path, rows: Rows) -> pd.DataFrame:
    if path.suffix.lower() in (".parquet", ".pq"):
        frame = read_parquet(path)
        texts = {name: _as_text(frame[name]) for name in frame.columns if name != rows.encoded}
        return pd.DataFrame(texts, index=frame.index)
    is_tsv = ".tsv" in [suffix.lower() for suffix in path.suffixes] and rows.separator == ","
    return read_csv(path, separator="\t" if is_tsv else rows.separator, columns=rows.columns or ())


def _as_text(column: "pd.Series[object]") -> "pd.Series[str]":
    """Typed cells as text: a missing cell is empty, whole numbers that Parquet holds as such have no point."""
    return pd.Series(["" if _is_missing(cell) else str(cell) for cell in column], index=column.index, dtype=str)


def _is_missing(cell: object) -> bool:
    return cell is None or cell is pd.NA or (isinstance(cell, float) and cell != cell)
