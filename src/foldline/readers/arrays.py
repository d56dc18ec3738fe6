"""The reader of arrays: IDX files (MNIST), `.npy`, and `file.npz:name` (MedMNIST). Nothing is unpickled.

Columns: `index` (from 0), `label` where the facts name an array of labels, and `picture`.
"""

import gzip
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.competition import RowFacts
from foldline.core.errors import FoldlineError, first_few
from foldline.core.tables import require_file
from foldline.readers.files import file_names, raw_path
from foldline.readers.pictures import PICTURE, PictureFolder

UINT8 = 8  # the IDX type code of bytes
GZIP = b"\x1f\x8b"


def read_arrays(root: Path, rows: RowFacts) -> pd.DataFrame:
    """A line for each picture of the array `rows.file`, [n, height, width] or [n, height, width, channels] uint8."""
    names = file_names(rows)
    if len(names) > 1:
        raise FoldlineError(f"reader arrays reads one array, not {len(names)}: {first_few(names)}", where="file")
    name = names[0] if names else ""
    pictures = load_array(root, name)
    if pictures.ndim not in (3, 4) or pictures.dtype != np.uint8:
        raise FoldlineError(
            f"no array of pictures: its shape is {list(pictures.shape)}, its type {pictures.dtype}",
            where=name,
            next="expected [n, height, width] or [n, height, width, channels] of uint8",
        )
    table = pd.DataFrame({"index": [str(i) for i in range(len(pictures))]}, dtype=str)
    if rows.labels is not None:
        labels = load_array(root, rows.labels)
        if len(labels) != len(pictures):
            raise FoldlineError(f"{len(labels)} labels for {len(pictures)} pictures", where=rows.labels)
        table["label"] = [" ".join(str(part) for part in np.atleast_1d(label)) for label in labels.tolist()]
    file = raw_path(root, name.partition(":")[0], where="file")
    with PictureFolder(root, [file], {"array": name}) as folder:
        table[PICTURE] = folder.add_all(pictures, len(pictures))
    return table


def load_array(root: Path, name: str) -> NDArray[Any]:
    """One array: an IDX file (gzipped or not), a `.npy` file, or `file.npz:name`."""
    file, _, member = name.partition(":")
    path = raw_path(root, file, where="file")
    require_file(path, next="correct `file` and `labels` in the facts")
    try:
        if path.suffix == ".npz":
            return _from_npz(path, member)
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        return parse_idx(path.read_bytes(), where=str(path))
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise FoldlineError(f"not an array: {error}", where=str(path)) from error


def _from_npz(path: Path, member: str) -> NDArray[Any]:
    with np.load(path, allow_pickle=False) as arrays:
        if member not in arrays.files:
            raise FoldlineError(
                f"has no array '{member}'", where=str(path), next=f"write {path.name}:NAME; it holds {arrays.files}"
            )
        return np.asarray(arrays[member])


def parse_idx(content: bytes, *, where: str) -> NDArray[np.uint8]:
    """An IDX file of bytes (http://yann.lecun.com/exdb/mnist/ describes it), unpacked when it is gzipped.

    >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]), where="").tolist()
    [7, 9]
    """
    if content.startswith(GZIP):
        content = gzip.decompress(content)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != UINT8:
        raise FoldlineError("not an IDX file of bytes", where=where)
    start = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:start], dtype=">u4").astype(int)
    if len(content) - start != int(np.prod(shape)):
        raise FoldlineError(f"the IDX file is cut off: {len(content) - start} bytes for {list(shape)}", where=where)
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)
