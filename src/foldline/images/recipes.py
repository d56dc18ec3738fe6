"""Named recipes: what training images go through, as lists of albumentations. Reads and writes no files.

A recipe is a function of the strength (0 leaves only what has no strength, such as flips), the picture's size and its
number of channels. Operations on colour are left out unless there are three channels. Albumentations takes a second to
import, so this module is imported where a recipe is asked for.
"""

from collections.abc import Callable
from typing import Any

import albumentations as alb
import cv2

Size = tuple[int, int]
Recipe = Callable[[float, Size, int | None], list[Any]]
RGB = 3
RANDAUGMENT_OPERATIONS = 2  # n in Cubuk et al. 2020 (https://arxiv.org/abs/1909.13719), as for their ImageNet runs
RANDAUGMENT_MAGNITUDE = 0.3  # the share of the largest change at strength 1: their magnitude 9 of 30


def _shift(strength: float, degrees: float) -> Any:
    """Small moves, turns and zooms; the border is mirrored, so that no black corner tells what was done."""
    reach = 0.05 * strength
    return alb.Affine(
        translate_percent=(-reach, reach),
        scale=(1 - 2 * reach, 1 + 2 * reach),
        rotate=(-degrees * strength, degrees * strength),
        border_mode=cv2.BORDER_REFLECT_101,
        p=1.0,
    )


def _light_and_contrast(strength: float) -> Any:
    reach = min(0.2 * strength, 0.9)
    return alb.RandomBrightnessContrast(brightness_limit=reach, contrast_limit=reach, p=1.0)


def _hues(strength: float, channels: int | None) -> list[Any]:
    if channels != RGB:
        return []
    return [
        alb.HueSaturationValue(
            hue_shift_limit=10 * strength, sat_shift_limit=20 * strength, val_shift_limit=10 * strength, p=0.5
        )
    ]


def _noise(strength: float, p: float) -> Any:
    return alb.GaussNoise(std_range=(0.01 * strength, 0.04 * strength), p=p)


def _blur(strength: float, p: float) -> Any:
    return alb.GaussianBlur(blur_limit=0, sigma_limit=(0.1 * strength, 1.0 * strength), p=p)


def _gamma(strength: float) -> Any:
    reach = min(25 * strength, 80)
    return alb.RandomGamma(gamma_limit=(100 - reach, 100 + reach), p=0.5)


def _none(strength: float, size: Size, channels: int | None) -> list[Any]:  # noqa: ARG001
    return []


def _light(strength: float, size: Size, channels: int | None) -> list[Any]:  # noqa: ARG001
    return [alb.HorizontalFlip(p=0.5), _shift(strength, 10.0), _light_and_contrast(strength)]


def _flips(strength: float, size: Size, channels: int | None) -> list[Any]:  # noqa: ARG001
    flips = [alb.HorizontalFlip(p=0.5), alb.VerticalFlip(p=0.5)]
    return flips if strength == 0 else [*flips, _shift(strength, 5.0), _light_and_contrast(strength)]


def _dihedral(strength: float, size: Size, channels: int | None) -> list[Any]:  # noqa: ARG001
    turns = [alb.SquareSymmetry(p=1.0) if size[0] == size[1] else _half_turns()]
    return turns if strength == 0 else [*turns, _shift(strength, 10.0), _light_and_contrast(strength)]


def _half_turns() -> Any:
    """One of the four symmetries of a picture that is no square; quarter turns would change its size."""
    left_right, up_down = alb.HorizontalFlip(p=1.0), alb.VerticalFlip(p=1.0)
    return alb.OneOf([alb.NoOp(p=1.0), left_right, up_down, alb.Sequential([left_right, up_down], p=1.0)], p=1.0)


def _medium(strength: float, size: Size, channels: int | None) -> list[Any]:  # noqa: ARG001
    if strength == 0:
        return [alb.HorizontalFlip(p=0.5)]
    soften = alb.OneOf([_blur(strength, 1.0), _noise(strength, 1.0)], p=0.3)
    return [
        alb.HorizontalFlip(p=0.5),
        _shift(1.5 * strength, 10.0),
        _light_and_contrast(strength),
        *_hues(strength, channels),
        soften,
    ]


def _heavy(strength: float, size: Size, channels: int | None) -> list[Any]:
    if strength == 0:
        return [alb.HorizontalFlip(p=0.5)]
    bend = alb.GridDistortion(distort_limit=0.2 * strength, border_mode=cv2.BORDER_REFLECT_101, p=0.3)
    soften = alb.OneOf([_blur(1.5 * strength, 1.0), _noise(2 * strength, 1.0)], p=0.5)
    crop = alb.RandomResizedCrop(size=size, scale=(max(1 - 0.5 * strength, 0.08), 1.0), p=1.0)
    tint = [_light_and_contrast(1.5 * strength), *_hues(2 * strength, channels)]
    return [crop, alb.HorizontalFlip(p=0.5), _shift(strength, 15.0), bend, *tint, soften, _holes(strength)]


def _holes(strength: float) -> Any:
    largest = min(0.15 * strength, 0.5)
    return alb.CoarseDropout(
        num_holes_range=(1, 4), hole_height_range=(largest / 3, largest), hole_width_range=(largest / 3, largest), p=0.5
    )


def _document(strength: float, size: Size, channels: int | None) -> list[Any]:  # noqa: ARG001
    if strength == 0:
        return []
    tilt = alb.Perspective(scale=(0.0, 0.04 * strength), border_mode=cv2.BORDER_REPLICATE, p=0.5)
    worn = alb.OneOf([_blur(strength, 1.0), _noise(2 * strength, 1.0), _coarser(strength)], p=0.5)
    return [_shift(0.5 * strength, 4.0), tilt, _light_and_contrast(strength), _gamma(strength), worn]


def _coarser(strength: float) -> Any:
    pair = {"downscale": cv2.INTER_LINEAR, "upscale": cv2.INTER_LINEAR}  # INTER_AREA ends at four channels
    return alb.Downscale(scale_range=(max(1 - 0.3 * strength, 0.25), 0.95), interpolation_pair=pair, p=1.0)


def _medical(strength: float, size: Size, channels: int | None) -> list[Any]:  # noqa: ARG001
    if strength == 0:
        return []
    bend = alb.GridDistortion(distort_limit=0.1 * strength, border_mode=cv2.BORDER_REFLECT_101, p=0.3)
    return [_shift(strength, 10.0), bend, _light_and_contrast(0.5 * strength), _gamma(strength), _noise(strength, 0.3)]


def _randaugment(strength: float, size: Size, channels: int | None) -> list[Any]:  # noqa: ARG001
    share = min(RANDAUGMENT_MAGNITUDE * strength, 1.0)
    if share == 0:
        return [alb.HorizontalFlip(p=0.5)]
    operations = [*_randaugment_moves(share), *_randaugment_tones(share), *_randaugment_colours(share, channels)]
    return [alb.HorizontalFlip(p=0.5), alb.RandomOrder(operations, n=RANDAUGMENT_OPERATIONS)]


def _randaugment_moves(share: float) -> list[Any]:
    """Turned by up to 30 degrees, sheared by up to 17 (0.3), moved by up to 45 % of the side, times the share."""
    border = {"border_mode": cv2.BORDER_REFLECT_101, "p": 1.0}
    shear, move = 17 * share, 0.45 * share
    return [
        alb.Affine(rotate=(-30 * share, 30 * share), **border),
        alb.Affine(shear={"x": (-shear, shear), "y": (0, 0)}, **border),
        alb.Affine(shear={"x": (0, 0), "y": (-shear, shear)}, **border),
        alb.Affine(translate_percent={"x": (-move, move), "y": (0, 0)}, **border),
        alb.Affine(translate_percent={"x": (0, 0), "y": (-move, move)}, **border),
    ]


def _randaugment_tones(share: float) -> list[Any]:
    """Changes of light that every number of channels knows."""
    reach = 0.9 * share
    return [
        alb.RandomBrightnessContrast(brightness_limit=reach, contrast_limit=0, p=1.0),
        alb.RandomBrightnessContrast(brightness_limit=0, contrast_limit=reach, p=1.0),
        alb.Sharpen(alpha=(0.0, reach), lightness=(1.0, 1.0), p=1.0),
        alb.Posterize(num_bits=(8 - round(4 * share), 8), p=1.0),
        alb.Solarize(threshold_range=(1 - share, 1.0), p=1.0),
    ]


def _randaugment_colours(share: float, channels: int | None) -> list[Any]:
    """What needs one or three channels; for others nothing."""
    if channels != RGB:
        return []
    saturation = (1 - 0.9 * share, 1 + 0.9 * share)
    return [
        alb.AutoContrast(p=1.0),
        alb.Equalize(p=1.0),
        alb.ColorJitter(brightness=(1, 1), contrast=(1, 1), saturation=saturation, hue=(0, 0), p=1.0),
    ]


RECIPES: dict[str, Recipe] = {
    "none": _none,  # the picture as it is
    "light": _light,  # left-right flip, small moves, light and contrast: everyday photographs
    "flips": _flips,  # as light, and upside down: pictures with two mirror axes, such as solar cells
    "dihedral": _dihedral,  # the eight flips and quarter turns: pictures without an up, such as cells; no square: four
    "medium": _medium,  # light, and colour, blur, noise: photographs where light overfits
    "heavy": _heavy,  # crops, bends, holes as well: large networks, many epochs, at least thousands of pictures
    "document": _document,  # scans and photographed pages: tilt, worn print, no flips, since letters have a direction
    "medical": _medical,  # X-rays and slices: no flips, since a body's left is not its right; no colour
    "randaugment": _randaugment,  # two of up to thirteen operations: a strong default that has one number to tune
}
