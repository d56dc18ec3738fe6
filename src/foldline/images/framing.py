"""A picture of any size becomes one of the network's: cut, scaled, and filled up. Reads and writes no files.

Whoever reads a picture for a network does it here: the cache, new files, a notebook, the pages.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from foldline.core.records.framing import AS_USUAL, Fit, Framing, Interpolation
from foldline.images.files.decode import Pixels, resize
from foldline.images.foreground import Box, foreground_of

BARS = 114  # the mean of ImageNet's pictures over all colours, 0.449 of 255: nearly zero once it is normalised
ALIKE, ONE_SHAPE = 1.15, 0.95  # width / height that differ by no more are one shape, if so many pictures are of it
_PILLOW = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_OPENCV = {"area": cv2.INTER_AREA, "nearest": cv2.INTER_NEAREST_EXACT}
Shape = tuple[int, int]


@dataclass(frozen=True)
class Placement:
    """Which box of a picture becomes which box of the network's; both (top, left, bottom, right) in px.

    What of the network's picture lies outside is filled up; with a crop fraction the box reaches beyond it.
    """

    seen: Box
    filled: Box


def usual_fit(widths: ArrayLike, heights: ArrayLike) -> tuple[Fit, str]:
    """The fit for pictures of these sizes, and why.

    Pictures of one shape are all squashed alike, so that what differs still differs, and every px is of use. Of many
    shapes a disc becomes an ellipse in one and not in another: there they are seen whole between bars, which loses no
    end of any; `crop` shows more detail where what matters lies in the middle, which sizes do not say.

    Args:
        widths, heights: of the pictures, in px; those that are not known are left out.

    >>> usual_fit([640] * 99 + [480], [480] * 99 + [640])
    ('squash', '99 % of the pictures are of about one shape, 1.33 times as wide as high')
    >>> usual_fit([640, 480, 500], [480, 640, 500])[0]
    'letterbox'
    """
    aspects = np.asarray(widths, dtype=np.float64) / np.asarray(heights, dtype=np.float64)
    if not aspects.size:
        return "squash", "no picture's size is known"
    middle = float(np.median(aspects))
    share = float((np.abs(np.log(aspects / middle)) <= np.log(ALIKE)).mean())
    if share >= ONE_SHAPE:
        words = f"{100 * share:.0f} % of the pictures are of about one shape, {middle:.2f} times as wide as high"
        return "squash", words
    return "letterbox", f"{100 - 100 * share:.0f} % of the pictures are of another shape than the median one"


def framed(parts: Sequence[Pixels], height: int, width: int, framing: Framing = AS_USUAL) -> tuple[Pixels, bool]:
    """([height, width, channels of all parts] uint8, whether a foreground was looked for and not found).

    Args:
        parts: [height, width, channels] uint8 of each file of a picture. Of files of one size the foreground is what
            holds that of each, so that channels stay above one another; else each has its own.
    """
    boxes, found = _boxes(parts, framing)
    done = [_one(part, box, height, width, framing) for part, box in zip(parts, boxes, strict=True)]
    return (done[0] if len(done) == 1 else np.concatenate(done, axis=2)), not found


def framed_mask(mask: Pixels, parts: Sequence[Pixels], height: int, width: int, framing: Framing) -> Pixels:
    """[height, width, 1] a mask as the picture's files are framed, all of one size: by the nearest px, 0 in bars.

    Args:
        mask: [height, width, 1] uint8 of the picture's size.
        parts: as `framed` takes them.
    """
    boxes, _ = _boxes(parts, framing)
    return _one(mask, boxes[0], height, width, framing.model_copy(update={"interpolation": "nearest"}), bars=0)


def placement(shape: Shape, height: int, width: int, framing: Framing, box: Box | None = None) -> Placement:
    """Where a picture of [height, width] px comes to lie in the network's.

    Args:
        box: the foreground; None: all of it.

    >>> placement((50, 100), 80, 80, Framing(fit="letterbox"))
    Placement(seen=(0, 0, 50, 100), filled=(20, 0, 60, 80))
    >>> placement((50, 100), 80, 80, Framing(fit="crop"))
    Placement(seen=(0, 25, 50, 75), filled=(0, 0, 80, 80))
    """
    seen = box or (0, 0, *shape)
    large = (int(height / framing.crop_fraction), int(width / framing.crop_fraction))
    size = (seen[2] - seen[0], seen[3] - seen[1])
    filled: Box = (0, 0, *large)
    if framing.fit == "crop":
        scale = max(large[0] / size[0], large[1] / size[1])
        cut = _middle(size, (_side(large[0] / scale, size[0]), _side(large[1] / scale, size[1])))
        seen = _moved(cut, seen[0], seen[1])
    elif framing.fit != "squash":
        scale = min(large[0] / size[0], large[1] / size[1])
        filled = _middle(large, (_side(size[0] * scale, large[0]), _side(size[1] * scale, large[1])))
    return Placement(seen, _moved(filled, -((large[0] - height) // 2), -((large[1] - width) // 2)))


def on_picture(
    values: NDArray[np.float32], parts: Sequence[Pixels], framing: Framing, side_px: int = 512
) -> NDArray[np.float32]:
    """[height, width] of the picture's proportions, its longer side at most `side_px`: 0 where it was not seen.

    Args:
        values: [height, width] of the network's picture, such as a heat map.
        parts: as `framed` took them; the first one's places are meant.
    """
    height, width = values.shape
    box = _boxes(parts, framing)[0][0]
    place = placement((parts[0].shape[0], parts[0].shape[1]), height, width, framing, box)
    share = min(1.0, side_px / max(parts[0].shape[:2]))
    result = np.zeros([max(1, round(side * share)) for side in parts[0].shape[:2]], dtype=np.float32)
    ends = [_seen_between(place, axis, (height, width)[axis], share, result.shape[axis]) for axis in (0, 1)]
    (top, bottom, y, y_end), (left, right, x, x_end) = ends
    part = np.ascontiguousarray(values[y:y_end, x:x_end])
    result[top:bottom, left:right] = cv2.resize(part, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    return result


def _seen_between(place: Placement, axis: int, side: int, share: float, length: int) -> tuple[int, int, int, int]:
    """(begin, end in a picture that is `share` as large and `length` px long; begin, end in the network's)."""
    begin, end = place.filled[axis], place.filled[axis + 2]
    inner, inner_end = max(0, begin), min(side, end)
    slope = (place.seen[axis + 2] - place.seen[axis]) / (end - begin) * share
    first = min(int(place.seen[axis] * share + (inner - begin) * slope), length - 1)
    last = min(max(round(place.seen[axis] * share + (inner_end - begin) * slope), first + 1), length)
    return first, last, inner, inner_end


def scaled(image: Pixels, height: int, width: int, interpolation: Interpolation = "auto") -> Pixels:
    """The whole picture at [height, width]; by Pillow what weights are tested with, which it antialiases."""
    if interpolation == "auto":
        return resize(image, height, width)
    if image.shape[:2] == (height, width):
        return image
    if interpolation in _OPENCV:
        layers = [cv2.resize(layer, (width, height), interpolation=_OPENCV[interpolation]) for layer in _layers(image)]
    else:
        method = _PILLOW[interpolation]
        layers = [np.asarray(Image.fromarray(layer).resize((width, height), method)) for layer in _layers(image)]
    return np.stack(layers, axis=2)


def _layers(image: Pixels) -> list[Pixels]:
    return [np.ascontiguousarray(image[:, :, channel]) for channel in range(image.shape[2])]


def _boxes(parts: Sequence[Pixels], framing: Framing) -> tuple[list[Box | None], bool]:
    """The foreground of each part, None: all of it; and whether one was found, or none was looked for."""
    if framing.foreground == "none":
        return [None] * len(parts), True
    found = [foreground_of(part, framing.foreground) for part in parts]
    known = [box for box in found if box is not None]
    if len({part.shape[:2] for part in parts}) == 1 and known:
        tops, lefts, bottoms, rights = zip(*known, strict=True)
        return [(min(tops), min(lefts), max(bottoms), max(rights))] * len(parts), True
    return found, bool(known)


def _one(image: Pixels, box: Box | None, height: int, width: int, framing: Framing, bars: int = BARS) -> Pixels:
    if box is None and framing.fit == "squash" and framing.crop_fraction == 1:
        return scaled(image, height, width, framing.interpolation)
    place = placement((image.shape[0], image.shape[1]), height, width, framing, box)
    top, left, bottom, right = place.seen
    size = place.filled[2] - place.filled[0], place.filled[3] - place.filled[1]
    whole = scaled(np.ascontiguousarray(image[top:bottom, left:right]), *size, framing.interpolation)
    top, left, bottom, right = place.filled
    inner = whole[max(0, -top) : size[0] - max(0, bottom - height), max(0, -left) : size[1] - max(0, right - width)]
    edges = max(0, top), max(0, height - bottom), max(0, left), max(0, width - right)
    if not any(edges):
        return np.ascontiguousarray(inner)
    return _filled_up(inner, edges, None if framing.fit == "pad" else bars)


def _filled_up(image: Pixels, edges: tuple[int, int, int, int], bars: int | None) -> Pixels:
    """With so many px more above, below, left and right: bars of one level, or None: the picture's own, mirrored."""
    top, below, left, right = edges
    if bars is None:
        return np.pad(image, ((top, below), (left, right), (0, 0)), mode="symmetric")
    return np.pad(image, ((top, below), (left, right), (0, 0)), constant_values=bars)


def _middle(outer: Shape, inner: Shape) -> Box:
    top, left = (outer[0] - inner[0]) // 2, (outer[1] - inner[1]) // 2
    return top, left, top + inner[0], left + inner[1]


def _moved(box: Box, down: int, right: int) -> Box:
    return box[0] + down, box[1] + right, box[2] + down, box[3] + right


def _side(length: float, most: int) -> int:
    return min(max(1, round(length)), most)
