"""A run whose pictures are not squashed: whatever reads pictures afterwards sees what training saw."""

from pathlib import Path

import numpy as np
import pytest

import foldline
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.records.framing import AS_USUAL
from foldline.core.tables import read_csv, read_parquet, write_json
from tiny import RUN, TinyProject

CUT = "def middle(image):\n    height, width = image.shape[:2]\n    return (0, width // 4, height, width - 2)\n"
DATA = {**RUN["data"], "fit": "letterbox", "interpolation": "bicubic", "crop_fraction": 0.9}
CHOICES = {**RUN, "data": {**DATA, "foreground": "cut.py:middle"}, "train": {**RUN["train"], "epochs": 1}}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    project = TinyProject(tmp_path_factory.mktemp("framing"), rows=36)
    project.write_yaml("quick", CHOICES)
    (project.root / "configs" / "tiny" / "cut.py").write_text(CUT)
    project.prepare()
    for stage in ("train", "predict", "ensemble"):
        assert project.run(stage) == 0
    return project


def test_files_are_seen_as_training_saw_them(project: TinyProject) -> None:
    """By the function in the fold's folder, also where the user's file is another one now."""
    (project.root / "configs" / "tiny" / "cut.py").write_text("def middle(image):\n    return None\n")
    folder = project.layout.run("tiny", "quick")
    test = read_csv(project.layout.test_rows("tiny"))
    files = [project.layout.input("tiny") / image for image in test["image"]]
    model = foldline.load(folder, device="cpu")
    said = model.predict(files)[model.columns].to_numpy()
    assert np.abs(said - read_parquet(folder / "test.parquet")[model.columns].to_numpy()).max() < 1e-6
    (project.root / "configs" / "tiny" / "cut.py").write_text(CUT)


def test_the_folds_meta_says_it_and_that_of_before_is_squashed(project: TinyProject, tmp_path: Path) -> None:
    path = project.fold(0) / "meta.json"
    meta = FoldMeta.read(path)
    words = "fit letterbox, interpolation bicubic, crop_fraction 0.9, foreground cut.py:middle"
    assert meta.framing.in_words() == words
    assert (project.fold(0) / "code" / "cut.py").read_text() == CUT
    content = meta.model_dump(mode="json", by_alias=True)
    del content["framing"]
    write_json(tmp_path / "meta.json", content)
    assert FoldMeta.read(tmp_path / "meta.json").framing == AS_USUAL


def test_a_source_that_changed_is_noticed(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    file = project.root / "configs" / "tiny" / "cut.py"
    file.write_text(CUT.replace("- 2", "- 3"))
    assert project.run("predict") != 0
    assert "cut.py" in capsys.readouterr().err
    file.write_text(CUT)


@pytest.mark.parametrize("wrong", ["data.fit=stretch", "data.crop_fraction=0.1", "data.foreground=otsu"])
def test_what_there_is_not_is_refused(project: TinyProject, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.run("train", "--name", "wrong", "--set", wrong) == 2
    assert wrong.partition("=")[0] in capsys.readouterr().err
