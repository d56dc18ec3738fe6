"""timm's augmentation policies (AutoAugment, RandAugment, AugMix) as a transform of albumentations.

timm draws from the states of `random` and of numpy; they are seeded by the transform's own draw for the time of one
picture, and put back, so that the same key gives the same picture in every process. Imported where it is asked for, as
albumentations and timm take seconds to import.
"""

import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import albumentations as alb
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from timm.data.auto_augment import augment_and_mix_transform, auto_augment_transform, rand_augment_transform

Pixels = NDArray[np.uint8]
GRAY = 128  # what moved pictures are filled with, as in timm
# The first word of a policy, how it is built, and what its sections look like: timm passes over what it cannot read.
NUMBER = r"\d+(\.\d+)?"
KINDS: dict[str, tuple[Callable[[str, dict[str, Any]], Any], str]] = {
    "rand": (rand_augment_transform, rf"m\d+|n\d+|p{NUMBER}|mstd{NUMBER}|mmax\d+|inc[01]|t(weights|3a|3aw)"),
    "augmix": (augment_and_mix_transform, rf"m\d+|w\d+|d\d+|a{NUMBER}|b[01]|mstd{NUMBER}"),
    **dict.fromkeys(("original", "originalr", "v0", "v0r", "3a"), (auto_augment_transform, rf"mstd{NUMBER}")),
}


class TimmPolicy(alb.ImageOnlyTransform):  # type: ignore[misc]  # albumentations says no types
    """One of timm's policies, by its own name, for pictures of one channel or three.

    Args:
        policy: such as `rand-m9-mstd0.5-inc1`, `augmix-m3-w3`, `original`, `3a`.

    Raises:
        ValueError: timm has no such policy.
    """

    def __init__(self, policy: str, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.policy = policy
        _built(policy, (32, 32), 3)

    def get_params(self) -> dict[str, Any]:
        """What a picture is drawn by."""
        return {"seed": self.py_random.getrandbits(32)}

    def apply(self, img: Pixels, seed: int, **params: Any) -> Pixels:  # noqa: ARG002
        """[height, width, channels] uint8 in and out."""
        channels = img.shape[2] if img.ndim == 3 else 1
        if channels not in (1, 3):
            raise ValueError(f"timm's policies take pictures of one channel or three, not of {channels}")
        plain = np.ascontiguousarray(img[..., 0] if img.ndim == 3 and channels == 1 else img)
        with seeded(seed):
            changed = _built(self.policy, img.shape[:2], channels)(Image.fromarray(plain))
        return np.asarray(changed, dtype=np.uint8).reshape(img.shape)

    def get_transform_init_args_names(self) -> tuple[str, ...]:
        """For its text."""
        return ("policy",)


def _built(policy: str, height_width: tuple[int, ...], channels: int) -> Callable[[Image.Image], Image.Image]:
    """timm's own object, with timm's own hints: moves of up to 45 % of the shorter side."""
    first, *sections = policy.split("-")
    if first not in KINDS:
        raise ValueError(f"timm has no policy '{first}'; known: {', '.join(KINDS)}")
    build, section = KINDS[first]
    for text in sections:
        if not re.fullmatch(section, text):
            raise ValueError(f"'{text}' is no section of timm's policy '{first}' (as in {_example(first)})")
    hints: dict[str, Any] = {"translate_const": int(min(height_width) * 0.45)}
    hints["img_mean"] = GRAY if channels == 1 else (GRAY,) * 3
    if first == "augmix":
        hints["translate_pct"] = 0.3
    try:
        made: Callable[[Image.Image], Image.Image] = build(policy, hints)
    except AssertionError as error:
        raise ValueError(f"timm does not know the policy '{policy}'") from error
    return made


def _example(first: str) -> str:
    return {"rand": "rand-m9-mstd0.5-inc1", "augmix": "augmix-m3-w3"}.get(first, f"{first}-mstd0.5")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The global states of `random` and numpy, seeded inside and as they were behind it."""
    own, numpys = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(own)
        np.random.set_state(numpys)
