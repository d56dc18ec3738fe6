"""Files of numbers rather than of photographs: .npy arrays, and tif of many bands. Nothing is written."""

from io import BytesIO

import numpy as np

from foldline.core.errors import FoldlineError
from foldline.images.files.header import EXTRA, PHOTOMETRIC, PLANAR, SAMPLES, BadImageError, Header, require_size
from foldline.images.files.intensity import Values

INSTALL = "pip install 'foldline[tif]'"
MAX_LEADING = 16  # [c, height, width] is recognised by a first axis up to this and a last axis above it
_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB = 0, 1, 2  # TIFF 6.0, PhotometricInterpretation
_UNASSOCIATED = 2
_ALPHA = (1, _UNASSOCIATED)  # TIFF 6.0, ExtraSamples: associated and unassociated alpha; 0 is any other band


def read_npy(content: bytes, channels: int) -> Values:
    """[height, width, channels] of an array [height, width], [height, width, channels] or [channels, height, width].

    The channels come first where the first axis has at most 16 and the last more, or where only the first axis has
    as many as are asked for and these are more than 16.
    """
    stream = BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
    except (ValueError, EOFError, SyntaxError) as error:
        raise BadImageError(f"the array cannot be read: {str(error)[:200]}") from error
    if dtype.kind not in "buif":
        raise BadImageError(f"the array holds {dtype}, no real numbers")
    if len(shape) not in (2, 3) or 0 in shape:
        raise BadImageError(f"the array's shape is {list(shape)}, no picture of [height, width] or with channels")
    require_size(*sorted(shape)[-2:])
    if len(content) - stream.tell() < int(np.prod(shape, dtype=object)) * dtype.itemsize:
        raise BadImageError("the file is truncated: it is shorter than its header says")
    array: Values = np.load(BytesIO(content), allow_pickle=False)
    return _channels_last(array, channels)


def _channels_last(array: Values, channels: int) -> Values:
    if array.ndim == 2:
        return array[:, :, None]
    first, _, last = array.shape
    leads = first <= MAX_LEADING < last or (first == channels != last and channels > MAX_LEADING)
    return array.transpose(1, 2, 0) if leads else array


def tif_needs_tifffile(header: Header, channels: int) -> bool:
    """Whether OpenCV refuses the page, drops bands of it, or (planar, more than 8 bits) mixes them up: measured."""
    samples, photometric = _tag(header, SAMPLES), _tag(header, PHOTOMETRIC)
    if samples == 1:
        return False
    if samples > 4 or (_tag(header, PLANAR) == 2 and header.bits > 8):
        return True
    if photometric in (_MIN_IS_WHITE, _MIN_IS_BLACK):  # gray with alpha is gray to OpenCV, and so are bands
        return not (samples == 2 and header.bits <= 8 and channels in (1, 3) and tif_has_alpha(header))
    if samples < 4 or photometric != _RGB:
        return False
    premultiplied = _UNASSOCIATED in header.tags.get(EXTRA, ())  # OpenCV multiplies the colours by it
    return not tif_has_alpha(header) or (premultiplied and channels == 4)


def tif_has_alpha(header: Header) -> bool:
    """Whether the last band is alpha; a fourth of unknown meaning is taken for it."""
    extra = header.tags.get(EXTRA)
    return bool(extra and extra[-1] in _ALPHA) or (extra is None and _tag(header, SAMPLES) == 4)


def tif_is_gray(header: Header) -> bool:
    """Whether a page has one band."""
    return _tag(header, SAMPLES) == 1


def tif_is_gray_from_white(header: Header) -> bool:
    """Whether small numbers are bright; OpenCV knows it for up to 8 bits."""
    return header.bits > 8 and _tag(header, PHOTOMETRIC) == _MIN_IS_WHITE and tif_is_gray(header)


def _tag(header: Header, tag: int) -> int:
    return header.tags.get(tag, (1,))[0]


def read_bands(content: bytes) -> tuple[Values, bool]:
    """([height, width, bands], whether the last is alpha) of a tif's first page."""
    try:
        import tifffile
    except ImportError as error:
        raise FoldlineError("tif pictures of many bands need the package tifffile", next=INSTALL) from error
    try:
        with tifffile.TiffFile(BytesIO(content)) as file:
            page = file.pages.first
            values: Values = page.asarray()
            planar, alpha = page.planarconfig == 2, bool(page.extrasamples) and page.extrasamples[-1] in _ALPHA
    except (tifffile.TiffFileError, ValueError, RuntimeError, OSError) as error:
        raise BadImageError(f"the tif cannot be decoded: {str(error)[:200]}") from error
    return (values.transpose(1, 2, 0) if planar and values.ndim == 3 else values), alpha
