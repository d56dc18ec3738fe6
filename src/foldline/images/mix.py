"""Mixup and cutmix: pictures of a batch are joined in pairs, and so are their targets. Reads and writes no files."""

from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from foldline.core.choices import Mix
from foldline.core.errors import FoldlineError
from foldline.core.task import Task
from foldline.images.augment import key_seed

Pictures = Annotated[Tensor, "batch channels height width"]
Target = Annotated[Tensor, "batch | batch outputs"]

MIXING = -1  # the key's last part, so that batch 7 does not draw what the augmentation of row 7 draws


def require_mixable(settings: Mix, task: Task) -> None:
    """Raises FoldlineError where the targets of this task cannot be joined as the settings ask."""
    if settings.name in ("cutmix", "both") and not all(part.has_classes for part in task.parts):
        raise FoldlineError(
            "cutmix joins classes by the area of their pictures, which says nothing about a number",
            where="augment.mix",
            next="use augment.mix: mixup",
        )


def mix(images: Pictures, target: Target, classes: int, settings: Mix, *key: int) -> tuple[Pictures, Target]:
    """Joins each picture of a batch with the one that stands as far from the batch's other end.

    mixup (Zhang et al. 2018, https://arxiv.org/abs/1710.09412) blends the two pictures; cutmix (Yun et al. 2019,
    https://arxiv.org/abs/1905.04899) pastes a box of the other. `both`: each takes half of the batches.

    Args:
        images: [batch, channels, height, width] float, on any device. Not changed.
        target: [batch] int64 class indices, or [batch, outputs] (or [batch]) float.
        classes: how many classes an index can name.
        key: (seed, fold, epoch, batch); equal keys mix equally.

    Returns:
        Images like those given and [batch, classes] float targets, whose rows sum to what the given ones' did; both
        untouched, indices too, where nothing is ever mixed.
    """
    if settings.name == "none":
        return images, target
    dense = target if target.is_floating_point() else one_hot(target, classes).to(images.dtype)
    rng = np.random.default_rng(key_seed(*key, MIXING))
    name, options = settings.name, settings.options
    if rng.random() >= options["probability"]:
        return images, dense
    if name == "both":
        name = "cutmix" if rng.random() < 0.5 else "mixup"
    alpha = options[name] if settings.name == "both" else options["alpha"]
    kept = float(rng.beta(alpha, alpha))
    if name == "cutmix":
        top, bottom, left, right = cut_box((images.shape[-2], images.shape[-1]), kept, rng)
        mixed, kept = paste(images, top, bottom, left, right)
    else:
        mixed = blend(images, kept)
    return mixed, blend(dense, kept)


def one_hot(target: Annotated[Tensor, "batch"], classes: int) -> Annotated[Tensor, "batch outputs"]:
    """Class indices as booleans; torch's own waits for the largest index where the device is no GPU."""
    return target.unsqueeze(1) == torch.arange(classes, device=target.device)


def blend(values: Tensor, kept: float) -> Tensor:
    """`kept` of each value and the rest from the batch's other end."""
    return values * kept + values.flip(0) * (1 - kept)


def cut_box(height_width: tuple[int, int], kept: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of a box of 1 - `kept` of the area around any pixel, cut off at the borders."""
    height, width = height_width
    share = np.sqrt(1 - kept)
    cut_height, cut_width = int(height * share), int(width * share)
    y, x = int(rng.integers(height)), int(rng.integers(width))
    top, left = max(y - cut_height // 2, 0), max(x - cut_width // 2, 0)
    bottom, right = min(y + (cut_height + 1) // 2, height), min(x + (cut_width + 1) // 2, width)
    return top, bottom, left, right


def paste(images: Tensor, top: int, bottom: int, left: int, right: int) -> tuple[Tensor, float]:
    """Pictures with a box from the batch's other end, and the share of the area that each has kept."""
    mixed = images.clone(memory_format=torch.preserve_format)
    mixed[..., top:bottom, left:right] = images.flip(0)[..., top:bottom, left:right]
    area = images.shape[-2] * images.shape[-1]
    return mixed, 1 - (bottom - top) * (right - left) / area
