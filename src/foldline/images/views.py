"""Deterministic test-time transforms of a batch, by name."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from foldline.core.errors import FoldlineError, unknown

VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "hflip": lambda x: x.flip(-1),
    "vflip": lambda x: x.flip(-2),
    "rot180": lambda x: x.flip(-1, -2),
    "rot90": lambda x: x.transpose(-1, -2).flip(-2),
    "rot270": lambda x: x.transpose(-1, -2).flip(-1),
    "transpose": lambda x: x.transpose(-1, -2),
    "antitranspose": lambda x: x.transpose(-1, -2).flip(-1, -2),
}
TURNING = {"rot90", "rot270", "transpose", "antitranspose"}


def require_views(names: Sequence[str], height_width: tuple[int, int], *, where: str) -> None:
    """Raises FoldlineError for an unknown view, none at all, or a quarter turn of a picture that is no square."""
    if not names:
        raise FoldlineError("no view is named", where=where, next="give at least [identity]")
    for name in names:
        if name not in VIEWS:
            raise unknown("view", name, list(VIEWS), where=where)
        if name in TURNING and height_width[0] != height_width[1]:
            raise FoldlineError(
                f"view '{name}' turns the picture and needs a square one, not {height_width[0]} x {height_width[1]}",
                where=where,
            )


def all_views(batch: Tensor, names: Sequence[str]) -> Tensor:
    """The views of a batch, concatenated: one large batch runs faster than several small ones.

    Args:
        batch: [images, channels, height, width].

    Returns:
        [views * images, channels, height, width], the first view's images first.
    """
    return torch.cat([VIEWS[name](batch) for name in names])
