"""Tables of predictions: `oof.parquet`, `test.parquet`, `valid.parquet`. Checked when written and when read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.tables import read_parquet, require_unique, write_parquet
from foldline.core.task import Task

ROW_SUM_TOLERANCE = 1e-5  # float32 probabilities of some thousand classes
AT_A_TIME = 1_000_000  # numbers that are checked together, in float64: 8 MB


def predictions_table(
    rows: pd.DataFrame,
    values: NDArray[np.floating[Any]],
    task: Task,
    outputs: Sequence[str],
    *,
    keep: Sequence[str] = (),
) -> pd.DataFrame:
    """`row_id`, the columns `keep` of `rows`, and one float32 column for each output.

    Args:
        rows: the rows table, in the order of `values`.
        values: [rows, outputs] probabilities or values.
    """
    columns = task.prediction_columns(outputs)
    table = rows[["row_id", *keep]].reset_index(drop=True)
    return pd.concat([table, pd.DataFrame(values.astype(np.float32, copy=False), columns=columns, copy=False)], axis=1)


def check_predictions(
    table: pd.DataFrame, task: Task, outputs: Sequence[str], *, ids: "pd.Series[str]", where: str, sums: bool = True
) -> None:
    """Raises FoldlineError unless every id is there once, every number finite, and exclusive classes sum to 1.

    Args:
        ids: the ids that must be there, in any order.
        sums: whether probabilities of classes that exclude each other must sum to 1 (rank means do not).
    """
    require_unique(table["row_id"], where=where)
    odd = sorted(set(table["row_id"]) ^ set(ids))
    if odd:
        raise FoldlineError(f"{counted(len(odd), 'ids are')} missing or unknown: {first_few(odd)}", where=where)
    columns = task.prediction_columns(outputs)
    some = max(1, AT_A_TIME // max(len(columns), 1))
    for start in range(0, len(table), some):
        check_values(table.iloc[start : start + some], columns, task.of(outputs), where=where, sums=sums)


def check_values(table: pd.DataFrame, columns: list[str], task: Task, *, where: str, sums: bool) -> None:
    """What `check_predictions` says of the numbers of some rows, of which it makes float64."""
    values = table[columns].to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        bad = table.loc[~np.isfinite(values).all(axis=1), "row_id"].tolist()
        raise FoldlineError(f"{counted(len(bad), 'rows hold')} no finite number: {first_few(bad)}", where=where)
    for block in task.blocks if sums else ():
        if not block.task.exclusive:
            continue
        total = values[:, block.columns].sum(axis=1)
        off = total[np.abs(total - 1) > ROW_SUM_TOLERANCE]
        if len(off):
            what = f"probabilities{f' of {block.name}' if block.name else ''} of a row sum to {off[0]:.6f}, not 1"
            raise FoldlineError(what, where=where)


def read_predictions(path: Path, task: Task, outputs: Sequence[str], *, ids: "pd.Series[str]") -> pd.DataFrame:
    """A table of predictions in the order of `ids`, checked."""
    table = read_parquet(path, required=("row_id", *task.prediction_columns(outputs)))
    check_predictions(table, task, outputs, ids=ids, where=str(path), sums=False)
    return table.set_index("row_id").loc[ids.tolist()].reset_index()


def write_predictions(
    path: Path, table: pd.DataFrame, task: Task, outputs: Sequence[str], *, ids: "pd.Series[str]", sums: bool = True
) -> None:
    """Writes a table of predictions after the checks of `check_predictions`."""
    check_predictions(table, task, outputs, ids=ids, where=str(path), sums=sums)
    write_parquet(path, table)
