"""Flips alone: objects on a table seen from above, such as fish at a market."""

from typing import Any

import albumentations as alb


def fish(strength: float, height_width: tuple[int, int], channels: int | None) -> list[Any]:  # noqa: ARG001
    """Mirrored and turned upside down, each in half of the pictures."""
    return [alb.HorizontalFlip(p=0.5), alb.VerticalFlip(p=0.5)]
