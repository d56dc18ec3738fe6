"""What a run's pictures are: their frame and their scale, by its choices, its weights, or themselves."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.own_code import is_own
from foldline.core.records.framing import Framing
from foldline.core.run import Run
from foldline.images.shards import Pictures
from foldline.models.architecture import Preprocessing


def framing_of(run: Run) -> Framing:
    """What of the pictures is seen, and how it gets the size.

    Args:
        run: with the files of its own code found, where the function is to be called.

    Raises:
        FoldlineError: the run leaves it to weights of which timm knows nothing.
    """
    data, known = run.data, dict[str, Any]()
    if "weights" in (data.interpolation, data.crop_fraction):
        known = _of_weights(run)
    interpolation = known["interpolation"] if data.interpolation == "weights" else data.interpolation
    fraction = known["crop_pct"] if data.crop_fraction == "weights" else data.crop_fraction
    return Framing(fit=data.fit, interpolation=interpolation, crop_fraction=float(fraction), foreground=data.foreground)


Size = tuple[int, int]


def trained_frame(run: Run, original: float = 1.0) -> tuple[Size, Framing]:
    """The [height, width] of the pictures that training sees or cuts from, and how they get it.

    Args:
        run: as `framing_of` takes it.
        original: the side of what is cut from, as a multiple of the training's.
    """
    height, width = run.data.height_width
    framing = framing_of(run)
    if run.augment.crop.name == "none":
        return (height, width), framing
    return (round(height * original), round(width * original)), framing.model_copy(update={"crop_fraction": 1.0})


IMAGENET = Preprocessing([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], "")
LEAST_DEVIATION = 1e-3  # of a channel that is nearly the same everywhere


def scaling_of(
    run: Run, expected: Preprocessing, channels: int, moments: Callable[[], tuple[list[float], list[float]]]
) -> Preprocessing:
    """How the numbers of pictures are scaled.

    Args:
        expected: by the network's weights, for these channels.
        channels: of a picture.
        moments: the mean and the deviation of each channel of the run's own pictures, from 0 to 1.

    Raises:
        FoldlineError: numbers for other channels, or a deviation that is not above 0.
    """
    choice = run.data.normalise
    if choice == "weights":
        return expected
    if choice == "half":
        return replace(expected, mean=[0.5] * channels, std=[0.5] * channels)
    if choice == "imagenet":
        return replace(expected, mean=_for_channels(IMAGENET.mean, channels), std=_for_channels(IMAGENET.std, channels))
    mean, std = moments() if choice == "pictures" else choice
    if len(mean) != channels or len(std) != channels or min(std, default=0) <= 0:
        raise FoldlineError(
            f"pictures have {counted(channels, 'channels')}, and these are {counted(len(mean), 'means')} and "
            f"{len(std)} deviations above 0",
            where="data.normalise",
            next="give [[mean, ...], [deviation, ...]] with a number for each channel, deviations above 0",
        )
    return replace(expected, mean=list(mean), std=list(std))


def _for_channels(values: list[float], channels: int) -> list[float]:
    return values if len(values) == channels else [sum(values) / len(values)] * channels


def moments_of(pixels: Pictures, positions: NDArray[np.int64]) -> tuple[list[float], list[float]]:
    """The mean and the deviation of each channel over some pictures, from 0 to 1.

    Args:
        pixels: [images, height, width, channels] uint8.
    """
    sums = np.zeros((2, pixels.shape[3]))
    for position in positions.tolist():
        picture = np.asarray(pixels[position], dtype=np.float64) / 255
        sums += picture.mean((0, 1)), (picture**2).mean((0, 1))
    mean, square = sums / len(positions)
    std = np.sqrt(np.maximum(square - mean**2, LEAST_DEVIATION**2))
    return [round(float(one), 6) for one in mean], [round(float(one), 6) for one in std]


def _of_weights(run: Run) -> dict[str, Any]:
    """timm's own configuration of the network's weights."""
    import timm

    config = None if is_own(run.model.name) else timm.get_pretrained_cfg(run.model.name)
    if config is None or not config.has_weights:
        raise FoldlineError(
            f"timm has no pretrained weights of '{run.model.name}', so it does not say how these were tested",
            where="data.interpolation, data.crop_fraction: weights",
            next="give a number and a word (docs/runs.md)",
        )
    return {"interpolation": config.interpolation, "crop_pct": config.crop_pct}
