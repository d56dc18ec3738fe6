"""Test-time views: symmetries rearrange pixels, crops look at a part."""

import pytest
import torch

from foldline.core.errors import FoldlineError
from foldline.images.views import CROPS, TURNING, VIEWS, all_views, require_views

SYMMETRIES = [name for name in VIEWS if name not in CROPS]
INVERSE = {"rot90": "rot270", "rot270": "rot90"}  # the others undo themselves


@pytest.mark.parametrize("view", SYMMETRIES)
def test_a_symmetry_rearranges_pixels_and_nothing_else(view: str) -> None:
    x = torch.arange(32.0).view(1, 2, 4, 4)
    y = VIEWS[view](x)
    assert y.shape == x.shape
    assert torch.equal(y.flatten(2).sort().values, x.flatten(2).sort().values)
    assert view == "identity" or not torch.equal(x, y)


@pytest.mark.parametrize("view", SYMMETRIES)
def test_a_symmetry_is_undone_by_its_inverse(view: str) -> None:
    x = torch.rand(2, 3, 5, 5)
    assert torch.equal(VIEWS[INVERSE.get(view, view)](VIEWS[view](x)), x)


def test_views_are_distinct_and_independent_of_their_order() -> None:
    x = torch.rand(2, 3, 16, 16)
    names = list(VIEWS)
    seen = {y.numpy().tobytes() for y in torch.split(all_views(x, names), len(x))}
    assert len(seen) == len(VIEWS)
    forward = dict(zip(names, torch.split(all_views(x, names), len(x)), strict=True))
    backward = dict(zip(names[::-1], torch.split(all_views(x, names[::-1]), len(x)), strict=True))
    assert all(torch.equal(forward[name], backward[name]) for name in names)


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("size", [(32, 32), (24, 40), (1, 1), (3, 5)])
def test_a_crop_has_the_pictures_size(crop: str, size: tuple[int, int]) -> None:
    assert VIEWS[crop](torch.rand(2, 1, *size)).shape == (2, 1, *size)


def test_a_crop_looks_at_its_own_part() -> None:
    """A picture whose values are the pixels' own places: a crop's mean is its centre, its range seven eighths."""
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    x = torch.stack([rows, columns])[None]
    low, middle, high = 27.5, 31.5, 35.5  # the centres of pixels 0 to 55, 4 to 59, 8 to 63
    centres = {"crop_top_left": (low, low), "crop_top_right": (low, high), "crop_bottom_left": (high, low),
               "crop_bottom_right": (high, high), "crop_center": (middle, middle)}  # fmt: skip
    assert centres.keys() == CROPS.keys()
    for name, centre in centres.items():
        y = VIEWS[name](x)
        assert y.mean((0, 2, 3)).tolist() == pytest.approx(centre, abs=0.01)
        assert float(y[0, 0].max() - y[0, 0].min()) == pytest.approx(55, abs=0.01)


def test_mirrored_crops_mirror() -> None:
    x = torch.rand(1, 2, 32, 32)
    mirrored = VIEWS["crop_top_right"](x.flip(-1)).flip(-1)
    assert torch.allclose(mirrored, VIEWS["crop_top_left"](x), atol=1e-6)


def test_wrong_views_are_refused() -> None:
    for name in TURNING:
        with pytest.raises(FoldlineError, match="square"):
            require_views([name], (4, 6), where="")
    require_views(["crop_center", "hflip"], (4, 6), where="")
    with pytest.raises(FoldlineError, match="known"):
        require_views(["flip"], (4, 4), where="")
