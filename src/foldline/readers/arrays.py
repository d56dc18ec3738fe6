"""The reader of arrays: IDX files (MNIST), `.npy`, and `file.npz:name` (MedMNIST). Nothing is unpickled.

Columns: `index` (from 0), `label` where the facts name an array of labels, and `picture`.
"""

import errno
import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.competition import RowFacts
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.tables import require_file
from foldline.readers.files import file_names, raw_path
from foldline.readers.pictures import PICTURE, PictureFolder

UINT8 = 8  # the IDX type code of bytes
GZIP = b"\x1f\x8b"
MOST_PACKED = 1033  # deflate cannot pack better than 1 to 1032
# What numpy, zlib and zipfile raise for bytes that are not what they should be.
BROKEN = (
    *(ValueError, OSError, EOFError, TypeError, LookupError, OverflowError, MemoryError, NotImplementedError),
    *(RuntimeError, SyntaxError, tokenize.TokenError, zlib.error, zipfile.BadZipFile),
)


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
            raise FoldlineError(
                f"{counted(len(labels), 'labels')} for {counted(len(pictures), 'pictures')}", where=rows.labels
            )
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
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))  # it looks at the file's size first
        return parse_idx(path.read_bytes(), where=str(path))
    except BROKEN as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # that one is a jump to nowhere
            raise
        raise FoldlineError(f"not an array: {error}", where=str(path), next="download it again") from error


def _from_npz(path: Path, member: str) -> NDArray[Any]:
    with zipfile.ZipFile(path) as archive:
        held = {item.filename.removesuffix(".npy"): item for item in archive.infolist()}
        if member not in held:
            raise FoldlineError(
                f"has no array '{member}'", where=str(path), next=f"write {path.name}:NAME; it holds {list(held)}"
            )
        item = held[member]
        with archive.open(item) as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(stream)
        size = math.prod(shape) * dtype.itemsize
        if size > item.file_size or item.file_size > MOST_PACKED * (item.compress_size + 1):
            raise ValueError(f"it says that it holds {size} bytes, and does not")
        with archive.open(item) as stream:
            return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def parse_idx(content: bytes, *, where: str) -> NDArray[np.uint8]:
    """An IDX file of bytes (http://yann.lecun.com/exdb/mnist/ describes it), unpacked when it is gzipped.

    >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]), where="").tolist()
    [7, 9]
    """
    packed = content.startswith(GZIP)
    head = zlib.decompressobj(31).decompress(content, 4 + 4 * 255) if packed else content
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] != UINT8:
        raise FoldlineError("not an IDX file of bytes", where=where, next="correct `file` and `labels` in the facts")
    start = 4 + 4 * head[3]
    shape = [int(side) for side in np.frombuffer(head[4:start], dtype=">u4")]
    size = math.prod(shape)
    if packed and size <= MOST_PACKED * len(content):
        content = zlib.decompressobj(31).decompress(content, start + size + 1)
    if len(content) - start != size:
        what = f"the IDX file is cut off: {len(content) - start} bytes for {shape}"
        raise FoldlineError(what, where=where, next="download it again")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)
