"""What training images go through, as a function of a key.

The same (seed, fold, epoch, row) gives the same picture whatever the number of workers, the order of
the rows, or where training was interrupted.
"""

import inspect
import random
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldline.core import own_code
from foldline.core.errors import FoldlineError, unknown
from foldline.core.run import Augment
from foldline.images.cropping import CUTTING, Cropper
from foldline.images.transforms import WHERE, build_transforms, require_transforms

Pixels = NDArray[np.uint8]
ERASING = -2  # the key's last part for erasing, apart from all others: rows, repeats and batches are not negative
BUILDER = ("strength", "height_width", "channels")  # what a recipe takes
TIMM = "timm/"  # begins a recipe that is one of timm's policies
TRIALS = 8  # pictures on which transforms of one's own are tried before training


class Augmenter:
    """Turns a picture and a key into an augmented picture of the same size; crops come first, of a larger one.

    Args:
        settings: the run's `augment`.
        height_width: of the results, in px; so are the pictures, but where they are cropped.
        channels: of the pictures; None is not known, and leaves operations on colour out.

    Raises:
        FoldlineError: an unknown recipe, transform or parameter; transforms that fail on such pictures, or change
            their size or type.
    """

    def __init__(self, settings: Augment, height_width: tuple[int, int], channels: int | None = None) -> None:
        self.made_of = (settings, height_width, channels)
        self.erasing = settings.erasing
        self.cropper = None if settings.crop.name == "none" else Cropper(settings.crop, height_width)
        self.copies = clean_every(settings)
        self.flips: list[tuple[int, float]] | None = None
        self.compose: Any = None
        by_name = settings.transforms is None and not own_code.is_own(settings.recipe)
        self.where = WHERE if settings.transforms is not None else "augment.recipe"
        self.picture = None if by_name else _picture_function(settings)
        if self.picture is None:
            transforms = transforms_of(settings, height_width, channels)
            self.flips = _only_flips(transforms)
            self.compose = None if self.flips is not None else _compose(transforms)
        if not by_name and self.flips is None:
            _try(self, (*height_width, channels or 3))

    def __reduce__(self) -> Any:
        """Made anew in another process: code of the user's own cannot be sent."""
        return Augmenter, self.made_of

    @property
    def does_nothing(self) -> bool:
        """Whether every picture comes out as it went in."""
        return self.flips == [] and self.erasing == 0 and self.cropper is None

    def __call__(self, image: Pixels, *key: int) -> Pixels:
        """[height, width, channels] uint8 in and out; equal keys give equal pictures. The input is not changed."""
        result = self._recipe(self.cropped(image, *key), key)
        return erase(result, self.erasing, *key) if self.erasing else result

    def with_mask(self, joined: Pixels, *key: int, crops: bool = False) -> Pixels:
        """A picture whose last channel is its mask: the picture as by itself, and the mask moved as it is, by the
        nearest px, without what is of light and colour. What is erased or dropped of the picture stays marked.

        Args:
            joined: [height, width, channels + 1] uint8, 0 or 1 in the last channel.
            crops: the picture is cropped alone.
        """
        image, mask = np.ascontiguousarray(joined[..., :-1]), np.ascontiguousarray(joined[..., -1])
        image = self.cropped(image, *key)
        if self.cropper is not None:
            mask = self.cropper.mask(mask, np.random.default_rng(key_seed(*key, CUTTING)))
        if not crops:
            image, mask = self._both(image, mask, key)
            image = erase(image, self.erasing, *key) if self.erasing else image
        return np.concatenate([image, mask[..., None]], axis=2)

    def _both(self, image: Pixels, mask: Pixels, key: tuple[int, ...]) -> tuple[Pixels, Pixels]:
        """The picture after the recipe, and its mask; an empty one stays so, whatever moves it."""
        if self.compose is None or not mask.any():
            return self._recipe(image, key), flip(mask, self.flips or [], key_seed(*key))
        set_state(self.compose, key_seed(*key))
        done = self.compose(image=image, mask=mask)
        return _same_kind(done["image"], image, self.where), done["mask"]

    def cropped(self, image: Pixels, *key: int) -> Pixels:
        """The part of the picture that is seen, at the size of the results; all of it where nothing is cropped."""
        return image if self.cropper is None else self.cropper(image, np.random.default_rng(key_seed(*key, CUTTING)))

    def keeps(self, repeat: int) -> bool:
        """Whether a row that came so often before in its epoch is shown as it is: the first of copies that are
        compared."""
        return bool(self.copies) and repeat % self.copies == 0

    def _recipe(self, image: Pixels, key: tuple[int, ...]) -> Pixels:
        if self.flips == []:
            return image
        seed = key_seed(*key)
        if self.flips is not None:
            return flip(image, self.flips, seed)
        if self.picture is not None:
            return _same_kind(self.picture(image.copy(), np.random.default_rng(seed)), image, self.where)
        set_state(self.compose, seed)
        return _same_kind(self.compose(image=image)["image"], image, self.where)


def clean_every(settings: Augment) -> int:
    """Of how many pictures of a row one stays as it is; 0: none does."""
    return int(settings.copies.options["count"]) if settings.copies.name == "consistent" else 0


def transforms_of(settings: Augment, height_width: tuple[int, int], channels: int | None) -> list[Any]:
    """A new list of the albumentations that a recipe or the user's list names."""
    if settings.transforms is not None:
        return build_transforms(settings.transforms)
    arguments = settings.strength, height_width, channels
    if own_code.is_own(settings.recipe):
        build = own_code.load(settings.recipe, BUILDER, where="augment.recipe")
        made = own_code.attempt(settings.recipe, lambda: build(*arguments), where="augment.recipe")
        return require_transforms(made, where=f"augment.recipe: {settings.recipe}")
    if settings.recipe.startswith(TIMM):
        if channels not in (None, 1, 3):
            raise FoldlineError(
                f"timm's policies are for pictures of one channel or three, and these have {channels}",
                where=f"augment.recipe: {settings.recipe}",
                next="use another recipe: light, flips, dihedral",
            )
        return build_transforms(["HorizontalFlip", {"TimmPolicy": {"policy": settings.recipe.removeprefix(TIMM)}}])
    from foldline.images.recipes import RECIPES

    if settings.recipe not in RECIPES:
        raise unknown("augmentation recipe", settings.recipe, list(RECIPES), where="augment.recipe")
    return RECIPES[settings.recipe](*arguments)


def _picture_function(settings: Augment) -> Callable[[Pixels, np.random.Generator], Any] | None:
    """A function (image, rng) -> image of the user's own; None where it takes three arguments and builds a list."""
    if settings.transforms is not None:
        return None
    name = settings.recipe
    function = own_code.load(name, where="augment.recipe")
    if len(inspect.signature(function).parameters) == len(BUILDER):
        return None
    own_code.load(name, ("image", "rng"), where="augment.recipe")
    if settings.strength != 1:
        raise FoldlineError(
            f"'{name}' takes no strength",
            where="augment.strength",
            next=f"leave it out, or let the function take ({', '.join(BUILDER)}) and give a list of albumentations",
        )
    return lambda image, rng: own_code.attempt(name, lambda: function(image, rng), where="augment.recipe")


def _compose(transforms: list[Any]) -> Any:
    import albumentations as alb

    return alb.Compose(transforms)


def set_state(compose: Any, seed: int) -> None:
    """Sets what a composition draws by.

    It is one generator for all transforms. `set_random_seed` would give each its own of the same seed, so that their
    first draws fall together: two flips both done or neither.
    """
    compose.set_random_state(np.random.default_rng(seed), random.Random(seed))  # noqa: S311


def _only_flips(transforms: list[Any]) -> list[tuple[int, float]] | None:
    """The (axis, probability) of each, where all transforms are flips; else None."""
    if not transforms:
        return []
    import albumentations as alb

    axes = {alb.HorizontalFlip: 1, alb.VerticalFlip: 0}
    if any(type(transform) not in axes for transform in transforms):
        return None
    return [(axes[type(transform)], float(transform.p)) for transform in transforms]


def flip(image: Pixels, flips: Sequence[tuple[int, float]], seed: int) -> Pixels:
    """What albumentations' composition of these flips gives, bit for bit, some thirty times faster.

    Args:
        image: [height, width, channels].
        flips: (axis, probability) of each.
        seed: of the composition's generator, from which each flip draws by itself.
    """
    stream = random.Random(seed)  # noqa: S311
    stream.random()  # the composition's own draw, whether to run at all
    for axis, p in flips:
        drawn = stream.random() if 0 < p < 1 else 0.0
        if drawn < p or p >= 1:
            image = image[:, ::-1] if axis == 1 else image[::-1]
    return image


def erase(image: Pixels, probability: float, *key: int) -> Pixels:
    """Random erasing (Zhong et al. 2017, https://arxiv.org/abs/1708.04896): noise over a random patch.

    Args:
        image: [height, width, channels] uint8; it is not changed.
        probability: the share of keys for which something is erased.
        key: equal keys give equal pictures.
    """
    drawn = erasing_patch((image.shape[0], image.shape[1], image.shape[2]), probability, *key)
    if drawn is None:
        return image
    top, left, noise = drawn
    result = image.copy()
    result[top : top + noise.shape[0], left : left + noise.shape[1]] = noise
    return result


def erasing_patch(shape: tuple[int, int, int], probability: float, *key: int) -> tuple[int, int, Pixels] | None:
    """(top, left, noise [height, width, channels]) of the patch of a picture that is erased; None for no patch.

    It has 2 to 33 % of the picture's area and a side ratio of 0.3 to 3.3, less where it would not fit.

    Args:
        shape: [height, width, channels] of the picture.
    """
    rng = np.random.default_rng(key_seed(*key, ERASING))
    if rng.random() >= probability:
        return None
    height, width, channels = shape
    area = rng.uniform(0.02, 0.33) * height * width
    ratio = np.exp(rng.uniform(np.log(0.3), np.log(3.3)))
    h = int(np.clip(round(float(np.sqrt(area * ratio))), 1, height))
    w = int(np.clip(round(float(np.sqrt(area / ratio))), 1, width))
    top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
    return top, left, rng.integers(0, 256, (h, w, channels), dtype=np.uint8)


def _same_kind(result: Any, image: Pixels, where: str) -> Pixels:
    """The result, if it is a picture like the one that went in; else a FoldlineError."""
    result = np.asarray(result)
    result = result[..., None] if result.ndim < image.ndim else result
    if result.shape == image.shape and result.dtype == np.uint8:
        same: Pixels = result
        return same
    raise FoldlineError(
        f"the transforms turn a picture of {_words(image.shape)}, uint8, into {_words(result.shape)}, {result.dtype}",
        where=where,
        next=f"end with one that gives {image.shape[0]} x {image.shape[1]} again (Resize, or crop with that size); the "
        "network's own normalisation is done later",
    )


def _try(augmenter: Augmenter, shape: tuple[int, int, int]) -> None:
    """Tries the transforms on noise, as they are and with every probability 1, each key twice in another order."""
    import cv2

    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    try:
        for trial in range(TRIALS if augmenter.compose is not None else 0):
            _forced(augmenter, image, trial)
        first = [augmenter(image, trial) for trial in range(TRIALS)]
        again = [augmenter(image, trial) for trial in reversed(range(TRIALS))][::-1]
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError, cv2.error) as error:
        what = f"the transforms fail on a picture of {_words(shape)}: {' '.join(str(error).split())}"
        raise FoldlineError(what, where=augmenter.where) from error
    if any((a != b).any() for a, b in zip(first, again, strict=True)):
        what = "a transform depends on more than its seed, so training could not be repeated"
        raise FoldlineError(what, where=augmenter.where)


def _forced(augmenter: Augmenter, image: Pixels, seed: int) -> Pixels:
    """The picture after every transform of the list, whatever its probability."""
    set_state(augmenter.compose, seed)
    result = image
    for transform in augmenter.compose.transforms:
        result = transform(force_apply=True, image=result)["image"]
    return _same_kind(result, image, augmenter.where)


def _words(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def key_seed(*key: int) -> int:
    """A 32-bit seed that depends on every part of the key; whole numbers of any type are alike.

    >>> key_seed(0, 1, 2, 3) == key_seed(0, 1, 2, 3), key_seed(0, 1) == key_seed(1, 0)
    (True, False)
    """
    digest = blake2b(repr(tuple(map(int, key))).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")
