"""The stage `folds` with few classes; its cost is compared with that of many."""

from pathlib import Path

import made_files
from costs.kit import Cost
from foldline.core.paths import Layout
from foldline.stages.folds import folds

COST = Cost("folds of 10 classes")


def prepare(folder: Path, rows: int) -> None:
    """The raw files."""
    made_files.make(folder, rows, 10)


def run(folder: Path, rows: int) -> None:
    """The stage."""
    assert folds(Layout(folder), made_files.COMP).rows == rows
