"""What training images go through: named recipes of albumentations, each a function of a key.

The same (seed, fold, epoch, row) gives the same picture whatever the number of workers, the order of
the rows, or where training was interrupted.
"""

import os
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldline.core.errors import unknown

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would ask a server for the newest version

Pixels = NDArray[np.uint8]
Recipe = Callable[[float, tuple[int, int]], list[Any]]


def _none(strength: float, size: tuple[int, int]) -> list[Any]:  # noqa: ARG001
    return []


def _shift(strength: float, degrees: float) -> Any:
    """Small moves, turns and zooms; the border is mirrored, so that no black corner tells what was done."""
    import albumentations as alb
    import cv2

    reach = 0.05 * strength
    return alb.Affine(
        translate_percent=(-reach, reach),
        scale=(1 - 2 * reach, 1 + 2 * reach),
        rotate=(-degrees * strength, degrees * strength),
        border_mode=cv2.BORDER_REFLECT_101,
        p=1.0,
    )


def _light_and_contrast(strength: float) -> Any:
    import albumentations as alb

    reach = min(0.2 * strength, 0.9)
    return alb.RandomBrightnessContrast(brightness_limit=reach, contrast_limit=reach, p=1.0)


def _light(strength: float, size: tuple[int, int]) -> list[Any]:  # noqa: ARG001
    import albumentations as alb

    return [alb.HorizontalFlip(p=0.5), _shift(strength, 10.0), _light_and_contrast(strength)]


def _flips(strength: float, size: tuple[int, int]) -> list[Any]:  # noqa: ARG001
    import albumentations as alb

    flips = [alb.HorizontalFlip(p=0.5), alb.VerticalFlip(p=0.5)]
    return flips if strength == 0 else [*flips, _shift(strength, 5.0), _light_and_contrast(strength)]


def _dihedral(strength: float, size: tuple[int, int]) -> list[Any]:  # noqa: ARG001
    import albumentations as alb

    turns = [alb.SquareSymmetry(p=1.0)]
    return turns if strength == 0 else [*turns, _shift(strength, 10.0), _light_and_contrast(strength)]


RECIPES: dict[str, Recipe] = {
    "none": _none,  # the picture as it is
    "light": _light,  # left-right flip, small moves, light and contrast: everyday photographs
    "flips": _flips,  # as light, and upside down: pictures with two mirror axes, such as solar cells
    "dihedral": _dihedral,  # the eight flips and quarter turns: pictures without an up, such as cells or satellites
}


class Augmenter:
    """A recipe that turns a picture and a key into an augmented picture of the same size."""

    def __init__(self, recipe: str, strength: float, height_width: tuple[int, int]) -> None:
        if recipe not in RECIPES:
            raise unknown("augmentation recipe", recipe, list(RECIPES), where="augment.recipe")
        import albumentations as alb

        transforms = RECIPES[recipe](strength, height_width)
        self.compose = alb.Compose(transforms) if transforms else None

    def __call__(self, image: Pixels, *key: int) -> Pixels:
        """[height, width, channels] uint8 in and out; equal keys give equal pictures."""
        if self.compose is None:
            return image
        self.compose.set_random_seed(key_seed(*key))
        result: Pixels = self.compose(image=image)["image"]
        return result.reshape(image.shape)


def key_seed(*key: int) -> int:
    """A 32-bit seed that depends on every part of the key.

    >>> key_seed(0, 1, 2, 3) == key_seed(0, 1, 2, 3), key_seed(0, 1) == key_seed(1, 0)
    (True, False)
    """
    digest = blake2b(repr(key).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")
