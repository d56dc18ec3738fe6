"""The part of a picture that matters, where it stands before a dark background. Reads and writes no files."""

from typing import Any

import cv2
import numpy as np

from foldline.core import own_code
from foldline.core.errors import FoldlineError
from foldline.images.files.decode import Pixels

Box = tuple[int, int, int, int]  # top, left, bottom, right in px
WHERE = "data.foreground"
LOOKED_AT_PX = 256  # the longer side of the picture in which a part is looked for
MARGIN = 0.02  # of the longer side, that is kept around it
LEAST = 0.01  # of the picture's area; less is no foreground but a letter or a speck
LEAST_CONTRAST = 16  # gray levels between background and foreground; with less there is none of both


def foreground_of(image: Pixels, name: str) -> Box | None:
    """The box that `data.foreground` finds, or None: the picture stays whole.

    Args:
        image: [height, width, channels] uint8.
        name: threshold, or a function of the user's own.

    Raises:
        FoldlineError: that function fails, or gives no box of the picture.
    """
    return threshold_box(image) if name == "threshold" else _own_box(image, name)


def threshold_box(image: Pixels) -> Box | None:
    """The box of the largest part that is brighter than the background, and a margin.

    Method: Otsu's threshold (1979, https://doi.org/10.1109/TSMC.1979.4310076) on the blurred picture, then the largest
    connected component. None where the picture is of one brightness, or the part is smaller than a hundredth of it.
    """
    height, width = image.shape[:2]
    share = min(1.0, LOOKED_AT_PX / max(height, width))
    size = max(1, round(width * share)), max(1, round(height * share))
    gray = np.asarray(image.mean(axis=2).round(), dtype=np.uint8) if image.shape[2] > 1 else image[:, :, 0]
    small = cv2.GaussianBlur(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), (5, 5), 0)
    level, mask = cv2.threshold(small, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    above, below = small[small > level], small[small <= level]
    if not above.size or not below.size or float(above.mean()) - float(below.mean()) < LEAST_CONTRAST:
        return None
    _, _, parts, _ = cv2.connectedComponentsWithStats(mask)
    left, top, wide, high, area = parts[1 + int(parts[1:, cv2.CC_STAT_AREA].argmax())].tolist()
    if area < LEAST * mask.size:
        return None
    margin = MARGIN * max(height, width)
    return (
        max(0, int(top / share - margin)),
        max(0, int(left / share - margin)),
        min(height, int(np.ceil((top + high) / share + margin))),
        min(width, int(np.ceil((left + wide) / share + margin))),
    )


def _own_box(image: Pixels, name: str) -> Box | None:
    function = own_code.load(name, ("image",), where=WHERE)
    given: Any = own_code.attempt(name, lambda: function(image.copy()), where=WHERE)
    if given is None:
        return None
    try:
        top, left, bottom, right = (int(number) for number in given)
    except (TypeError, ValueError) as error:
        raise _no_box(name, given, image) from error
    if not (0 <= top < bottom <= image.shape[0] and 0 <= left < right <= image.shape[1]):
        raise _no_box(name, given, image)
    return top, left, bottom, right


def _no_box(name: str, given: Any, image: Pixels) -> FoldlineError:
    return FoldlineError(
        f"'{name}' gives {str(given)[:80]} for a picture of {image.shape[0]} x {image.shape[1]} px (height x width)",
        where=WHERE,
        next="give (top, left, bottom, right) in px, inside the picture, or None where it shall stay whole",
    )
