"""Nineteen competitions from their published layout to a graded submission, by their facts alone.

The committed facts are used as they are; only the source becomes a local archive, and two folds are enough.
"""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from foldline.cli import main
from foldline.core.competition import load_competition
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.tables import read_csv
from foldline.readers import read_rows
from foldline.submission.form import sample_path
from shapes.graders import Refused, grade
from shapes.shapes import SHAPES, Shape
from shapes.tree import Tree, zip_files

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
RUN: dict[str, Any] = {
    "model": {"name": "test_efficientnet", "weights": "none"},
    "data": {"image_size": 32},
    "augment": {"recipe": "flips"},
    "optim": {"lr": 3e-3},
    "train": {"epochs": 8, "batch_size": 8, "precision": "fp32"},
}
Lines = list[list[str]]
Change = Callable[[Lines], Lines]


class Line:
    """A project folder with one competition, and the command line run in it."""

    def __init__(self, root: Path, shape: Shape) -> None:
        self.layout, self.slug = Layout(root), shape.slug
        raw = Tree(root / "raw", seed=1)
        self.truth = shape.write(raw)
        archive = root / f"{shape.slug}.zip"  # Kaggle sends all files as one zip
        zip_files(archive, raw.root, sorted(path.name for path in raw.root.iterdir()))
        shutil.rmtree(raw.root)
        facts = yaml.safe_load((CONFIGS / shape.slug / "competition.yaml").read_text())
        facts["source"] = {"kind": "folder", "name": str(archive)}
        facts["folds"] = {**facts.get("folds", {}), **shape.facts, "k": 2}
        run = {**RUN, **{key: {**RUN[key], **value} for key, value in shape.run.items()}}
        for name, content in (("competition", facts), ("tiny", run)):
            path = root / "configs" / shape.slug / f"{name}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(yaml.safe_dump(content, sort_keys=False))

    def run(self, stage: str, *arguments: str) -> int:
        """The exit code of a stage."""
        return main([stage, "--root", str(self.layout.root), "--comp", self.slug, *arguments])

    @property
    def submission(self) -> Path:
        return self.layout.submission(self.slug, "tiny")

    @property
    def sample(self) -> Path:
        return sample_path(self.layout, self.slug, load_competition(self.layout, self.slug))

    def changed(self, change: Change) -> Path:
        """A copy of the submission whose lines after the header were changed."""
        with self.submission.open(newline="") as handle:
            header, *lines = list(csv.reader(handle))
        path = self.layout.root / "changed.csv"
        with path.open("w", newline="") as handle:
            csv.writer(handle, lineterminator="\n").writerows([header, *change(lines)])
        return path


def shuffled(lines: Lines) -> Lines:
    """Each id with the answer of another one."""
    order = np.random.default_rng(0).permutation(len(lines))
    return [[line[0], *lines[other][1:]] for line, other in zip(lines, order, strict=True)]


@pytest.mark.parametrize("shape", SHAPES, ids=[shape.slug for shape in SHAPES])
def test_a_shape_goes_from_its_published_files_to_a_graded_submission(shape: Shape, tmp_path: Path) -> None:
    line = Line(tmp_path, shape)
    for stage in ("download", "folds"):
        assert line.run(stage) == 0
    rows = read_csv(line.layout.folds(shape.slug))
    assert ("group" in rows.columns) == (shape.groups is not None)
    assert shape.groups is None or rows["group"].nunique() == shape.groups
    for stage in ("train", "predict", "ensemble"):
        assert line.run(stage, "--run", "tiny") == 0
    assert line.run("check", str(line.submission)) == 0

    score = grade(line.submission, line.sample, line.truth, shape.rule)
    assert shape.passes(score), f"{score} against {shape.pass_at}"

    chance = grade(line.changed(shuffled), line.sample, line.truth, shape.rule)
    assert not shape.passes(chance), f"shuffled answers score {chance}"

    refuse(line, shape, lambda lines: lines[1:])
    refuse(line, shape, lambda lines: [*lines[:-1], ["not-an-id", *lines[-1][1:]]])
    if shape.bad is not None:
        refuse(line, shape, lambda lines: [*lines[:-1], [lines[-1][0], shape.bad or "", *lines[-1][2:]]])


def test_what_only_train_has_is_no_column_of_test_rows(tmp_path: Path) -> None:
    """diagnosis and benign_malignant say the answer; a slip in the facts must not make features of them."""
    line = Line(tmp_path, next(shape for shape in SHAPES if shape.slug == "siim-isic-melanoma-classification"))
    assert line.run("download") == 0
    facts = load_competition(line.layout, line.slug)
    assert facts.test is not None
    wrong = facts.test.model_copy(update={"metadata": ["benign_malignant"]})
    with pytest.raises(FoldlineError, match="'benign_malignant' is no column"):
        read_rows(line.layout.input(line.slug), wrong, facts, with_target=False)


def refuse(line: Line, shape: Shape, change: Change) -> None:
    """Neither the gate nor the grader takes the changed submission."""
    path = line.changed(change)
    assert line.run("check", str(path)) == 2
    with pytest.raises(Refused):
        grade(path, line.sample, line.truth, shape.rule)
