"""What onnxruntime makes of a file, and how far that is from torch. Reads and writes nothing."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldline.core.errors import FoldlineError
from foldline.core.task import Array, Task
from foldline.engine.onnx.write import METADATA, PICTURES

# The largest difference that is allowed, of a probability, or of a number as a share of the largest one.
TOLERANCE = {False: 1e-4, True: 1e-2}  # by whether weights are in half precision


def largest_difference(
    content: bytes,
    pictures: NDArray[np.uint8],
    cells: NDArray[np.float64] | None,
    expected: Array,
    task: Task,
    *,
    threads: int,
) -> float:
    """The largest difference from what torch says, of numbers as a share of the largest one; nan if one is no number.

    The pictures are given all together, and again one alone and the others together: any number must do.

    Args:
        content: of an ONNX file.
        pictures: [pictures, height, width, channels]; at least two.
        cells: [pictures, columns] where the graph takes metadata.
        expected: [pictures, outputs] what torch says.
        task: with its outputs known.
    """
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = threads
    session = InferenceSession(content, options, providers=["CPUExecutionProvider"])
    inputs = {PICTURES: pictures} | ({} if cells is None else {METADATA: cells})
    together = _run(session, inputs, [slice(None)])
    apart = _run(session, inputs, [slice(1), slice(1, None)])
    scale = np.ones(expected.shape[1])
    for block in task.blocks:
        if not block.task.has_classes:
            scale[block.columns] = max(float(np.abs(expected[:, block.columns]).max()), 1e-12)
    return float(max((np.abs(found - expected) / scale).max() for found in (together, apart)))


def _run(session: Any, inputs: dict[str, NDArray[Any]], parts: Sequence[slice]) -> Array:
    found = [session.run(None, {name: values[part] for name, values in inputs.items()})[0] for part in parts]
    return np.concatenate(found).astype(np.float64)


def require_alike(difference: float, *, half: bool) -> None:
    """Raises FoldlineError where the file says something else than torch."""
    if not difference <= TOLERANCE[half]:  # nan too
        raise FoldlineError(
            f"onnxruntime and torch differ by up to {difference:.1e}, and {TOLERANCE[half]:.0e} is allowed",
            where="export onnx",
            next="leave --half out" if half else "nothing is written; export a folder instead (foldline export folder)",
        )
