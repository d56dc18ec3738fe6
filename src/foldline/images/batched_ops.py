"""Single transforms of whole batches, each picture by its own numbers. Reads and writes no files.

Every picture's arithmetic is its own: no number depends on which others are in the batch.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Numbers = Sequence[float]


class Operation(Protocol):
    """One transform."""

    @property
    def neutral(self) -> Numbers:
        """The numbers that leave a picture as it is, for those that are not transformed."""

    def numbers(self, drawn: dict[str, Any]) -> Numbers:
        """What is needed of the parameters that albumentations drew for a picture."""

    def __call__(self, x: Tensor, numbers: Tensor) -> Tensor:
        """[batch, channels, height, width] float 0..255 in and out, by [batch, numbers]."""


class Flip:
    """Mirrored along one axis: -1 left and right, -2 up and down."""

    neutral = (0.0,)

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def numbers(self, drawn: dict[str, Any]) -> Numbers:  # noqa: ARG002
        """1: mirrored."""
        return (1.0,)

    def __call__(self, x: Tensor, numbers: Tensor) -> Tensor:
        """The same pixels, some pictures mirrored."""
        return torch.where(_each(numbers, 0) > 0, x.flip(self.axis), x)


class Symmetry:
    """The eight symmetries of a square: first turned over its diagonal, then mirrored left-right, then up-down."""

    neutral = (0.0, 0.0, 0.0)
    elements: ClassVar = {
        "e": (0, 0, 0), "h": (0, 1, 0), "v": (0, 0, 1), "r180": (0, 1, 1),
        "t": (1, 0, 0), "r270": (1, 1, 0), "r90": (1, 0, 1), "hvt": (1, 1, 1),
    }  # fmt: skip

    def numbers(self, drawn: dict[str, Any]) -> Numbers:
        """Whether each of the three is done."""
        return self.elements[drawn["group_element"]]

    def __call__(self, x: Tensor, numbers: Tensor) -> Tensor:
        """The same pixels, turned and mirrored."""
        x = torch.where(_each(numbers, 0) > 0, x.transpose(-1, -2), x)
        x = torch.where(_each(numbers, 1) > 0, x.flip(-1), x)
        return torch.where(_each(numbers, 2) > 0, x.flip(-2), x)


class Affine:
    """Moved, turned, zoomed and sheared; bilinear.

    Args:
        border: what lies outside, as `grid_sample` calls it: reflection (without the border pixel), border, zeros.
    """

    neutral = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

    def __init__(self, border: str) -> None:
        self.border = border

    def numbers(self, drawn: dict[str, Any]) -> Numbers:
        """Where each pixel comes from: the first two lines of the inverse matrix."""
        inverse: list[float] = np.linalg.inv(drawn["matrix"])[:2].ravel().tolist()
        return inverse

    def __call__(self, x: Tensor, numbers: Tensor) -> Tensor:
        """Sums of products, pixel by pixel: a product of matrices could depend on the batch."""
        height, width = x.shape[-2:]
        columns = torch.arange(width, device=x.device, dtype=torch.float32).view(1, 1, -1)
        rows = torch.arange(height, device=x.device, dtype=torch.float32).view(1, -1, 1)
        a, b, c, d, e, f = (numbers[:, i].view(-1, 1, 1) for i in range(6))
        from_x, from_y = a * columns + b * rows + c, d * columns + e * rows + f
        grid = torch.stack([from_x * (2 / (width - 1)) - 1, from_y * (2 / (height - 1)) - 1], dim=-1)
        return functional.grid_sample(x, grid, mode="bilinear", padding_mode=self.border, align_corners=True)


class Light:
    """Brightness and contrast."""

    neutral = (1.0, 0.0)

    def numbers(self, drawn: dict[str, Any]) -> Numbers:
        """A factor, and what is added."""
        return float(drawn["alpha"]), float(drawn["beta"])

    def __call__(self, x: Tensor, numbers: Tensor) -> Tensor:
        """Cut off at 0 and 255."""
        return (x * _each(numbers, 0) + _each(numbers, 1)).clamp(0, 255)


class Gamma:
    """A power of the light."""

    neutral = (1.0,)

    def numbers(self, drawn: dict[str, Any]) -> Numbers:
        """The exponent."""
        return (float(drawn["gamma"]),)

    def __call__(self, x: Tensor, numbers: Tensor) -> Tensor:
        """0 and 255 stay as they are."""
        return (x / 255).pow(_each(numbers, 0)) * 255


class Hue:
    """Hue, saturation and value of coloured pictures; hue in half degrees, as OpenCV has it."""

    neutral = (0.0, 0.0, 0.0)

    def numbers(self, drawn: dict[str, Any]) -> Numbers:
        """What is added to each."""
        return float(drawn["hue_shift"]), float(drawn["sat_shift"]), float(drawn["val_shift"])

    def __call__(self, x: Tensor, numbers: Tensor) -> Tensor:
        """Gray stays gray, whatever its saturation would become."""
        red, green, blue = x.unbind(1)
        value, least = x.amax(1), x.amin(1)
        spread = value - least
        share = 1 / spread.clamp_min(1e-6)
        others = torch.where(value == green, 2 + (blue - red) * share, 4 + (red - green) * share)
        sixth = torch.where(value == red, (green - blue) * share, others)
        saturation = spread / value.clamp_min(1e-6)
        hue, more, lighter = (numbers[:, i].view(-1, 1, 1) for i in range(3))
        sixth = sixth + hue / 30
        saturation = torch.where(saturation >= 0.5 / 255, (saturation + more / 255).clamp(0, 1), saturation)
        value = (value + lighter).clamp(0, 255)
        parts = [_part(sixth, shift) for shift in (5, 3, 1)]
        return torch.stack([value * (1 - saturation * part) for part in parts], dim=1)


def _part(sixth: Tensor, shift: int) -> Tensor:
    """How much of a colour is missing at a hue (in sixths of the circle): 0 to 1."""
    place = (sixth + shift) % 6
    return torch.minimum(place, 4 - place).clamp(0, 1)


class Nothing:
    """The picture as it is."""

    neutral: Numbers = ()

    def numbers(self, drawn: dict[str, Any]) -> Numbers:  # noqa: ARG002
        """None."""
        return ()

    def __call__(self, x: Tensor, numbers: Tensor) -> Tensor:  # noqa: ARG002
        """The same."""
        return x


def _each(numbers: Tensor, i: int) -> Tensor:
    """[batch, 1, 1, 1] the i-th number of each picture."""
    return numbers[:, i].view(-1, 1, 1, 1)


def _affine(transform: Any) -> Operation | None:
    import cv2

    borders = {cv2.BORDER_REFLECT_101: "reflection", cv2.BORDER_REPLICATE: "border", cv2.BORDER_CONSTANT: "zeros"}
    filled = transform.border_mode == cv2.BORDER_CONSTANT and np.any(transform.fill)
    usual = transform.interpolation == cv2.INTER_LINEAR and not transform.fit_output and not filled
    return Affine(borders[transform.border_mode]) if usual and transform.border_mode in borders else None


_KNOWN: dict[str, Callable[[Any], Operation | None]] = {
    "HorizontalFlip": lambda _: Flip(-1),
    "VerticalFlip": lambda _: Flip(-2),
    "SquareSymmetry": lambda _: Symmetry(),
    "Affine": _affine,
    "RandomBrightnessContrast": lambda transform: Light() if transform.brightness_by_max else None,
    "RandomGamma": lambda _: Gamma(),
    "HueSaturationValue": lambda _: Hue(),
    "NoOp": lambda _: Nothing(),
}


def operation_for(transform: Any, height_width: tuple[int, int], channels: int) -> Operation | None:
    """The batched form of one of albumentations' transforms; None where it has none for such pictures."""
    name = type(transform).__name__
    square, coloured = height_width[0] == height_width[1], channels == 3
    if (name == "SquareSymmetry" and not square) or (name == "HueSaturationValue" and not coloured):
        return None
    return _KNOWN[name](transform) if name in _KNOWN else None
