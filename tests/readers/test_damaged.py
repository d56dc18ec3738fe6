"""Damaged and hostile arrays, pickles, BSON and Parquet files: rows or an error in words, at once, in little memory."""

import gzip
import io
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from foldline.core.competition import RowFacts
from foldline.core.errors import FoldlineError
from foldline.readers import READERS
from foldline.readers.bson import parse_document
from foldline.readers.cifar import load_plain_pickle

GIANT = 1 << 40
PICTURES = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)
IDX = bytes([0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 4]) + PICTURES.tobytes()
BATCH = {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1], "filenames": ["a.png", "b.png"]}
PNG = b"\x89PNG\r\n\x1a\n picture"


def npy(array: Any = PICTURES) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=PICTURES)
    return buffer.getvalue()


def parquet() -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame({"id": ["a", "b"], "label": [0, 1]}).to_parquet(buffer)
    return buffer.getvalue()


def bson() -> bytes:
    elements = b"\x10_id\0" + struct.pack("<i", 7) + b"\x02name\0" + struct.pack("<i", 4) + b"cat\0"
    elements += b"\x05img\0" + struct.pack("<i", len(PNG)) + b"\0" + PNG
    return (struct.pack("<i", len(elements) + 5) + elements + b"\0") * 2


WHOLE: dict[str, tuple[str, bytes]] = {
    "a.npy": ("arrays", npy()),
    "a.npz": ("arrays", npz()),
    "a.idx": ("arrays", IDX),
    "a.idx.gz": ("arrays", gzip.compress(IDX)),
    "a.bson": ("bson", bson()),
    "a.parquet": ("csv", parquet()),
    "batch": ("cifar", pickle.dumps(BATCH, protocol=2)),
}


def read(folder: Path, file: str, content: bytes) -> pd.DataFrame:
    folder.mkdir(exist_ok=True)
    (folder / file).write_bytes(content)
    name = f"{file}:x" if file.endswith(".npz") else file
    return READERS[WHOLE[file][0]](folder, RowFacts.model_validate({"reader": WHOLE[file][0], "file": name}))


@contextmanager
def in_little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("file", WHOLE)
def test_a_damaged_file_gives_rows_or_an_error_in_words(file: str, tmp_path: Path) -> None:
    content, dice = WHOLE[file][1], np.random.default_rng(0)
    assert len(read(tmp_path, file, content)) in (2, 3)
    harmed = [content[:cut] for cut in (0, 1, 5, len(content) // 2, len(content) - 1)] + [b"\0" * len(content)]
    for _ in range(40):
        changed = bytearray(content)
        for at in dice.integers(len(content), size=int(dice.integers(1, 4))):
            changed[at] = dice.choice([0, 1, 0x7F, 0x80, 0xFF, int(dice.integers(256))])
        harmed.append(bytes(changed))
    refused = 0
    for number, damaged in enumerate(harmed):
        try:
            read(tmp_path / str(number), file, damaged)
        except FoldlineError:
            refused += 1
    assert refused >= 5


def asked_of(function: Any, *arguments: Any) -> bytes:
    """A pickle that calls a function."""

    class Asking:
        def __reduce__(self) -> Any:
            return function, arguments

    return pickle.dumps({"data": Asking()}, protocol=2)


RECONSTRUCT = np.zeros(1).__reduce__()[0]
HOSTILE = {
    "an array of a terabyte": asked_of(RECONSTRUCT, np.ndarray, (GIANT,), b"b"),
    "numpy's constructor": asked_of(np.ndarray, (GIANT,)),
    "a byte array": b"\x80\x05\x96" + struct.pack("<Q", GIANT) + b".",
    "bytes": b"\x80\x04\x8e" + struct.pack("<Q", GIANT) + b".",
    "a place in the memo": b"\x80\x02}r" + struct.pack("<I", 2**32 - 1) + b".",
    "code": asked_of(eval, "1"),
    "objects": pickle.dumps({"data": np.array([{}], dtype=object)}, protocol=2),
}


@pytest.mark.parametrize("harm", HOSTILE)
def test_a_pickle_that_asks_for_memory_or_code_is_refused(harm: str, tmp_path: Path) -> None:
    (tmp_path / "batch").write_bytes(HOSTILE[harm])
    with in_little_memory(), pytest.raises(FoldlineError, match=r"refused or broken pickle|no CIFAR batch"):
        read(tmp_path, "batch", HOSTILE[harm])


def test_a_pickle_cannot_copy_its_bytes_many_times(tmp_path: Path) -> None:
    text = "x" * 100_000
    encoded = [(b"\x80\x02]q\0(")]
    encoded += [b"c_codecs\nencode\nX" + struct.pack("<I", len(text)) + text.encode() + b"q\1X\6\0\0\0latin1\x86R"]
    encoded += [b"c_codecs\nencode\nh\1X\6\0\0\0latin1\x86R"] * 2000  # 200 MB of 200 kB
    content = b"".join(encoded) + b"e."
    (tmp_path / "batch").write_bytes(content)
    with in_little_memory(), pytest.raises(FoldlineError, match="no map"):
        load_plain_pickle(tmp_path / "batch")


@pytest.mark.parametrize("protocol", range(5))
def test_plain_arrays_of_every_protocol_are_read(protocol: int, tmp_path: Path) -> None:
    plain = np.arange(6, dtype=np.uint8).reshape(2, 3)
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "a": plain,
        "b": np.asfortranarray(plain),
        "c": np.arange(3, dtype=">i4"),
    }
    (tmp_path / "p").write_bytes(pickle.dumps(arrays, protocol=protocol))
    found = load_plain_pickle(tmp_path / "p")
    assert all(
        np.array_equal(found[name], array) and found[name].dtype == array.dtype for name, array in arrays.items()
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": [0]}, "labels is no list of 2"),
        ({"labels": [0, {}]}, "labels is no list of 2"),
        ({"labels": [0, 5]}, "1 label has no name, 5 first"),
        ({"labels": [0, -1]}, "1 label has no name, -1 first"),
        ({"filenames": 7}, "filenames is no list of 2"),
    ],
)
def test_labels_that_do_not_fit_are_refused(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    (tmp_path / "batches.meta").write_bytes(pickle.dumps({"label_names": ["cat", "dog"]}))
    with pytest.raises(FoldlineError, match=words):
        read(tmp_path, "batch", pickle.dumps({**BATCH, **change}, protocol=2))
    assert read(tmp_path / "fine", "batch", pickle.dumps(BATCH, protocol=2))["label"].tolist() == ["0", "1"]


def lying_npz() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.npy", npy().replace(b"(3, 4, 4)", b"(3, 9999999999)", 1))
    return buffer.getvalue()


GIANTS = {
    "a.npy": npy().replace(b"(3, 4, 4), }" + b" " * 8, b"(3, 99999999999), } ", 1),
    "a.npz": lying_npz(),
    "a.idx": IDX[:4] + b"\xff\xff\xff\xff" + IDX[8:],
    "a.idx.gz": gzip.compress(IDX[:4] + b"\xff\xff\xff\xff" * 3 + bytes(1 << 20)),
    "a.bson": struct.pack("<i", 2**31 - 1) + bson()[4:],
}


@pytest.mark.parametrize("file", GIANTS)
def test_a_header_that_says_more_than_the_file_holds_is_refused(file: str, tmp_path: Path) -> None:
    with in_little_memory(), pytest.raises(FoldlineError) as caught:
        read(tmp_path, file, GIANTS[file])
    assert caught.value.next


@pytest.mark.parametrize(
    "elements",
    [
        b"\x02a\0" + struct.pack("<i", -20) + b"x\0",  # a length that leads back: read for ever
        b"\x05a\0" + struct.pack("<i", -30) + b"\0x",
        b"\x10name without end",
        b"\x02a\0" + struct.pack("<i", 999) + b"x\0",
        b"\x03a\0" + struct.pack("<i", 999) + b"\0",
        b"\x0ba\0x\0\0",
    ],
)
def test_values_that_leave_their_document_are_refused(elements: bytes) -> None:
    document = struct.pack("<i", len(elements) + 5) + elements + b"\0"
    with pytest.raises((IndexError, struct.error)):
        parse_document(document + b"\0" * 2000, 0)


def test_documents_inside_documents_without_end(tmp_path: Path) -> None:
    content = b""
    for _ in range(3000):
        content = b"\x03a\0" + struct.pack("<i", len(content) + 5) + content + b"\0"
    with pytest.raises(FoldlineError, match="broken"):
        read(tmp_path, "a.bson", struct.pack("<i", len(content) + 5) + content + b"\0")


def test_pictures_inside_a_file_of_a_read_only_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(FoldlineError, match="this folder is read-only") as caught:
        read(tmp_path, "a.npy", WHOLE["a.npy"][1])
    assert "source.kind: folder" in caught.value.next
