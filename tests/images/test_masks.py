"""Masks move as their pictures do, are read as they are marked, and say what is wrong with them."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import albumentations as alb
import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from foldline.core.errors import FoldlineError
from foldline.core.own_code import forget
from foldline.core.records.framing import Framing
from foldline.core.run import Augment
from foldline.images.augment import Augmenter
from foldline.images.batches import TrainingRows
from foldline.images.cache import open_cache
from foldline.images.feed import Feed
from foldline.images.framing import framed, framed_mask
from foldline.images.masks import Masks, open_masks, require_moving
from foldline.images.recipes import RECIPES
from foldline.images.store import PictureStore

SIZE = (64, 64)
CPU = torch.device("cpu")
FEW = 4  # px, where several bends lie above one another; a mask that was not moved has hundreds
Pixels = NDArray[np.uint8]
MOVING: list[Any] = [
    "HorizontalFlip", "VerticalFlip", "Transpose", "RandomRotate90", "D4", "SquareSymmetry", "Rotate", "SafeRotate",
    {"Affine": {"shear": [-20, 20], "scale": [0.7, 1.2], "p": 1.0}}, "Perspective",
    {"ElasticTransform": {"alpha": 40.0, "p": 1.0}}, "GridDistortion", "OpticalDistortion", "ThinPlateSpline",
    {"RandomResizedCrop": {"size": [64, 64], "p": 1.0}},
    {"RandomSizedCrop": {"min_max_height": [30, 60], "size": [64, 64]}},
    {"CropAndPad": {"percent": [-0.2, 0.2], "p": 1.0}}, {"GridElasticDeform": {"num_grid_xy": [4, 4], "magnitude": 4}},
    {"OneOf": {"transforms": ["HorizontalFlip", {"Rotate": {"limit": 90}}], "p": 1.0}},
]  # fmt: skip


def shape_in(size: tuple[int, int], channels: int = 1) -> Pixels:
    """A bright letter L before black, off the middle: no flip or turn of it looks alike."""
    picture = np.zeros((*size, channels), dtype=np.uint8)
    height, width = size
    picture[height // 8 : height // 2, width // 4 : width // 2] = 255
    picture[height // 3 : height // 2, width // 4 : width * 7 // 8] = 255
    return picture


def joined(picture: Pixels) -> Pixels:
    return np.concatenate([picture, (picture[..., :1] > 127).astype(np.uint8)], axis=2)


def overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


def apart(shown: NDArray[np.bool_], mask: Pixels) -> int:
    """How many px differ that do not lie within 2 px of an edge of the object, or in a line of 2 px: pictures are
    interpolated."""
    picture, around = shown.astype(np.uint8), np.ones((5, 5), dtype=np.uint8)
    inside, outside = cv2.erode(picture, around) > 0, cv2.dilate(picture, around) == 0
    thick = cv2.erode(mask, around[:3, :3], borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return int((inside & (mask == 0)).sum() + (outside & (thick > 0)).sum())


def without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing changes what a px is, but where it is."""
    kinds = [kind for _, kind in inspect.getmembers(alb, inspect.isclass) if issubclass(kind, alb.ImageOnlyTransform)]
    for kind in [*kinds, alb.CoarseDropout]:
        monkeypatch.setattr(kind, "apply", lambda self, img, *args, **params: img)


@pytest.mark.parametrize(
    "settings",
    [*({"recipe": recipe} for recipe in RECIPES), {"recipe": "flips", "strength": 0.0},
     *({"transforms": [one]} for one in MOVING)],
    ids=lambda settings: str(settings["transforms"][0]) if "transforms" in settings else str(settings),
)  # fmt: skip
def test_a_mask_stays_where_its_object_is(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    without_colour(monkeypatch)
    augmenter, picture = Augmenter(Augment(**settings), SIZE, 1), shape_in(SIZE)
    before, moved = picture[..., 0] > 127, 0
    for row in range(12):
        result = augmenter.with_mask(joined(picture), 0, 0, 0, row)
        shown, mask = result[..., 0] > 127, result[..., 1]
        assert set(np.unique(mask)) <= {0, 1}
        assert apart(shown, mask) <= FEW, row
        moved += overlap(shown, before) < 0.9
    assert moved or settings == {"recipe": "none"}, "else nothing was tested"


@pytest.mark.parametrize("crop", [{"name": "random_resized", "options": {"scale": 0.3}}, "jitter"])
@pytest.mark.parametrize("recipe", ["none", "flips", "dihedral"])
def test_a_mask_is_cut_as_its_picture(crop: Any, recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without_colour(monkeypatch)
    settings = Augment.model_validate({"recipe": recipe, "crop": crop})
    augmenter, picture = Augmenter(settings, SIZE, 1), shape_in((96, 128))
    for row in range(12):
        result = augmenter.with_mask(joined(picture), 0, 0, 0, row)
        assert result.shape == (*SIZE, 2)
        assert apart(result[..., 0] > 127, result[..., 1]) == 0
        alone = augmenter.with_mask(joined(picture), 0, 0, 0, row, crops=True)
        assert apart(alone[..., 0] > 127, alone[..., 1]) == 0


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_a_picture_is_the_same_with_a_mask_and_without(recipe: str, channels: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*SIZE, channels), dtype=np.uint8)
    augmenter = Augmenter(Augment(recipe=recipe, erasing=0.5), SIZE, channels)
    for row in range(8):
        plain = augmenter(picture, 0, 0, 0, row)
        for marked in (joined(picture), np.concatenate([picture, np.zeros((*SIZE, 1), dtype=np.uint8)], axis=2)):
            assert (augmenter.with_mask(marked, 0, 0, 0, row)[..., :-1] == plain).all()


@pytest.mark.parametrize("fit", ["squash", "letterbox", "pad", "crop"])
@pytest.mark.parametrize("more", [{}, {"crop_fraction": 0.8}, {"foreground": "threshold"}])
def test_a_mask_is_framed_as_its_picture(fit: Any, more: dict[str, Any]) -> None:
    framing, picture = Framing(fit=fit, **more), shape_in((120, 200))
    seen, _ = framed([picture], 64, 64, framing)
    mask = framed_mask((picture > 127).astype(np.uint8), [picture], 64, 64, framing)
    assert set(np.unique(mask)) == {0, 1}
    assert apart(seen[..., 0] > 127, mask[..., 0]) == 0


def written(root: Path, masks: Mapping[str, Pixels | bytes]) -> dict[str, str]:
    """Pictures of 20 x 30 px and their masks; gives which is whose."""
    for name, content in masks.items():
        cv2.imwrite(str(root / f"{name}.png"), shape_in((20, 30)))
        path = root / f"{name}_mask.png"
        path.write_bytes(content) if isinstance(content, bytes) else cv2.imwrite(str(path), content)
    return {f"{name}.png": f"{name}_mask.png" for name in masks}


def opened(root: Path, files: dict[str, str], more: tuple[str, ...] = ()) -> tuple[Masks, NDArray[np.int64]]:
    images = [*files, *more]
    cache = open_cache(root, root / ".cache", images, (20, 30), 1)
    return open_masks(root, root / ".cache", files, cache, 1), cache.rows(images)


def test_what_is_marked_is_above_127_or_above_0(tmp_path: Path) -> None:
    object_ = shape_in((20, 30)) > 127
    noisy = np.where(object_, 250, 6).astype(np.uint8)
    colour = np.repeat(object_ * np.uint8(255), 3, axis=2) * np.array([0, 0, 1], dtype=np.uint8)  # gray 76
    masks = {"a": object_ * np.uint8(255), "b": object_ * np.uint8(1), "c": noisy, "d": colour, "e": noisy * 0}
    cv2.imwrite(str(tmp_path / "plain.png"), noisy)
    found, rows = opened(tmp_path, written(tmp_path, masks), ("plain.png",))
    for place, expected in enumerate([object_, object_, object_, object_, object_ & False, object_ & False]):
        assert (found.take(rows[[place]])[0] == expected).all(), place
    assert (found.of_picture[rows] >= 0).tolist() == [True] * 5 + [False]
    assert found.beside(np.ones((2, 20, 30, 1), dtype=np.uint8), rows[[5, 0]]).shape == (2, 20, 30, 2)


def test_a_mask_that_cannot_be_used_is_named_with_the_reason(tmp_path: Path) -> None:
    good = shape_in((20, 30))
    files = written(tmp_path, {"a": good, "b": b"no picture", "c": good[:15]})
    with pytest.raises(FoldlineError) as caught:
        opened(tmp_path, files)
    assert "2 masks cannot be used" in str(caught.value)
    assert "the mask has 15 x 30 px (height x width), its picture 20 x 30" in str(caught.value)
    assert "b_mask.png" in str(caught.value)


def test_a_mask_that_changed_is_read_anew_and_pictures_are_not(tmp_path: Path) -> None:
    files = written(tmp_path, {"a": shape_in((20, 30))})
    found, rows = opened(tmp_path, files)
    assert found.take(rows).any()
    before = set((tmp_path / ".cache").glob("images-*.npy"))
    written(tmp_path, {"a": shape_in((20, 30)) * 0})
    assert not opened(tmp_path, files)[0].take(rows).any()
    assert len(set((tmp_path / ".cache").glob("images-*.npy")) - before) == 1


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_give_the_same_masks(tmp_path: Path, method: str) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "pixels.npy", rng.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8))
    np.save(tmp_path / "masks.npy", rng.integers(0, 2, (2, 16, 16, 1), dtype=np.uint8))
    pixels, masks = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("pixels", "masks"))
    store, rows = PictureStore(pixels, CPU), TrainingRows(np.arange(6), (0, 0))
    augmenter = Augmenter(Augment(recipe="heavy", erasing=0.5), (16, 16), 3)
    of_picture = np.array([-1, 1, -1, 0, -1, -1])
    plain = [batch.images for batch in Feed(store, augmenter).training(rows, 0, 3)]
    found = []
    for workers in (0, 2):
        with Feed(store, augmenter, workers, method, masks=Masks(masks, of_picture)) as feed:
            found.append(list(feed.training(rows, 0, 3)))
    for here, there, images in zip(*found, plain, strict=True):
        assert here.masks is not None
        assert there.masks is not None
        assert (here.images == images).all()
        assert (there.images == images).all()
        assert (here.masks == there.masks).all()
        assert here.masks.flatten(1).any(1).tolist() == [int(row) in (1, 3) for row in here.rows]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"recipe": "timm/rand-m9"}, "turn and shear the picture alone"),
        ({"transforms": [{"OneOf": {"transforms": [{"TimmPolicy": {"policy": "3a"}}]}}]}, "turn and shear"),
        ({"engine": "torch"}, "engine: torch moves no masks"),
        ({"recipe": "own.py:dim"}, "a function of your own gives the picture alone"),
    ],
)
def test_what_moves_pictures_alone_is_refused(settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    if "own.py" in settings.get("recipe", ""):
        (tmp_path / "own.py").write_text("def dim(image, rng):\n    return image // 2\n")
        settings = {"recipe": f"{tmp_path}/own.py:dim"}
        forget()
    with pytest.raises(FoldlineError, match=words):
        require_moving(Augmenter(Augment(**settings), SIZE, 3))
    require_moving(Augmenter(Augment(recipe="heavy"), SIZE, 3))
