"""Test-time views: symmetries rearrange pixels, crops look at a part."""

import pytest
import torch

from foldline.core.errors import FoldlineError
from foldline.images.views import CROPS, OTHER_SIZES, TURNING, VIEWS, all_views, require_views

SYMMETRIES = [name for name in VIEWS if name not in {*CROPS, *OTHER_SIZES}]
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
    x = torch.rand(2, 3, 64, 64)
    names = list(VIEWS)
    forward, backward = one_by_one(x, names), one_by_one(x, names[::-1])
    assert len({(y.shape, y.numpy().tobytes()) for y in forward.values()}) == len(VIEWS)
    assert all(torch.equal(forward[name], backward[name]) for name in names)


def one_by_one(x: torch.Tensor, names: list[str]) -> dict[str, torch.Tensor]:
    """What `all_views` joined, taken apart again."""
    groups = all_views(x, names)
    assert all(len(group) == count * len(x) for group, count in groups)
    return dict(zip(names, [y for group, _ in groups for y in torch.split(group, len(x))], strict=True))


def test_views_of_one_size_go_together() -> None:
    names = ["identity", "hflip", "scale_1.25", "scale_0.75", "vflip", "crop_center"]
    groups = all_views(torch.rand(2, 1, 64, 64), names)
    assert [(tuple(x.shape[2:]), count) for x, count in groups] == [((64, 64), 2), ((80, 80), 1), ((48, 48), 1),
                                                                   ((64, 64), 2)]  # fmt: skip


def test_a_scaled_view_is_the_picture_and_a_cut_its_pixels() -> None:
    x = torch.linspace(0, 1, 256).repeat(256, 1)[None, None]
    for share in (0.5, 1.25):
        y = VIEWS[f"scale_{share:g}"](x)
        assert y.shape[2:] == (256 * share, 256 * share)
        assert float((y[0, 0, 0] - torch.linspace(0, 1, y.shape[3])).abs().max()) < 0.01
    assert torch.equal(VIEWS["cut_center"](x), x[..., 16:240, 16:240])
    assert torch.equal(VIEWS["cut_bottom_right"](x), x[..., 32:, 32:])


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
    for names, size, words in (
        (["identity", "scale_0.875"], (32, 32), "has 32 x 32 px, as 'identity' has"),
        (["scale_1.125"], (32, 32), "as 'identity' has"),  # also where that is not asked for: it is no other size
        (
            ["scale_0.75", "scale_0.875"],
            (40, 40),
            "'scale_0.875' of a picture of 40 x 40 px has 32 x 32 px, as 'scale_",
        ),
    ):
        with pytest.raises(FoldlineError, match=words):
            require_views(names, size, where="")
    require_views(["scale_0.875", "scale_1.125", "scale_1.125"], (224, 224), where="")
