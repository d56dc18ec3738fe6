"""One image file becomes pixels, or a BadImageError that says why not.

By OpenCV: jpg, png, webp, bmp, gif (its first frame), jp2, and tif of one page or of one page a band. By NumPy: npy.
By pydicom (extra `dicom`): DICOM. By tifffile (extra `tif`): tif of many bands, which OpenCV refuses or reads wrongly.
"""

from pathlib import Path

import cv2
import numpy as np

from foldline.core.counted import counted
from foldline.images.files.arrays import read_bands, read_npy, tif_is_gray, tif_is_gray_from_white, tif_needs_tifffile
from foldline.images.files.dicom import read_dicom
from foldline.images.files.header import ORIENTATION, BadImageError, Header, read_header, require_size, tif_tags
from foldline.images.files.intensity import Intensity, Pixels, Values, over_white, require_finite, to_bytes

__all__ = [
    "BadImageError",
    "Intensity",
    "Pixels",
    "content_of",
    "decode",
    "decode_bytes",
    "of_values",
    "preview",
    "resize",
]

_LAID = ("png", "webp")  # kinds whose alpha is laid over white, where that is asked for
_AS_STORED = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR  # gray or BGR of any depth, without alpha, EXIF rotation applied


def decode(path: Path, channels: int, intensity: Intensity = "auto") -> Pixels:
    """The pixels of an image file, EXIF rotation applied.

    Args:
        path: a file of the kinds above; what it is, is seen in its content.
        channels: 1 for gray, 3 for RGB: gray and colour are converted, alpha is dropped. Any other number must be the
            file's own (4: RGB and alpha).
        intensity: how numbers of more than 8 bits become uint8, see `intensity.to_bytes`; `on_white`: what is
            transparent in a png or webp is white.

    Returns:
        [height, width, channels] uint8.

    Raises:
        BadImageError: the file is missing, empty, truncated, too large, no picture, or has other channels.
        FoldlineError: a package that reads this kind is not installed.
    """
    return decode_bytes(content_of(path), channels, intensity)


def decode_bytes(content: bytes, channels: int, intensity: Intensity = "auto") -> Pixels:
    """Like `decode`, from the file's bytes."""
    header = read_header(content)
    pixels, has_alpha = _read(content, header, channels, intensity)
    return _to_channels(pixels, channels, has_alpha=has_alpha)


def of_values(values: Values, channels: int, intensity: Intensity = "auto", *, has_alpha: bool = False) -> Pixels:
    """Like `decode`, from numbers that are no file's.

    Args:
        values: [height, width] or [height, width, channels] of any real type, colours as RGB.
        has_alpha: the last channel is alpha.
    """
    if values.ndim not in (2, 3) or 0 in values.shape:
        raise BadImageError(f"an array of {list(values.shape)} is no picture of [height, width] or with channels")
    if values.dtype.kind not in "buif":
        raise BadImageError(f"an array of {values.dtype} holds no real numbers")
    if values.ndim == 2:
        values = values[:, :, None]
    if channels == 1 and values.dtype == np.uint8 and values.shape[2] - has_alpha == 3 and intensity != "on_white":
        values, has_alpha = _to_channels(values[:, :, :3], 1, has_alpha=False), False  # before its range is looked for
    pixels, has_alpha = _scaled(values, channels, intensity, has_alpha=has_alpha)
    return _to_channels(pixels, channels, has_alpha=has_alpha)


def preview(path: Path, intensity: Intensity = "auto") -> Pixels:
    """[height, width, 3] uint8 to look at: RGB or gray where the file is that, else its first channel as gray."""
    content = content_of(path)
    header = read_header(content)
    pixels, _ = _read(content, header, 3, intensity)
    return _to_channels(pixels if pixels.shape[2] == 3 else pixels[:, :, :1], 3, has_alpha=False)


def content_of(path: Path) -> bytes:
    """The bytes of a file; raises BadImageError where there is none; what the machine refuses is no bad picture."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise BadImageError(error.strerror or "cannot be read") from error


def _read(content: bytes, header: Header, channels: int, intensity: Intensity) -> tuple[Pixels, bool]:
    """([height, width, the file's channels] uint8, whether the last of them is alpha)."""
    if header.kind == "dicom":
        return read_dicom(content, "auto" if intensity == "on_white" else intensity), False
    laid = intensity == "on_white" and header.kind in _LAID
    values, has_alpha = _with_alpha(content) if laid else _values(content, header, channels)
    pixels, has_alpha = _scaled(values, channels, intensity, has_alpha=has_alpha)
    from_white = header.kind == "tif" and tif_is_gray_from_white(header)
    return (np.uint8(255) - pixels if from_white else pixels), has_alpha


def _scaled(values: Values, channels: int, intensity: Intensity, *, has_alpha: bool) -> tuple[Pixels, bool]:
    """The numbers as uint8, without an alpha that is not asked for; and whether the last channel still is alpha."""
    require_size(values.shape[0], values.shape[1])
    if has_alpha and channels in (1, 3):  # before the range of intensities is looked for
        values, has_alpha = over_white(values) if intensity == "on_white" else values[:, :, :-1], False
    require_finite(values)
    return to_bytes(values, intensity), has_alpha


def _values(content: bytes, header: Header, channels: int) -> tuple[Values, bool]:
    """([height, width, the file's channels] of its own type, whether the last of them is alpha)."""
    if header.kind == "npy":
        return read_npy(content, channels), False
    if header.kind == "tif" and tif_needs_tifffile(header, channels):
        return read_bands(content)
    if header.kind == "tif" and channels not in (1, 3) and tif_is_gray(header):
        return _pages(content), False
    if channels in (1, 3) and 0 < header.bits <= 8:
        return _colour(content, channels), False
    if channels in (1, 3) and not header.bits:
        values = _opencv(content, _AS_STORED)
        return (_colour(content, channels) if values.dtype == np.uint8 else values), False
    values = _opencv(content, cv2.IMREAD_UNCHANGED if _keeps_alpha(header, channels) else _AS_STORED)
    if header.kind in ("png", "webp") and _keeps_alpha(header, channels):
        values = _turned(content, values)
    return values, values.shape[2] == 4


def _with_alpha(content: bytes) -> tuple[Values, bool]:
    """Like `_values`, with the alpha that the file has."""
    values = _opencv(content, cv2.IMREAD_UNCHANGED)
    return _turned(content, values), values.shape[2] == 4


def _keeps_alpha(header: Header, channels: int) -> bool:
    return channels not in (1, 3) or header.kind == "tif"  # OpenCV cannot drop the alpha of a float tif


def _colour(content: bytes, channels: int) -> Values:
    """A picture of 8 bits, as OpenCV converts it."""
    return _opencv(content, cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB, is_rgb=True)


def _opencv(content: bytes, flag: int, *, is_rgb: bool = False) -> Values:
    """[height, width, channels], colours as RGB."""
    try:
        image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), flag)
    except cv2.error as error:
        raise BadImageError(f"cannot be decoded: {error.err}") from error
    if image is None:
        raise BadImageError("cannot be decoded: truncated, corrupt, or no picture")
    values: Values = image.reshape(image.shape[0], image.shape[1], -1)
    if values.shape[2] == 3 and not is_rgb:
        return values[:, :, ::-1]
    return values[:, :, [2, 1, 0, 3]] if values.shape[2] == 4 else values


def _pages(content: bytes) -> Values:
    """[height, width, pages] of a tif whose pages are gray."""
    try:
        done, pages = cv2.imdecodemulti(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise BadImageError(f"cannot be decoded: {error.err}") from error
    if not done or not pages:
        raise BadImageError("cannot be decoded: truncated, corrupt, or no picture")
    if len({(page.shape[:2], page.size, page.dtype) for page in pages}) > 1 or pages[0].ndim > 2:
        raise BadImageError(f"the {len(pages)} pages of the tif cannot be stacked: they differ in size or kind")
    return np.stack(pages, axis=2)


def _turned(content: bytes, values: Values) -> Values:
    """Applies the EXIF orientation, which OpenCV leaves out where it keeps alpha (Exif 2.3, tag 274)."""
    _, kinds, blocks = cv2.imdecodeWithMetadata(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    exif = [bytes(b) for kind, b in zip(kinds, blocks, strict=True) if kind == cv2.IMAGE_METADATA_EXIF]
    block = exif[0].removeprefix(b"Exif\0\0") if exif else b""
    orientation = tif_tags(block).get(ORIENTATION, (1,))[0] if block.startswith((b"II*\0", b"MM\0*")) else 1
    if orientation in (5, 6, 7, 8):
        values = values.transpose(1, 0, 2)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return values[rows, columns]


def _to_channels(pixels: Pixels, channels: int, *, has_alpha: bool) -> Pixels:
    """Gray to RGB or RGB to gray where that is asked for; else the numbers must agree."""
    count = pixels.shape[2]
    if count == 1 and channels == 3:
        pixels = np.repeat(pixels, 3, axis=2)
    elif count == 3 and channels == 1:
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)[:, :, None]  # type: ignore[assignment]
    elif count != channels:
        named = counted(count, "channels") + (" (the last is alpha)" if has_alpha and count > 1 else "")
        raise BadImageError(f"the picture has {named}, not the {channels} of data.channels: set data.channels={count}")
    return np.ascontiguousarray(pixels, dtype=np.uint8)


def resize(image: Pixels, height: int, width: int) -> Pixels:
    """The whole picture at [height, width]; area averaging where it shrinks, cubic where it grows.

    Where one side shrinks and the other grows, the shrinking side goes first, so that neither method sees the other's.
    """
    before = image.shape[:2]
    if before == (height, width):
        return image
    if (before[0] - height) * (before[1] - width) < 0:
        image = resize(image, min(before[0], height), min(before[1], width))
    shrinks = image.shape[0] >= height and image.shape[1] >= width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    parts = [image[:, :, i : i + 4] for i in range(0, image.shape[2], 4)]  # OpenCV resizes no more than 4 at once
    resized = [cv2.resize(part, (width, height), interpolation=method).reshape(height, width, -1) for part in parts]
    return np.ascontiguousarray(resized[0] if len(parts) == 1 else np.concatenate(resized, axis=2), dtype=np.uint8)
