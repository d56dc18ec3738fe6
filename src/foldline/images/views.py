"""Deterministic test-time transforms of a batch, by name."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from foldline.core.errors import FoldlineError, unknown
from foldline.images.resize import shrink

CROP = 7 / 8  # the side of a crop: 224 of 256 px, as in the ten-crop evaluation of Krizhevsky et al. 2012


def _crop(down: float, right: float) -> Callable[[Tensor], Tensor]:
    """A crop, as large as the picture again by bilinear interpolation; 0 and 1 are the borders, 0.5 the centre."""

    def crop(x: Tensor) -> Tensor:
        """[..., height, width] in and out."""
        height, width = x.shape[-2:]
        h, w = max(1, round(height * CROP)), max(1, round(width * CROP))
        top, left = int((height - h) * down), int((width - w) * right)
        part = x[..., top : top + h, left : left + w]
        return functional.interpolate(part, (height, width), mode="bilinear", align_corners=False)

    return crop


def _cut(down: float, right: float) -> Callable[[Tensor], Tensor]:
    """A crop as it is: of a test picture an eighth larger than training's, it is as large as those were."""

    def cut(x: Tensor) -> Tensor:
        """[..., height, width] -> [..., 7/8 height, 7/8 width]."""
        height, width = x.shape[-2:]
        h, w = max(1, round(height * CROP)), max(1, round(width * CROP))
        top, left = int((height - h) * down), int((width - w) * right)
        return x[..., top : top + h, left : left + w]

    return cut


def _scale(share: float) -> Callable[[Tensor], Tensor]:
    """The picture at another size, in whole 16 px, which networks divide by, or 8 px where a side is below 128."""

    def scale(x: Tensor) -> Tensor:
        """[batch, channels, height, width] -> [batch, channels, share * height, share * width]."""
        return shrink(x, _scaled((x.shape[-2], x.shape[-1]), share))

    return scale


def _scaled(height_width: tuple[int, int], share: float) -> tuple[int, int]:
    """[height, width] of a picture of this size in a scaled view."""
    step = 16 if min(height_width) >= 128 else 8
    height, width = (max(step, round(side * share / step) * step) for side in height_width)
    return height, width


CUTS = {
    "cut_bottom_left": _cut(1, 0),
    "cut_bottom_right": _cut(1, 1),
    "cut_center": _cut(0.5, 0.5),
    "cut_top_left": _cut(0, 0),
    "cut_top_right": _cut(0, 1),
}
SHARES = {f"scale_{share:g}": share for share in (0.5, 0.75, 0.875, 1.125, 1.25, 1.5)}
SCALES = {name: _scale(share) for name, share in SHARES.items()}
CROPS = {
    "crop_bottom_left": _crop(1, 0),
    "crop_bottom_right": _crop(1, 1),
    "crop_center": _crop(0.5, 0.5),
    "crop_top_left": _crop(0, 0),
    "crop_top_right": _crop(0, 1),
}
VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "hflip": lambda x: x.flip(-1),
    "vflip": lambda x: x.flip(-2),
    "rot180": lambda x: x.flip(-1, -2),
    "rot90": lambda x: x.transpose(-1, -2).flip(-2),
    "rot270": lambda x: x.transpose(-1, -2).flip(-1),
    "transpose": lambda x: x.transpose(-1, -2),
    "antitranspose": lambda x: x.transpose(-1, -2).flip(-1, -2),
    **CROPS,
    **CUTS,
    **SCALES,
}
OTHER_SIZES = {*CUTS, *SCALES}  # views that are not as large as the picture
ADAPTED = "adapted"  # no view of a picture, but another network's: see `engine.finished.adapting`
TURNING = {"rot90", "rot270", "transpose", "antitranspose"}


def require_views(names: Sequence[str], height_width: tuple[int, int], *, where: str, adapted: bool = False) -> None:
    """Raises FoldlineError: an unknown view, no list or an empty one, a quarter turn of a picture that is no square, a
    scaled view that is of the size of the picture or of another one.

    Args:
        adapted: whether the rows of a competition are predicted, so that `adapted` may be among the views.
    """
    if isinstance(names, str):
        raise FoldlineError(f"'{names}' is no list of views", where=where, next=f"give {names.split()}")
    if not names:
        raise FoldlineError("no view is named", where=where, next="give at least [identity]")
    for name in names:
        if name == ADAPTED:
            if not adapted:
                raise only_together(where)
            continue
        if name not in VIEWS:
            raise unknown("view", name, list(VIEWS), where=where)
        if name in TURNING and height_width[0] != height_width[1]:
            raise FoldlineError(
                f"view '{name}' turns the picture and needs a square one, not {height_width[0]} x {height_width[1]}",
                where=where,
            )
    sizes = {tuple(height_width): "identity"}
    for name in dict.fromkeys(name for name in names if name in SHARES):
        height, width = _scaled((height_width[0], height_width[1]), SHARES[name])
        same = sizes.setdefault((height, width), name)
        if same != name:
            raise FoldlineError(
                f"view '{name}' of a picture of {height_width[0]} x {height_width[1]} px has {height} x {width} px, as "
                f"'{same}' has: sizes are whole 8 px, of sides from 128 px on whole 16 px",
                where=where,
                next="leave it out, or name one that is farther away",
            )


def of_pictures(names: Sequence[str]) -> list[str]:
    """The views but for `adapted`, which none of a single picture is; the picture as it is where nothing else is left.

    >>> of_pictures(["adapted", "hflip"]), of_pictures(["adapted"])
    (['hflip'], ['identity'])
    """
    return [name for name in names if name != ADAPTED] or ["identity"]


def only_together(where: str) -> FoldlineError:
    """That the view `adapted` is asked for where pictures are none of a competition's test rows together."""
    return FoldlineError(
        f"view '{ADAPTED}' takes statistics of the competition's test pictures together, and here are others",
        where=where,
        next="predict the competition's rows (make predict); for other pictures take a run whose predict.views do not "
        "name it, or name views: foldline.load(...).predict(pictures, views=[...])",
    )


def all_views(batch: Tensor, names: Sequence[str]) -> list[tuple[Tensor, int]]:
    """The views of a batch, those of one size concatenated: one large batch runs faster than several small ones.

    Args:
        batch: [images, channels, height, width].

    Returns:
        [views * images, channels, height, width], the first view's images first, and how many views these are; one for
        each stretch of the names whose views are of one size.
    """
    groups: list[list[Tensor]] = []
    for name in names:
        view = VIEWS[name](batch)
        if groups and groups[-1][0].shape == view.shape:
            groups[-1].append(view)
        else:
            groups.append([view])
    return [(torch.cat(group), len(group)) for group in groups]
