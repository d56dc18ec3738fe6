"""The reader of CIFAR's pickled batches. A pickle can run any code, so this one may only build plain arrays.

Columns: `index`, `filename`, `label` or `fine_label` and `coarse_label` (numbers), for each of them its name
(`label_name` ...) where `batches.meta` or `meta` lies beside, and `picture`.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foldline.core.competition import RowFacts
from foldline.core.errors import FoldlineError
from foldline.readers.files import raw_files
from foldline.readers.pictures import PICTURE, PictureFolder

# What a pickled array of numbers needs, in numpy 1 and 2, and nothing that can act.
ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}
LABELS = {"labels": "label", "fine_labels": "fine_label", "coarse_labels": "coarse_label"}
SHAPE = (3, 32, 32)


class _PlainUnpickler(pickle.Unpickler):
    """Refuses every class and function but those of plain arrays."""

    def find_class(self, module: str, name: str) -> Any:
        """What the pickle asks for by name, where it is allowed (see `pickle.Unpickler.find_class`)."""
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"the pickle asks for {module}.{name}")
        return super().find_class(module, name)


def load_plain_pickle(path: Path) -> dict[str, Any]:
    """A pickled map of numbers, texts and arrays; raises FoldlineError where it holds anything else."""
    try:
        with path.open("rb") as handle:
            content = _PlainUnpickler(handle, encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        raise FoldlineError(
            f"refused or broken pickle: {error}", where=str(path), next="use the file of the data set's own site"
        ) from error
    if not isinstance(content, dict):
        raise FoldlineError("the pickle holds no map", where=str(path))
    return {str(key): value for key, value in content.items()}


def read_cifar(root: Path, rows: RowFacts) -> pd.DataFrame:
    """A line for each picture of all batches that `rows.file` names (`cifar-10-batches-py/data_batch_*`)."""
    files = raw_files(root, rows)
    batches = [load_plain_pickle(path) for path in files]
    for path, batch in zip(files, batches, strict=True):
        data = batch.get("data")
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (int(np.prod(SHAPE)),):
            raise FoldlineError("no CIFAR batch: it holds no data of 3 x 32 x 32 bytes a picture", where=str(path))
    table = _labels(batches, _names(files[0].parent))
    data = np.concatenate([batch["data"] for batch in batches])
    with PictureFolder(root, files, "cifar") as folder:
        table[PICTURE] = folder.add_all(data.reshape(-1, *SHAPE).transpose(0, 2, 3, 1), len(data))
    return table


def _labels(batches: list[dict[str, Any]], names: dict[str, list[str]]) -> pd.DataFrame:
    count = sum(len(batch["data"]) for batch in batches)
    table = pd.DataFrame({"index": [str(i) for i in range(count)]}, dtype=str)
    for key, column in {"filenames": "filename", **LABELS}.items():
        if all(key in batch for batch in batches):
            cells = [cell for batch in batches for cell in batch[key]]
            table[column] = [str(cell) for cell in cells]
            if column in names:
                table[f"{column}_name"] = [names[column][int(cell)] for cell in cells]
    return table


def _names(folder: Path) -> dict[str, list[str]]:
    """The class names of each kind of label, from the file that CIFAR puts beside its batches."""
    meta = next((folder / name for name in ("batches.meta", "meta") if (folder / name).is_file()), None)
    content = load_plain_pickle(meta) if meta else {}
    return {column: content[f"{column}_names"] for column in LABELS.values() if f"{column}_names" in content}
