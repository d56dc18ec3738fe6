"""Folds as every stage loads them: hashed, parsed, checked."""

from pathlib import Path

import made_files
from costs.kit import Cost
from foldline.core.folds import load_folds
from foldline.core.paths import Layout
from foldline.stages.folds import folds

COST = Cost("folds of 10 classes in groups loaded: hashed, parsed, checked")


def prepare(folder: Path, rows: int) -> None:
    """The folds."""
    made_files.make(folder, rows, 10, max(rows // 5, 10))
    folds(Layout(folder), made_files.COMP)


def run(folder: Path, rows: int) -> None:
    """What each stage does first, with the truth as an array."""
    found = load_folds(Layout(folder), made_files.COMP)
    assert len(found.task.truth(found.frame, found.outputs, where="")) == rows
