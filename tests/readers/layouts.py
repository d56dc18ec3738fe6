"""Small raw layouts for tests: files are written, facts are a map."""

import io
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from foldline.core.competition import Competition

Bytes = NDArray[np.uint8]


def png(seed: int = 0, shape: tuple[int, ...] = (4, 4)) -> bytes:
    """A small picture file, another one for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    done, content = cv2.imencode(".png", pixels)
    assert done
    return content.tobytes()


def plant(root: Path, files: dict[str, str | bytes]) -> Path:
    """Writes files below `root`; an empty text stands for a picture."""
    for number, (name, content) in enumerate(files.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) and content else content or png(number))
    return root


def facts(train: dict[str, Any], task: Any = "binary", **more: Any) -> Competition:
    """Facts that hold `train` and what else every competition needs."""
    base: dict[str, Any] = {"source": {"kind": "placed"}, "task": task, "metric": "auc", "train": train}
    return Competition.parse(
        {**base, **({} if "test" in more else {"holdout": {"fraction": 0.5}}), **more}, where="test"
    )


def read_picture(root: Path, image: str) -> Bytes:
    """The pixels of a picture that a reader wrote, RGB."""
    if image.endswith(".npy"):
        return np.asarray(np.load(root / image))
    pixels = cv2.imread(str(root / image), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    return np.asarray(pixels if pixels.ndim == 2 else pixels[:, :, ::-1], dtype=np.uint8)


def idx(array: Bytes) -> bytes:
    """An array as an IDX file."""
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def bson(document: dict[str, Any]) -> bytes:
    """A document as BSON: ints, texts, bytes, lists and documents."""
    body = b""
    for key, value in document.items():
        name = key.encode() + b"\0"
        if isinstance(value, int):
            body += b"\x12" + name + struct.pack("<q", value)
        elif isinstance(value, str):
            body += b"\x02" + name + struct.pack("<i", len(value.encode()) + 1) + value.encode() + b"\0"
        elif isinstance(value, bytes):
            body += b"\x05" + name + struct.pack("<i", len(value)) + b"\0" + value
        elif isinstance(value, list):
            body += b"\x04" + name + bson({str(i): item for i, item in enumerate(value)})
        else:
            body += b"\x03" + name + bson(value)
    return struct.pack("<i", len(body) + 5) + body + b"\0"
