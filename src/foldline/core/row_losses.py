"""`fold_<k>/valid_losses.parquet`: how wrong each validation row was after each epoch, a column `epoch_<n>` each.

A label that is wrong is contradicted from the first epochs on, also by a network that later learns to doubt everything.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.tables import read_parquet, write_parquet

FILE = "valid_losses.parquet"


def add_epoch(folder: Path, ids: "pd.Series[str]", epoch: int, losses: NDArray[np.floating[Any]]) -> None:
    """Writes an epoch's column; those of this epoch and of later ones, of before a kill, are dropped."""
    path = folder / FILE
    table = pd.DataFrame({"row_id": ids.to_numpy()})
    if epoch > 1 and path.is_file():
        before = read_parquet(path)
        if before["row_id"].tolist() == table["row_id"].tolist():
            table = before[["row_id", *(name for name in _epochs(before) if int(name.split("_")[1]) < epoch)]]
    write_parquet(path, table.assign(**{f"epoch_{epoch}": losses.astype(np.float32)}))


def mean_losses(folders: list[Path], ids: "pd.Series[str]") -> NDArray[np.float64]:
    """[rows] the mean over the epochs of each row's loss; nan where that is not known (of a probe, of an ensemble).

    Args:
        folders: of the folds.
        ids: whose.
    """
    tables = [read_parquet(folder / FILE).set_index("row_id") for folder in folders if (folder / FILE).is_file()]
    if not tables:
        return np.full(len(ids), np.nan)
    means = pd.concat([table[_epochs(table)].mean(axis=1) for table in tables])
    return np.asarray(means[~means.index.duplicated()].reindex(ids), dtype=np.float64)


def _epochs(table: pd.DataFrame) -> list[str]:
    return [name for name in table.columns if name.startswith("epoch_")]
