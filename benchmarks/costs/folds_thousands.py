"""The stage `folds` with 5,000 classes; its cost is compared with that of few."""

from pathlib import Path

import made_files
from costs.kit import Cost
from foldline.core.paths import Layout
from foldline.stages.folds import folds

COST = Cost("folds of 5,000 classes")


def prepare(folder: Path, rows: int) -> None:
    """The raw files."""
    made_files.make(folder, rows, min(5_000, rows // 5))


def run(folder: Path, rows: int) -> None:
    """The stage."""
    assert folds(Layout(folder), made_files.COMP).rows == rows
