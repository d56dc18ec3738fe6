"""`foldline predict-files`: new pictures from the command line."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foldline.core.tables import read_csv, read_parquet
from tiny import FACTS, RUN, TinyProject

CHOICES = {
    **RUN,
    "train": {**RUN["train"], "epochs": 1},
    "model": {**RUN["model"], "metadata": ["age"]},
    "predict": {"views": ["identity"]},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """A run whose networks read the patient's age."""
    project = TinyProject(tmp_path_factory.mktemp("files"), rows=36)
    table = project.root / "raw" / "train.csv"
    rows = pd.read_csv(table).assign(age=lambda t: np.arange(len(t)) % 50 + 20)
    rows.to_csv(table, index=False)
    project.write_yaml("competition", {**FACTS, "metrics": [], "train": {**FACTS["train"], "metadata": ["age"]}})
    project.write_yaml("quick", CHOICES)
    project.prepare()
    assert project.run("train") == 0
    assert project.run("predict") == 0
    return project


def test_a_folder_with_its_table(project: TinyProject, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test = read_csv(project.layout.test_rows("tiny"))
    test[["image", "age"]].iloc[::-1].rename(columns={"image": "path"}).to_csv(tmp_path / "ages.csv", index=False)
    files = [str(project.layout.input("tiny") / image) for image in test["image"]]
    out, ages = tmp_path / "deep" / "out.csv", str(tmp_path / "ages.csv")
    assert project.run("predict-files", *files, "--run", "quick", "--out", str(out), "--metadata", ages) == 0
    table = pd.read_csv(out)
    stored = read_parquet(project.layout.run("tiny", "quick") / "test.parquet")
    assert np.allclose(table["prob_bright"], stored["prob_bright"], atol=1e-6)
    assert table.columns.tolist() == ["path", "prob_dark", "prob_bright", "label", "spread", "problem"]
    said = capsys.readouterr().out
    assert "foldline model 'quick' (quick: 3 folds)" in said
    assert f"wrote {out}: {len(files)} pictures" in said


def test_what_is_missing_is_said(project: TinyProject, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(project.layout.input("tiny") / read_csv(project.layout.test_rows("tiny"))["image"][0])
    (tmp_path / "none.csv").write_text("path,age\nother.png,3\n")
    (tmp_path / "sex.csv").write_text("path,sex\nother.png,3\n")
    (tmp_path / "short.csv").write_text("age\n3\n4\n")
    for arguments, words in (
        ([], "no pictures are named"),
        (["gone.png"], "there is no 'gone.png'"),
        ([file], "these networks read metadata beside the picture: age"),
        ([file, "--metadata", str(tmp_path / "none.csv")], "has no row of 1 picture"),
        ([file, "--metadata", str(tmp_path / "sex.csv")], "has no column age"),
        ([file, "--metadata", str(tmp_path / "short.csv")], "has 2 rows for 1 picture, and no column 'path'"),
        ([file, "--folder", str(tmp_path / "no")], "there is no such folder"),
    ):
        assert project.run("predict-files", *arguments, "--run", "quick", "--out", str(tmp_path / "x.csv")) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "x.csv").exists()
