"""What training takes from elsewhere: further rows, pseudo-labels, a teacher, another run. No leak gets by."""

import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from foldline.core.paths import Layout
from foldline.core.records.cv import Cv
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.run import Run
from foldline.core.run_folder import resolve_run
from foldline.core.tables import read_csv, read_json, read_parquet, sha256_file, sha256_files, write_parquet
from foldline.engine.finished.model import load
from foldline.engine.machine.device import pick_device
from foldline.engine.predict_run import predict_run
from foldline.engine.problem import Problem, open_problem
from foldline.engine.row_arrays import RowArrays
from foldline.engine.row_parts import training_targets
from foldline.report.comparison.rivals import Pair
from foldline.scoring.paired import Difference
from tiny import FACTS, TinyProject

BASE = "train.epochs=1 augment.recipe=none"


@pytest.fixture
def ready(project: TinyProject) -> TinyProject:
    project.prepare()
    return project


def problem(project: TinyProject, **extra: object) -> Problem:
    run = Run.parse({"data": {"image_size": 32, "channels": 1}, "extra": extra}, where="")
    return open_problem(project.layout, "tiny", run, pick_device("cpu"))


def trained(project: TinyProject, name: str, settings: str = "", *stages: str) -> Path:
    for stage in ("train", *stages):
        assert project.run(stage, "--name", name, "--set", f"{BASE} {settings}") == 0
    return project.fold(0, name)


def add_extra(project: TinyProject, pictures: dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]"]) -> None:
    """Further labelled pictures beside the raw ones, and a file that names them."""
    lines = ["row_id,image,target"]
    for name, picture in pictures.items():
        cv2.imwrite(str(project.layout.input("tiny") / f"{name}.png"), picture)
        lines.append(f"{name},{name}.png,bright")
    (project.root / "more.csv").write_text("\n".join(lines) + "\n")


def noise(seed: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.random.default_rng(seed).integers(0, 256, (40, 36), dtype=np.uint8)


def test_extra_rows_are_trained_on_and_never_validated_on(ready: TinyProject) -> None:
    add_extra(ready, {"new1": noise(1), "new2": noise(2)})
    found = problem(ready, rows=["more.csv"])
    for fold in range(3):
        own = len(found.own(fold, train=True))
        assert len(found.train_rows(fold)) == own + 2
        assert len(found.valid_rows(fold, None)) == len(found.own(fold, train=False))
    with_rows = trained(ready, "more", "extra.rows=[more.csv]")
    plain = trained(ready, "plain")
    assert sha256_file(with_rows / "model.safetensors") != sha256_file(plain / "model.safetensors")
    ids = [read_parquet(folder / "valid.parquet")["row_id"].tolist() for folder in (with_rows, plain)]
    assert ids[0] == ids[1]


def test_extra_rows_that_look_like_what_is_predicted_are_left_out(
    ready: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    folds, test = read_csv(ready.layout.folds("tiny")), read_csv(ready.layout.test_rows("tiny"))
    raw = ready.layout.input("tiny")
    copies = {}
    for name, image in {
        "valid": folds.loc[folds["fold"] == "1", "image"].iloc[0],
        "test": test["image"].iloc[0],
    }.items():
        picture = cv2.imread(str(raw / image), cv2.IMREAD_GRAYSCALE)
        assert picture is not None
        copies[f"like_{name}"] = cv2.convertScaleAbs(picture, alpha=1.03, beta=2).astype(np.uint8)
    add_extra(ready, {**copies, "new": noise(1)})
    found = problem(ready, rows=["more.csv"])
    added = [len(found.train_rows(fold)) - len(found.own(fold, train=True)) for fold in range(3)]
    assert added == [2, 1, 2], "the copy of fold 1's picture teaches the other folds, that of a test picture none"
    assert "like_test" in capsys.readouterr().out


def test_extra_rows_of_a_validated_group_are_left_out(ready: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    """Folds keep a patient whole: further pictures of one would tell the network what it is validated on."""
    add_extra(ready, {"theirs": noise(1), "new": noise(2)})
    folds, path = read_csv(ready.layout.folds("tiny")), ready.root / "more.csv"
    group = folds.loc[folds["fold"] == "1", "group"].iloc[0]
    header, *lines = path.read_text().splitlines()
    groups = zip(lines, [group, "nobody"], strict=True)
    path.write_text("\n".join([f"{header},group", *(f"{line},{own}" for line, own in groups)]) + "\n")
    found = problem(ready, rows=["more.csv"])
    added = [len(found.train_rows(fold)) - len(found.own(fold, train=True)) for fold in range(3)]
    assert added == [2, 1, 2]
    assert "(by picture or group), left out: theirs" in capsys.readouterr().out


def test_what_a_run_learnt_from_makes_its_score_optimistic_too(
    ready: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(ready, "picked", "train.select=best", "predict")
    trained(ready, "first", "extra.pseudo.name=picked extra.pseudo.options.least=0.5", "predict")
    trained(ready, "second", "loss.teacher=first", "predict")
    assert ready.run("ensemble", "--runs", "picked second", "--name", "both") == 0
    for name in ("first", "second"):
        (reason,) = Cv.read(ready.layout.run("tiny", name) / "cv.json").optimistic
        assert reason.endswith("picked, which it learnt from: each fold's epoch was selected by the score on its "
                               "validation rows")  # fmt: skip
    capsys.readouterr()
    given = ("--name", "taught", "--set", f"{BASE} loss.teacher=both")
    assert ready.run("train", *given) == 2
    said = capsys.readouterr().err
    assert "'both' is an ensemble: it has no network that left fold 0 unseen" in said
    assert "name one of its members: picked, second" in said


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("row_id,image,target,fold\nx,x.png,bright,0\n", "never validated on"),
        ("row_id,image,target\np000,p000.png,bright\n", "training or test rows already"),
        ("row_id,image,target\nx,x.png,bright\nx,x.png,bright\n", "twice|several|x"),
        ("row_id,image,target\nx,x.png,green\n", "no known class"),
        ("row_id,target\nx,bright\n", "image"),
    ],
)
def test_wrong_extra_rows_are_one_message(
    ready: TinyProject, capsys: pytest.CaptureFixture[str], lines: str, words: str
) -> None:
    (ready.root / "more.csv").write_text(lines)
    assert ready.run("train", "--name", "bad", "--set", "extra.rows=[more.csv]") == 2
    error = capsys.readouterr().err
    assert any(word in error for word in words.split("|")), error


def test_pseudo_labels_of_a_fold_come_from_its_own_model(ready: TinyProject) -> None:
    trained(ready, "first", "", "predict")
    for fold, (dark, bright) in enumerate([(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)]):
        path = ready.fold(fold, "first") / "test.parquet"
        write_parquet(path, read_parquet(path).assign(prob_dark=np.float32(dark), prob_bright=np.float32(bright)))
    record = ready.layout.run("tiny", "first") / "cv.json"
    cv = Cv.read(record)
    cv.changed(files=sha256_files(record.parent, cv.files)).write(record)
    found = problem(ready, pseudo="first")
    rows = len(found.folds.test)
    for fold, label in enumerate([0.0, 1.0]):
        own = len(found.own(fold, train=True))
        truth = found.train_rows(fold).truth
        assert truth[own:].tolist() == [label] * rows
        assert np.array_equal(truth[:own], found.truth[found.own(fold, train=True)])
    assert len(found.train_rows(2)) == len(found.own(2, train=True)), "nothing is sure enough"
    everything = problem(ready, pseudo={"name": "first", "options": {"least": 0.5}})
    assert len(everything.train_rows(2)) == len(everything.own(2, train=True)) + rows


def with_test_probabilities(project: TinyProject, run: str, prob_bright: "list[float]") -> None:
    """Each fold's model of the run says these of the test rows, over and over."""
    for fold in range(3):
        path = project.fold(fold, run) / "test.parquet"
        table = read_parquet(path)
        bright = np.resize(np.array(prob_bright, dtype=np.float32), len(table))
        write_parquet(path, table.assign(prob_dark=1 - bright, prob_bright=bright))
    record = project.layout.run("tiny", run) / "cv.json"
    cv = Cv.read(record)
    cv.changed(files=sha256_files(record.parent, cv.files)).write(record)


def test_pseudo_labels_may_be_soft_a_threshold_a_class_and_a_part_of_an_epoch(
    ready: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(ready, "first", "", "predict")
    with_test_probabilities(ready, "first", [0.05, 0.05, 0.2, 0.6, 0.7, 0.8])

    def found(**options: float) -> RowArrays:
        return problem(ready, pseudo={"name": "first", "options": options}).train_rows(0)

    tests = len(read_csv(ready.layout.test_rows("tiny")))
    assert found().pseudo == 2 * tests // 6
    assert "dark 8, bright 0" in capsys.readouterr().out
    assert found(least=0.99).pseudo == 0
    assert "fold 0 trains as without pseudo-labels: no test row is sure" in capsys.readouterr().out
    assert found(least=0.75).pseudo == 4 * tests // 6
    by_class = found(share=0.3)
    assert by_class.pseudo == 2 * tests // 6 + int(np.ceil(0.3 * tests / 2)), "the surest of `bright`, too"
    assert by_class.truth[-by_class.pseudo :].sum() == int(np.ceil(0.3 * tests / 2))
    assert found().soft is None
    soft, half = found(soft=1, least=0.5), found(soft=0.5, least=0.5)
    assert soft.soft is not None
    assert half.soft is not None
    assert np.allclose(soft.soft[:6, 1], [0.05, 0.05, 0.2, 0.6, 0.7, 0.8])
    assert np.allclose(half.soft[:6, 1], [0.025, 0.025, 0.1, 0.8, 0.85, 0.9])
    weights: set[str] = set()
    for number, settings in enumerate(("least=0.5", "soft=1", "share=0.3", "ratio=0.2", "ratio=0.5")):
        name, given = f"pseudo-{number}", "extra.pseudo.name=first extra.pseudo.options.least=0.5"
        more = f"{BASE} {given} extra.pseudo.options.{settings}"
        assert ready.run("train", "--name", name, "--set", more, "--fold", "0") == 0
        weights.add(sha256_file(ready.fold(0, name) / "model.safetensors"))
    assert len(weights) == 4, "with every row at least 0.5 sure, a share changes nothing; all else does"


def test_soft_targets_are_what_the_loss_sees(ready: TinyProject) -> None:
    trained(ready, "first", "", "predict")
    with_test_probabilities(ready, "first", [0.3, 0.7])
    found = problem(ready, pseudo={"name": "first", "options": {"soft": 1, "least": 0.5}})
    rows = found.train_rows(1)
    job = SimpleNamespace(train=rows, task=found.folds.task, outputs=found.folds.outputs)
    target = training_targets(job)  # type: ignore[arg-type]
    own = len(rows) - rows.pseudo
    assert target[:own].sum(1).tolist() == [1.0] * own
    assert set(target[:own].flatten().tolist()) == {0.0, 1.0}
    assert np.allclose(target[own:][:2].numpy(), [[0.7, 0.3], [0.3, 0.7]])


def test_rounds_go_on_as_long_as_the_score_rises(
    ready: TinyProject, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(ready, "first", "", "predict")
    capsys.readouterr()
    given = ("--run", "quick", "--name", "first", "--set", BASE, "--options", "least=0.5 soft=1", "--json")
    gains = iter([0.1, -0.1, 0.1])

    def compared(_: Layout, __: str, runs: list[str], *, against: str) -> SimpleNamespace:
        difference = Difference(next(gains), -0.2, 0.2, 2, 1, 3, 72, everything=True)
        return SimpleNamespace(pairs={against: [Pair(runs[1], against, difference, seed_alone=False)]})

    monkeypatch.setattr("foldline.stages.compare.compare", compared)
    assert ready.run("pseudo", *given) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["run"], one["teacher"]) for one in found["rounds"]] == [
        ("first-round1", "first"),
        ("first-round2", "first-round1"),
    ]
    assert found["kept"] == "first-round1"
    run = read_json(ready.layout.run("tiny", "first-round2") / "run.json")
    assert run["extra"]["pseudo"]["name"] == "first-round1"
    assert run["extra"]["pseudo"]["options"]["soft"] == 1


def test_a_fold_predicts_test_rows_by_itself_and_all_folds_together(ready: TinyProject) -> None:
    trained(ready, "first", "", "predict")
    tables = [read_parquet(ready.fold(fold, "first") / "test.parquet")["prob_bright"] for fold in range(3)]
    together = read_parquet(ready.layout.run("tiny", "first") / "test.parquet")["prob_bright"]
    assert np.allclose(sum(tables) / 3, together, atol=1e-6)
    assert not np.allclose(tables[0], tables[1], atol=1e-4)


def test_a_warm_start_is_of_the_same_fold(ready: TinyProject) -> None:
    trained(ready, "first")
    started = trained(ready, "second", "model.weights.name=run model.weights.options.run=first optim.lr=1e-12")
    for fold in range(3):
        logs = [read_csv(ready.fold(fold, name) / "log.csv") for name in ("first", "second")]
        assert logs[1]["valid_loss"].iloc[0] == logs[0]["valid_loss"].iloc[-1]
    assert started.is_dir()


def test_weights_that_saw_the_folds_rows_are_refused(ready: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    trained(ready, "first")
    weights = ready.fold(1, "first") / "model.safetensors"
    given = ["--name", "leak", "--set", f"{BASE} model.weights.name=file model.weights.options.file={weights}"]
    assert ready.run("train", *given, "--fold", "0") == 2
    assert "a leak" in capsys.readouterr().err
    given[1] = "same"
    assert ready.run("train", *given, "--fold", "1") == 0, "the same fold's network saw none of its rows"
    meta = ready.fold(0, "first") / "meta.json"
    meta.write_text(meta.read_text().replace(read_json(meta)["sha256"]["folds"], "0" * 64))
    for name, settings in (
        ("warm", "model.weights.name=run model.weights.options.run=first"), ("pupil", "loss.teacher=first")
    ):  # fmt: skip
        assert ready.run("train", "--name", name, "--set", f"{BASE} {settings}", "--fold", "0") == 2
        assert "other folds" in capsys.readouterr().err


def test_a_teacher_is_followed(ready: TinyProject) -> None:
    """With the whole loss from the teacher the labels count nothing, and the distance to the teacher shrinks."""
    assert ready.run("train", "--name", "teacher", "--set", f"{BASE} train.epochs=6", "--fold", "0") == 0
    names = {
        "pupil": "loss.teacher.options.weight=1",
        "same": "loss.teacher.options.weight=1 loss.smoothing=0.3",
        "half": "loss.teacher.options.weight=0.5",
        "warm": "loss.teacher.options.temperature=8",
    }
    for name, settings in names.items():
        given = f"{BASE} loss.teacher=teacher seed=3 train.epochs=8 {settings}"
        assert ready.run("train", "--name", name, "--set", given, "--fold", "0") == 0
    weights = {name: sha256_file(ready.fold(0, name) / "model.safetensors") for name in names}
    assert weights["pupil"] == weights["same"]
    assert len(set(weights.values())) == 3
    loss = read_csv(ready.fold(0, "pupil") / "log.csv")["train_loss"].iloc[1:].astype(float)
    assert loss.iloc[-1] < loss.iloc[0] / 2


def test_a_teacher_sees_the_mixed_pictures(ready: TinyProject, monkeypatch: pytest.MonkeyPatch) -> None:
    from foldline.engine.losses.distill import Teacher

    seen: list[torch.Tensor] = []
    inner = Teacher.logits

    def logits(self: Teacher, images: torch.Tensor, activation: str) -> torch.Tensor:
        seen.append(images.clone())
        return inner(self, images, activation)

    monkeypatch.setattr(Teacher, "logits", logits)
    trained(ready, "teacher")
    for name, mix in (("plain", "none"), ("mixed", "mixup")):
        seen.clear()
        given = f"{BASE} loss.teacher=teacher augment.mix={mix}"
        assert ready.run("train", "--name", name, "--set", given, "--fold", "0") == 0
        whole = bool(torch.isclose(seen[-1], seen[-1].round(), atol=1e-3).all())
        assert whole == (mix == "none"), "a picture as it was has whole numbers of 0 to 255, a mixed one has not"


def test_metadata_that_only_training_rows_have_is_refused(
    project: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    project.prepare()
    assert project.run("train", "--name", "meta", "--set", f"{BASE} model.metadata=[age]") == 2
    assert "age" in capsys.readouterr().err


def test_new_files_are_predicted_as_rows_are(ready: TinyProject) -> None:
    trained(ready, "first", "", "predict")
    test = read_csv(ready.layout.test_rows("tiny"))
    files = [ready.layout.input("tiny") / image for image in test["image"]]
    found = load(ready.layout.run("tiny", "first"), device="cpu").predict(files)
    stored = read_parquet(ready.layout.run("tiny", "first") / "test.parquet").set_index("row_id").loc[test["row_id"]]
    assert np.allclose(found["prob_bright"], stored["prob_bright"], atol=1e-5)
    assert found["path"].tolist() == [str(file) for file in files]


def test_a_process_that_is_asked_to_end_writes_a_resume_point(ready: TinyProject) -> None:
    settings = "train.epochs=400 train.batch_size=4"
    process = ready.start("train", "--run", "quick", "--name", "asked", "--set", settings, "--fold", "0")
    log = ready.fold(0, "asked") / "log.csv"
    deadline = time.monotonic() + 90
    while not log.is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "the same command goes on: foldline train --root" in said
    content = (ready.fold(0, "asked") / "resume").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    position = json.loads(header["__metadata__"]["foldline"])["position"]
    assert position["epoch"] + position["batch"] > 0
    steps = (ready.fold(0, "asked") / "steps.csv").read_text().splitlines()
    assert len(steps) == position["steps_logged"] + 1


def with_metadata(root: Path, first_age: str) -> TinyProject:
    """A project whose rows have an age and a site; the first row's age is given."""
    root.mkdir()
    project = TinyProject(root)
    table = root / "raw" / "train.csv"
    head, *lines = table.read_text().splitlines()
    ages = [first_age, *(str(20 + i % 50) for i in range(1, len(lines)))]
    more = [f"{line},{age},{['arm', 'leg'][i % 2]}" for i, (line, age) in enumerate(zip(lines, ages, strict=True))]
    table.write_text("\n".join([f"{head},age,site", *more]) + "\n")
    train = {**FACTS["train"], "metadata": ["age", "site"]}
    project.write_yaml("competition", {**FACTS, "train": train, "holdout": {"fraction": 0.25, "seed": 3}})
    project.prepare()
    return project


def test_metadata_are_scaled_by_the_other_folds_alone(tmp_path: Path) -> None:
    weights, folds = {}, []
    for age in ("40", "4000"):
        project = with_metadata(tmp_path / age, age)
        frame = read_csv(project.layout.folds("tiny"))
        folds.append(frame.set_index("row_id")["fold"])
        own = int(folds[-1]["p000"])
        assert project.run("train", "--name", "meta", "--set", f"{BASE} model.metadata=[age,site]") == 0
        for fold in range(3):
            weights[age, fold] = sha256_file(project.fold(fold, "meta") / "model.safetensors")
    assert folds[0].equals(folds[1])
    assert weights["40", own] == weights["4000", own], "a row of the fold itself teaches it nothing"
    assert weights["40", (own + 1) % 3] != weights["4000", (own + 1) % 3]
    assert project.run("predict", "--run", "meta") == 0
    stored = [read_parquet(project.layout.run("tiny", "meta") / f"{kind}.parquet") for kind in ("oof", "test")]
    for fold in range(3):
        (project.fold(fold, "meta") / "valid.parquet").unlink()
    (project.layout.run("tiny", "meta") / "cv.json").unlink()
    assert project.run("predict", "--run", "meta") == 0
    again = [read_parquet(project.layout.run("tiny", "meta") / f"{kind}.parquet") for kind in ("oof", "test")]
    for before, after in zip(stored, again, strict=True):
        assert np.allclose(before["prob_bright"], after["prob_bright"], atol=1e-6)
    _, run = resolve_run(project.layout, "tiny", "meta", "", [])
    metas = [FoldMeta.read(project.fold(fold, "meta") / "meta.json") for fold in range(3)]
    first, *others = metas[1].metadata or []
    strange = metas[1].changed(metadata=[{**first, "mean": 1e4}, *others])
    changed = [metas[0], strange, metas[2]]
    predict_run(project.layout, "tiny", "meta", run, changed, "cpu", project.root / "strange")
    found = [read_parquet(project.root / "strange" / f"fold_{fold}" / "test.parquet") for fold in range(3)]
    same = [
        np.allclose(
            found[fold]["prob_bright"], read_parquet(project.fold(fold, "meta") / "test.parquet")["prob_bright"]
        )
        for fold in range(3)
    ]
    assert same == [True, False, True], "each fold reads test rows by its own encoding"
