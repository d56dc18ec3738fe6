from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from foldline.core.errors import FoldlineError
from foldline.core.tables import sha256_file, write_json
from foldline.images.augment import RECIPES, Augmenter
from foldline.images.batches import TrainingRows, normalise, training_batches
from foldline.images.cache import open_cache
from foldline.images.decode import BadImageError, decode
from foldline.images.views import VIEWS, all_views, require_views

SIZE = (24, 24)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A root folder with six gray pictures of 30 x 20 px and their manifest."""
    rng = np.random.default_rng(0)
    for i in range(6):
        cv2.imwrite(str(tmp_path / f"{i}.png"), rng.integers(0, 256, (20, 30), dtype=np.uint8))
    write_manifest(tmp_path)
    return tmp_path


def write_manifest(root: Path) -> None:
    files = [{"path": p.name, "bytes": p.stat().st_size, "sha256": sha256_file(p)} for p in sorted(root.glob("*.png"))]
    write_json(root / "manifest.json", {"schema": 1, "files": files})


NAMES = [f"{i}.png" for i in range(6)]


@pytest.mark.parametrize("extension", ["png", "jpg"])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.98])
def test_a_truncated_file_is_no_picture(tmp_path: Path, extension: str, share: float) -> None:
    path = tmp_path / f"a.{extension}"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    content = path.read_bytes()
    assert decode(path, 3).shape == (64, 64, 3)
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BadImageError):
        decode(path, 3)


def test_colours_are_rgb_and_gray_has_one_channel(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    cv2.imwrite(str(path), np.full((4, 4, 3), (0, 0, 255), dtype=np.uint8))  # OpenCV writes BGR
    assert decode(path, 3)[0, 0].tolist() == [255, 0, 0]
    assert decode(path, 1).shape == (4, 4, 1)


def test_the_cache_is_built_once_and_keyed_by_content(pictures: Path) -> None:
    folder = pictures / ".cache"
    cache = open_cache(pictures, folder, NAMES, SIZE, 1)
    assert cache.pixels.shape == (6, *SIZE, 1)
    built = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    open_cache(pictures, folder, list(reversed(NAMES)), SIZE, 1)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == built
    cv2.imwrite(str(pictures / "0.png"), np.zeros((20, 30), dtype=np.uint8))
    write_manifest(pictures)
    changed = open_cache(pictures, folder, NAMES, SIZE, 1)
    assert changed.key != cache.key
    assert changed.pixels[changed.position["0.png"]].max() == 0


def test_all_bad_images_are_listed_before_training(pictures: Path) -> None:
    (pictures / "1.png").write_bytes(b"")
    (pictures / "4.png").write_bytes((pictures / "4.png").read_bytes()[:100])
    (pictures / "5.png").unlink()
    with pytest.raises(FoldlineError, match="3 images cannot be used") as caught:
        open_cache(pictures, pictures / ".cache", NAMES, SIZE, 1)
    for name in ("1.png", "4.png", "5.png", "bad_images=skip"):
        assert name in str(caught.value)
    skipped = open_cache(pictures, pictures / ".cache", NAMES, SIZE, 1, bad_images="skip")
    assert sorted(skipped.bad) == ["1.png", "4.png", "5.png"]


def test_a_file_that_decodes_but_changed_since_the_download_is_bad(pictures: Path) -> None:
    cv2.imwrite(str(pictures / "2.png"), np.zeros((20, 30), dtype=np.uint8))
    with pytest.raises(FoldlineError, match=r"2\.png: the file changed since the download"):
        open_cache(pictures, pictures / ".cache", NAMES, SIZE, 1)


def test_stacked_files_become_channels(pictures: Path) -> None:
    cache = open_cache(pictures, pictures / ".cache", ["0.png|1.png|2.png"], SIZE, 1)
    single = open_cache(pictures, pictures / ".cache", ["1.png"], SIZE, 1)
    assert cache.pixels.shape == (1, *SIZE, 3)
    assert (cache.pixels[0, :, :, 1] == single.pixels[0, :, :, 0]).all()


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_recipe_is_a_function_of_its_key(recipe: str, channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, channels), dtype=np.uint8)
    augmenter = Augmenter(recipe, 1.0, SIZE)
    first = [augmenter(image, 0, 0, 0, row) for row in range(8)]
    again = [Augmenter(recipe, 1.0, SIZE)(image, 0, 0, 0, row) for row in reversed(range(8))][::-1]
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert all(a.shape == image.shape and a.dtype == np.uint8 for a in first)
    if recipe != "none":
        assert any((a != b).any() for a, b in pairwise(first))
        assert any((augmenter(image, 0, 0, 1, row) != first[row]).any() for row in range(8)), "the epoch must matter"


def test_an_unknown_recipe_lists_the_known() -> None:
    with pytest.raises(FoldlineError, match="flips"):
        Augmenter("flip", 1.0, SIZE)


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_worker_count_and_interruption_change_nothing(pictures: Path, workers: int) -> None:
    cache = open_cache(pictures, pictures / ".cache", NAMES, SIZE, 1)
    rows = TrainingRows(cache.pixels, cache.rows(NAMES), Augmenter("light", 1.0, SIZE), (0, 0))
    whole = [(x, r) for x, r in training_batches(rows, 3, 2)]
    state = torch.get_rng_state()
    rest = [(x, r) for x, r in training_batches(rows, 3, 2, first=1, workers=workers)]
    assert len(whole) == 3
    assert all((a == b).all() and (r == s).all() for (a, r), (b, s) in zip(whole[1:], rest, strict=True))
    assert (torch.get_rng_state() == state).all(), "loading must not move the random state of training"


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_rearranges_pixels_and_nothing_else(view: str) -> None:
    x = torch.arange(32.0).view(1, 2, 4, 4)
    y = VIEWS[view](x)
    assert y.shape == x.shape
    assert torch.equal(y.flatten(2).sort().values, x.flatten(2).sort().values)
    assert view == "identity" or not torch.equal(x, y)


def test_views_are_distinct_and_checked() -> None:
    x = torch.rand(1, 1, 4, 4)
    seen = {tuple(y.flatten().tolist()) for y in all_views(x, list(VIEWS))}
    assert len(seen) == len(VIEWS) == 8
    with pytest.raises(FoldlineError, match="square"):
        require_views(["rot90"], (4, 6), where="")
    with pytest.raises(FoldlineError, match="known"):
        require_views(["flip"], (4, 4), where="")


def test_normalise_is_the_formula() -> None:
    x = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
    expected = (x.double() / 255 - torch.tensor(mean).double().view(1, 3, 1, 1)) / torch.tensor(std).double().view(
        1, 3, 1, 1
    )
    assert torch.allclose(normalise(x, mean, std, torch.device("cpu")).double(), expected, atol=1e-5)
