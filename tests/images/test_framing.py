"""What of a picture is seen, and how it gets the network's size: shapes stay, nothing moves, caches know it."""

from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from foldline.core.errors import FoldlineError
from foldline.core.own_code import forget
from foldline.core.records.framing import AS_USUAL, Framing
from foldline.images.cache import _key, open_cache, spec_of
from foldline.images.files.decode import Pixels, resize
from foldline.images.foreground import foreground_of, threshold_box
from foldline.images.framing import BARS, framed, on_picture, scaled, usual_fit

FITS = ("squash", "letterbox", "pad", "crop")
WAYS = ("auto", "area", "nearest", "bilinear", "bicubic", "lanczos")


def one(picture: Pixels, height: int, width: int, framing: Framing) -> Pixels:
    return framed([picture], height, width, framing)[0]


def disc(height: int, width: int, radius: int) -> Pixels:
    picture = np.zeros((height, width, 1), dtype=np.uint8)
    cv2.circle(picture, (width // 2, height // 2), radius, 255, -1)
    return picture


def sides(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Height and width of what is true, in px."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)


@pytest.mark.parametrize(("height", "width"), [(100, 200), (200, 100)])
def test_a_disc_stays_a_disc_unless_it_is_squashed(height: int, width: int) -> None:
    seen = {fit: one(disc(height, width, 40), 64, 64, Framing(fit=fit))[..., 0] > 190 for fit in FITS}
    seen["pad"] = seen["pad"][16:48] if height < width else seen["pad"][:, 16:48]  # without what is mirrored
    shapes = {fit: sides(mask) for fit, mask in seen.items()}
    assert shapes["squash"] == ((50, 25) if height < width else (25, 50))
    for fit, expected in [("letterbox", 25), ("pad", 25), ("crop", 51)]:
        assert shapes[fit][0] == pytest.approx(expected, abs=2)
        assert abs(shapes[fit][0] - shapes[fit][1]) <= 1


def test_every_picture_gets_the_size() -> None:
    rng = np.random.default_rng(0)
    for shape, fit, way, fraction in product([(1, 1), (1, 70), (90, 3), (33, 40)], FITS, WAYS, (1.0, 0.875, 0.3)):
        picture = rng.integers(0, 256, (*shape, 5), dtype=np.uint8)
        framing = Framing(fit=fit, interpolation=way, crop_fraction=fraction)
        assert one(picture, 40, 24, framing).shape == (40, 24, 5), (shape, framing)


def test_as_usual_is_what_it_was() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (50, 90, 3), dtype=np.uint8)
    assert (one(picture, 32, 40, AS_USUAL) == resize(picture, 32, 40)).all()
    names = {"a.png": "1", "b.png": "2"}
    assert _key(Path("/nowhere"), spec_of(list(names), (8, 9), 3), names) == "3909d4458a9ffeb7"
    assert _key(Path("/nowhere"), spec_of(list(names), (8, 9), 3, "full", "jpeg"), names) == "893d8ceb3caed420"


def test_the_fit_is_chosen_by_shapes() -> None:
    rng = np.random.default_rng(0)
    sides = rng.integers(200, 800, 300)
    assert usual_fit(sides, sides)[0] == "squash"
    assert usual_fit(3 * sides, sides)[0] == "squash"
    assert usual_fit(sides, rng.permutation(sides))[0] == "letterbox"
    turned = usual_fit([640] * 90 + [480] * 10, [480] * 90 + [640] * 10)
    assert turned == ("letterbox", "10 % of the pictures are of another shape than the median one")
    assert usual_fit([], [])[0] == "squash"


def test_bars_are_gray_and_a_border_is_mirrored() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8)
    barred, mirrored = (one(picture, 40, 40, Framing(fit=fit)) for fit in ("letterbox", "pad"))
    assert (barred[10:30] == picture).all()
    assert (barred[:10] == BARS).all()
    assert (barred[30:] == BARS).all()
    assert (mirrored[:10] == picture[:10][::-1]).all()
    assert (mirrored[30:] == picture[10:][::-1]).all()


def test_a_crop_fraction_is_the_middle_of_a_larger_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    middle = one(picture, 56, 56, Framing(crop_fraction=0.875))
    assert (middle == resize(picture, 64, 64)[4:60, 4:60]).all()


@pytest.mark.parametrize("way", ["bilinear", "bicubic", "lanczos"])
def test_weights_are_tested_as_pillow_scales(way: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (97, 61, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(picture).resize((32, 40), Image.Resampling[way.upper()]))
    assert (scaled(picture, 40, 32, way) == expected).all()  # type: ignore[arg-type]


def test_the_foreground_is_the_largest_bright_part() -> None:
    picture = np.full((300, 400, 3), 12, dtype=np.uint8)
    picture[100:200, 50:150] = 180
    picture[5:15, 380:395] = 255  # a letter that says which side it is
    box = threshold_box(picture)
    assert box is not None
    assert np.abs(np.array(box) - (92, 42, 208, 158)).max() <= 3
    noise = np.random.default_rng(0).normal(90, 4, (300, 300, 1)).clip(0, 255).astype(np.uint8)
    speck = np.zeros((300, 300, 1), dtype=np.uint8)
    speck[5:15, 5:15] = 255
    assert [threshold_box(one) for one in (noise, speck, noise[:1, :1])] == [None, None, None]


def test_channels_from_several_files_stay_above_one_another() -> None:
    left, right = np.zeros((2, 100, 100, 1), dtype=np.uint8)
    left[20:60, 10:40], right[20:60, 60:90] = 200, 200
    picture, whole = framed([left, right], 64, 64, Framing(foreground="threshold"))
    assert not whole
    seen = [np.flatnonzero(picture[..., channel].max(0) > 100).mean() for channel in (0, 1)]
    assert seen[0] < 32 < seen[1]
    assert framed([left[:5], left[:5]], 8, 8, Framing(foreground="threshold"))[1]


OWN = "def box(image):\n    return (0, 0, image.shape[0] // {}, image.shape[1])\n"


def test_a_function_of_ones_own_cuts_and_its_source_makes_another_cache(tmp_path: Path) -> None:
    picture = np.zeros((40, 40, 1), dtype=np.uint8)
    picture[:20] = 250
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    file, found = tmp_path / "cut.py", []
    for share in (2, 1):
        file.write_text(OWN.format(share))
        forget()
        framing = Framing(foreground=f"{file}:box")
        found.append(open_cache(tmp_path, tmp_path / "cache", ["a.png"], (16, 16), 1, framing=framing))
    assert [cache.pixels[0].mean() for cache in found] == [250, 125]
    assert found[0].key != found[1].key
    forget()


@pytest.mark.parametrize("given", ["(0, 0, 50, 4)", "7", "(3, 0, 3, 4)", "'none'"])
def test_what_is_no_box_is_refused(tmp_path: Path, given: str) -> None:
    (tmp_path / "cut.py").write_text(f"def box(image):\n    return {given}\n")
    with pytest.raises(FoldlineError, match="for a picture of 40 x 40 px"):
        foreground_of(np.zeros((40, 40, 1), dtype=np.uint8), f"{tmp_path / 'cut.py'}:box")
    forget()


def test_pictures_without_foreground_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(5):
        picture = np.zeros((40, 40, 1), dtype=np.uint8)
        picture[10:30, 10:30] = 200 if i % 2 else 0
        cv2.imwrite(str(tmp_path / f"{i}.png"), picture)
    for _ in range(2):  # made, and opened again
        names = [f"{i}.png" for i in range(5)]
        open_cache(tmp_path, tmp_path / "cache", names, (16, 16), 1, framing=Framing(foreground="threshold"))
        assert "3 of 5 pictures have no foreground and stay whole" in "".join(capsys.readouterr())


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("foreground", ["none", "threshold"])
def test_a_heat_map_goes_back_to_where_it_was_seen(fit: str, foreground: str) -> None:
    """A bright spot in the picture is bright in the network's; that, laid back, is bright where the spot is."""
    picture = np.full((120, 240, 1), 3, dtype=np.uint8)
    picture[30:110, 70:200] = 120
    picture[50:58, 120:130] = 255
    framing = Framing(fit=fit, foreground=foreground, crop_fraction=0.9)
    seen = (one(picture, 64, 64, framing)[..., 0] > 170).astype(np.float32)
    assert seen.any()
    laid = on_picture(seen, [picture], framing)
    rows, columns = np.nonzero(laid > 0.5)
    assert laid.shape == picture.shape[:2]
    assert abs(rows.mean() - 53.5) < 3
    assert abs(columns.mean() - 124.5) < 3
