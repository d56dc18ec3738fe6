"""timm's augmentation policies: timm's own pictures, by our key, whatever the global states are."""

import pickle
import random

import numpy as np
import pytest
from PIL import Image
from timm.data.auto_augment import augment_and_mix_transform, auto_augment_transform, rand_augment_transform

from foldline.core.errors import FoldlineError
from foldline.core.run import Augment
from foldline.images.augment import Augmenter
from foldline.images.policies import KINDS, TimmPolicy

SIZE = (40, 56)
POLICIES = ["rand-m9-mstd0.5-inc1", "rand-m5-n3-tweights", "augmix-m3-w3", "augmix-m5-w4-d2-b1", "original-mstd0.5",
            "originalr", "v0", "v0r", "3a"]  # fmt: skip
TIMMS = {"rand": rand_augment_transform, "augmix": augment_and_mix_transform}


def noise(channels: int = 3) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    picture = np.random.default_rng(0).integers(0, 256, (10, 14, channels), dtype=np.uint8)
    return picture.repeat(4, 0).repeat(4, 1)


def test_every_kind_of_policy_is_tried() -> None:
    assert {policy.split("-")[0] for policy in POLICIES} == set(KINDS)


@pytest.mark.parametrize("policy", POLICIES)
def test_it_is_timms_picture(policy: str) -> None:
    hints = {"translate_const": 18, "img_mean": (128,) * 3}
    hints |= {"translate_pct": 0.3} if policy.startswith("augmix") else {}
    theirs = TIMMS.get(policy.split("-", maxsplit=1)[0], auto_augment_transform)(policy, hints)
    ours, changed = TimmPolicy(policy), 0
    for seed in range(8):
        random.seed(seed)
        np.random.seed(seed)
        expected = np.asarray(theirs(Image.fromarray(noise())))
        assert (ours.apply(noise(), seed=seed) == expected).all()
        changed += bool((expected != noise()).any())
    assert changed >= 4


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_recipe_of_timms_is_a_function_of_its_key_alone(policy: str, channels: int) -> None:
    augmenter = Augmenter(Augment(recipe=f"timm/{policy}"), SIZE, channels)
    first = [augmenter(noise(channels), 0, 0, 0, row) for row in range(8)]
    random.seed(5)
    np.random.seed(5)
    own, numpys = random.getstate(), np.random.get_state()
    sent = pickle.loads(pickle.dumps(augmenter))
    again = [sent(noise(channels), 0, 0, 0, row) for row in reversed(range(8))][::-1]
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any((a != first[0]).any() for a in first[1:])
    assert random.getstate() == own, "nobody else's draws are moved"
    assert (np.random.get_state()[1] == numpys[1]).all()  # type: ignore[index]


def test_flips_stand_before_the_policy_and_can_be_left_out() -> None:
    image = noise()
    as_recipe = Augmenter(Augment(recipe="timm/3a"), SIZE, 3)
    alone = Augmenter(Augment(transforms=[{"TimmPolicy": {"policy": "3a", "p": 0.0}}]), SIZE, 3)
    assert [type(one).__name__ for one in as_recipe.compose.transforms] == ["HorizontalFlip", "TimmPolicy"]
    assert all((alone(image, row) == image).all() for row in range(8)), "with probability 0 there is nothing else"


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("rnd-m9", "no policy 'rnd'"),
        ("rand-m9-foo", "'foo' is no section"),
        ("rand-m9-mst0.5", "'mst0.5' is no section"),  # timm passes over it
        ("rand-tnothing", "'tnothing' is no section"),
        ("augmix-n3", "'n3' is no section"),
    ],
)
def test_a_policy_that_timm_does_not_have_is_refused(policy: str, words: str) -> None:
    with pytest.raises(FoldlineError, match=words):
        Augmenter(Augment(recipe=f"timm/{policy}"), SIZE, 3)


def test_what_it_does_not_take_is_refused() -> None:
    with pytest.raises(FoldlineError, match="one channel or three, not of 5"):
        Augmenter(Augment(transforms=[{"TimmPolicy": {"policy": "3a"}}]), SIZE, 5)
    with pytest.raises(FoldlineError, match="one channel or three"):
        Augmenter(Augment(recipe="timm/3a"), SIZE, 5)
    with pytest.raises(FoldlineError, match="stands in their names"):
        Augment.parse({"recipe": "timm/3a", "strength": 2}, where="")
