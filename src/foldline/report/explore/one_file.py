"""What one picture file tells without being decoded: size, format, JPEG quality, EXIF. Reads headers; writes nothing.

By Pillow, which reads no more than the header here; npy by NumPy and DICOM by pydicom (extra `dicom`). What a format
does not tell, or nobody here can read, is not in the result.
"""

import struct
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from foldline.core.picture_kinds import HEAD, picture_kind
from foldline.images.files.header import SAMPLES, BadImageError, read_header, require_size

Told = dict[str, float | str]

# The sum of the luminance table of ITU-T T.81, annex K, that the usual encoders scale by their quality.
_STANDARD_SUM = 3688
_TAIL = 1024  # bytes in which a whole JPEG or PNG file ends, unless something lies behind the picture
_ENDS = {"jpg": b"\xff\xd9", "png": b"IEND"}
_EXIF_BLOCK, _ORIENTATION, _MAKE, _MODEL, _SOFTWARE, _CHANGED, _TAKEN = 0x8769, 274, 271, 272, 305, 306, 0x9003
_DEPTHS = {"1": 1, "I;16": 16, "I;16B": 16, "I;16L": 16, "I": 32, "F": 32}  # Pillow's modes; all others have 8 bits
_WORDS = 60  # letters of a text that are kept


def facts_of(path: Path) -> Told:
    """Facts of a picture file, by name (`file_facts.FACTS`).

    Raises:
        BadImageError: the file is missing, empty, cut off, too large to be decoded, or no picture that is known here.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as handle:
            head = handle.read(HEAD)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise BadImageError(error.strerror or "cannot be read") from error
    if not size:
        raise BadImageError("the file is empty")
    kind = picture_kind(head)
    if not kind and read_header(head).kind == "dicom":  # one without the preamble
        kind = "dcm"
    _require_end(path, kind, size)
    told: Told = {"bytes": float(size), **_READERS.get(kind, _by_pillow)(path)}
    if kind:
        told["format"] = kind
    if kind == "png":
        told["bit_depth"] = float(head[24])  # of its first chunk: Pillow calls 16 bits of colour 8
    width, height = told.get("width"), told.get("height")
    if isinstance(width, float) and isinstance(height, float) and width > 0 and height > 0:
        require_size(int(height), int(width))
        told |= {
            "aspect": width / height,
            "megapixels": width * height / 1e6,
            "bits_per_pixel": 8 * size / (width * height),
        }
    return told


def _require_end(path: Path, kind: str, size: int) -> None:
    """Raises BadImageError where a JPEG or PNG file has lost its end; the whole file is read only to be sure."""
    if kind not in _ENDS:
        return
    with path.open("rb") as handle:
        handle.seek(max(0, size - _TAIL))
        if _ENDS[kind] in handle.read():
            return
    read_header(path.read_bytes())


def _by_pillow(path: Path) -> Told:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            width, height = picture.size
            told: Told = {
                "width": float(width),
                "height": float(height),
                "channels": float(len(picture.getbands())),
                "palette": float(picture.mode == "P"),
                "bit_depth": float(_DEPTHS.get(picture.mode, 8)),
                "icc": float("icc_profile" in picture.info),
                "progressive": float(bool(picture.info.get("progressive") or picture.info.get("interlace"))),
            }
            told.setdefault("format", (picture.format or "").lower())
            told |= _resolution(picture.info.get("dpi"))
            told |= _jpeg_quality(getattr(picture, "quantization", None))
            told |= _exif(picture)
    except (OSError, ValueError, SyntaxError, KeyError, IndexError, struct.error, OverflowError) as error:
        raise BadImageError("its header cannot be read: truncated, corrupt, or no picture") from error
    except Image.DecompressionBombError:  # more than Pillow takes; what training takes, `read_header` knows
        return _by_header(path)
    return told


def _resolution(dpi: Any) -> Told:
    """Dots per inch, where the file says so; cameras and scanners differ by it."""
    try:
        return {"dpi": float(round(float(dpi[0])))}
    except (TypeError, ValueError, IndexError, ZeroDivisionError, OverflowError):
        return {}


def _jpeg_quality(tables: Mapping[int, Any] | None) -> Told:
    """The quality 1..100 that the usual encoders (libjpeg) would have been asked for, by the luminance table.

    The sum of its numbers against that of the standard's table gives the scale, and libjpeg's rule the quality.
    """
    if not tables or len(tables[min(tables)]) != 64:
        return {}
    scale = 100 * sum(tables[min(tables)]) / _STANDARD_SUM
    quality = 5000 / scale if scale > 100 else (200 - scale) / 2
    return {"jpeg_quality": float(min(100, max(1, round(quality))))}


def _exif(picture: Any) -> Told:
    """Camera, orientation, software and time; a PNG's block is not looked for behind its pixels."""
    if "exif" not in picture.info and picture.format not in ("TIFF", "MPO", "JPEG"):
        return {"exif": 0.0}
    try:
        tags = picture.getexif()
        inner = tags.get_ifd(_EXIF_BLOCK) if _EXIF_BLOCK in tags else {}
    except (OSError, ValueError, SyntaxError, KeyError, TypeError, IndexError, struct.error, OverflowError):
        return {"exif": 1.0}  # there is one, and it is damaged
    told: Told = {"exif": float("exif" in picture.info)}
    camera = " ".join(part for part in (_text(tags.get(_MAKE)), _text(tags.get(_MODEL))) if part)
    told |= {"camera": camera} if camera else {}
    told |= {"software": software} if (software := _text(tags.get(_SOFTWARE))) else {}
    if isinstance(orientation := tags.get(_ORIENTATION), int):
        told["orientation"] = float(orientation)
    return told | _time(_text(inner.get(_TAKEN)) or _text(tags.get(_CHANGED)))


def _text(value: Any) -> str:
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value or "")
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()[:_WORDS]


def _time(text: str) -> Told:
    """Days since 1970 and the hour of the day, of EXIF's `2024:05:17 10:30:00`."""
    try:
        when = datetime.strptime(text, "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return {}
    since = when - datetime(1970, 1, 1)
    return {"taken_day": since.total_seconds() / 86400, "taken_hour": when.hour + when.minute / 60}


def _npy(path: Path) -> Told:
    """Height, width and channels of an array [height, width] or [height, width, channels]."""
    import numpy as np

    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadImageError("its header cannot be read: truncated, corrupt, or no array") from error
    if array.ndim not in (2, 3):
        raise BadImageError(f"an array of {list(array.shape)} is no picture of [height, width] or with channels")
    return {
        "height": float(array.shape[0]),
        "width": float(array.shape[1]),
        "channels": float(array.shape[2] if array.ndim == 3 else 1),
        "bit_depth": float(8 * array.dtype.itemsize),
    }


_DICOM = {
    "Rows": "height",
    "Columns": "width",
    "SamplesPerPixel": "channels",
    "BitsStored": "bit_depth",
}


def _dicom(path: Path) -> Told:
    """What the tags say, where pydicom is installed; else the size in bytes alone."""
    try:
        from pydicom import dcmread
        from pydicom.errors import InvalidDicomError
    except ImportError:
        return {}
    names = [*_DICOM, "Manufacturer", "ManufacturerModelName", "SoftwareVersions"]
    try:
        tags = dcmread(path, stop_before_pixels=True, specific_tags=[*names], force=True)
        told: Told = {ours: float(tags.get(name)) for name, ours in _DICOM.items() if tags.get(name) is not None}
    except (InvalidDicomError, OSError, ValueError, LookupError, TypeError, AttributeError, struct.error) as error:
        raise BadImageError("its DICOM header cannot be read") from error
    if "height" not in told:
        raise BadImageError("its DICOM header tells of no picture: truncated, or none")
    camera = " ".join(part for name in names[-3:-1] if (part := _text(tags.get(name))))
    told |= {"camera": camera} if camera else {}
    return told | ({"software": software} if (software := _text(tags.get(names[-1]))) else {})


def _rare(path: Path) -> Told:
    """By Pillow, else by the tags of a tif: Pillow knows none of many bands, and not every build JPEG 2000."""
    try:
        return _by_pillow(path)
    except BadImageError:
        return _by_header(path)


def _by_header(path: Path) -> Told:
    header = read_header(path.read_bytes())
    if not header.width:
        return {}
    samples = header.tags.get(SAMPLES, (1,))[0]
    told = {"width": header.width, "height": header.height, "bit_depth": header.bits, "channels": samples}
    return {name: float(value) for name, value in told.items()}


_READERS: dict[str, Callable[[Path], Told]] = {
    "npy": _npy,
    "dcm": _dicom,
    "tif": _rare,
    "jp2": _rare,
    "avif": _rare,
}
