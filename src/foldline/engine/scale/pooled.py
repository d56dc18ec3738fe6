"""The score over the validation rows of all folds that are there. Reads `fold_<k>/meta.json` and `valid.parquet`."""

from math import isfinite

import pandas as pd

from foldline.core.folds import Folds
from foldline.core.paths import Layout
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.tables import read_parquet
from foldline.scoring.metrics import metric_for, score


def pooled_now(layout: Layout, comp: str, name: str, folds: Folds) -> float | None:
    """As the end of a training of one fold after another says it; None where there is none, or it is undefined."""
    columns = folds.task.prediction_columns(folds.outputs)
    there = [layout.fold(comp, name, fold) for fold in range(folds.k)]
    metas = {folder: FoldMeta.read_if_there(folder / "meta.json") for folder in there}
    files = [
        folder / "valid.parquet" for folder, meta in metas.items() if meta and (folder / "valid.parquet").is_file()
    ]
    if not files:
        return None
    table = pd.concat([read_parquet(file, required=("row_id", *columns)) for file in files]).set_index("row_id")
    rows = folds.frame[folds.frame["row_id"].isin(table.index)]
    if not len(rows) or not table.index.is_unique:
        return None
    truth = folds.task.truth(rows, folds.outputs, where=f"folds/{comp}.csv")
    metric = metric_for(next(meta.metric for meta in metas.values() if meta), folds.task)
    found = score(metric, truth, table.loc[rows["row_id"], columns].to_numpy(dtype=float), task=folds.task)
    return found if isfinite(found) else None
