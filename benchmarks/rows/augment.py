"""Augmentation, one thread: foldline's, which seeds each picture by its row, against the same albumentations alone."""

from pathlib import Path
from typing import Any

from rows.kit import Row, Side, main, rate

ROW = Row("augment, recipe light, 160 px, one thread", "images/s", ("foldline", "bare"))
RECIPE = "light"


def _augmenter() -> tuple[Any, Any]:
    import cv2
    import numpy as np

    from foldline.core.run import Augment
    from foldline.images.augment import Augmenter

    cv2.setNumThreads(1)
    image = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    return Augmenter(Augment(recipe=RECIPE), (160, 160), 3), image


def foldline(folder: Path, small: bool) -> float:
    """By `images/augment.py`."""
    augmenter, image = _augmenter()
    times = 20 if small else 300

    def work() -> int:
        for row in range(times):
            augmenter(image, 0, 0, 0, row)
        return times

    return rate(work)


def bare(folder: Path, small: bool) -> float:
    """The recipe's `Compose`, with a state of its own."""
    augmenter, image = _augmenter()
    times = 20 if small else 300

    def work() -> int:
        for _ in range(times):
            augmenter.compose(image=image)
        return times

    return rate(work)


SIDES: dict[str, Side] = {"foldline": foldline, "bare": bare}

if __name__ == "__main__":
    main(SIDES)
