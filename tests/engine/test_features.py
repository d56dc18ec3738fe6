"""A run of frozen features through the whole line: its files are those of any run, and what needs networks says so."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foldline.core.errors import FoldlineError
from foldline.core.features_run import FeaturesHead, FeaturesRun
from foldline.core.records.cv import Cv
from foldline.core.tables import read_csv, read_json, read_parquet, sha256_file
from foldline.models.fitted.catalogue import HEADS
from tiny import FACTS, RUN, TinyProject

SOURCE: dict[str, Any] = {
    "model": {"name": "test_efficientnet", "weights": "none"},
    "data": {"image_size": 32, "channels": 1},
}
HEAD: dict[str, Any] = {"features": [SOURCE], "head": {"name": "linear", "options": {"c": 10}}}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """Four folds, a metadata column that knows the label, a run of networks `quick` and one of features `head`."""
    project = TinyProject(tmp_path_factory.mktemp("features"))
    table = project.root / "raw" / "train.csv"
    lines = table.read_text().splitlines()
    more = [f"{line},{(line.split(',')[1] == 'bright') + i % 7 / 10}" for i, line in enumerate(lines[1:])]
    table.write_text("\n".join([lines[0] + ",hint", *more]) + "\n")
    train = {**FACTS["train"], "metadata": ["hint"]}
    project.write_yaml("competition", {**FACTS, "train": train, "folds": {"k": 4}})
    project.write_yaml("quick", {**RUN, "train": {**RUN["train"], "epochs": 1}})
    project.write_yaml("head", HEAD)
    project.prepare()
    for run in ("quick", "head"):
        assert project.run("train", "--run", run, "--device", "cpu") == 0
    assert project.run("predict", "--run", "quick", "--device", "cpu") == 0
    return project


def fitted(project: TinyProject, name: str, **changed: Any) -> Path:
    """The folder of a run of features with these settings."""
    project.write_yaml(name, {**HEAD, **changed})
    assert project.run("train", "--run", name, "--device", "cpu") == 0
    return project.layout.run("tiny", name)


def test_its_files_are_those_of_any_run(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project.layout.run("tiny", "head")
    cv, rows = Cv.read(folder / "cv.json"), read_csv(project.layout.folds("tiny"))
    oof = read_parquet(folder / "oof.parquet")
    assert oof["row_id"].tolist() == rows["row_id"].tolist()
    assert cv.rows == len(rows)
    assert cv.head == "linear on test_efficientnet"
    assert [one["c"] for one in cv.chosen] == [10] * 4
    assert cv.pooled is not None
    assert cv.pooled > 0.8  # the middle's light is seen by random filters, too
    before = sha256_file(folder / "oof.parquet")
    capsys.readouterr()
    for stage in ("train", "predict"):
        assert project.run(stage, "--run", "head") == 0
        assert "up to date" in capsys.readouterr().out
    assert sha256_file(folder / "oof.parquet") == before
    (folder / "test.parquet").write_bytes(b"damaged")
    assert project.run("predict", "--run", "head", "--device", "cpu") == 0
    assert "made again" in capsys.readouterr().out
    assert sha256_file(folder / "oof.parquet") == before


def test_submission_blend_report_and_status_take_it(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.run("ensemble", "--run", "head") == 0
    assert project.run("ensemble", "--runs", "head quick", "--name", "both") == 0
    assert project.run("compare") == 0
    said = capsys.readouterr().out
    assert "accepted by the gate" in said
    page = (project.layout.run("tiny", "head") / "report.html").read_text()
    assert "No network was trained: 4 heads (linear on test_efficientnet)" in page
    assert "c 10, 10, 10, 10" in page
    assert "unknown model" not in page
    assert project.run("status") == 0
    assert "head: 0 of" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("train --run head --fold 0", "FOLD is about networks"),
        ("train --run head --jobs 2", "JOBS is about networks"),
        ("train --run head --ranks 2", "RANKS is about networks"),
        ("predict --run head --shard 0/2", "no networks of its own"),
        ("train --run head --set head=svm", "a changed run needs a name"),
        ("train --run quick --set seed=3 --name head", "one is a run of frozen features, the other of networks"),
        ("train --run head --set head.options.c=1 --name head2 --fold 1", "FOLD is about networks"),
        ("lr-find --run head", "no networks of its own"),
        ("export onnx --run head", "no networks of its own"),
        ("soup --run head --name soup", "no networks of its own"),
        ("explore --run head", "no networks of its own"),
        ("train --run quick --set 'model.weights.name=run model.weights.options.run=head' --name w", "no networks"),
        ("train --run quick --set loss.teacher=head --name t", "no networks of its own"),
        ("train --run quick --set extra.pseudo=head --name p", "no networks of its own"),
    ],
)  # fmt: skip
def test_what_needs_networks_says_so(
    project: TinyProject, command: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stage, *arguments = shlex.split(command)
    assert project.run(stage, *arguments) == 2
    assert said in capsys.readouterr().err


def test_every_setting_changes_the_predictions(project: TinyProject) -> None:
    digest = sha256_file(project.layout.run("tiny", "head") / "oof.parquet")
    cases: dict[str, dict[str, Any]] = {
        "model": {"features": [{**SOURCE, "model": {**SOURCE["model"], "name": "test_resnet"}}]},
        "data": {"features": [{**SOURCE, "data": {"image_size": 40, "channels": 1}}]},
        "views": {"features": [{**SOURCE, "views": ["identity", "hflip"]}]},
        "two": {"features": [SOURCE, {**SOURCE, "data": {"image_size": 40, "channels": 1}}]},
        "seed": {"seed": 1},
        "metadata": {"columns": {"metadata": ["hint"]}},
        "runs": {"columns": {"runs": ["quick"]}},
        "run": {"features": {"run": "quick"}},
        "options": {"head": {"name": "linear", "options": {"c": 1}}},
        "knn": {"head": {"name": "knn", "options": {"k": 5, "temperature": 0.1}}},
        "k": {"head": {"name": "knn", "options": {"k": 9, "temperature": 0.1}}},
        "temperature": {"head": {"name": "knn", "options": {"k": 5, "temperature": 0.2}}},
        "svm": {"head": {"name": "svm", "options": {"c": 1}}},
    }
    found = {
        name: sha256_file(fitted(project, f"s-{name}", **changed) / "oof.parquet") for name, changed in cases.items()
    }
    assert len({digest, *found.values()}) == len(cases) + 1


def test_columns_alone_are_a_run_too(project: TinyProject) -> None:
    cv = Cv.read(fitted(project, "columns", features=[], columns={"metadata": ["hint"], "runs": ["quick"]}) / "cv.json")
    assert cv.head == "linear on 1 metadata column, OOF of quick"
    assert cv.pooled is not None
    assert cv.pooled > 0.9
    assert {key.rpartition(", ")[2] for key in cv.sha256.inputs} >= {"oof.parquet", "fold_0/test.parquet"}


def test_columns_that_were_fitted_to_others_are_refused(
    project: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted(project, "over", features=[], columns={"runs": ["quick"]})
    project.write_yaml("twice", {**HEAD, "columns": {"runs": ["over", "quick"]}})
    capsys.readouterr()
    assert project.run("train", "--run", "twice", "--device", "cpu") == 2
    assert "'over' was fitted to the OOF predictions of quick" in capsys.readouterr().err
    assert project.run("ensemble", "--runs", "over quick", "--name", "x", "--blend", "stack") == 2
    assert "'over' was fitted to the OOF predictions of quick" in capsys.readouterr().err


def test_a_run_that_changed_is_noticed(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    project.write_yaml("other", HEAD)
    assert project.run("train", "--run", "other", "--device", "cpu") == 0
    fitted(project, "stacked", features=[], columns={"runs": ["other"]})
    path = project.layout.run("tiny", "other") / "cv.json"
    cv = read_json(path)
    path.write_text(json.dumps({**cv, "files": {**cv["files"], "oof.parquet": "0" * 64}}))
    capsys.readouterr()
    assert project.run("train", "--run", "stacked") == 2
    both = "".join(capsys.readouterr())
    assert "columns.runs: other, oof.parquet changed since the heads were fitted" in both
    assert "damaged" in both
    path.write_text(json.dumps(cv))
    path = project.layout.run("tiny", "stacked") / "cv.json"
    record = read_json(path)
    inputs = {**record["sha256"]["inputs"], "columns.runs: other, oof.parquet": "0" * 64}
    path.write_text(json.dumps({**record, "sha256": {**record["sha256"], "inputs": inputs}}))
    assert project.run("ensemble", "--runs", "stacked quick", "--name", "older") == 2
    assert "columns.runs: other, oof.parquet has changed" in capsys.readouterr().err


def test_networks_of_another_run_stay_readable(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    """`run.json` says what the run file said: it is read by all that come after, and without the run file."""
    folder = fitted(project, "theirs", features={"run": "quick"})
    assert FeaturesRun.parse(read_json(folder / "run.json"), where="run.json").features[0].run == "quick"
    (project.root / "configs" / "tiny" / "theirs.yaml").unlink()
    assert project.run("ensemble", "--run", "theirs") == 0
    assert (folder / "report.html").is_file()
    cv = Cv.read(folder / "cv.json")
    assert cv.optimistic == []
    project.write_yaml("best", {**RUN, "train": {**RUN["train"], "epochs": 1, "select": "best"}})
    assert project.run("train", "--run", "best", "--device", "cpu") == 0
    cv = Cv.read(fitted(project, "chosen", features={"run": "best"}) / "cv.json")
    assert cv.optimistic == ["best: each fold's epoch was selected by the score on its validation rows"]


def test_weights_that_learnt_the_rows_are_no_features(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    """A fold's weights file, or a copy of it, would let every other fold's head see its own labels."""
    copy = project.root / "mine.safetensors"
    copy.write_bytes((project.layout.fold("tiny", "quick", 0) / "model.safetensors").read_bytes())
    weights = {"name": "file", "options": {"file": "mine.safetensors"}}
    project.write_yaml("leak", {**HEAD, "features": [{**SOURCE, "model": {**SOURCE["model"], "weights": weights}}]})
    assert project.run("train", "--run", "leak", "--device", "cpu") == 2
    said = capsys.readouterr().err
    assert "of learnt rows (a leak)" in said
    assert "set features.run" in said


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"columns": {"runs": ["odd"]}}, "the run 'odd' names itself"),
        ({"features": {"run": "odd"}}, "the run 'odd' names itself"),
        ({"features": {"run": "head"}}, "no networks of its own"),
        ({"columns": {"metadata": ["hnt"]}}, "where: columns.metadata"),
        ({"columns": {"metadata": ["hint", "hint"]}}, "columns.metadata names 'hint' twice"),
        ({"columns": {"runs": ["quick", "quick"]}}, "columns.runs names 'quick' twice"),
        ({"features": [SOURCE, SOURCE]}, "the same source twice"),
        ({"features": [{**SOURCE, "views": ["hflip", "hflip"]}]}, "features.0.views names 'hflip' twice"),
    ],
)
def test_what_is_named_wrongly_is_refused(
    project: TinyProject, changed: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write_yaml("odd", {**HEAD, **changed})
    assert project.run("train", "--run", "odd", "--device", "cpu") == 2
    assert said in capsys.readouterr().err


def test_more_neighbours_than_rows_are_said(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    fitted(project, "many", head={"name": "knn", "options": {"k": 5000, "temperature": 0.1}})
    assert "and not 5000: the smallest fit has no more rows" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"features": []}, "the head sees nothing"),
        ({"features": [{**SOURCE, "run": "quick"}]}, "a run has its own model and data"),
        ({"features": [{"model": {"drop_rate": 0.5}}]}, "unknown setting 'features.0.model.drop_rate'"),
        ({"features": [{"data": {"grow_from": 0.5}}]}, "data.grow_from is for a network that is trained"),
        ({"features": [{"model": {"weights": {"name": "run", "options": {"run": "a"}}}}]}, "set `run: <name>`"),
        ({**HEAD, "head": "forest"}, "unknown head 'forest'"),
        ({**HEAD, "train": {}}, "unknown setting 'train'"),
    ],
)
def test_what_means_nothing_is_refused(content: dict[str, Any], said: str) -> None:
    with pytest.raises(FoldlineError, match=said):
        FeaturesRun.parse(content, where="x.yaml")


def test_every_head_has_its_options() -> None:
    assert HEADS.keys() == FeaturesHead.known.keys()
    for name, spec in HEADS.items():
        assert spec.grid.keys() <= FeaturesHead.known[name].keys()
    assert np.isfinite(list(HEADS["linear"].grid["c"])).all()
