"""Flips, brightness and any turn: drawn faces in the published system that they come from."""

from typing import Any

import albumentations as alb
import cv2


def dere(strength: float, height_width: tuple[int, int], channels: int | None) -> list[Any]:  # noqa: ARG001
    """Flips both ways, then, by the strength, brightness and a turn with mirrored borders."""
    flips = [alb.HorizontalFlip(p=0.5), alb.VerticalFlip(p=0.5)]
    if strength == 0:
        return flips
    brightness = alb.RandomBrightnessContrast(brightness_limit=min(0.2 * strength, 0.9), contrast_limit=0, p=1.0)
    turn = alb.Rotate(limit=min(180 * strength, 180), border_mode=cv2.BORDER_REFLECT_101, p=1.0)
    return [*flips, brightness, turn]
