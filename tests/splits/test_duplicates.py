"""Near-duplicates are found among pictures, and no others."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from foldline.splits import duplicates
from foldline.splits.duplicates import _same_key, duplicate_groups, duplicate_keys, near_pairs
from foldline.splits.groups import connected, joined_groups


def picture(seed: int, size: int = 160) -> Any:
    """Random blobs of several sizes, the finer the fainter, as in photographs."""
    rng = np.random.default_rng(seed)
    grey = np.zeros((size, size), dtype=np.float32)
    for cells in (4, 8, 16, 32, 64):
        blobs = rng.normal(size=(cells, cells)).astype(np.float32) / cells**0.7
        grey += cv2.resize(blobs, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(grey * 100 + 120, 0, 255).astype(np.uint8)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    pictures = {f"p{i}.png": picture(i) for i in range(12)}
    pictures["p0 half.png"] = cv2.resize(pictures["p0.png"], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    pictures["p0.jpg"] = pictures["p0.png"]
    pictures["p1 bright.png"] = np.clip(pictures["p1.png"] * 1.1 + 5, 0, 255).astype(np.uint8)
    pictures["p2 turned.png"] = np.ascontiguousarray(pictures["p2.png"][:, ::-1])
    pictures["black.png"] = pictures["black too.png"] = np.zeros((50, 50), dtype=np.uint8)
    for name, pixels in pictures.items():
        options = [cv2.IMWRITE_JPEG_QUALITY, 60] if name.endswith("jpg") else []
        assert cv2.imwrite(str(tmp_path / name), pixels, options)
    (tmp_path / "no picture.txt").write_text("words")
    (tmp_path / "empty.png").write_bytes(b"")
    return {path.name: path for path in sorted(tmp_path.iterdir())}


def test_copies_are_found_and_nothing_else(files: dict[str, Path], capsys: Any) -> None:
    number = dict(zip(files, duplicate_groups(list(files.values())).tolist(), strict=True))
    assert number["p0.png"] == number["p0 half.png"] == number["p0.jpg"]
    assert number["p1.png"] == number["p1 bright.png"]
    assert len(set(number.values())) == len(files) - 3
    assert "2 images cannot be compared with others: empty.png, no picture.txt" in capsys.readouterr().out


def test_keys_name_the_first_row_and_leave_single_rows_alone(files: dict[str, Path]) -> None:
    chosen = [files["p3.png"], files["p0.png"], files["p0.jpg"]]
    assert duplicate_keys(["c", "b", "a"], chosen) == ["", "same:a", "same:a"]


@pytest.mark.parametrize("distance", [0, 1, 10, 40])
def test_no_near_pair_is_lost(distance: int) -> None:
    """Against all pairs by brute force, on hashes with planted copies that differ in 0 to 45 bits."""
    rng = np.random.default_rng(distance)
    bits = rng.random((150, 256)) < 0.5
    for i in range(100, 150):
        flips = rng.choice(256, i - 100 if i < 146 else 0, replace=False)
        bits[i] = bits[i - 100]
        bits[i, flips] = ~bits[i, flips]
    hashes = np.packbits(bits, axis=1).view(np.uint64)
    number = bits.astype(int)
    wanted = (number @ (1 - number).T) + (1 - number) @ number.T <= distance
    found = np.eye(150, dtype=bool)
    for left, right in near_pairs(hashes, distance):
        found[left, right] = found[right, left] = True
    assert (found <= wanted).all(), "a pair that is not near"
    reach = np.linalg.matrix_power(found.astype(float), 8) > 0  # equal hashes are joined through their first
    assert (wanted <= reach).all(), "a near pair was lost"


@pytest.mark.parametrize("alike", [0, 300])
def test_few_pairs_join_what_all_pairs_join(alike: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chains of copies, and a crowd of pictures that look alike, in buckets larger than are fully compared."""
    monkeypatch.setattr(duplicates, "LARGE", 8)
    rng = np.random.default_rng(alike)
    bits = rng.random((900, 256)) < 0.5
    for i in range(300, 600):  # each a few bits from one of before
        bits[i] = bits[i - 1 if i % 7 else i - 300]
        bits[i, rng.choice(256, 8, replace=False)] ^= True
    bits[600 : 600 + alike] = bits[0] ^ (rng.random((alike, 256)) < 0.02)
    hashes = np.packbits(bits, axis=1).view(np.uint64)

    def joined(*, every: bool) -> tuple[list[int], int]:
        pairs = np.concatenate(list(near_pairs(hashes, 10, every=every)), axis=1)
        graph = coo_matrix((np.ones(pairs.shape[1]), tuple(pairs)), shape=(900, 900))
        return connected_components(graph, directed=False)[1].tolist(), pairs.shape[1]

    (few, few_pairs), (every, every_pairs) = joined(every=False), joined(every=True)
    assert few == every
    assert len(set(every)) < 900 - 300 * 0.8
    assert few_pairs < every_pairs if alike else few_pairs <= every_pairs


def test_all_pairs_of_a_bucket_are_compared() -> None:
    pairs = [(left.tolist(), right.tolist()) for left, right in _same_key(np.array([0, 0, 0, 1, 2, 2]))]
    assert pairs == [([0, 1, 4], [1, 2, 5]), ([0], [2])]


def test_no_images_at_all() -> None:
    assert duplicate_groups([]).tolist() == []


def test_reasons_to_stay_together_join() -> None:
    assert connected([["a", "a", "b", "", ""], ["x", "y", "y", "z", ""]]).tolist() == [0, 0, 0, 1, 2]
    names = joined_groups(["r1", "r2", "r3", "r4"], [["a", "", "b", ""], ["", "k", "k", ""]])
    assert names == ["a", "b", "b", "r4"]
