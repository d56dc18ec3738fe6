"""The reader of CIFAR's pickled batches. A pickle can run any code and ask for any memory: here it calls nothing.

Columns: `index`, `filename`, `label` or `fine_label` and `coarse_label` (numbers), for each of them its name
(`label_name` ...) where `batches.meta` or `meta` lies beside, and `picture`.
"""

import io
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.competition import RowFacts
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.readers.files import raw_files
from foldline.readers.pictures import PICTURE, PictureFolder

LABELS = {"labels": "label", "fine_labels": "fine_label", "coarse_labels": "coarse_label"}
SHAPE = (3, 32, 32)
NEXT = "use the file of the data set's own site"


class _Type:
    """What a pickle says of an array's numbers, in place of numpy's dtype."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.order = code, "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def dtype(self) -> np.dtype[Any]:
        """numpy's; raises UnpicklingError for what is no number."""
        if not re.fullmatch(r"[biuf][1248]", self.code) or self.order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"an array of the type {self.code!r}")
        return np.dtype(f"{self.order}{self.code}")


class _Array:
    """What a pickle says of an array, in place of numpy's: a view of the bytes that are there, never memory ahead."""

    array: NDArray[Any] = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, by_column, raw = state
        content = raw.encode("latin-1") if isinstance(raw, str) else raw
        self.array: NDArray[Any] = np.frombuffer(content, kind.dtype()).reshape(shape, order="F" if by_column else "C")


class _PlainUnpickler(pickle.Unpickler):
    """Builds numbers, texts, lists, maps and arrays of numbers, and refuses every class and function."""

    def find_class(self, module: str, name: str) -> Any:
        """What the pickle asks for by name, where it is allowed (see `pickle.Unpickler.find_class`)."""
        stands_for = {
            ("multiarray", "_reconstruct"): lambda *_: _Array(),
            ("numpy", "ndarray"): "ndarray",
            ("numpy", "dtype"): _Type,
            ("_codecs", "encode"): _latin1,
        }
        key = ("multiarray", name) if re.fullmatch(r"numpy\._?core\.multiarray", module) else (module, name)
        if key not in stands_for:
            raise pickle.UnpicklingError(f"the pickle asks for {module}.{name}")
        return stands_for[key]


def _latin1(text: str, encoding: str) -> str:
    """The bytes of an array, as numpy pickles them for Python 2; `_Array` makes bytes of them, and nobody a copy."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"the pickle asks for the encoding {encoding!r}")
    return text


def load_plain_pickle(path: Path) -> dict[str, Any]:
    """A pickled map of numbers, texts and arrays; raises FoldlineError where it holds anything else."""
    try:
        content = path.read_bytes()
        for code, argument, _ in pickletools.genops(content):  # every length is that of what is there
            if "PUT" in code.name and isinstance(argument, int) and argument > len(content):
                raise pickle.UnpicklingError("the pickle asks for more memory than it needs")
        found = _PlainUnpickler(io.BytesIO(content), encoding="latin1").load()
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        RecursionError,
    ) as error:
        raise FoldlineError(f"refused or broken pickle: {error}", where=str(path), next=NEXT) from error
    if not isinstance(found, dict):
        raise FoldlineError("the pickle holds no map", where=str(path), next=NEXT)
    return {str(key): value.array if isinstance(value, _Array) else value for key, value in found.items()}


def read_cifar(root: Path, rows: RowFacts) -> pd.DataFrame:
    """A line for each picture of all batches that `rows.file` names (`cifar-10-batches-py/data_batch_*`)."""
    files = raw_files(root, rows)
    batches = [load_plain_pickle(path) for path in files]
    for path, batch in zip(files, batches, strict=True):
        data = batch.get("data")
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (int(np.prod(SHAPE)),):
            raise FoldlineError(
                "no CIFAR batch: it holds no data of 3 x 32 x 32 bytes a picture", where=str(path), next=NEXT
            )
        for key in ("filenames", *LABELS):
            cells = batch.get(key, [])
            count = len(cells) if isinstance(cells, list) and all(isinstance(cell, str | int) for cell in cells) else -1
            if key in batch and count != len(data):
                raise FoldlineError(
                    f"{key} is no list of {len(data)} names or numbers, one for each picture",
                    where=str(path),
                    next=NEXT,
                )
    table = _labels(batches, _names(files[0].parent), str(files[0].parent))
    data = np.concatenate([batch["data"] for batch in batches])
    with PictureFolder(root, files, "cifar") as folder:
        table[PICTURE] = folder.add_all(data.reshape(-1, *SHAPE).transpose(0, 2, 3, 1), len(data))
    return table


def _labels(batches: list[dict[str, Any]], names: dict[str, list[str]], where: str) -> pd.DataFrame:
    count = sum(len(batch["data"]) for batch in batches)
    table = pd.DataFrame({"index": [str(i) for i in range(count)]}, dtype=str)
    for key, column in {"filenames": "filename", **LABELS}.items():
        if all(key in batch for batch in batches):
            cells = [cell for batch in batches for cell in batch[key]]
            table[column] = [str(cell) for cell in cells]
            if column in names:
                known = dict(enumerate(names[column]))
                if odd := sorted({str(cell) for cell in cells} - {str(number) for number in known}):
                    raise FoldlineError(
                        f"{counted(len(odd), f'{key} have')} no name, {odd[0]} first: there are "
                        f"{counted(len(known), 'names')}",
                        where=where,
                        next=NEXT,
                    )
                table[f"{column}_name"] = [known[int(cell)] for cell in cells]
    return table


def _names(folder: Path) -> dict[str, list[str]]:
    """The class names of each kind of label, from the file that CIFAR puts beside its batches."""
    meta = next((folder / name for name in ("batches.meta", "meta") if (folder / name).is_file()), None)
    content = load_plain_pickle(meta) if meta else {}
    names = {column: content[f"{column}_names"] for column in LABELS.values() if f"{column}_names" in content}
    for column, found in names.items():
        if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
            raise FoldlineError(f"{column}_names is no list of names", where=str(meta), next=NEXT)
    return names
