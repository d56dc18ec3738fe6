"""Generated pictures whose right answer is known: stacks of slices of which one decides, and two views of each side."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tiny import FACTS, TinyProject

STACK_FACTS: dict[str, Any] = {
    **FACTS,
    "title": "one slice decides",
    "classes": ["0", "1"],
    "train": {
        "file": "train.csv", "row_id": "{scan}_{slice}", "image": "{scan}_{slice}.png", "target": "label",
        "entity": "scan", "order": "slice",
    },
    "folds": {"k": 3},
}  # fmt: skip
PAIR_FACTS: dict[str, Any] = {
    **STACK_FACTS,
    "title": "two views of a breast decide together",
    "train": {
        "file": "train.csv", "row_id": "{patient}_{side}_{view}", "image": "{patient}_{side}_{view}.png",
        "target": "label", "group": "patient", "entity": "{patient}_{side}", "order": "view", "metadata": ["view"],
    },
}  # fmt: skip
STACK_RUN: dict[str, Any] = {
    "model": {"name": "cifar_cnn", "weights": "none", "options": {"width": 8}, "entity": "attention"},
    "data": {"image_size": 24, "channels": 1},
    "augment": {"recipe": "none"},
    "optim": {"lr": 3e-3},
    "train": {"epochs": 6, "batch_size": 8, "precision": "fp32", "log_to": []},
}


def _noise(rng: np.random.Generator, side: int) -> NDArray[np.float64]:
    return rng.normal(110, 25, (side, side))


def _bar(picture: NDArray[np.float64], rng: np.random.Generator, *, upright: bool) -> None:
    """A bright bar somewhere: upright it is the mark, lying it is what every slice may have."""
    y, x = rng.integers(2, picture.shape[0] - 10, 2)
    height, width = (8, 2) if upright else (2, 8)
    picture[y : y + height, x : x + width] += 90


def write_stacks(root: Path, scans: int, slices: tuple[int, int] = (8, 16), side: int = 24, seed: int = 0) -> None:
    """Scans of so many slices of noise with lying bars; one slice of a positive one has an upright bar instead."""
    rng, lines = np.random.default_rng(seed), ["scan,slice,label"]
    root.mkdir(exist_ok=True)
    for scan in range(scans):
        label, count = scan % 2, int(rng.integers(slices[0], slices[1] + 1))
        marked = int(rng.integers(count)) if label else -1
        for number in range(count):
            picture = _noise(rng, side)
            _bar(picture, rng, upright=number == marked)
            cv2.imwrite(str(root / f"s{scan:03d}_{number}.png"), np.clip(picture, 0, 255).astype(np.uint8))
            lines.append(f"s{scan:03d},{number},{label}")
    (root / "train.csv").write_text("\n".join(lines) + "\n")


def write_pairs(root: Path, patients: int, side: int = 24, seed: int = 0) -> None:
    """Two sides of each patient in two views; a bar stands or lies in each, and a side is positive where its two bars
    are not alike: no view tells anything by itself."""
    rng, lines = np.random.default_rng(seed), ["patient,side,view,label"]
    root.mkdir(exist_ok=True)
    for patient in range(patients):
        for breast in ("L", "R"):
            upright = rng.integers(2, size=2)
            for view, turned in zip(("CC", "MLO"), upright.tolist(), strict=True):
                picture = _noise(rng, side)
                _bar(picture, rng, upright=bool(turned))
                path = root / f"p{patient:03d}_{breast}_{view}.png"
                cv2.imwrite(str(path), np.clip(picture, 0, 255).astype(np.uint8))
                lines.append(f"p{patient:03d},{breast},{view},{int(upright[0] != upright[1])}")
    (root / "train.csv").write_text("\n".join(lines) + "\n")


class StackProject(TinyProject):
    """A project of stacks or of pairs."""

    def __init__(self, root: Path, count: int = 40, *, pairs: bool = False, seed: int = 0, **facts: Any) -> None:
        self.count, self.pairs, self.seed = count, pairs, seed
        root.mkdir(exist_ok=True)
        super().__init__(root)
        self.write_yaml("competition", (PAIR_FACTS if pairs else STACK_FACTS) | facts)
        self.write_yaml("quick", STACK_RUN)

    def write_raw(self, rows: int) -> None:
        """The generated pictures."""
        (write_pairs if self.pairs else write_stacks)(self.root / "raw", self.count, seed=self.seed)
