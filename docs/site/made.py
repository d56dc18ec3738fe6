"""Pictures for the tutorials: drawn, the same each time; nothing is downloaded, and nobody's rights are touched."""

import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np

SHAPES = ("oval", "round", "star")
SIDE = 112  # px


def _canvas(rng: np.random.Generator, level: float) -> Any:
    """A soft, noisy ground, [side, side, 3] float."""
    coarse = rng.normal(level, 14, (6, 6, 3)).astype(np.float32)
    ground = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return ground + rng.normal(0, 8, ground.shape)


def _seed(rng: np.random.Generator, shape: str) -> Any:
    """A seed of one kind somewhere on the ground; some are hardly to be told apart."""
    picture = np.ascontiguousarray(np.clip(_canvas(rng, 150), 0, 255).astype(np.uint8))
    middle = tuple(int(v) for v in rng.integers(42, SIDE - 42, 2))
    colour = tuple(int(v) for v in np.clip(rng.normal((40, 70, 100), 18), 0, 255))
    size, angle = int(rng.integers(18, 30)), float(rng.uniform(0, 360))
    if shape == "star":
        turns = np.deg2rad(angle) + np.arange(10) * np.pi / 5
        reach = np.where(np.arange(10) % 2, size * rng.uniform(0.5, 0.95), size * 1.1)
        corners = np.stack([middle[0] + reach * np.cos(turns), middle[1] + reach * np.sin(turns)], 1)
        cv2.fillPoly(picture, [corners.astype(np.int32)], colour, cv2.LINE_AA)
    else:
        longer = 1.0 if shape == "round" else rng.uniform(1.03, 1.45)
        axes = (int(size * longer), int(size / longer))
        cv2.ellipse(picture, (middle, (2 * axes[0], 2 * axes[1]), angle), colour, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(picture, (3, 3), 0)


def seeds() -> None:
    """pictures/<kind>/: three kinds of seeds, 40 pictures each; new/: six that nobody has named."""
    rng = np.random.default_rng(7)
    for shape in SHAPES:
        Path("pictures", shape).mkdir(parents=True)
        for i in range(40):
            cv2.imwrite(f"pictures/{shape}/{shape}{i:02d}.png", _seed(rng, shape))
    Path("new").mkdir()
    for i, shape in enumerate(("star", "round", "oval", "oval", "star", "round")):
        cv2.imwrite(f"new/photo{i}.png", _seed(rng, shape))


def competition() -> None:
    """seed-purity/: what a competition's archive holds: two tables of ids, a sample, two folders of pictures."""
    rng = np.random.default_rng(11)
    root = Path("seed-purity")
    for part, count in (("train", 96), ("test", 32)):
        (root / f"{part}_images").mkdir(parents=True)
        lines = []
        for _ in range(count):
            name, pure = f"{rng.integers(16**8):08x}", int(rng.random() < 0.5)
            cv2.imwrite(str(root / f"{part}_images" / f"{name}.png"), _seed(rng, "round" if pure else "oval"))
            lines.append([name, pure] if part == "train" else [name])
        _table(root / f"{part}.csv", ["seed_id", "pure"][: len(lines[0])], lines)
        if part == "test":
            _table(root / "sample_submission.csv", ["seed_id", "pure"], [[*line, 0.5] for line in lines])


def _table(path: Path, names: list[str], lines: list[list[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *lines])


def scans() -> None:
    """scans/: patients with eight pictures each, all ill or all healthy; new-patients/: others, with their truth.

    Every patient's tissue looks its own way. The illness is faint: a pale spot in most pictures of the ill.
    """
    rng = np.random.default_rng(3)
    Path("scans/images").mkdir(parents=True)
    Path("new-patients").mkdir()
    known, new = [], []
    for patient in range(34):
        ill = patient % 2
        tint = rng.normal(0, 26, 3)
        pattern = cv2.resize(
            rng.normal(0, 30, (7, 7, 3)).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC
        )
        for i in range(8):
            picture = _canvas(rng, 120) * 0.5 + 60 + tint + pattern
            if ill and rng.random() < 0.6:
                spot = np.zeros((SIDE, SIDE), np.float32)
                cv2.circle(spot, tuple(int(v) for v in rng.integers(25, SIDE - 25, 2)), 9, 1.0, -1)
                picture = picture + 22 * cv2.GaussianBlur(spot, (9, 9), 0)[..., None]
            name = f"p{patient:02d}_{i}.png"
            folder = "scans/images" if patient < 24 else "new-patients"
            cv2.imwrite(f"{folder}/{name}", np.clip(picture, 0, 255).astype(np.uint8))
            (known if patient < 24 else new).append([name, f"p{patient:02d}", ["healthy", "ill"][ill]])
    _table(Path("scans/train.csv"), ["file", "patient", "finding"], known)
    _table(Path("new-patients.csv"), ["file", "patient", "finding"], new)
