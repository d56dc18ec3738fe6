"""How a picture of any size becomes one of the network's: a part of a fold's meta, and of a cache's key."""

from typing import Literal

from foldline.core.records.record import Part

Fit = Literal["squash", "letterbox", "pad", "crop"]
Interpolation = Literal["auto", "area", "nearest", "bilinear", "bicubic", "lanczos"]


class Framing(Part):
    """What of a picture is seen, and how it is scaled.

    Attributes:
        fit: how a picture of another shape gets the size.
        interpolation: how it is scaled.
        crop_fraction: the share of each side that is left when the middle is cut out of what `fit` makes.
        foreground: what is cut out before; none, threshold, or a function of the user's own.
    """

    fit: Fit = "squash"
    interpolation: Interpolation = "auto"
    crop_fraction: float = 1.0
    foreground: str = "none"

    def in_words(self) -> str:
        """What is not as usual, for a message or a file; empty: all is."""
        return ", ".join(
            f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in self.model_dump(exclude_defaults=True).items()
        )


AS_USUAL = Framing()
