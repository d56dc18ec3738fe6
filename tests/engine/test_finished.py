"""`foldline.load`: finished runs and ensembles predict new pictures, and say what the prediction stage said."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import foldline
from foldline.core.errors import FoldlineError
from foldline.core.records.cv import Cv
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.tables import read_csv, read_json, read_parquet
from foldline.core.task import TASKS
from foldline.engine.finished import pictures, reading
from foldline.engine.finished.labels import label_columns, spread_columns
from foldline.engine.finished.metadata import metadata_table
from foldline.engine.finished.model import Model
from foldline.scoring.decide import Decision
from tiny import FACTS, RUN, TinyProject

CHOICES = {**RUN, "train": {**RUN["train"], "epochs": 1}, "model": {**RUN["model"], "drop_rate": 0}}
SITES = ["arm", "leg"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """Two runs and their ensemble; the second run's pictures have another size."""
    project = TinyProject(tmp_path_factory.mktemp("finished"), rows=48)
    project.write_yaml("competition", {**FACTS, "metric": "f1", "metrics": []})
    project.blend_two(CHOICES)
    assert project.run("ensemble", "--runs", "quick small", "--name", "weighted", "--blend", "stack") == 0
    return project


@pytest.fixture(scope="module")
def model(project: TinyProject) -> Model:
    return foldline.load(project.layout.run("tiny", "quick"), device="cpu")


def rows(project: TinyProject) -> list[Path]:
    """The test rows' pictures, in their order."""
    test = read_csv(project.layout.test_rows("tiny"))
    return [project.layout.input("tiny") / image for image in test["image"]]


@pytest.mark.parametrize("run", ["quick", "both", "weighted"])
def test_files_are_predicted_as_the_prediction_stage_does(
    project: TinyProject, run: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever the working directory, and however few pictures lie in memory at a time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reading, "AHEAD_BYTES", 4 * 32 * 32)
    model = foldline.load(str(project.layout.run("tiny", run)), device="cpu")
    table = model.predict(rows(project), batch_size=5)
    stored = read_parquet(project.layout.run("tiny", run) / "test.parquet")
    assert np.abs(table[model.columns].to_numpy() - stored[model.columns].to_numpy()).max() < 1e-6
    assert table["path"].tolist() == [str(path) for path in rows(project)]
    assert (table["problem"] == "").all()
    folds = np.stack(
        [
            read_parquet(project.fold(k, own) / "test.parquet")["prob_bright"].to_numpy(dtype=float)
            for own in (["quick"] if run == "quick" else ["quick", "small"])
            for k in range(3)
        ]
    )
    assert np.allclose(table["spread"], folds.std(axis=0, ddof=1), atol=1e-6)


def test_labels_are_those_of_the_submission(project: TinyProject) -> None:
    """Decided by the rule that was fitted on OOF, which cv.json keeps."""
    folder = project.layout.run("tiny", "quick")
    cv = Cv.read(folder / "cv.json")
    middle = float(read_parquet(folder / "test.parquet")["prob_bright"].median())
    decision = {"kind": "threshold", "numbers": [middle], "minimum": 0, "used": "fitted"}
    try:
        cv.changed(decision=decision).write(folder / "cv.json")
        table = foldline.load(folder, device="cpu").predict(rows(project))
    finally:
        cv.write(folder / "cv.json")
    expected = np.where(table["prob_bright"].to_numpy(dtype=float) >= middle, "bright", "dark")
    assert table["label"].tolist() == expected.tolist()
    assert set(expected) == {"bright", "dark"}


def test_it_says_what_it_is(project: TinyProject, model: Model) -> None:
    cv = Cv.read(project.layout.run("tiny", "quick") / "cv.json")
    assert (model.score, model.interval, model.metric) == (cv.pooled, cv.interval, "f1")
    assert "'quick' (quick: 3 folds); OOF f1 " in repr(model)
    assert [member.folds for member in model.members] == [[0, 1, 2]]
    assert len(repr(model.members)) < 400, "a notebook shows it"
    alone = foldline.load(project.fold(1), device="cpu")
    assert (alone.members[0].folds, alone.score) == ([1], None)
    assert alone.predict(rows(project)[0])["spread"].isna().all()


def test_arrays_and_pillow_say_what_their_file_says(project: TinyProject, model: Model) -> None:
    file = rows(project)[0]
    gray = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
    assert gray is not None
    rgba = np.dstack([gray, gray, gray, np.full_like(gray, 7)])
    turned = Image.fromarray(np.rot90(gray, 1))
    turned.getexif()[274] = 6  # to be turned by 90 degrees clockwise
    given: list[pictures.Picture] = [
        file,
        gray,
        gray[:, :, None],
        gray > 127,
        Image.open(file),
        Image.fromarray(rgba),
        turned,
        rgba[:, :, :3],
    ]
    prob = model.predict(given)["prob_bright"]
    assert np.allclose(prob.drop(3), prob[0], atol=1e-6)
    assert not np.isclose(prob[3], prob[0])
    assert model.predict(np.stack([gray[:, :, None]] * 2))["path"].tolist() == ["picture 0", "picture 1"]
    assert len(model.predict(gray)) == 1


def test_a_broken_file_does_not_end_the_batch(
    project: TinyProject, model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = rows(project)[:2]
    (tmp_path / "deep").mkdir()
    for name, content in {
        "a.png": good[0].read_bytes(), "b.png": good[1].read_bytes()[:90], "deep/c.jpg": b"",
        "deep/noname": good[1].read_bytes(), "notes.txt": b"x", ".hidden.png": b"x", "deep/Thumbs.db": b"x",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
    table = model.predict([tmp_path, tmp_path / "gone.png", np.zeros((4, 4, 7))])
    assert [str(Path(p).relative_to(tmp_path)) for p in table["path"][:5]] == [
        "a.png", "b.png", "deep/c.jpg", "deep/noname", "gone.png"
    ]  # fmt: skip
    assert table["prob_bright"].notna().tolist() == [True, False, False, True, False, False]
    assert table["label"].notna().tolist() == table["prob_bright"].notna().tolist()
    assert [bool(problem) for problem in table["problem"]] == table["prob_bright"].isna().tolist()
    said = capsys.readouterr().out
    assert "4 of 6 pictures cannot be read, and their lines are empty:" in said
    assert "4 pictures; 1 other file is left out: notes.txt" in said
    assert "1 Thumbs.db" in said
    with pytest.raises(FoldlineError, match=r"1 picture cannot be read: .*b\.png"):
        model.predict([tmp_path / "a.png", tmp_path / "b.png"], bad_images="stop")
    with pytest.raises(FoldlineError, match="1 picture, and none can be read"):
        model.predict([tmp_path / "b.png"])


def test_what_is_no_picture_is_refused_in_words(model: Model, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    for given, words in (
        ([], "no pictures are given"), ("a string", "there is no such file or folder"), (3, "a int is no picture"),
        ([None], "a NoneType is no picture"), (tmp_path, "no picture lies below this folder"),
    ):  # fmt: skip
        with pytest.raises(FoldlineError, match=words):
            model.predict(given)  # type: ignore[arg-type]
    with pytest.raises(FoldlineError, match="unknown view 'flip'"):
        model.predict(np.zeros((4, 4)), views=["flip"])
    with pytest.raises(FoldlineError, match="'identity hflip' is no list of views"):
        model.predict(np.zeros((4, 4)), views="identity hflip")
    with pytest.raises(FoldlineError, match="0 pictures are no batch"):
        model.predict(np.zeros((4, 4)), batch_size=0)
    with pytest.raises(FoldlineError, match="these networks read no metadata"):
        model.predict(np.zeros((4, 4)), metadata=pd.DataFrame())


def test_features_stand_side_by_side(project: TinyProject, model: Model) -> None:
    files = rows(project)[:3]
    every, first = model.embed([files[0], files[1], project.root / "gone.png"]), model.embed(files[:2], folds=[0])
    assert every.shape == (3, 3 * first.shape[1])
    assert np.allclose(every[:2, : first.shape[1]], first, atol=1e-5)
    assert np.isnan(every[2]).all()
    assert not np.allclose(every[0], every[1])
    with pytest.raises(FoldlineError, match="has no fold"):
        model.embed(files, folds=[7])


def test_folders_that_are_no_finished_run_are_refused(project: TinyProject, tmp_path: Path) -> None:
    with pytest.raises(FoldlineError, match="there is no such folder"):
        foldline.load("oof/nothing")
    with pytest.raises(FoldlineError, match="no finished fold is in this folder"):
        foldline.load(tmp_path)
    (tmp_path / "both").mkdir()
    Cv.read(project.layout.run("tiny", "both") / "cv.json").write(tmp_path / "both" / "cv.json")
    with pytest.raises(FoldlineError, match="'both' is an ensemble of quick, small, and 'quick' is not there"):
        foldline.load(tmp_path / "both")
    for fold in range(2):
        meta = FoldMeta.read(project.fold(fold, ["quick", "small"][fold]) / "meta.json")
        (tmp_path / "mixed" / f"fold_{fold}").mkdir(parents=True)
        meta.write(tmp_path / "mixed" / f"fold_{fold}" / "meta.json")
    with pytest.raises(FoldlineError, match="trained with different choices"):
        foldline.load(tmp_path / "mixed")


def test_one_picture_has_no_rank(project: TinyProject, model: Model) -> None:
    folder = project.layout.run("tiny", "both")
    cv = Cv.read(folder / "cv.json")
    try:
        cv.changed(blend="rank_mean").write(folder / "cv.json")
        both = foldline.load(folder, device="cpu")
    finally:
        cv.write(folder / "cv.json")
    assert len(both.predict(rows(project)[:2])) == 2
    with pytest.raises(FoldlineError, match="a single picture has none"):
        both.predict(rows(project)[0])


def test_a_score_of_other_weights_is_not_taken(
    project: TinyProject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Cv.read(project.layout.run("tiny", "small") / "cv.json").write(tmp_path / "cv.json")
    (tmp_path / "fold_0").symlink_to(project.fold(0))
    assert foldline.load(tmp_path, device="cpu").score is None
    assert "cv.json is of other weights than those of fold 0: not used" in capsys.readouterr().out


def test_an_ensemble_says_that_a_member_changed_since(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project.layout.run("tiny", "small")
    cv = Cv.read(folder / "cv.json")
    foldline.load(project.layout.run("tiny", "both"), device="cpu")
    assert "warning" not in capsys.readouterr().out
    try:
        cv.changed(files={**cv.files, "test.parquet": "0" * 64}).write(folder / "cv.json")
        foldline.load(project.layout.run("tiny", "both"), device="cpu")
    finally:
        cv.write(folder / "cv.json")
    assert "small changed since the ensemble was made" in capsys.readouterr().out


def test_the_whole_line_from_python(project: TinyProject) -> None:
    settings = {"optim.lr": 1e-4, "train.folds": [0], "model.drop_rate": 0.2}
    model = foldline.run("tiny", "quick", root=project.root, name="api", settings=settings, device="cpu")
    assert model.folder == project.layout.run("tiny", "api")
    assert model.score is not None
    assert read_json(model.folder / "run.json")["optim"]["lr"] == 1e-4
    assert project.layout.submission("tiny", "api").is_file()
    assert foldline.train("tiny", "quick", root=project.root, device="cpu") == project.layout.run("tiny", "quick")


def test_words_of_every_kind_of_task() -> None:
    prob = np.array([[0.6, 0.5, 0.1], [0.2, 0.1, 0.5]])
    names = ["a", "b", "c"]
    assert label_columns(TASKS["multilabel"].of(names), prob, None) == {"label": ["a|b", "c"]}
    assert label_columns(TASKS["ordinal"].of(names), prob, Decision("cuts", (0.1, 0.9))) == {"label": ["b", "c"]}
    number = np.array([[1.26], [2.0]])
    assert label_columns(TASKS["regression"].of([""]), number, None) == {}
    assert label_columns(TASKS["regression"].of([""]), number, Decision("round")) == {"label": ["1", "2"]}
    spread = spread_columns(TASKS["multiclass"].of(names), np.stack([prob, prob + np.array([[0, 0, 0.2], [0, 0, 0]])]))
    assert np.allclose(spread["spread"], [0.2 / np.sqrt(2), 0])


def test_metadata_are_joined_by_path_and_by_file_name_only_where_that_tells_pictures_apart() -> None:
    table = pd.DataFrame({"path": ["x.png", "y.png"], "age": ["1", "2"]})
    joined = metadata_table(table, ["age"], ["b/y.png", "a/x.png"])
    assert joined is not None
    assert joined["age"].tolist() == ["2", "1"]
    with pytest.raises(FoldlineError, match=r"one file name: a/x\.png, b/x\.png"):
        metadata_table(table, ["age"], ["a/x.png", "b/x.png"])
    both = pd.DataFrame({"path": ["a/x.png", "b/x.png", "b/x.png"], "age": ["1", "2", "3"]})
    with pytest.raises(FoldlineError, match=r"names pictures twice: b/x\.png"):
        metadata_table(both, ["age"], ["a/x.png", "b/x.png"])
    assert metadata_table(both, ["age"], ["a/x.png"]) is not None
