"""A short trial of a run of frozen features as it lies in a bundle, on some of its validation rows. Writes nothing."""

import time

import numpy as np
import pandas as pd

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.folds import load_folds
from foldline.core.paths import Layout
from foldline.core.tables import read_parquet
from foldline.core.task import Array
from foldline.engine.bundle.members import HeadsMember as Member
from foldline.engine.bundle.trial import Trial, decoded_per_second
from foldline.engine.finished.heads import HeadsMember
from foldline.engine.finished.pictures import Source
from foldline.engine.finished.reading import in_chunks
from foldline.engine.frozen import FEATURE_BATCH
from foldline.images.store import PictureStore

LARGEST_MOVE = 1e-3  # from OOF: pictures are decoded anew, in other batches


def try_heads(layout: Layout, comp: str, heads: HeadsMember, rows: pd.DataFrame, views: list[str]) -> Trial:
    """Predicts the rows, each by the head of its own fold, from their files.

    Args:
        heads: as it lies in the bundle.
        rows: of `trial.some_rows`, all of its folds.
        views: that the trial is said to be of, all together.
    """
    frame = load_folds(layout, comp).frame.set_index("row_id").loc[rows["row_id"]].reset_index()
    heads.ready()
    values, seconds = np.empty((len(frame), len(heads.record.outputs))), 0.0
    root = layout.input(comp)
    sources = [Source.of_row(root, image) for image in frame["image"]]
    for chunk in in_chunks(sources, heads.specs, FEATURE_BATCH, "stop"):
        start, own = time.perf_counter(), frame.iloc[chunk.rows]
        stores = {spec: PictureStore(pixels, heads.device) for spec, pixels in chunk.pixels.items()}
        found = heads.predictions(
            stores, np.arange(len(own)), metadata=own if heads.metadata else None, title=heads.run
        )
        place = [heads.folds.index(fold) for fold in own["fold"]]
        values[chunk.rows] = found[place, np.arange(len(own))]
        seconds += time.perf_counter() - start
    said = dict.fromkeys(views, values)
    return Trial(said, said, len(frame) / seconds, decoded_per_second(root, heads.specs, frame["image"].tolist()))


def require_alike(member: Member, values: Array, rows: pd.DataFrame) -> str:
    """In words how far the bundle's heads are from the run's OOF predictions; raises FoldlineError where that is far.

    Args:
        values: [rows, outputs] of the trial.
    """
    task, outputs = member.cv.task.of(member.cv.outputs), member.cv.outputs
    known = read_parquet(member.folder / "oof.parquet").set_index("row_id").loc[rows["row_id"]]
    right = known[task.prediction_columns(outputs)].to_numpy(dtype=np.float64)
    apart = float((np.abs(values - right) / np.maximum(1.0, np.abs(right))).max())
    if apart > LARGEST_MOVE:
        raise FoldlineError(
            f"what the bundle says of rows of '{member.run}' is up to {apart:.2g} from its OOF predictions",
            where=str(member.folder),
            next=f"make predict COMP={member.cv.comp} RUN={member.run}, after deleting its cv.json, fits it anew",
        )
    return f"they are at most {apart:.1g} from the OOF predictions ({counted(len(rows), 'rows')})"
