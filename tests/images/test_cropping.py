"""Training cuts from larger pictures: anywhere, by the key alone, with their detail; draws do not depend on another."""

from collections.abc import Callable
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from foldline.core.run import Augment
from foldline.images.augment import Augmenter, erasing_patch, key_seed, set_state, transforms_of
from foldline.images.batches import TrainingRows
from foldline.images.cropping import jitter, random_resized
from foldline.images.feed import Feed
from foldline.images.originals import MOST_BYTES, usual_original
from foldline.images.recipes import RECIPES
from foldline.images.shards import Pixels
from foldline.images.store import PictureStore

CPU = torch.device("cpu")
CROP = {"name": "random_resized", "options": {"scale": 0.2, "ratio": 0.5}}


def cropped(recipe: str = "none", engine: str = "albumentations", side: int = 32) -> Augmenter:
    settings = Augment.model_validate({"recipe": recipe, "crop": CROP, "engine": engine})
    return Augmenter(settings, (side, side), 1)


@pytest.mark.parametrize("shape", [(80, 120), (120, 80), (64, 64)])
def test_a_box_is_of_the_wanted_share_and_shape_and_anywhere(shape: tuple[int, int]) -> None:
    rng, boxes = np.random.default_rng(0), list[tuple[int, int, int, int]]()
    for _ in range(2000):
        boxes.append(random_resized(shape, rng, scale=0.2, ratio=0.5))
    top, left, bottom, right = np.array(boxes).T
    area = (bottom - top) * (right - left) / (shape[0] * shape[1])
    stretch = ((right - left) / shape[1]) / ((bottom - top) / shape[0])
    assert area.min() < 0.23
    assert area.max() > 0.95
    assert (area > 0.18).all()
    assert stretch.min() == pytest.approx(0.5, abs=0.05)
    assert stretch.max() == pytest.approx(2, abs=0.2)
    assert (top.min(), left.min(), bottom.max(), right.max()) == (0, 0, *shape)
    whole = [jitter(shape, rng, least=1.0), random_resized(shape, rng, scale=1.0, ratio=1.0)]
    assert whole == [(0, 0, *shape)] * 2
    shares = [(box[2] - box[0]) / shape[0] for box in (jitter(shape, rng, least=0.5) for _ in range(500))]
    assert 0.49 < min(shares) < 0.55 < 0.95 < max(shares)


def test_a_crop_is_a_function_of_its_key() -> None:
    augmenter, picture = cropped(), np.random.default_rng(0).integers(0, 256, (48, 64, 1), dtype=np.uint8)
    first = [augmenter(picture, 0, 1, 2, row) for row in range(20)]
    again = [augmenter(picture, 0, 1, 2, row) for row in reversed(range(20))][::-1]
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert {one.shape for one in first} == {(32, 32, 1)}
    assert len({one.tobytes() for one in first}) == 20


def test_crops_of_a_larger_original_show_what_the_small_picture_lost() -> None:
    """A checkerboard of single px is gray at half the size, and a checkerboard in a crop of a quarter."""
    fine = np.indices((64, 64)).sum(0) % 2 * np.uint8(255)
    small = cv2.resize(fine.astype(np.uint8), (32, 32), interpolation=cv2.INTER_AREA)
    settings = Augment.model_validate({"recipe": "none", "crop": {"name": "jitter", "options": {"least": 0.5}}})
    augmenter = Augmenter(settings, (32, 32), 1)
    detail = [
        np.mean([augmenter(picture[..., None].astype(np.uint8), 0, key).std() for key in range(30)])
        for picture in (fine, small)
    ]
    assert detail[0] > 20 + detail[1]


def training(pixels: Pixels, augmenter: Augmenter, workers: int = 0) -> list[torch.Tensor]:
    rows = TrainingRows(np.arange(len(pixels)), (0, 0))
    with Feed(PictureStore(pixels, CPU), augmenter, workers) as feed:
        return [batch.images.float() for batch in feed.training(rows, 0, 4)]


@pytest.mark.parametrize("recipe", ["none", "light"])
def test_both_engines_and_any_workers_crop_alike(recipe: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 48, 40, 1), dtype=np.uint8)
    pixels = np.stack([cv2.GaussianBlur(picture, (0, 0), 4)[..., None] for picture in pixels])
    by_one, by_workers = (training(pixels, cropped(recipe), workers) for workers in (0, 1))
    by_batch = training(pixels, cropped(recipe, "torch"))
    assert [tuple(images.shape) for images in by_one] == [(4, 1, 32, 32)] * 2
    assert all(torch.equal(a, b) for a, b in zip(by_one, by_workers, strict=True))
    assert max(float((a - b).abs().max()) for a, b in zip(by_one, by_batch, strict=True)) <= (
        0 if recipe == "none" else 4
    )


def test_how_large_originals_are_is_said_by_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"{i}.png" for i in range(5)]
    for name in names:
        cv2.imwrite(str(tmp_path / name), np.zeros((60, 90), dtype=np.uint8))
    (tmp_path / "9.png").write_bytes(b"none")
    assert usual_original(tmp_path, names, (32, 32), 1) == 1.75
    assert "data.original: 1.75 by 5 files" in "".join(capsys.readouterr())
    assert usual_original(tmp_path, names, (64, 64), 1) == 1
    assert usual_original(tmp_path, names, (8, 8), 1) == 2
    assert usual_original(tmp_path, ["9.png"], (32, 32), 1) == 2
    assert usual_original(tmp_path, names, (32, 32), int(MOST_BYTES / (5 * 32**2 * 1.4))) == 1
    assert "not 1.75, so that they take at most 32 GB" in "".join(capsys.readouterr())


KEYS = 500


def draws(recipe: str, begin: Callable[[Any, int], None]) -> dict[tuple[int, str, int], NDArray[np.float64]]:
    """(transform, what is drawn, its place) -> a number a key: whether a transform is done, and by which numbers."""
    import albumentations as alb

    transforms = RECIPES[recipe](1.0, (32, 32), 3)
    found: dict[tuple[int, str, int], NDArray[np.float64]] = {}
    now = 0

    def note(place: int, drawn: dict[str, Any], **data: Any) -> dict[str, Any]:
        found.setdefault((place, "done", 0), np.zeros(KEYS))[now] += 1
        for name, value in drawn.items():
            numbers = np.asarray(value)
            if numbers.dtype.kind in "biuf" and 0 < numbers.size <= 9:
                for i, number in enumerate(numbers.ravel()):
                    found.setdefault((place, name, i), np.full(KEYS, np.nan))[now] = number
        return data

    def leaves(transform: Any) -> list[Any]:
        inside = isinstance(transform, alb.BaseCompose)
        return [one for part in transform.transforms for one in leaves(part)] if inside else [transform]

    compose = alb.Compose(transforms)
    for place, transform in enumerate(transforms):
        for leaf in leaves(transform):
            leaf.apply_with_params = partial(note, place)
    for now in range(KEYS):
        begin(compose, key_seed(0, 0, 0, now))
        compose(image=np.zeros((32, 32, 3), dtype=np.uint8))
    return found


def strongest(found: dict[tuple[int, str, int], NDArray[np.float64]]) -> float:
    """The largest correlation between what two transforms draw."""
    most = 0.0
    for (a, x), (b, y) in combinations(found.items(), 2):
        both = np.isfinite(x) & np.isfinite(y)
        if a[0] != b[0] and both.sum() >= 100 and x[both].std() > 1e-9 and y[both].std() > 1e-9:
            most = max(most, abs(float(np.corrcoef(x[both], y[both])[0, 1])) * np.sqrt(both.sum() / KEYS))
    return most


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_transforms_draw_does_not_depend_on_one_another(recipe: str) -> None:
    """A correlation of independent draws is below 0.25 (5.6 standard deviations) in any of some hundred pairs."""
    assert strongest(draws(recipe, set_state)) < 0.25


def test_dependent_draws_are_seen() -> None:
    """The negative control: one seed for each transform, as albumentations' own way to seed gives."""
    assert strongest(draws("flips", lambda compose, seed: compose.set_random_seed(seed))) > 0.9


def test_crops_flips_and_erasing_are_drawn_apart() -> None:
    flips = Augmenter(Augment(recipe="flips", strength=0), (32, 32), 1)
    ramp = np.arange(1024, dtype=np.uint8).reshape(32, 32, 1)
    ways = np.array([[flips(ramp, 0, 0, 0, row)[0, 0, 0] != 0, flips(ramp, 0, 0, 0, row)[0, 31, 0] != 31,
                      erasing_patch((32, 32, 1), 0.5, 0, 0, 0, row) is not None,
                      jitter((99, 99), np.random.default_rng(key_seed(0, 0, 0, row, -3)), least=0.5)[0],
                      jitter((99, 99), np.random.default_rng(key_seed(0, 0, 0, row, -3)), least=0.5)[2]]
                     for row in range(KEYS)], dtype=float)  # fmt: skip
    apart = np.corrcoef(ways[:, [0, 2, 3]].T) - np.eye(3)
    assert np.abs(apart).max() < 0.25


def test_a_recipe_of_ones_own_list_is_drawn_so_too() -> None:
    settings = Augment.model_validate({"transforms": ["HorizontalFlip", "VerticalFlip"]})
    assert [type(one).__name__ for one in transforms_of(settings, (8, 8), 1)] == ["HorizontalFlip", "VerticalFlip"]
    augmenter = Augmenter(settings, (8, 8), 1)
    ramp = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    corners = [int(augmenter(ramp, 0, row)[0, 0, 0]) for row in range(400)]
    counts = [corners.count(corner) for corner in (0, 7, 56, 63)]
    assert min(counts) > 60
