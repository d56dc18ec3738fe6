"""A DICOM file becomes a gray or RGB picture, as a viewer would show it. Needs the extra `dicom`.

Reads bytes, writes nothing. Definitions: DICOM PS3.3, C.7.6.3 (pixels), C.11.1 (modality LUT), C.11.2 (window).
"""

import struct
import warnings
import zlib
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from foldline.core.errors import FoldlineError
from foldline.images.files.header import BadImageError, require_size
from foldline.images.files.intensity import Intensity, Pixels, Values, require_finite, scale, to_bytes

if TYPE_CHECKING:
    from pydicom import Dataset

INSTALL = "pip install 'foldline[dicom]'"
# What pydicom and its decoders raise on damaged files; each came up by cutting or changing files.
_BROKEN = (ValueError, LookupError, ArithmeticError, AttributeError, TypeError, RuntimeError, EOFError, OSError)

# The first that is there decodes. Left to itself pydicom tries one after the other, and gdcm ends the whole process on
# some damaged JPEG and JPEG 2000 files (measured). It is left what nothing else reads: JPEG of 12 bits, and lossless.
_PLUGINS = ("pydicom", "pylibjpeg", "pyjpegls", "pillow", "gdcm")


def read_dicom(content: bytes, intensity: Intensity) -> Pixels:
    """[height, width, 1 or 3] uint8; of a file with several frames the middle one.

    - `auto`: the file's first VOI LUT or window (level); without one, 8 bits as they are and more by `minmax`.
    - `full`: all numbers that the file's bits can hold. `minmax`, `percentile`: as everywhere, after the modality LUT
      (rescale slope and intercept) and without the file's padding.

    MONOCHROME1, where small numbers are bright, is inverted; YBR and palettes become RGB.

    Raises:
        FoldlineError: pydicom, or the decoder of the file's compression, is not installed.
        BadImageError: the file is broken, or holds no picture.
    """
    _require_pydicom()
    from pydicom import errors

    try:
        dataset = _dataset(content)
        frame = _prepare(dataset)
        return _read(dataset, frame, intensity)
    except (*_BROKEN, struct.error, zlib.error, errors.BytesLengthException, errors.InvalidDicomError) as error:
        reason = str(error).strip().split("\n", maxsplit=1)[0][:200]
        raise BadImageError(f"the DICOM cannot be decoded: {reason or type(error).__name__}") from error


@cache
def _require_pydicom() -> None:
    try:
        from pydicom import config
    except ImportError as error:
        raise FoldlineError("DICOM pictures need the package pydicom", next=INSTALL) from error
    config.settings.reading_validation_mode = config.IGNORE  # odd texts in a header are no reason to stop
    warnings.filterwarnings("ignore", module=r"pydicom\.")  # one a file, thousands in all


def _dataset(content: bytes) -> "Dataset":
    from pydicom import dcmread
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    dataset = dcmread(BytesIO(content), force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:  # files of before 1993, and some of today, begin without a header
        implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise BadImageError("the DICOM holds no pixels: it is truncated, or a report")
    return dataset


def _prepare(dataset: "Dataset") -> int:
    """Checks size and decoder before anything is decoded; returns the number of the middle frame."""
    require_size(int(dataset.Rows), int(dataset.Columns))
    frame = int(dataset.get("NumberOfFrames") or 1) // 2
    _flatten(dataset, frame)
    return frame


def _decoder(dataset: "Dataset") -> str:
    """The one plug-in that decodes the file's compression; "" where nothing is compressed."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import JPEGExtended12Bit

    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        return ""
    available = get_decoder(syntax).available_plugins
    plugins = ("gdcm",) if syntax == JPEGExtended12Bit else _PLUGINS  # pillow says that it can, and cannot
    chosen = next((name for name in plugins if name in available), None)
    if chosen is None:
        raise FoldlineError(f"this DICOM's compression needs a decoder: {syntax.name}", next=INSTALL)
    return chosen


def _flatten(dataset: "Dataset", frame: int) -> None:
    """Lifts the frame's rescale and window out of the groups in which enhanced multi-frame files keep them."""
    shared, each = dataset.get("SharedFunctionalGroupsSequence"), dataset.get("PerFrameFunctionalGroupsSequence")
    groups = ([shared[0]] if shared else []) + ([each[frame]] if each else [])
    for group in groups:
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for item in group.get(name) or []:
                dataset.update({element.tag: element for element in item})


def _read(dataset: "Dataset", frame: int, intensity: Intensity) -> Pixels:
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    stored: Values = pixel_array(dataset, index=frame, decoding_plugin=_decoder(dataset))  # YBR becomes RGB here
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return to_bytes(apply_color_lut(stored, dataset), "full" if intensity == "auto" else intensity)
    if stored.ndim == 3:
        return to_bytes(stored, intensity, _stored_range(dataset, stored))
    return _gray(dataset, stored, intensity)[:, :, None]


def _gray(dataset: "Dataset", stored: Values, intensity: Intensity) -> Pixels:
    """[height, width] uint8."""
    from pydicom.pixels.processing import apply_modality_lut

    values: Values = apply_modality_lut(stored, dataset)
    if intensity != "full":
        require_finite(values)  # a rescale slope or intercept that is no number
    padding = np.zeros(stored.shape, dtype=np.bool_)
    if intensity == "auto" and _has_window(dataset):
        gray = _windowed(dataset, values)
    else:
        padding = _padding(dataset, stored)
        gray = _without_window(dataset, stored, values, padding, intensity)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        gray = np.uint8(255) - gray
    gray[padding] = 0
    return gray


def _has_window(dataset: "Dataset") -> bool:
    return _has_lut(dataset) or None not in (dataset.get("WindowCenter"), dataset.get("WindowWidth"))


def _has_lut(dataset: "Dataset") -> bool:
    lut = dataset.get("VOILUTSequence")
    return bool(lut) and None not in (lut[0].get("LUTDescriptor"), lut[0].get("LUTData"))


def _windowed(dataset: "Dataset", values: Values) -> Pixels:
    """By pydicom's window or VOI LUT. What lies beyond the window's ends tells the range of its output."""
    from pydicom.pixels.processing import apply_voi_lut

    if _has_lut(dataset):
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        return scale(apply_voi_lut(np.rint(values).astype(np.int64), dataset), 0, 2**bits - 1)
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = apply_voi_lut(np.array([-1e30, 1e30]), dataset)
        if not low < high:
            raise BadImageError("its window (center, width) is no finite range; data.intensity=minmax needs none")
        return scale(apply_voi_lut(values, dataset), low, high)


def _without_window(
    dataset: "Dataset", stored: Values, values: Values, padding: Values, intensity: Intensity
) -> Pixels:
    if intensity == "full" or (intensity == "auto" and dataset.get("BitsStored", 16) <= 8):
        return to_bytes(stored[:, :, None], "full", _stored_range(dataset, stored))[:, :, 0]
    known = np.where(padding, np.nan, values.astype(np.float64))
    return to_bytes(known[:, :, None], "percentile" if intensity == "percentile" else "minmax")[:, :, 0]


def _stored_range(dataset: "Dataset", stored: Values) -> tuple[float, float] | None:
    """What the bits can hold; None for fractions."""
    if not np.issubdtype(stored.dtype, np.integer):
        return None
    bits = int(dataset.BitsStored)
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dataset.PixelRepresentation else (0, 2**bits - 1)


def _padding(dataset: "Dataset", stored: Values) -> Any:
    """[height, width] bool: what the file says is no part of the picture (C.7.5.1.1.2)."""
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int):
        return np.zeros(stored.shape, dtype=np.bool_)
    limit = dataset.get("PixelPaddingRangeLimit")
    ends = sorted((value, limit if isinstance(limit, int) else value))
    return (stored >= ends[0]) & (stored <= ends[1])
