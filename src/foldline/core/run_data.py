"""What a run chooses of its pictures: their size, what of them the network sees, and where they are kept."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from foldline.core.records.framing import Fit, Interpolation
from foldline.core.yaml_models import Side, Strict

Shown = Annotated[Side, Field(ge=8)]  # grids of recipes need five px
Workers = Annotated[int, Field(ge=0, le=1024)]


def sides(size: int | tuple[int, int]) -> tuple[int, int]:
    """[height, width] of what is given as one side or as both."""
    return (size, size) if isinstance(size, int) else size


Level = Annotated[float, Field(ge=-1000, le=1000)]  # of a channel, where 0 is black and 1 white


class Data(Strict):
    """What the network sees."""

    image_size: Shown | tuple[Shown, Shown] = Field(224, description="side in px, or [height, width]")
    fit: Fit = Field(
        "squash",
        description="how a picture of another shape gets the size: squash: both sides are scaled; letterbox: the whole "
        "picture between gray bars (114 of 255: nearly zero once it is normalised); pad: the whole picture, its border "
        "mirrored around it; crop: the shorter side is scaled, the middle is cut out",
    )
    interpolation: Interpolation | Literal["weights"] = Field(
        "auto",
        description="how pictures are scaled: auto: by area where they shrink, cubic where they grow; area, nearest, "
        "or bilinear, bicubic, lanczos as Pillow does; weights: as the pretrained weights were tested in timm",
    )
    crop_fraction: Annotated[float, Field(ge=0.25, le=1)] | Literal["weights"] = Field(
        1.0,
        description="the share of each side that networks see when they are tested, from the middle; weights: as the "
        "pretrained weights were tested in timm (0.875 is usual)",
    )
    foreground: str = Field(
        "none",
        description="what is cut out before: none: all is kept; threshold: the largest bright part and a margin "
        "(X-rays, slices, fundus); or a function of your own, `file.py:name`: (image) -> (top, left, bottom, right) "
        "or None",
    )
    channels: int = Field(3, ge=1, le=1024, description="channels of one file: 1 gray, 3 colour, or as many as it has")
    neighbours: int = Field(
        0,
        ge=0,
        le=64,
        description="so many pictures before and after each one, by the facts' `order`, are stacked as its channels; "
        "at the ends of an entity the last one is repeated",
    )
    intensity: Literal["auto", "full", "minmax", "percentile", "on_white"] = Field(
        "auto",
        description="how numbers become 8 bits: full: the type's range (fractions: 0 to 1); minmax, percentile: each "
        "picture's own (0.5 to 99.5 %); auto: 8 bits as they are, a DICOM's own window, whole numbers by the first of "
        "8, 12, 16 bits that holds the picture, all else by minmax; on_white: as auto, and what is transparent in a "
        "png or webp is laid over white (else alpha is left out, and what lies under it is seen)",
    )
    bad_images: Literal["stop", "skip"] = Field(
        "stop",
        description="images that cannot be decoded: stop with the list of all, or leave their rows out and report it",
    )
    original: Annotated[float, Field(ge=1, le=4)] | Literal["auto"] = Field(
        1.0,
        description="side of the pictures that augment.crop cuts from, as a multiple of image_size; auto: by how large "
        "the files are, up to 2, and so that they take at most 32 GB",
    )
    normalise: Literal["weights", "imagenet", "half", "pictures"] | tuple[list[Level], list[Level]] = Field(
        "weights",
        description="how numbers from 0 to 1 are scaled: by mean and deviation of each channel, as the pretrained "
        "weights expect them; imagenet: ImageNet's; half: 0.5 and 0.5; pictures: those of this competition's training "
        "pictures; or [[mean], [deviation]], a number a channel",
    )
    workers: Workers | Literal["auto"] = Field(
        "auto",
        description="processes that augment; the result is the same for any number. auto: none on a CPU, else by the "
        "cores and by how many pictures one process makes",
    )
    cache: Literal["auto", "disk", "memory", "gpu"] = Field(
        "auto",
        description="where decoded pictures lie: disk: a memory map; memory: read at the start; gpu: it gathers "
        "them by itself; auto: gpu where training takes them as they are and they fit into 30 % of its free "
        "memory, else disk",
    )
    cache_format: Literal["raw", "jpeg"] = Field(
        "raw",
        description="how decoded pictures are kept: raw: as they are; jpeg: of quality 95, a tenth to a third of the "
        "space, other pixels, decoded anew whenever they are read; for 1 or 3 channels. New pictures and notebooks see "
        "their files as they are: a probability moved by up to 0.0014",
    )
    grow_from: float = Field(
        1.0,
        gt=0,
        le=1,
        description="progressive resizing: the first epoch's side as a share of image_size; it grows to the full size "
        "over the first three quarters of the epochs",
    )

    @field_validator("foreground")
    @classmethod
    def _known_foreground(cls, name: str) -> str:
        if name not in ("none", "threshold") and ":" not in name:
            raise ValueError("is none, threshold, or a function of your own, file.py:name")
        return name

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.intensity == "on_white" and self.channels not in (1, 3):
            raise ValueError("intensity: on_white makes 1 or 3 channels; other counts are the file's own, alpha too")
        return self

    @property
    def height_width(self) -> tuple[int, int]:
        """[height, width] in px."""
        return sides(self.image_size)

    def require_crops(self, crops: bool) -> None:
        """Raises ValueError where these settings need crops, or cannot be with them.

        Args:
            crops: whether training sees parts of pictures (`augment.crop`).
        """
        if self.original != 1 and not crops:
            raise ValueError("data.original is what augment.crop cuts from: set augment.crop too, or leave it out")
        if crops and self.cache == "gpu":
            raise ValueError("augment.crop is done where the host is: it cannot take pictures from data.cache: gpu")
