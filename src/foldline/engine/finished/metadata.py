"""The metadata of new pictures: a table beside them, joined by path. Reads a CSV; writes nothing."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath

import pandas as pd

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.tables import read_csv

Metadata = pd.DataFrame | str | Path
BY = "path"  # the column that names a table's pictures


def metadata_table(metadata: Metadata | None, columns: Sequence[str], names: Sequence[str]) -> pd.DataFrame | None:
    """A row of text for each picture, in their order; None where the networks read no metadata.

    Args:
        metadata: a table, or the CSV of one. Its column `path` names the pictures as the predictions do, or by their
            file names alone; without it, its rows are the pictures in their order.
        columns: the metadata columns that the networks read.
        names: what the pictures are called.

    Raises:
        FoldlineError: there is no table and the networks read one, or a column or a picture's row is not in it.
    """
    if not columns:
        if metadata is not None:
            raise FoldlineError("these networks read no metadata", where="metadata", next="leave it out")
        return None
    if metadata is None:
        raise FoldlineError(
            f"these networks read metadata beside the picture: {', '.join(columns)}",
            where="metadata",
            next=f"give a table with these columns and '{BY}', the pictures' paths (predict-files: --metadata FILE)",
        )
    table = metadata if isinstance(metadata, pd.DataFrame) else read_csv(Path(metadata).expanduser())
    lacking = [name for name in columns if name not in table.columns]
    if lacking:
        raise FoldlineError(
            f"the table of metadata has no column {first_few(lacking)}",
            where="metadata",
            next="add it; cells may be empty where nothing is known",
        )
    rows = _rows_of(table, names)
    cells = table[list(columns)].iloc[rows].reset_index(drop=True)
    return cells.astype(object).where(cells.notna(), "").map(str).astype(str)


def _rows_of(table: pd.DataFrame, names: Sequence[str]) -> list[int]:
    """Which row of the table each picture is."""
    if BY not in table.columns:
        if len(table) != len(names):
            raise FoldlineError(
                f"the table of metadata has {counted(len(table), 'rows')} for {counted(len(names), 'pictures')}, "
                f"and no column '{BY}'",
                where="metadata",
                next=f"add a column '{BY}', or a row for each picture in their order",
            )
        return list(range(len(names)))
    given = [str(cell) for cell in table[BY]]
    keys, wanted = given, list(names)
    if set(wanted) - set(given):
        keys, wanted = [PurePath(cell).name for cell in given], [PurePath(name).name for name in names]
        _require_apart(names)
    place = {key: i for i, key in enumerate(keys)}
    lacking = [name for name, key in zip(names, wanted, strict=True) if key not in place]
    if lacking:
        raise FoldlineError(
            f"the table of metadata has no row of {counted(len(lacking), 'pictures')}: {first_few(lacking)}",
            where=f"metadata: column '{BY}'",
            next="add them; cells may be empty where nothing is known",
        )
    counts, asked = Counter(keys), set(wanted)
    twice = sorted(key for key, count in counts.items() if count > 1 and key in asked)
    if twice:
        raise FoldlineError(
            f"the table of metadata names pictures twice: {first_few(twice)}", where=f"metadata: column '{BY}'"
        )
    return [place[key] for key in wanted]


def _require_apart(names: Sequence[str]) -> None:
    """Raises FoldlineError where file names alone do not tell pictures apart."""
    paths: dict[str, set[str]] = {}
    for name in names:
        paths.setdefault(PurePath(name).name, set()).add(name)
    alike = sorted(path for same in paths.values() if len(same) > 1 for path in same)
    if alike:
        raise FoldlineError(
            f"pictures in several folders have one file name: {first_few(alike)}",
            where=f"metadata: column '{BY}'",
            next="name each in the table by the path that the predictions have",
        )
