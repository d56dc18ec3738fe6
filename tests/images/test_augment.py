"""Recipes, transforms of one's own, erasing: each a function of its key."""

import itertools
import pickle
import random
from collections import Counter
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from foldline.core.errors import FoldlineError
from foldline.core.run import Augment
from foldline.images.augment import Augmenter, erase, flip, key_seed
from foldline.images.recipes import RECIPES

SIZE = (24, 24)
CONFIGS = Path(__file__).parents[2] / "configs"
FISH, PEPE, DERE = PUBLISHED = [f"{CONFIGS}/{comp}/augment.py:{comp}" for comp in ("fish", "pepe", "dere")]
Pixels = NDArray[np.uint8]


def noise(channels: int = 3, size: tuple[int, int] = SIZE) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (*size, channels), dtype=np.uint8)


def augmented(settings: Augment, image: Pixels, pictures: int = 16) -> list[Pixels]:
    augmenter = Augmenter(settings, (image.shape[0], image.shape[1]), image.shape[2])
    return [augmenter(image, 0, 0, 0, row) for row in range(pictures)]


def same(left: list[Pixels], right: list[Pixels]) -> bool:
    return all((a == b).all() for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("recipe", [*RECIPES, *PUBLISHED])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_every_recipe_is_a_function_of_its_key(recipe: str, channels: int) -> None:
    image, before = noise(channels), noise(channels)
    augmenter = Augmenter(Augment(recipe=recipe), SIZE, channels)
    first = [augmenter(image, 0, 0, 0, row) for row in range(8)]
    again = [Augmenter(Augment(recipe=recipe), SIZE, channels)(image, 0, 0, 0, row) for row in reversed(range(8))]
    assert same(first, again[::-1])
    assert all(a.shape == image.shape and a.dtype == np.uint8 for a in first)
    assert (image == before).all(), "the picture that goes in must not change"
    assert augmenter.does_nothing == (recipe == "none")
    if recipe != "none":
        assert any((a != b).any() for a, b in pairwise(first))
        assert any((augmenter(image, 0, 0, 1, row) != first[row]).any() for row in range(8)), "the epoch must matter"


@pytest.mark.parametrize("recipe", [*sorted(set(RECIPES) - {"none"}), *PUBLISHED])
@pytest.mark.parametrize("strength", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_every_recipe_takes_every_strength_and_a_picture_that_is_no_square(
    recipe: str, strength: float, channels: int
) -> None:
    image = noise(channels, (20, 32))
    assert all(a.shape == image.shape for a in augmented(Augment(recipe=recipe, strength=strength), image, 24))


@pytest.mark.parametrize("recipe", [*sorted(set(RECIPES) - {"none"}), DERE])
def test_strength_changes_what_a_recipe_does(recipe: str) -> None:
    image = noise()
    by_strength = [augmented(Augment(recipe=recipe, strength=strength), image) for strength in (0.0, 0.5, 1.0)]
    assert not any(same(a, b) for a, b in pairwise(by_strength))


@pytest.mark.parametrize("recipe", ["medium", "heavy", "randaugment"])
def test_colour_is_changed_where_there_are_three_channels_alone(recipe: str) -> None:
    def named(channels: int | None) -> bool:
        augmenter = Augmenter(Augment(recipe=recipe), SIZE, channels)
        return bool(_kinds(augmenter.compose) & {"HueSaturationValue", "ColorJitter"})

    assert [named(channels) for channels in (None, 1, 3, 4)] == [False, False, True, False]
    with_colour, without = (Augmenter(Augment(recipe=recipe), SIZE, channels) for channels in (3, None))
    assert any((with_colour(noise(), row) != without(noise(), row)).any() for row in range(16))


def _kinds(transform: Any) -> set[str]:
    import albumentations as alb

    if isinstance(transform, alb.BaseCompose):
        return set().union(*(_kinds(inner) for inner in transform.transforms))
    return {type(transform).__name__}


def _drawn(transform: Any) -> list[float]:
    """Whether a transform was done, and the numbers that it drew; 0 where it was not."""
    import albumentations as alb

    if isinstance(transform, alb.BaseCompose):
        return [number for inner in transform.transforms for number in _drawn(inner)]
    numbers = [float(bool(transform.params))]
    for name in ("matrix", "alpha", "beta", "gamma", "hue_shift", "sat_shift", "val_shift", "crop_coords", "sigma"):
        value = transform.params.get(name, np.nan)
        numbers += np.ravel(value).astype(float).tolist()[:6] if np.size(value) > 1 else [float(value)]
    return numbers


@pytest.mark.parametrize("recipe", ["light", "medium", "heavy", "dihedral"])
def test_what_one_transform_draws_says_nothing_of_what_another_does(recipe: str) -> None:
    """`light` once mirrored the pictures that it also moved to one side: r = -0.86."""
    augmenter, image = Augmenter(Augment(recipe=recipe), SIZE, 3), noise()
    columns: list[list[list[float]]] = [[] for _ in augmenter.compose.transforms]
    for row in range(600):
        augmenter(image, 0, 0, 0, row)
        for found, transform in zip(columns, augmenter.compose.transforms, strict=True):
            found.append(_drawn(transform))
    most = max(len(row) for found in columns for row in found)
    tables = [np.nan_to_num([row + [0.0] * (most - len(row)) for row in found]) for found in columns]
    moving = [table[:, np.ptp(table, axis=0) > 0] for table in tables]
    assert sum(table.shape[1] for table in moving) > 3
    for left, right in itertools.combinations(moving, 2):
        both = np.corrcoef(left, right, rowvar=False)[: left.shape[1], left.shape[1] :]
        assert np.abs(both).max(initial=0) < 0.2, "by chance 0.04"


def symmetries(recipe: str, size: tuple[int, int] = (4, 4)) -> Counter[bytes]:
    image = np.arange(size[0] * size[1], dtype=np.uint8).reshape(*size, 1)
    return Counter(a.tobytes() for a in augmented(Augment(recipe=recipe, strength=0), image, 400))


@pytest.mark.parametrize(("recipe", "count"), [(FISH, 4), (PEPE, 2), (DERE, 4), ("flips", 4), ("dihedral", 8)])
def test_a_recipe_of_symmetries_gives_each_about_equally_often(recipe: str, count: int) -> None:
    counts = symmetries(recipe)
    assert len(counts) == count
    assert min(counts.values()) > 400 / count * 0.6


@pytest.mark.parametrize(
    ("recipe", "strength", "expected"),
    [
        (FISH, 1.0, "2eb6a0ea1ca2d4d6"),
        (FISH, 0.5, "2eb6a0ea1ca2d4d6"),
        (PEPE, 1.0, "9850b0825d23b518"),
        (DERE, 1.0, "9a73303a116e66c7"),
        (DERE, 0.5, "21baae10c15f5cd4"),
    ],
)
def test_the_published_recipes_give_the_same_pictures(recipe: str, strength: float, expected: str) -> None:
    """Hashes of the recipes as they stood in the package, before they moved beside their facts."""
    results = augmented(Augment(recipe=recipe, strength=strength), noise())
    assert sha256(b"".join(picture.tobytes() for picture in results)).hexdigest()[:16] == expected


def test_dihedral_keeps_to_the_four_symmetries_of_a_picture_that_is_no_square() -> None:
    image = np.arange(8, dtype=np.uint8).reshape(2, 4, 1)
    expected = {a.tobytes() for a in (image, image[::-1], image[:, ::-1], image[::-1, ::-1])}
    assert set(symmetries("dihedral", (2, 4))) == expected


@pytest.mark.parametrize("axes", [[1], [0], [1, 0]])
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_fast_flips_are_albumentations_own(axes: list[int], p: float) -> None:
    import albumentations as alb

    kinds = {1: alb.HorizontalFlip, 0: alb.VerticalFlip}
    compose = alb.Compose([kinds[axis](p=p) for axis in axes])
    image = noise()
    for seed in range(60):
        compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        ours = flip(image, [(axis, p) for axis in axes], seed)
        assert (ours == compose(image=image)["image"]).all()


def test_an_unknown_recipe_lists_the_known() -> None:
    with pytest.raises(FoldlineError, match="did you mean 'flips'"):
        Augmenter(Augment(recipe="flip"), SIZE)


def test_the_reference_names_every_recipe() -> None:
    words = str(Augment.model_fields["recipe"].description).replace(",", " ").replace(":", " ").replace(";", " ")
    assert set(RECIPES) <= set(words.split())


def test_an_augmenter_can_be_sent_to_another_process(own: str) -> None:
    moved = Augment(recipe=f"{own}:moved")
    for settings in (Augment(recipe="flips", strength=0), Augment(recipe="heavy", erasing=0.5), moved):
        augmenter = Augmenter(settings, SIZE, 3)
        assert (pickle.loads(pickle.dumps(augmenter))(noise(), 1, 2) == augmenter(noise(), 1, 2)).all()


def test_erasing_erases_one_patch_of_its_share_of_pictures() -> None:
    image = np.zeros((32, 32, 3), dtype=np.uint8)
    results = augmented(Augment(recipe="none", erasing=0.25), image, 400)
    erased: list[NDArray[np.bool_]] = [(result > 0).max(axis=2) for result in results if result.any()]
    assert 0.18 < len(erased) / len(results) < 0.32
    for changed in erased:
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        box = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert 0.015 < box / 32**2 < 0.36
    assert not image.any(), "the picture that goes in must not change"
    assert same(results, augmented(Augment(recipe="none", erasing=0.25), image, 400))


def test_erasing_leaves_what_the_recipe_does_as_it_is() -> None:
    plain = augmented(Augment(recipe="light"), noise())
    erased = augmented(Augment(recipe="light", erasing=0.5), noise())
    assert [(a == b).all() for a, b in zip(plain, erased, strict=True)].count(True) in range(2, 15)
    assert all((a == b).mean() > 0.4 for a, b in zip(plain, erased, strict=True))


@pytest.mark.parametrize("size", [(1, 1), (2, 40), (40, 2)])
def test_erasing_takes_every_size(size: tuple[int, int]) -> None:
    for row in range(30):
        assert erase(noise(1, size), 1.0, row).shape == (*size, 1)


def test_transforms_of_ones_own_are_used_instead_of_the_recipe() -> None:
    image = noise()
    settings = Augment(
        recipe="heavy", transforms=["HorizontalFlip", {"Affine": {"translate_px": {"x": [2, 2]}, "p": 1}}]
    )
    results = augmented(settings, image)
    moved = np.zeros_like(image)
    moved[:, 2:] = image[:, :-2]
    mirrored = np.zeros_like(image)
    mirrored[:, 2:] = image[:, ::-1][:, :-2]
    assert {a.tobytes() for a in results} == {moved.tobytes(), mirrored.tobytes()}


def test_transforms_can_be_nested() -> None:
    one_of = {"OneOf": {"transforms": ["HorizontalFlip", {"VerticalFlip": {"p": 1.0}}], "p": 1.0}}
    image = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    results = augmented(Augment(transforms=[one_of]), image, 60)
    assert {a.tobytes() for a in results} == {image[:, ::-1].tobytes(), image[::-1].tobytes()}


def test_the_transforms_own_draws_are_independent() -> None:
    image = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    results = augmented(Augment(transforms=["HorizontalFlip", "VerticalFlip", {"NoOp": {}}]), image, 200)
    assert len({a.tobytes() for a in results}) == 4


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        (["HorizontalFlop"], "did you mean 'HorizontalFlip'"),
        ([{"Rotate": {"limits": 15}}], "unknown parameter of Rotate 'limits'\n.*\n.*did you mean 'limit'"),
        ([{"OneOf": {"transforms": [{"Rotate": {"limits": 15}}]}}], "did you mean 'limit'"),
        ([{"Rotate": {"limit": "far"}}], "Rotate does not accept its parameters: limit"),
        ([{"HorizontalFlip": {"p": 2}}], "HorizontalFlip does not accept its parameters: p: .*less than or equal to 1"),
        ([{"SomeOf": {"transforms": ["HorizontalFlip"], "n": 2}}], "SomeOf does not accept .*greater than number"),
        ([{"RandomCrop": {"height": 10, "width": 10}}], "24 x 24 x 3, uint8, into 10 x 10 x 3, uint8"),
        ([{"RandomCrop": {"height": 10, "width": 10, "p": 0.0001}}], "into 10 x 10 x 3"),
        (["Normalize"], "float32"),
        (["Lambda"], "unknown transform"),
        (["MaskDropout"], "the transforms fail on a picture of 24 x 24 x 3"),
        ([{"Rotate": {}, "Blur": {}}], "one an entry"),
    ],
)
def test_wrong_transforms_are_refused_before_training(transforms: list[Any], message: str) -> None:
    with pytest.raises(FoldlineError) as caught:
        Augmenter(Augment(transforms=transforms), SIZE, 3)
    import re

    assert re.search(message, str(caught.value)), str(caught.value)


def test_opencv_constants_can_be_named() -> None:
    mirrored = {"Affine": {"rotate": [45, 45], "border_mode": "BORDER_REFLECT_101", "p": 1.0}}
    image = np.full((*SIZE, 1), 200, dtype=np.uint8)
    assert (augmented(Augment(transforms=[mirrored]), image)[0] == 200).all()


def test_key_seed_spreads() -> None:
    assert len({key_seed(0, fold, epoch, row) for fold in range(5) for epoch in range(10) for row in range(100)}) > 4990


def test_key_seeds_are_the_same_for_whole_numbers_of_any_type() -> None:
    assert key_seed(0, 1, 2, 3) == 380395528, "as ever, so that runs repeat"
    assert key_seed(*np.arange(4)) == key_seed(0, 1, 2, 3)


CODE = """
import numpy as np


def moved(image, rng):
    image[:] = np.roll(image, int(rng.integers(1, 8)), axis=1)
    return image


def dull(strength, height_width, channels):
    return []


def cropped(image, rng):
    return image[1:]


def restless(image, rng):
    return np.random.default_rng().integers(0, 256, image.shape, dtype=np.uint8)


def wrong(image, rng):
    return undefined


def lonely(image):
    return image


def word(strength, height_width, channels):
    return ["HorizontalFlip"]
"""


@pytest.fixture
def own(tmp_path: Path) -> str:
    (tmp_path / "own.py").write_text(CODE)
    return f"{tmp_path}/own.py"


def test_a_function_of_ones_own_is_a_function_of_its_key(own: str) -> None:
    image = noise()
    before = image.copy()
    first, again = (augmented(Augment(recipe=f"{own}:moved"), image) for _ in range(2))
    assert same(first, again)
    assert len({picture.tobytes() for picture in first}) > 3
    assert (image == before).all(), "the picture that goes in must not change"
    assert Augmenter(Augment(recipe=f"{own}:dull"), SIZE, 3).does_nothing


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cropped", "24 x 24 x 3, uint8, into 23 x 24 x 3, uint8"),
        ("restless", "depends on more than its seed"),
        ("wrong", "fails: NameError"),
        ("lonely", r"takes \(image\), not \(image, rng\)"),
        ("nothing", "no function 'nothing'"),
        ("word", "must give a list of albumentations"),
    ],
)
def test_what_is_no_augmentation_is_refused_before_training(own: str, name: str, message: str) -> None:
    with pytest.raises(FoldlineError, match=message):
        Augmenter(Augment(recipe=f"{own}:{name}"), SIZE, 3)


def test_a_strength_that_nothing_takes_is_refused(own: str) -> None:
    for settings in ({"transforms": ["VerticalFlip"]}, {"recipe": "none"}):
        with pytest.raises(ValueError, match="strength"):
            Augment.model_validate(settings | {"strength": 0.5})
        Augment.model_validate(settings)
    with pytest.raises(FoldlineError, match="takes no strength"):
        Augmenter(Augment(recipe=f"{own}:moved", strength=0.5), SIZE, 3)
