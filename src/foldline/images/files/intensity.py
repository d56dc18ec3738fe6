"""Numbers of any kind become uint8: `data.intensity`. Nothing is read or written."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foldline.images.files.header import BadImageError

Pixels = NDArray[np.uint8]
Values = NDArray[Any]
Intensity = Literal["auto", "full", "minmax", "percentile", "on_white"]

PERCENTILES = (0.5, 99.5)
CONTAINERS = (255, 4095, 65535)  # whole numbers of 8, 12 or 16 bits, whatever the type that they are stored in


def to_bytes(values: Values, intensity: Intensity, full: tuple[float, float] | None = None) -> Pixels:
    """[height, width, channels] of any real type as uint8: a range becomes 0 to 255, what lies outside is cut off.

    - `full`: the range of the type: 0 to 65535 for uint16, 0 to 1 for fractions.
    - `minmax`, `percentile`: the picture's own smallest and largest number, or its 0.5 % and 99.5 % points. One and
      three channels share a range, so that colours keep their hue; of other counts each channel has its own.
    - `auto`: uint8 stays as it is. Whole numbers: 0 to 255, 4095 or 65535, the first that holds the picture, because
      12 bits stored in 16 would be nearly black by the type's range; `minmax` where there are larger or negative ones.
      Fractions: `minmax`.
    - `on_white`: as `auto`; what it does to alpha is done before (`over_white`).

    NaN and minus infinity become 0, infinity 255; they have no part in a picture's own range.

    Raises:
        BadImageError: the range is too wide or too narrow for a float64.

    Args:
        values: the picture.
        intensity: how the range is found.
        full: the smallest and largest possible number, where the file says it (DICOM).

    >>> to_bytes(np.array([[[0], [4095]]], dtype=np.uint16), "auto").ravel().tolist()
    [0, 255]
    >>> to_bytes(np.array([[[0.0], [0.5], [np.nan], [2.0]]]), "full").ravel().tolist()
    [0, 128, 0, 255]
    """
    intensity = "auto" if intensity == "on_white" else intensity
    if values.dtype == np.bool_:
        values = values.astype(np.uint8) * np.uint8(255)
    if values.dtype == np.uint8 and intensity in ("auto", "full") and full in (None, (0, 255)):
        return values
    low, high = _range(values, intensity, full)
    return scale(values, low, high)


def over_white(values: Values) -> Values:
    """[height, width, channels] of a picture whose last channel is alpha, not premultiplied, laid over white.

    White and opaque are the largest number of a whole type, and 1 of fractions; the type stays.

    >>> over_white(np.array([[[0, 0, 0, 255], [0, 0, 0, 0], [255, 0, 0, 51]]], dtype=np.uint8)).tolist()
    [[[0, 0, 0], [255, 255, 255], [255, 204, 204]]]
    """
    whole = np.issubdtype(values.dtype, np.integer)
    white = float(np.iinfo(values.dtype).max) if whole else 1.0
    share = values[:, :, -1:].astype(np.float64) / white
    laid = values[:, :, :-1] * share + white * (1 - share)
    return (np.rint(laid) if whole else laid).astype(values.dtype)


def require_finite(values: Values) -> None:
    """Raises BadImageError where no number of a picture is finite: there is nothing to see."""
    if values.dtype.kind == "f" and not np.isfinite(values).any():
        raise BadImageError("the picture holds no finite number: all are NaN or infinite")


def scale(values: Values, low: Any, high: Any) -> Pixels:
    """`low` becomes 0 and `high` 255 (numbers, or [channels]); where both are equal, all is 0."""
    with np.errstate(invalid="ignore", over="ignore"):
        span = np.asarray(high, dtype=np.float64) - low
        if not np.isfinite(np.append(255 / np.where(span == 0, 1, span), span)).all():
            raise BadImageError(f"its numbers from {np.min(low):.3g} to {np.max(high):.3g} cannot be made 0 to 255")
        scaled = (values.astype(np.float64) - low) * (255 / np.where(span == 0, np.inf, span))
    pixels: Pixels = np.nan_to_num(np.rint(scaled), nan=0.0, posinf=255.0, neginf=0.0).clip(0, 255).astype(np.uint8)
    return pixels


def _range(values: Values, intensity: Intensity, full: tuple[float, float] | None) -> tuple[Any, Any]:
    whole = np.issubdtype(values.dtype, np.integer)
    if intensity == "full":
        return full or (_type_range(values) if whole else (0.0, 1.0))
    if intensity == "auto" and full is not None:
        return full
    if intensity == "auto" and whole and values.min() >= 0 and values.max() <= CONTAINERS[-1]:
        return 0, next(top for top in CONTAINERS if values.max() <= top)
    shares = PERCENTILES if intensity == "percentile" else (0.0, 100.0)
    channels = values.shape[2]
    parts = [values] if channels in (1, 3) else [values[:, :, i] for i in range(channels)]
    ranges = np.array([_own_range(part, shares) for part in parts])
    return ranges[:, 0], ranges[:, 1]


def _type_range(values: Values) -> tuple[int, int]:
    limits = np.iinfo(values.dtype)
    return int(limits.min), int(limits.max)


def _own_range(values: Values, shares: tuple[float, float]) -> tuple[float, float]:
    known = values[np.isfinite(values)].astype(np.float64)
    if known.size == 0:
        return 0.0, 0.0
    if shares == (0.0, 100.0):
        return float(known.min()), float(known.max())
    low, high = np.percentile(known, shares)
    return (float(low), float(high)) if low < high else (float(known.min()), float(known.max()))
