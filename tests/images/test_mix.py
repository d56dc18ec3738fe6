"""Mixup and cutmix against their formulas, timm's code, and their key."""

import numpy as np
import pytest
import torch
from torch import Tensor

from foldline.core.choices import Mix
from foldline.core.errors import FoldlineError
from foldline.core.task import TASKS
from foldline.images.mix import blend, cut_box, mix, paste, require_mixable

CLASSES = 4


def batch(rows: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(rows, 3, 20, 16, generator=generator).to(memory_format=torch.channels_last)
    return images, torch.arange(rows) % CLASSES


def chosen(name: str, **options: float) -> Mix:
    return Mix(name=name, options=options)


def mixed(number: int, name: str, **options: float) -> tuple[Tensor, Tensor]:
    return mix(*batch(), CLASSES, chosen(name, **options), 0, 1, 2, number)


def kept_share(target: Tensor) -> float:
    """What the first row, class 0, has kept; its partner is of class 1."""
    return float(target[0, 0])


def test_without_mixing_the_inputs_are_returned_themselves() -> None:
    images, target = batch()
    same_images, same_target = mix(images, target, CLASSES, Mix(), 0)
    assert same_images is images
    assert same_target is target


@pytest.mark.parametrize("rows", [1, 5, 6])
@pytest.mark.parametrize("settings", [chosen("mixup"), chosen("cutmix"), chosen("both")])
def test_rows_sum_to_one_and_the_inputs_stay(settings: Mix, rows: int) -> None:
    images, target = batch(rows)
    before = images.clone()
    for number in range(12):
        x, y = mix(images, target, CLASSES, settings, number)
        assert torch.equal(images, before)
        assert x.shape == images.shape
        assert x.is_contiguous(memory_format=torch.channels_last)
        assert y.shape == (rows, CLASSES)
        assert torch.allclose(y.sum(1), torch.ones(rows))


def test_mixup_blends_pictures_and_targets_by_one_share() -> None:
    images, target = batch()
    hot = torch.nn.functional.one_hot(target, CLASSES).float()
    shares = set()
    for number in range(20):
        x, y = mixed(number, "mixup", alpha=1.0)
        kept = kept_share(y)
        shares.add(round(kept, 4))
        assert torch.allclose(x, images * kept + images.flip(0) * (1 - kept), atol=1e-6)
        assert torch.allclose(y, hot * kept + hot.flip(0) * (1 - kept), atol=1e-6)
    assert len(shares) > 10


def test_cutmix_pastes_a_box_and_the_targets_follow_its_area_exactly() -> None:
    images, _ = batch()
    shares = set()
    for number in range(40):
        x, y = mixed(number, "cutmix")
        foreign = (x == images.flip(0)).all(1) & (x != images).any(1)
        own = (x == images).all(1)
        assert (foreign | own).all()
        assert torch.allclose(own[0].float().mean(), y[0, 0], atol=1e-6)
        rows, columns = foreign[0].any(1).nonzero(), foreign[0].any(0).nonzero()
        if len(rows):
            assert foreign[0].sum() == (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1), "one box"
        shares.add(round(kept_share(y), 4))
    assert len(shares) > 15


def test_mixup_and_cutmix_each_take_half_of_the_batches() -> None:
    images, _ = batch()
    boxes = 0
    for number in range(300):
        x, _ = mixed(number, "both", mixup=1.0)
        boxes += int(((x == images) | (x == images.flip(0))).all())
    assert 120 < boxes < 180


def test_probability_is_the_share_of_batches_that_are_mixed() -> None:
    images, target = batch()
    untouched = 0
    for number in range(300):
        x, y = mixed(number, "mixup", alpha=1.0, probability=0.3)
        if x is images or torch.equal(x, images):
            untouched += 1
            assert torch.equal(y, torch.nn.functional.one_hot(target, CLASSES).float())
    assert 180 < untouched < 240


def test_alpha_sets_how_far_pictures_are_mixed() -> None:
    def strongly(alpha: float) -> int:
        return sum(0.3 < kept_share(mixed(number, "mixup", alpha=alpha)[1]) < 0.7 for number in range(200))

    assert strongly(0.1) < 30 < 60 < strongly(2.0)


def test_mixing_is_a_function_of_the_key_alone() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    first = mixed(3, "both", mixup=1.0)
    torch.manual_seed(1)
    np.random.seed(1)
    again = mixed(3, "both", mixup=1.0)
    other = mixed(4, "both", mixup=1.0)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_targets_of_numbers_and_several_labels_are_mixed_as_they_are() -> None:
    images, _ = batch()
    target = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    x, y = mix(images, target, 2, chosen("mixup", alpha=1.0), 5)
    kept = y[0, 0]
    assert 0 < kept < 1
    assert torch.allclose(x, blend(images, float(kept)), atol=1e-6)
    assert torch.allclose(y, blend(target, float(kept)))
    assert mix(images, target[:, 0], 1, chosen("mixup", alpha=1.0), 5)[1].shape == (6,)


def test_cutmix_of_numbers_is_refused() -> None:
    for name in ("cutmix", "both"):
        with pytest.raises(FoldlineError, match="cutmix"):
            require_mixable(chosen(name), TASKS["regression"])
    require_mixable(chosen("mixup", alpha=1.0), TASKS["regression"])
    require_mixable(chosen("both"), TASKS["multiclass"])


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_the_formulas_are_those_of_timm(kept: float, monkeypatch: pytest.MonkeyPatch) -> None:
    from timm.data import mixup as timm_mixup

    images, target = batch()
    expected = timm_mixup.mixup_target(target, CLASSES, kept, 0.0)
    hot = torch.nn.functional.one_hot(target, CLASSES).float()
    assert torch.allclose(blend(hot, kept), expected)
    theirs = timm_mixup.Mixup(mixup_alpha=1.0, label_smoothing=0.0, num_classes=CLASSES)
    monkeypatch.setattr(theirs, "_params_per_batch", lambda: (kept, False))
    x, y = theirs(images.clone(), target)
    assert torch.allclose(blend(images, kept), x, atol=1e-6)
    assert torch.allclose(blend(hot, kept), y, atol=1e-6)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        centre = [int(rng.integers(20)), int(rng.integers(16))]
        monkeypatch.setattr(timm_mixup.np.random, "randint", lambda *a, size=None, c=centre: c.pop(0))
        (top, bottom, left, right), corrected = timm_mixup.cutmix_bbox_and_lam(tuple(images.shape), kept)
        box = cut_box((20, 16), kept, np.random.default_rng(seed))
        assert box == (top, bottom, left, right)
        assert paste(images, *box)[1] == pytest.approx(float(corrected))
        monkeypatch.undo()
