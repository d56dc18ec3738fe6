"""`foldline export onnx`: a file that onnxruntime and OpenCV alone predict with, or none at all."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import foldline
from foldline.core.errors import FoldlineError
from foldline.core.records.cv import Cv
from foldline.core.tables import read_csv
from foldline.engine.onnx import export as exporting
from tiny import FACTS, RUN, TinyProject

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
DOCS = Path(__file__).parents[2] / "docs" / "finished-models.md"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    project = TinyProject(tmp_path_factory.mktemp("onnx"), rows=48)
    project.write_yaml("competition", {**FACTS, "licence": "made for tests"})
    project.write_yaml("quick", {**RUN, "train": {**RUN["train"], "epochs": 1}})
    project.prepare()
    assert project.run("train") == 0
    assert project.run("predict") == 0
    return project


@pytest.fixture(scope="module")
def file(project: TinyProject) -> Path:
    assert project.run("export", "onnx", "--run", "quick") == 0
    return project.layout.exports("tiny") / "quick.onnx"


def test_the_example_of_the_documentation_says_what_foldline_says(
    project: TinyProject, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is executed as it stands, beside a file and a picture of the names that it gives."""
    section = DOCS.read_text(encoding="utf-8").partition("\n## ONNX\n")[2]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert code is not None
    imported = set(re.findall(r"^(?:import|from) (\w+)", code[1], re.MULTILINE))
    assert imported == {"json", "cv2", "numpy", "onnxruntime"}
    picture = project.layout.input("tiny") / read_csv(project.layout.test_rows("tiny"))["image"][0]
    (tmp_path / "model.onnx").write_bytes(file.read_bytes())
    (tmp_path / "a.png").write_bytes(picture.read_bytes())
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code[1], names)
    model = foldline.load(project.layout.run("tiny", "quick"), device="cpu")
    expected = model.predict(picture)[model.columns].to_numpy()[0]
    assert list(names["answer"]) == model.columns
    assert np.allclose(list(names["answer"].values()), expected, atol=1e-5)


def test_the_file_says_what_it_is(project: TinyProject, file: Path) -> None:
    """And nothing of the machine that made it."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    cv = Cv.read(project.layout.run("tiny", "quick") / "cv.json")
    assert json.loads(said["score"]) == cv.pooled
    assert json.loads(said["outputs"]) == ["dark", "bright"]
    assert json.loads(said["views"]) == {"quick": ["identity", "hflip"]}
    assert (said["height"], said["width"], said["channels"], said["opset"]) == ("32", "32", "gray", "18")
    assert said["licence_of_data"] == "made for tests"
    assert json.loads(said["licence_of_pretrained_weights"]) == {"quick": "none, they were random"}
    assert float(said["max_difference_from_torch"]) < 1e-5
    (pictures,), (output,) = session.get_inputs(), session.get_outputs()
    assert (pictures.name, pictures.type, pictures.shape) == ("pictures", "tensor(uint8)", ["batch", 32, 32, 1])
    assert (output.name, output.shape) == ("probabilities", ["batch", 2])
    content = file.read_bytes()
    assert b"site-packages" not in content
    assert str(project.root).encode() not in content


def test_a_file_that_differs_is_not_written(
    project: TinyProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(exporting, "to_onnx", lambda *_: None)
    monkeypatch.setattr(exporting, "opset_of", lambda _: 18)
    monkeypatch.setattr(exporting, "to_bytes", lambda *_: b"")
    monkeypatch.setattr(exporting, "largest_difference", lambda *_, **__: 0.2)
    assert project.run("export", "onnx", "--run", "quick", "--out", str(tmp_path / "wrong.onnx")) == 2
    assert "differ by up to 2.0e-01" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_for_each_fold(project: TinyProject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the view that is asked for, which no score is of."""
    seen = []

    def export(run: Any, *_: Any, views: list[str], properties: dict[str, str], **__: Any) -> exporting.Exported:
        seen.append(([meta.fold for _, meta in run.folds], views))
        assert properties["score"] == "null"
        return exporting.Exported(b"", 18, 0.0)

    monkeypatch.setattr(exporting, "export", export)
    out = tmp_path / "own.onnx"
    assert project.run("export", "onnx", "--run", "quick", "--each", "--views", "vflip", "--out", str(out)) == 0
    assert seen == [([fold], ["vflip"]) for fold in range(3)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"own.fold_{fold}.onnx" for fold in range(3)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "folder"], "ends in .onnx"),
        (["--views", "sideways"], "unknown view 'sideways'"),
        (["--views", "identity scale_1.5"], "pictures of one size, and the views scale_1.5 are"),
        (["--run", "nothing"], "there is no such folder"),
    ],
)
def test_what_cannot_be_exported(
    project: TinyProject, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """And no weights are loaded to say so."""
    monkeypatch.setattr(exporting, "float32_folds", lambda _: pytest.fail("weights were loaded"))
    given = arguments if "--run" in arguments else ["--run", "quick", *arguments]
    assert project.run("export", "onnx", *given) == 2
    assert words in capsys.readouterr().err


def test_pictures_to_compare_on_must_be_there(project: TinyProject) -> None:
    from foldline.stages.export_onnx import export_onnx

    folder = project.layout.input("tiny")
    folder.rename(folder.with_name("away"))
    try:
        with pytest.raises(FoldlineError, match="0 can be read"):
            export_onnx(project.layout, "tiny", "quick")
    finally:
        folder.with_name("away").rename(folder)
