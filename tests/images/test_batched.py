"""Augmentation of whole batches: the pictures of albumentations, by the same keys, each by itself."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from foldline.core.errors import FoldlineError
from foldline.core.run import Augment, Sampling
from foldline.images.augment import Augmenter
from foldline.images.batched import BatchAugmenter
from foldline.images.batches import TrainingRows
from foldline.images.feed import Feed, gathers
from foldline.images.store import PictureStore, copied

CPU = torch.device("cpu")
SIZE = (32, 32)
MIRRORED = {"border_mode": "BORDER_REFLECT_101", "p": 1.0}


def smooth(channels: int = 3, size: tuple[int, int] = SIZE, pictures: int = 24) -> NDArray[np.uint8]:
    """Pictures without sharp edges, where a hundredth of a pixel is a fraction of a gray level."""
    rng = np.random.default_rng(0)
    waves = rng.uniform(0.5, 2, (pictures, channels, 2))
    y, x = np.mgrid[: size[0], : size[1]] / max(size)
    turns = waves[..., 0, None, None] * y + waves[..., 1, None, None] * x
    values = 128 + 90 * np.sin(2 * np.pi * turns + rng.uniform(0, 6, (pictures, channels, 1, 1)))
    return np.ascontiguousarray(values.transpose(0, 2, 3, 1)).astype(np.uint8)


def items_of(pictures: int, key: tuple[int, ...] = (5, 2, 3)) -> NDArray[np.int64]:
    rows = np.arange(pictures)
    return np.stack([rows, *(np.full_like(rows, part) for part in key), rows, rows % 2], axis=1)


def batched(settings: Augment, pixels: NDArray[np.uint8], items: NDArray[np.int64]) -> NDArray[np.float32]:
    augmenter = BatchAugmenter(settings, (pixels.shape[1], pixels.shape[2]), pixels.shape[3])
    images = torch.from_numpy(pixels[items[:, 0]]).permute(0, 3, 1, 2)
    result: Tensor = augmenter(images, augmenter.draw(items))
    return result.permute(0, 2, 3, 1).numpy()


def reference(settings: Augment, pixels: NDArray[np.uint8], items: NDArray[np.int64]) -> NDArray[np.uint8]:
    augmenter = Augmenter(settings, (pixels.shape[1], pixels.shape[2]), pixels.shape[3])
    keys = [key if key[-1] else key[:-1] for key in items[:, 1:].tolist()]
    pairs = zip(items[:, 0].tolist(), keys, strict=True)
    return np.stack([augmenter(pixels[position], *key) for position, key in pairs])


EXACT: dict[str, Any] = {
    "none": {"recipe": "none"},
    "erasing": {"recipe": "none", "erasing": 0.7},
    "flips": {"recipe": "flips", "strength": 0},
    "dihedral": {"recipe": "dihedral", "strength": 0, "erasing": 0.3},
    "one of": {"transforms": [{"OneOf": {"transforms": ["HorizontalFlip", "VerticalFlip", "NoOp"], "p": 0.8}}]},
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_what_only_moves_whole_pixels_is_the_same_picture(name: str, channels: int) -> None:
    settings, pixels, items = Augment(**EXACT[name]), smooth(channels), items_of(24)
    assert np.array_equal(batched(settings, pixels, items), reference(settings, pixels, items))


def test_a_picture_that_is_no_square_has_four_symmetries() -> None:
    settings, pixels, items = Augment(recipe="dihedral", strength=0), smooth(1, (12, 20)), items_of(24)
    assert np.array_equal(batched(settings, pixels, items), reference(settings, pixels, items))


CLOSE: dict[str, tuple[dict[str, Any], float, float]] = {  # the mean and the greatest difference, in gray levels
    "light": ({"recipe": "light"}, 1, 5),
    "flips": ({"recipe": "flips", "strength": 2}, 1, 6),
    "dihedral": ({"recipe": "dihedral", "erasing": 0.5}, 1, 5),
    "shear": ({"transforms": [{"Affine": {"shear": [-15, 15], "scale": [0.8, 1.2], **MIRRORED}}]}, 1, 6),
    "black border": ({"transforms": [{"Affine": {"translate_percent": [0.1, 0.2], "p": 1.0}}]}, 1, 60),
    "brightness": ({"transforms": [{"RandomBrightnessContrast": {"p": 0.7}}]}, 0.6, 1.01),
    "gamma": ({"transforms": [{"RandomGamma": {"gamma_limit": [60, 140], "p": 0.7}}]}, 1, 1.01),
    "hue": ({"transforms": [{"HueSaturationValue": {"p": 0.7}}]}, 1.5, 12),  # OpenCV's hue has steps of 2 degrees
}


@pytest.mark.parametrize("name", CLOSE)
@pytest.mark.parametrize("size", [SIZE, (32, 44)])
def test_the_picture_is_that_of_albumentations_within_a_few_gray_levels(name: str, size: tuple[int, int]) -> None:
    given, mean, most = CLOSE[name]
    settings, pixels, items = Augment(**given), smooth(3, size), items_of(24)
    theirs = reference(settings, pixels, items).astype(np.float64)
    difference = np.abs(batched(settings, pixels, items) - theirs)
    assert difference.mean() < mean, difference.mean()
    assert difference.max() < most, difference.max()
    moved = np.abs(pixels[items[:, 0]] - theirs)
    assert moved.mean() > 5 * difference.mean(), "else the comparison says nothing"


@pytest.mark.parametrize("name", CLOSE)
def test_a_picture_does_not_depend_on_the_others_of_its_batch(name: str) -> None:
    settings, pixels, items = Augment(**CLOSE[name][0]), smooth(), items_of(24)
    whole = batched(settings, pixels, items)
    for part in (items[::-1], items[3:4], items[5:17]):
        assert np.array_equal(batched(settings, pixels, part), whole[part[:, 0]])
    assert not np.array_equal(batched(settings, pixels, items_of(24, (5, 2, 4))), whole), "the epoch must matter"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"recipe": "medium"}, "GaussianBlur"),
        ({"recipe": "heavy"}, "RandomResizedCrop"),
        ({"recipe": "randaugment"}, "RandomOrder"),
        ({"recipe": "file.py:own"}, "code of your own"),
        ({"transforms": [{"Affine": {"rotate": 5, "fit_output": True}}]}, "Affine with these settings"),
        ({"transforms": [{"Affine": {"rotate": 5, "fill": 9}}]}, "Affine with these settings"),
        ({"transforms": ["Posterize"]}, "Posterize"),
    ],
)
def test_what_has_no_batched_form_is_refused_by_name(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(FoldlineError, match=named) as caught:
        BatchAugmenter(Augment(**settings), SIZE, 3)
    assert caught.value.where == "augment.engine: torch"


def test_colour_needs_three_channels() -> None:
    with pytest.raises(FoldlineError, match="HueSaturationValue"):
        BatchAugmenter(Augment(transforms=["HueSaturationValue"]), SIZE, 1)


def test_a_gray_pixel_has_no_hue() -> None:
    settings = Augment(transforms=[{"HueSaturationValue": {"val_shift_limit": [0, 0], "p": 1.0}}])
    gray = np.repeat(smooth(1), 3, axis=3)
    assert np.abs(batched(settings, gray, items_of(24)) - gray).max() < 0.01


def batches_of(settings: Augment, *, resident: bool, workers: int = 0) -> list[tuple[Any, Any]]:
    pixels = smooth()
    store = PictureStore(pixels, CPU, copied(pixels, CPU) if resident else None)
    truth = np.array([0] * 20 + [1] * 4, dtype=np.float64)
    rows = TrainingRows(
        np.arange(24)[::-1].copy(), (1, 0), truth=truth, outputs=["a", "b"], sampling=Sampling(balance=1.0)
    )
    with Feed(store, Augmenter(settings, SIZE, 3), workers) as feed:
        return [
            (batch.images.numpy(), batch.rows) for epoch in (0, 1) for batch in feed.training(rows, epoch, 8, first=1)
        ]


def same(left: list[tuple[Any, Any]], right: list[tuple[Any, Any]]) -> bool:
    return all(np.array_equal(a, b) and np.array_equal(r, s) for (a, r), (b, s) in zip(left, right, strict=True))


def test_batches_are_the_same_wherever_the_pictures_lie() -> None:
    settings = Augment(recipe="light", erasing=0.5, engine="torch")
    first = batches_of(settings, resident=True)
    assert same(first, batches_of(settings, resident=False))
    assert same(first, batches_of(settings, resident=False, workers=2)), "nothing is left for workers"


@pytest.mark.parametrize(
    "settings", [Augment(recipe="none", erasing=0.5), Augment(recipe="flips", strength=0, erasing=0.5)]
)
def test_flips_and_erasing_on_the_device_are_those_of_the_host(settings: Augment) -> None:
    assert gathers(Augmenter(settings, SIZE, 3))
    assert same(batches_of(settings, resident=True), batches_of(settings, resident=False))


def test_a_recipe_that_the_host_does_is_not_gathered() -> None:
    settings = Augment(recipe="light")
    assert not gathers(Augmenter(settings, SIZE, 3))
    assert same(batches_of(settings, resident=True), batches_of(settings, resident=False))


@pytest.mark.gpu
@pytest.mark.parametrize("name", CLOSE)
def test_a_gpu_makes_the_same_pictures(name: str) -> None:
    settings, pixels, items = Augment(**CLOSE[name][0]), smooth(), items_of(24)
    augmenter, device = BatchAugmenter(settings, SIZE, 3), torch.device("cuda")
    drawn = augmenter.draw(items)
    there = type(drawn)(drawn.numbers.to(device), drawn.noise.to(device), drawn.patches)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device)
    found = augmenter(images, there).cpu().permute(0, 2, 3, 1).numpy()
    assert np.allclose(found, batched(settings, pixels, items), atol=0.05)
    assert torch.equal(augmenter(images, there), augmenter(images, there))
