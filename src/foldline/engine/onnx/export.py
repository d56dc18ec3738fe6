"""A finished run as the bytes of an ONNX file, compared with torch. Reads the run's weights; writes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from foldline.core.records.fold_meta import MeasuredPrecision
from foldline.core.task import Array, Task
from foldline.engine.finished.folder import FinishedRun
from foldline.engine.finished.networks import FoldNetworks, mean_of_folds, predict_rows
from foldline.engine.machine.device import prepare_device
from foldline.engine.onnx.graph import cell_numbers, graph_of, metadata_columns
from foldline.engine.onnx.parity import largest_difference, require_alike
from foldline.engine.onnx.write import halve, opset_of, to_bytes, to_onnx
from foldline.images.store import PictureStore

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Exported:
    """A file's content, its opset, and how far it is from torch (`parity.largest_difference`)."""

    content: bytes
    opset: int
    difference: float


def float32_folds(run: FinishedRun) -> dict[str, list[FoldNetworks]]:
    """The folds of each trained run, on the CPU and in float32, whatever format they were trained in."""
    prepare_device(CPU)
    exact = MeasuredPrecision(choice="fp32").model_dump()
    return {
        own.name: [FoldNetworks.load(folder, meta.changed(precision=exact), CPU) for folder, meta in own.folds]
        for own in run.trained
    }


def export(
    run: FinishedRun,
    folds: Mapping[str, Sequence[FoldNetworks]],
    pixels: NDArray[np.uint8],
    table: pd.DataFrame,
    *,
    views: Sequence[str],
    half: bool,
    properties: Mapping[str, str],
) -> Exported:
    """All folds of a run or an ensemble in one graph: uint8 pictures [batch, height, width, channels] (and float64
    metadata [batch, columns]) -> float32 predictions [batch, outputs].

    Args:
        folds: as `float32_folds`.
        pixels: [pictures, height, width, channels] that the file is compared on; at least two.
        table: their metadata columns as text.
        views: in place of the run's own; empty: those.
        half: whether weights are stored in half precision.
        properties: what the file says of itself, beside its opset and the difference.

    Raises:
        FoldlineError: as `graph.graph_of`, `write.to_onnx`, `write.to_bytes` and `parity.require_alike`.
    """
    graph, columns = graph_of(run, folds, views), metadata_columns(run)
    cells = cell_numbers(columns, table) if columns else None
    inputs = [torch.from_numpy(values[:2]) for values in (pixels, cells) if values is not None]
    model = to_onnx(graph, tuple(inputs), output_name(run.task))
    if half:
        halve(model)
    expected = _by_torch(run, folds, pixels, table, views)
    said = {**properties, "opset": str(opset_of(model)), "weights": "float16" if half else "float32"}
    content = to_bytes(model, said)
    difference = largest_difference(content, pixels, cells, expected, run.task, threads=torch.get_num_threads())
    require_alike(difference, half=half)
    said |= {"max_difference_from_torch": f"{difference:.1e}", "compared_on_pictures": str(len(pixels))}
    return Exported(to_bytes(model, said), opset_of(model), difference)


def output_name(task: Task) -> str:
    """What the graph gives: probabilities, values, or predictions where there are both."""
    kinds = {block.task.has_classes for block in task.blocks}
    return "predictions" if len(kinds) > 1 else "probabilities" if True in kinds else "values"


def _by_torch(
    run: FinishedRun, folds: Mapping[str, Sequence[FoldNetworks]], pixels: NDArray[np.uint8], table: pd.DataFrame,
    views: Sequence[str],
) -> Array:  # fmt: skip
    """[pictures, outputs] by the code that predicts everywhere else."""
    store, positions = PictureStore(pixels, CPU), np.arange(len(pixels))
    said = {}
    for own in run.trained:
        values = predict_rows(
            folds[own.name],
            store,
            positions,
            table,
            views=views or own.views,
            batch_size=16,
            title=f"{own.name}, by torch",
        )
        said[own.name] = mean_of_folds(values).astype(np.float64)
    return run.combine(said)
