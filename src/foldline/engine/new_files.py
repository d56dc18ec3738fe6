"""Predicts pictures that belong to no competition's rows: new files, with a finished run's networks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.records.fold_meta import FoldMeta
from foldline.engine.infer import predict
from foldline.engine.machine.device import pick_device, prepare_device
from foldline.engine.predict_run import load_models, precision_of
from foldline.engine.problem import RowArrays
from foldline.images.files.decode import decode, resize
from foldline.images.store import PictureStore
from foldline.models.architecture import Preprocessing


def predict_files(
    layout: Layout, comp: str, run: str, files: Sequence[Path], *, device: str = "auto", batch_size: int = 32
) -> pd.DataFrame:
    """What a run says of picture files: the mean over its trained folds and their views.

    Args:
        layout: the project folder.
        files: the pictures; of any size and of the kinds that the competition's pictures may have.

    Returns:
        `file` and the prediction columns (`prob_<class>` or `value`), a row for each file, in the given order.

    Raises:
        FoldlineError: no fold of the run is trained, or its networks read metadata.
        BadImageError: a file is no whole picture.
    """
    folders = sorted(path.parent for path in layout.run(comp, run).glob("fold_*/meta.json"))
    if not folders:
        raise FoldlineError(
            f"no fold of the run '{run}' is trained",
            where=layout.relative(layout.run(comp, run)),
            next=f"make train-all COMP={comp} RUN={run}",
        )
    chosen = pick_device(device)
    prepare_device(chosen)
    metas = [FoldMeta.read(folder / "meta.json") for folder in folders]
    first = metas[0]
    if first.metadata is not None:
        raise FoldlineError(f"the run '{run}' reads metadata beside the picture: new files have none", where=run)
    height, width = first.height_width
    pixels = np.stack([resize(decode(Path(file), first.channels, first.intensity), height, width) for file in files])
    rows = RowArrays(np.arange(len(pixels)), np.empty(0))
    folds = [load_models(folder, meta, chosen) for folder, meta in zip(folders, metas, strict=True)]
    prob = predict(
        folds, PictureStore(pixels, chosen), rows, Preprocessing(first.mean, first.std, first.interpolation), chosen,
        precision_of(first, chosen), views=first.views, activation=[meta.activation for meta in metas],
        batch_size=batch_size,
    ).mean(axis=0)  # fmt: skip
    table = pd.DataFrame(prob, columns=first.task.prediction_columns(first.outputs))
    table.insert(0, "file", [str(file) for file in files])
    return table
