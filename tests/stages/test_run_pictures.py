"""`foldline run pictures/`: from a folder that nobody has described to a report, in any folder, and again."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from foldline import composed
from foldline.cli import main
from foldline.core.competition import load_competition
from foldline.core.paths import Layout, shipped
from foldline.core.run import Run, load_run
from foldline.core.yaml_models import parse_yaml
from foldline.stages import init as init_stage
from foldline.stages.first_run import Ground, _other_shapes, first_run, run_text
from tiny import RUN


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which somebody types, beside 30 pictures of two classes."""
    rng = np.random.default_rng(0)
    for name, shift in (("dark", -40), ("bright", 40)):
        for i in range(15):
            path = tmp_path / "My Pictures" / name / f"{name}{i}.PNG"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.clip(rng.normal(120 + shift, 20, (40, 48)), 0, 255).astype(np.uint8)
            path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    return tmp_path / "empty"


def with_tiny_run(project: Path) -> None:
    path = project / "configs" / "my-pictures" / "baseline.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(RUN))


def test_a_folder_becomes_a_report_and_the_next_commands(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_tiny_run(project)
    assert main(["run", "../My Pictures", "--yes", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    for words in (
        "2 classes, 30 pictures to learn from: bright (15), dark (15)", "a fifth of the pictures is kept apart",
        "guessed: 'dark' is the positive class", "will be copied to input/my-pictures", "GUESSED, and nobody",
        "the report: ", "foldline score --comp my-pictures", "foldline predict-files --comp my-pictures",
        'foldline run --comp my-pictures --set "optim.lr=5e-4" --name other',
    ):  # fmt: skip
        assert words in said, words
    assert " make " not in said, "there is no Makefile here"
    assert (project / "oof" / "my-pictures" / "baseline" / "report.html").is_file()
    assert main(["score"]) == 0, "of the only competition of this folder"
    weights = project / "oof" / "my-pictures" / "baseline" / "fold_0" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    capsys.readouterr()
    assert main(["run", "../My Pictures/", "--yes"]) == 0
    assert "competition.yaml is there already" in capsys.readouterr().out
    assert weights.stat().st_mtime_ns == before
    assert main(["run"]) == 0, "the only competition of this folder"


def test_facts_alone_and_what_changed_since(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "../My Pictures", "--yes"]) == 0
    facts = load_competition(Layout(project), "my-pictures")
    assert facts.source.name == str(project.parent / "My Pictures")
    assert facts.unconfirmed == ["classes", "metric"]
    assert not (project / "input").exists()
    assert main(["download", "--comp", "my-pictures"]) == 0
    (project.parent / "My Pictures" / "dark" / "dark0.PNG").unlink()
    capsys.readouterr()
    assert main(["init", "../My Pictures"]) == 0
    said = capsys.readouterr().out
    assert "My Pictures since it was copied to input/my-pictures: 1 file is gone: dark/dark0.PNG" in said


def test_a_name_belongs_to_one_folder(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(project.parent / "My Pictures", project / "my pictures")
    assert main(["init", "../My Pictures", "--yes"]) == 0
    capsys.readouterr()
    assert main(["init", "my pictures", "--yes"]) == 2
    said = capsys.readouterr().err
    assert "is the name of other pictures" in said
    assert "--comp my-pictures-2" in said
    assert main(["init", "my pictures", "--yes", "--comp", "my-pictures-2"]) == 0
    assert load_competition(Layout(project), "my-pictures-2").source.name == "my pictures", "it lies in the project"


def test_many_bytes_are_linked_and_stay_as_they_are(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(init_stage, "LARGEST_COPY", 1000)
    folder = project.parent / "My Pictures"
    before = {path: path.stat().st_mode for path in folder.rglob("*")}
    assert main(["init", "../My Pictures", "--yes"]) == 0
    assert "becomes a link to the folder" in capsys.readouterr().out
    assert main(["folds", "--comp", "my-pictures"]) == 2, "they are not hashed yet"
    assert main(["download", "--comp", "my-pictures"]) == 0
    assert main(["folds", "--comp", "my-pictures"]) == 0
    assert {path: path.stat().st_mode for path in folder.rglob("*")} == before
    assert main(["init", "../My Pictures", "--yes"]) == 0, "the same pictures by their link"


def test_pictures_that_lie_in_the_place_of_raw_files_stay_there(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(project.parent / "My Pictures", project / "input" / "mine")
    for stage in (["init", "input/mine", "--yes"], ["download"], ["folds"], ["init", "input/mine"]):
        assert main(stage) == 0
    said = capsys.readouterr().out
    assert "lie in input/mine already" in said
    assert "since it was copied" not in said
    assert load_competition(Layout(project), "mine").source.kind == "placed"


def test_a_competition_is_no_folder(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "mnist", "--yes"]) == 2
    assert "foldline run --comp mnist" in capsys.readouterr().err
    assert main(["run", "pics.zip", "--yes"]) == 2
    assert "there is no 'pics.zip'" in capsys.readouterr().err
    assert not (project / "configs").exists()


def test_nothing_is_written_among_the_pictures(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.parent / "My Pictures")
    assert main(["run", ".", "--yes"]) == 2
    assert sorted(path.name for path in Path().iterdir()) == ["bright", "dark"]


def answers(monkeypatch: pytest.MonkeyPatch, *given: str) -> None:
    """Somebody who sits at a terminal."""
    left = list(given)
    for module in (init_stage, composed):
        monkeypatch.setattr(module, "is_terminal", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _question: left.pop(0))


def test_a_person_is_asked(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answers(monkeypatch, "n")
    assert main(["init", "../My Pictures"]) == 2
    assert not (project / "configs").exists()
    answers(monkeypatch, "")
    assert main(["init", "../My Pictures"]) == 0
    assert load_competition(Layout(project), "my-pictures").unconfirmed == []
    nested = project.parent / "nested"
    shutil.copytree(project.parent / "My Pictures", nested / "here")
    shutil.copytree(project.parent / "My Pictures", nested / "there")
    answers(monkeypatch, "2", "y")
    assert main(["init", "../nested"]) == 0
    assert "1. first-folder: 2 classes: here (30), there (30)" in capsys.readouterr().out
    assert load_competition(Layout(project), "nested").train.pattern == "**/{label}/*"


def test_a_first_run_is_written_once(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "../My Pictures", "--yes"]) == 0
    assert "foldline run --comp my-pictures, which" in capsys.readouterr().out
    assert main(["download", "--comp", "my-pictures"]) == 0
    assert main(["folds", "--comp", "my-pictures"]) == 0
    layout = Layout(project)
    assert first_run(layout, "my-pictures", "baseline", device="cpu")
    run = load_run(layout, "my-pictures", "baseline", [])
    assert (run.data.image_size, run.data.channels, run.data.bad_images) == (64, 1, "skip"), "gray, 40 x 48 px"
    layout.run_config("my-pictures", "baseline").write_text("seed: 3\n")
    assert not first_run(layout, "my-pictures", "baseline", device="cpu")
    assert load_run(layout, "my-pictures", "baseline", []).seed == 3


def test_a_run_for_all_competitions_is_used_and_a_typo_makes_none(project: Path) -> None:
    assert main(["init", "../My Pictures", "--yes"]) == 0
    assert main(["run", "--run", "basline"]) == 2
    assert not (project / "configs" / "my-pictures" / "basline.yaml").exists()
    (project / "configs" / "mine.yaml").write_text("seed: 5\n")
    assert not first_run(Layout(project), "my-pictures", "mine", device="cpu")


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("rows", [20, 400, 5000, 100_000])
def test_a_first_run_is_a_run_file_of_the_default_network(rows: int, gpu: bool, tmp_path: Path) -> None:
    text = run_text(Ground(rows, 300, gray=rows == 400, gpu=gpu), "pics")  # on a GPU of unknown memory, too
    run = Run.parse(parse_yaml(text, where=""), where="")
    assert run.model == load_run(Layout(tmp_path), "pics", "baseline", []).model, "configs/baseline.yaml's"
    assert run.data.channels == (1 if rows == 400 else 3)
    assert rows / run.train.batch_size >= 2  # type: ignore[operator]
    assert all(len(line) <= 125 for line in text.splitlines())
    assert (shipped() / "baseline.yaml").is_file()


@pytest.mark.parametrize(
    ("ground", "expected"),
    [
        (Ground(500, 300, False, False), "recipe=light views=identity,hflip probe=True lr=0.001 size=224 epochs=10"),
        (
            Ground(5000, 28, True, False, tuple("0123456789")),
            "recipe=document views=identity probe=False lr=0.001 size=64 epochs=2",
        ),
        (
            Ground(5000, 300, True, False, tuple("01234")),
            "recipe=light views=identity,hflip probe=False lr=0.001 size=160 epochs=2",
        ),
        (
            Ground(500, 300, False, True, memory_gb=15.8),
            "recipe=light views=identity,hflip probe=True lr=0.0001 size=288 epochs=20",
        ),
        (
            Ground(500, 300, False, False, numbers=True),
            "recipe=light views=identity,hflip probe=True lr=0.0002 size=224 epochs=10",
        ),
        (
            Ground(500, 300, False, False, epochs=0),
            "recipe=light views=identity,hflip probe=True lr=0.001 size=224 epochs=0",
        ),
    ],
    ids=["few", "digits", "grades", "a GPU", "numbers", "no time"],
)
def test_what_a_first_run_chooses(ground: Ground, expected: str) -> None:
    """Each rule of EXPERIMENTS.md, "How a first run is chosen"."""
    run = Run.parse(parse_yaml(run_text(ground, "pics"), where=""), where="")
    if run.train.probe is not None and not ground.numbers:
        assert run.train.probe.views == run.predict.views
    assert bool(run.loss.smoothing) != ground.numbers, "smoothing is for classes"
    found = f"recipe={run.augment.recipe} views={','.join(run.predict.views)} probe={run.train.probe is not None} "
    assert found + f"lr={run.optim.lr} size={run.data.image_size} epochs={run.train.epochs}" == expected


@pytest.mark.parametrize(
    ("fits", "words"), [(7, "7  # as fit into the minutes"), (30, "30  # 3 times the usual number, the most that is")]
)
def test_minutes_that_hold_more_than_is_taken_are_said(fits: int, words: str) -> None:
    assert f"epochs: {words}" in run_text(Ground(100, 64, gray=False, gpu=False, epochs=fits), "tiny")


def test_transparent_pictures_are_laid_over_white() -> None:
    run = Run.parse(parse_yaml(run_text(Ground(500, 300, False, False, clear=True), "pics"), where=""), where="")
    assert run.data.intensity == "on_white"


def test_transparent_pictures_are_seen(tmp_path: Path) -> None:
    from PIL import Image

    from foldline.stages.first_run import _is_transparent

    for name, alpha in (("solid", 255), ("clear", 0)):
        Image.new("RGBA", (8, 8), (200, 30, 30, alpha)).save(tmp_path / f"{name}.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.jpg")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    found = {path.name: _is_transparent(path) for path in tmp_path.iterdir()}
    assert found == {"solid.png": False, "clear.png": True, "plain.jpg": False, "broken.png": False}


def test_pictures_of_many_shapes_are_said(tmp_path: Path) -> None:
    """They are squashed all the same; the run file says so, and how to try another fit."""
    paths = []
    for place, (height, width) in enumerate([(20, 20), (20, 60), (60, 20), (30, 20)]):
        paths.append(tmp_path / f"{place}.png")
        paths[-1].write_bytes(cv2.imencode(".png", np.zeros((height, width), dtype=np.uint8))[1].tobytes())
    assert _other_shapes(paths[:1]) == ""
    words = _other_shapes(paths)
    assert words.endswith("of another shape than the median one")
    assert "data.fit=letterbox" in run_text(Ground(100, 20, gray=True, gpu=False, shapes=words), "x")
    assert "letterbox" not in run_text(Ground(100, 20, gray=True, gpu=False), "x")
    assert "a ridge regression" in run_text(Ground(100, 20, gray=True, gpu=False, numbers=True), "x")
