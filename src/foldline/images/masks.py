"""Masks of training pictures: which px show the object. They move as their pictures do. Reads the cache's memory map.

A mask travels as its picture's last channel: 1 where the object is, 0 elsewhere and where a picture has none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foldline.core.errors import FoldlineError
from foldline.core.records.framing import AS_USUAL, Framing
from foldline.images.augment import Augmenter
from foldline.images.building import CacheSpec
from foldline.images.cache import ImageCache, opened
from foldline.images.files.decode import Intensity
from foldline.images.shards import Indices, Pictures, Pixels, file_of
from foldline.images.shards import opened as opened_file


@dataclass(frozen=True)
class Masks:
    """The masks of a cache's pictures.

    Attributes:
        pixels: [masks, height, width, 1] uint8 0 or 1, of the pictures' size.
        of_picture: [pictures] which of them each picture has; -1: none.
    """

    pixels: Pictures
    of_picture: Indices

    def __getstate__(self) -> dict[str, Any]:
        """For a worker that is not forked: it opens the file by itself."""
        file = file_of(self.pixels)
        return {**self.__dict__, "pixels": self.pixels if file is None else file}

    def __setstate__(self, state: dict[str, Any]) -> None:
        pixels = state["pixels"]
        self.__dict__.update(state, pixels=pixels if isinstance(pixels, np.ndarray) else opened_file(pixels))

    def take(self, positions: Indices) -> Pixels:
        """[pictures, height, width, 1] the masks of some pictures; 0 where one has none."""
        own = self.of_picture[positions]
        there = own >= 0
        result = np.zeros((len(own), *self.pixels.shape[1:]), dtype=np.uint8)
        if there.any():
            result[there] = self.pixels[own[there]]
        return result

    def beside(self, images: Pixels, positions: Indices) -> Pixels:
        """[pictures, height, width, channels + 1] the pictures with their masks as the last channel."""
        return np.concatenate([images, self.take(positions)], axis=3)


def open_masks(
    root: Path,
    folder: Path,
    files: Mapping[str, str],
    cache: ImageCache,
    channels: int,
    *,
    intensity: Intensity = "auto",
    framing: Framing = AS_USUAL,
) -> Masks:
    """The masks of a cache's pictures; they are decoded when they are not there.

    Args:
        root, folder, channels, intensity, framing: as the cache was opened.
        files: picture -> its mask, below `root`.

    Raises:
        FoldlineError: masks cannot be read, or are not of their pictures' size.
    """
    named = {image: f"{image}|{mask}" for image, mask in files.items() if image not in cache.bad}
    height, width = cache.pixels.shape[1:3]
    of_picture = np.full(max(cache.position.values(), default=-1) + 1, -1, dtype=np.int64)
    if not cache.key:  # stands in for the cache in a forecast: a few pictures, each for many
        of_picture[[cache.position[image] for image in named]] = 0
        return Masks(np.zeros((1, height, width, 1), dtype=np.uint8), of_picture)
    names = tuple(sorted(named.values()))
    spec = CacheSpec(names, height, width, 1, intensity, framing=framing, mask_of=channels)
    made = opened(root, folder, spec)
    for image, name in named.items():
        of_picture[cache.position[image]] = made.position[name]
    return Masks(made.pixels, of_picture)


def require_moving(augmenter: Augmenter) -> None:
    """Raises FoldlineError where something moves pictures that cannot move their masks."""
    settings, _, _ = augmenter.made_of
    why = ""
    if augmenter.picture is not None:
        why = "a function of your own gives the picture alone; let it build a list of albumentations"
    elif settings.engine == "torch":
        why = "engine: torch moves no masks; use augment.engine=albumentations"
    elif augmenter.compose is not None:
        why = next((word for one in _leaves(augmenter.compose) if (word := _immobile(one))), "")
    if why:
        raise FoldlineError(f"masks must move with their pictures: {why}", where="loss.masks, augment")


def _leaves(compose: Any) -> list[Any]:
    return [leaf for one in compose.transforms for leaf in (_leaves(one) if hasattr(one, "transforms") else [one])]


def _immobile(transform: Any) -> str:
    """Why a transform cannot move a mask; empty: it can, or moves nothing."""
    import albumentations as alb

    from foldline.images.policies import TimmPolicy

    if isinstance(transform, TimmPolicy):
        return "timm's policies turn and shear the picture alone; use another recipe, as randaugment"
    if isinstance(transform, alb.DualTransform) and "mask" not in transform.available_keys:
        return f"{type(transform).__name__} moves no mask; leave it out"
    return ""
