"""Training pictures are cut at random from larger ones, as a function of a key. Reads and writes no files.

The whole picture is what is tested; a training sees parts of it, at the detail of what they are cut from.
"""

from collections.abc import Callable

import cv2
import numpy as np

from foldline.core.choices import Crop
from foldline.images.files.decode import Pixels, resize
from foldline.images.foreground import Box

CUTTING = -3  # the key's last part, apart from rows, repeats and erasing
TRIES = 10  # boxes that are drawn before one that fits is made, as torchvision does


class Cropper:
    """Turns a picture of any size, and a key, into a part of it of one size.

    Args:
        settings: the run's `augment.crop`.
        height_width: of the result, in px.
    """

    def __init__(self, settings: Crop, height_width: tuple[int, int]) -> None:
        self.settings, self.height_width = settings, height_width

    def __call__(self, image: Pixels, rng: np.random.Generator) -> Pixels:
        """[height, width, channels] uint8 -> the same of the wanted size."""
        top, left, bottom, right = self._box(image, rng)
        return resize(np.ascontiguousarray(image[top:bottom, left:right]), *self.height_width)

    def mask(self, mask: Pixels, rng: np.random.Generator) -> Pixels:
        """[height, width] the same part of a picture's mask, by the nearest px."""
        top, left, bottom, right = self._box(mask, rng)
        part, (height, width) = np.ascontiguousarray(mask[top:bottom, left:right]), self.height_width
        return np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), dtype=np.uint8)

    def _box(self, image: Pixels, rng: np.random.Generator) -> Box:
        return BOXES[self.settings.name]((image.shape[0], image.shape[1]), rng, **self.settings.options)


def random_resized(shape: tuple[int, int], rng: np.random.Generator, *, scale: float, ratio: float) -> Box:
    """A box of a share of the area and of another shape (Szegedy et al. 2015, https://arxiv.org/abs/1409.4842).

    Args:
        shape: height and width of the picture.
        scale: the least share of the area; the most is 1.
        ratio: the narrowest width / height, beside the picture's own; the widest is its inverse.
    """
    reach = float(np.log(1 / ratio))
    for _ in range(TRIES):
        area, stretch = rng.uniform(scale, 1.0), float(np.exp(rng.uniform(-reach, reach)))
        shares = float(np.sqrt(area / stretch)), float(np.sqrt(area * stretch))
        if max(shares) <= 1:
            return _placed(shape, shares, rng)
    return _placed(shape, (min(1.0, shares[0]), min(1.0, shares[1])), rng)


def jitter(shape: tuple[int, int], rng: np.random.Generator, *, least: float) -> Box:
    """A box of the picture's shape, of a share of each side from `least` to all of it."""
    share = rng.uniform(least, 1.0)
    return _placed(shape, (share, share), rng)


def _placed(shape: tuple[int, int], shares: tuple[float, float], rng: np.random.Generator) -> Box:
    """A box of these shares of height and width, anywhere."""
    height, width = (min(max(1, round(side * share)), side) for side, share in zip(shape, shares, strict=True))
    top, left = int(rng.integers(0, shape[0] - height + 1)), int(rng.integers(0, shape[1] - width + 1))
    return top, left, top + height, left + width


BOXES: dict[str, Callable[..., Box]] = {"random_resized": random_resized, "jitter": jitter}
