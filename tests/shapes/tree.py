"""Files of a made competition: pictures whose colour or brightness tells the label, tables, and archives."""

import csv
import io
import json
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

SIZE = 32  # px


class Tree:
    """Writes below `root`; everything random comes from `rng`."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.rng = np.random.default_rng(seed)
        root.mkdir(parents=True)

    def deal(self, rows: int, of: int) -> list[int]:
        """[rows] classes 0 to of - 1, each equally often, shuffled."""
        return [int(i) for i in self.rng.permutation(np.arange(rows) % of)]

    def names(self, count: int, length: int = 12) -> list[str]:
        """Ids of hexadecimal digits, as most competitions have them."""
        return [bytes(self.rng.integers(0, 256, length // 2, dtype=np.uint8)).hex() for _ in range(count)]

    def numbers(self, count: int, digits: int) -> list[str]:
        """Different ids of so many decimal digits, the first never 0."""
        found = self.rng.choice(9 * 10 ** (digits - 1), count, replace=False) + 10 ** (digits - 1)
        return [str(number) for number in found]

    def coloured(self, on: int | Sequence[int], of: int) -> NDArray[np.uint8]:
        """A noisy picture [SIZE, SIZE, 3] BGR whose hue tells the class; several classes share it in stripes."""
        classes = [on] if isinstance(on, int) else list(on)
        hues = np.array([int(180 * c / of) for c in classes]) if classes else np.array([0])
        hsv = np.empty((SIZE, SIZE, 3), dtype=np.uint8)
        hsv[..., 0] = hues[np.arange(SIZE) * len(hues) // SIZE][:, None]
        hsv[..., 1] = 200 if classes else 0
        hsv[..., 2] = 170
        coarse = self.rng.normal(0, 30, (SIZE // 2, SIZE // 2, 3))  # detail that a JPEG keeps
        noise = cv2.resize(coarse, (SIZE, SIZE))
        pixels = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR), dtype=np.float64) + noise
        return np.clip(pixels, 0, 255).astype(np.uint8)

    def gray(self, of_all: float) -> NDArray[np.float64]:
        """A noisy picture [SIZE, SIZE] of 0 to 1, brighter for a larger share `of_all`."""
        return np.asarray(np.clip(0.2 + 0.6 * of_all + self.rng.normal(0, 0.1, (SIZE, SIZE)), 0, 1))

    def write(self, name: str, content: bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def picture(self, name: str, on: int | Sequence[int], of: int) -> None:
        """A coloured picture, in the format of the name's ending."""
        self.write(name, encoded(self.coloured(on, of), "." + name.rpartition(".")[2]))

    def csv(self, name: str, header: str, lines: Iterable[Sequence[object]]) -> None:
        """A table; the header is text such as `id,label`."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header.split(","))
        writer.writerows(lines)
        self.write(name, text.getvalue().encode())

    def parquet(self, name: str, key: str, rows: Mapping[str, NDArray[np.uint8]]) -> None:
        """A table with a line for each id and a column for each of its numbers."""
        pixels = np.stack(list(rows.values()), axis=1)
        columns = {key: list(rows), **{str(place): values for place, values in enumerate(pixels)}}
        parquet.write_table(pa.table(columns), self.root / name)

    def json(self, name: str, content: Any) -> None:
        self.write(name, json.dumps(content).encode())

    def pack(self, archive: str, *names: str) -> None:
        """Moves files or folders into an archive; a `.gz` is a plain tar that only says so."""
        path = self.root / archive
        if archive.endswith(".7z"):
            import py7zr

            with py7zr.SevenZipFile(path, "w") as seven:
                for name in names:
                    seven.write(self.root / name, f"data/processed/{name}")
        elif archive.endswith(".gz"):
            with tarfile.open(path, "w") as tar:
                for name in names:
                    tar.add(self.root / name, name)
        else:
            zip_files(path, self.root, names)
        for name in names:
            inside = self.root / name
            shutil.rmtree(inside) if inside.is_dir() else inside.unlink()


def zip_files(archive: Path, root: Path, names: Iterable[str]) -> None:
    """Files and whole folders below `root` as a zip."""
    with zipfile.ZipFile(archive, "w") as content:
        for name in names:
            path = root / name
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file():
                    content.write(file, file.relative_to(root).as_posix())


def encoded(pixels: NDArray[np.uint8], suffix: str = ".jpg") -> bytes:
    """A picture file of BGR or gray pixels."""
    done, content = cv2.imencode(suffix, pixels)
    assert done
    return content.tobytes()


def bson(document: dict[str, Any]) -> bytes:
    """A document of ints, bytes, lists and documents as BSON (https://bsonspec.org)."""
    body = b""
    for key, value in document.items():
        name = key.encode() + b"\0"
        if isinstance(value, int):
            body += b"\x10" + name + struct.pack("<i", value)
        elif isinstance(value, bytes):
            body += b"\x05" + name + struct.pack("<i", len(value)) + b"\0" + value
        elif isinstance(value, list):
            body += b"\x04" + name + bson({str(i): item for i, item in enumerate(value)})
        else:
            body += b"\x03" + name + bson(value)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def dicom(gray: NDArray[np.float64], *, inverted: bool = False) -> bytes:
    """A DICOM file of 12 stored bits; 1 is shown the brightest, and stored as 0 where it is inverted."""
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[gray.tobytes().hex()])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Rows, data.Columns = gray.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, f"MONOCHROME{1 if inverted else 2}"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.WindowCenter, data.WindowWidth = 2048, 4096
    data.PixelData = ((1 - gray if inverted else gray) * 4095).astype("<u2").tobytes()
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
