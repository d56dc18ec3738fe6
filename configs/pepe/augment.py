"""Upside-down flips alone: the recipe of a published two-class picture system."""

from typing import Any

import albumentations as alb


def pepe(strength: float, height_width: tuple[int, int], channels: int | None) -> list[Any]:  # noqa: ARG001
    """Turned upside down in half of the pictures."""
    return [alb.VerticalFlip(p=0.5)]
