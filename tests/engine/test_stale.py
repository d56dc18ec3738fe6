"""Nothing is made from something else than what is there: resume points, finished folds, predictions, caches."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import foldline.engine.predict_run
from foldline.core.choices import Average
from foldline.core.errors import FoldlineError
from foldline.core.provenance import inputs_sha256
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.run import Run
from foldline.core.run_folder import resolve_run, run_sha256, training_choices
from foldline.core.run_training import Train
from foldline.core.tables import read_csv, read_json, read_parquet, sha256_file, write_csv, write_json
from foldline.core.task import TASKS
from foldline.engine import fold_job, train_run
from foldline.engine.evaluate import evaluate
from foldline.engine.loop.averages import Averages
from foldline.engine.loop.steps_log import StepsLog
from foldline.engine.losses import balanced_weights
from foldline.engine.lr_find import sweep_fold
from foldline.engine.machine.device import pick_device
from foldline.engine.predict_run import predict_run
from foldline.engine.problem import Problem, open_problem
from foldline.engine.starting_weights import StartingWeights
from foldline.models.architecture import Preprocessing
from tiny import FACTS, TinyProject

BASE = "train.epochs=1 augment.recipe=none"


@pytest.fixture
def ready(project: TinyProject) -> TinyProject:
    project.prepare()
    return project


def train(project: TinyProject, name: str, settings: str = "", *more: str) -> int:
    return project.run("train", "--name", name, "--set", f"{BASE} {settings}", *more)


def problem(project: TinyProject, **choices: Any) -> Problem:
    run = Run.parse({"data": {"image_size": 32, "channels": 1}, **choices}, where="")
    return open_problem(project.layout, "tiny", run, pick_device("cpu"))


def new_folds(project: TinyProject) -> None:
    for path in (project.layout.folds("tiny"), project.layout.folds_meta("tiny")):
        path.unlink()
    project.write_yaml("competition", {**FACTS, "folds": {"k": 3, "seed": 7}})
    assert project.run("folds") == 0


@pytest.mark.parametrize("changed", ["nothing", "folds"])
def test_a_resume_point_of_other_folds_is_refused(
    ready: TinyProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], changed: str
) -> None:
    """Its weights may have seen rows that are this fold's own now."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train_run, "_write_fold", killed)
        train(ready, "killed", "", "--fold", "0")
    assert (ready.fold(0, "killed") / "resume").is_file()
    if changed == "folds":
        before = ready.layout.folds("tiny").read_bytes()
        new_folds(ready)
        assert ready.layout.folds("tiny").read_bytes() != before
    assert train(ready, "killed", "", "--fold", "0") == (0 if changed == "nothing" else 2)
    if changed == "folds":
        assert "of another training" in capsys.readouterr().err


def more_rows(project: TinyProject, seed: int, label: str = "bright") -> Path:
    picture = np.random.default_rng(seed).integers(0, 256, (40, 36), dtype=np.uint8)
    cv2.imwrite(str(project.layout.input("tiny") / "new.png"), picture)
    path = project.root / "more.csv"
    path.write_text(f"row_id,image,target\nnew,new.png,{label}\n")
    return path


def test_changed_inputs_are_noticed(ready: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    more_rows(ready, 1)
    assert train(ready, "more", "extra.rows=[more.csv]") == 0
    for stage in ("train", "predict"):
        assert ready.run(stage, "--run", "more") == 0
    more_rows(ready, 1, "dark")
    capsys.readouterr()
    for stage in ("train", "predict"):
        assert ready.run(stage, "--run", "more") == 2
        assert "more.csv is not what this fold was trained with" in capsys.readouterr().err
    (ready.root / "more.csv").unlink()
    assert ready.run("predict", "--run", "more") == 0, "a file that is gone changed no weights"


def test_every_input_has_a_hash(ready: TinyProject) -> None:
    assert train(ready, "first") == 0
    assert ready.run("predict", "--run", "first") == 0
    weights = read_json(ready.fold(1, "first") / "meta.json")["sha256"]["weights"]
    more_rows(ready, 1)
    content = {"extra": {"rows": ["more.csv"], "pseudo": "first"}, "loss": {"teacher": "first"}}
    warm = {"model": {"weights": {"name": "run", "options": {"run": "first"}}}}
    found = inputs_sha256(ready.layout, "tiny", Run.parse({**content, **warm}, where=""), 1)
    assert found == {
        "extra.rows: more.csv": sha256_file(ready.root / "more.csv"),
        "extra.pseudo: first": sha256_file(ready.fold(1, "first") / "test.parquet"),
        "loss.teacher: first": weights,
        "model.weights: first": weights,
    }
    file = str(ready.fold(1, "first") / "model.safetensors")
    run = Run.parse({"model": {"weights": {"name": "file", "options": {"file": file}}}}, where="")
    assert inputs_sha256(ready.layout, "tiny", run, 1) == {f"model.weights: {file}": sha256_file(Path(file))}
    assert inputs_sha256(ready.layout, "tiny", Run(), 1) == {}


def test_weights_that_were_not_trained_here_do_not_predict(
    ready: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(ready, "first") == 0
    shutil.copy(ready.fold(1, "first") / "model.safetensors", ready.fold(0, "first") / "model.safetensors")
    assert ready.run("predict", "--run", "first") == 2
    assert "not those that were trained here" in capsys.readouterr().err


def test_features_are_of_the_network_that_is_trained(ready: TinyProject) -> None:
    """Networks that pool in other ways have the same weights and other features."""
    given = ("train.epochs=0 train.probe.c=0.1 data.image_size=64 model.pool=max", "--fold", "0")
    assert train(ready, "alone", *given) == 0
    for path in ready.layout.cache("tiny").glob("features-*"):
        path.unlink()
    assert train(ready, "before", given[0].replace("max", "avg"), "--fold", "0") == 0
    assert train(ready, "after", *given) == 0
    weights = {n: sha256_file(ready.fold(0, n) / "model.safetensors") for n in ("alone", "before", "after")}
    assert weights["after"] == weights["alone"] != weights["before"]


def test_class_weights_count_no_row_of_the_fold_itself(ready: TinyProject) -> None:
    found = problem(ready, loss={"class_weights": "balanced"})
    start = cast("StartingWeights", SimpleNamespace(preprocessing=None))
    logits = torch.zeros(1, 2)
    for fold in range(3):
        job = fold_job.make_job(found, start, fold, ready.root)
        own = balanced_weights(found.truth[found.own(fold, train=True)], TASKS["binary"], 2)
        of_all = balanced_weights(found.truth, TASKS["binary"], 2)
        assert not np.allclose(own, of_all), "the fold's classes must differ, or this shows nothing"
        losses = [float(job.objective.function(logits, torch.tensor([c]))) for c in range(2)]
        assert np.allclose(losses, own * np.log(2))


def test_patience_waits_for_a_look(ready: TinyProject) -> None:
    settings = "train.select=best train.patience=1 train.validate_every=3 train.epochs=7 optim.lr=1e-9"
    assert train(ready, "rare", settings, "--fold", "0") == 0
    assert read_json(ready.fold(0, "rare") / "meta.json")["epochs"] == 3, "the first look after the start"


def test_predictions_of_other_test_rows_are_made_anew(ready: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(ready, "first") == 0
    assert ready.run("predict", "--run", "first") == 0
    table = ready.layout.run("tiny", "first") / "test.parquet"
    before = read_parquet(table)
    test = read_csv(ready.layout.test_rows("tiny"))
    images = test["image"].tolist()
    write_csv(ready.layout.test_rows("tiny"), test.assign(image=images[1:] + images[:1]))
    meta = read_json(ready.layout.folds_meta("tiny"))
    meta["sha256"]["test"] = sha256_file(ready.layout.test_rows("tiny"))
    write_json(ready.layout.folds_meta("tiny"), meta)
    assert ready.run("predict", "--run", "first") == 0
    after = read_parquet(table)
    assert np.allclose(np.roll(before["prob_bright"], -1), after["prob_bright"])
    table.unlink()
    assert ready.run("predict", "--run", "first") == 0
    assert table.is_file()
    capsys.readouterr()
    assert ready.run("predict", "--run", "first") == 0
    assert "up to date" in capsys.readouterr().out


def test_scores_never_stand_beside_predictions_of_another_time(
    ready: TinyProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(ready, "first") == 0
    assert ready.run("predict", "--run", "first") == 0
    (ready.fold(0, "first") / "test.parquet").unlink()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(foldline.engine.predict_run, "write_mean", killed)
    ready.run("predict", "--run", "first")
    assert not (ready.layout.run("tiny", "first") / "cv.json").exists()


def test_what_a_later_fold_lacks_is_said_before_the_first_is_trained(
    ready: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(ready, "first", "train.folds=[0,1]") == 0
    assert ready.run("predict", "--run", "first") == 0
    for name, settings in (("pupil", "loss.teacher=first"), ("pseudo", "extra.pseudo=first")):
        assert train(ready, name, settings) == 2
        assert "fold_2" in capsys.readouterr().err
        assert not ready.fold(0, name).exists()
    assert train(ready, "ordered", "loss.name=bce train.folds=[0]") == 0
    assert train(ready, "taught", "loss.name=bce loss.teacher=ordered", "--fold", "0") == 2
    assert "cannot be distilled" in capsys.readouterr().err
    assert not ready.fold(0, "taught").exists()


def test_pseudo_labels_are_by_the_present_weights(ready: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(ready, "first") == 0
    assert ready.run("predict", "--run", "first") == 0
    meta = ready.fold(0, "first") / "meta.json"
    meta.write_text(meta.read_text().replace(read_json(meta)["sha256"]["weights"], "0" * 64))
    assert train(ready, "pseudo", "extra.pseudo=first") == 2
    assert "not by its present weights" in capsys.readouterr().err


def test_further_rows_have_the_metadata_that_the_network_sees(
    project: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    table = project.root / "raw" / "train.csv"
    first, *lines = table.read_text().splitlines()
    table.write_text("\n".join([f"{first},age", *(f"{line},{30 + i % 9}" for i, line in enumerate(lines))]) + "\n")
    project.write_yaml("competition", {**FACTS, "train": {**FACTS["train"], "metadata": ["age"]}})
    project.prepare()
    path = more_rows(project, 1)
    assert train(project, "more", "extra.rows=[more.csv] model.metadata=[age]", "--fold", "0") == 2
    assert "no column age" in capsys.readouterr().err
    path.write_text("row_id,image,target,age\nnew,new.png,bright,\n")
    assert train(project, "more", "extra.rows=[more.csv] model.metadata=[age]", "--fold", "0") == 0


def test_a_replaced_picture_is_compared_anew(ready: TinyProject) -> None:
    more_rows(ready, 1)
    extra = {"rows": ["more.csv"]}
    fold = int(read_csv(ready.layout.folds("tiny"))["fold"][0])
    found = problem(ready, extra=extra)
    assert len(found.train_rows(fold)) == len(found.own(fold, train=True)) + 1
    image = read_csv(ready.layout.folds("tiny"))["image"][0]
    shutil.copy(ready.layout.input("tiny") / image, ready.layout.input("tiny") / "new.png")
    found = problem(ready, extra=extra)
    assert len(found.train_rows(fold)) == len(found.own(fold, train=True)), "the fold's own picture under a new name"


def test_a_sweep_ends_where_the_loss_is_no_number(ready: TinyProject) -> None:
    content = {
        "model": {"name": "test_efficientnet", "weights": "none"},
        "optim": {"name": "sgd", "clip": "none"},
    }
    run = Run.parse({**content, "data": {"image_size": 32, "channels": 1}, "train": {"batch_size": 8}}, where="")
    found = sweep_fold(ready.layout, "tiny", run, 0, "cpu", low=1e30, high=1e38, steps=20)
    assert 1 <= len(found) < 20


def test_another_number_of_workers_goes_on_with_a_run() -> None:
    run = Run.parse({"data": {"workers": 4}}, where="")
    assert run_sha256(run) == run_sha256(Run())
    assert training_choices(run) == training_choices(Run())
    bigger = Run.parse({"data": {"workers": 4, "image_size": 64}}, where="")
    assert run_sha256(bigger) != run_sha256(run)
    assert run_sha256(bigger) == run_sha256(Run.parse({"data": {"image_size": 64}}, where=""))


def test_a_run_that_never_began_leaves_no_choices_behind(ready: TinyProject) -> None:
    assert train(ready, "none", "model.weights.name=file model.weights.options.file=missing.pth") == 2
    assert not (ready.layout.run("tiny", "none") / "run.json").exists()
    assert train(ready, "none") == 0


@pytest.mark.parametrize("how", ["link", "copy", "saved by torch"])
def test_a_link_to_weights_of_another_fold_or_a_copy_is_a_leak_too(
    ready: TinyProject, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    assert train(ready, "first") == 0
    link, weights = ready.root / "start.safetensors", ready.fold(1, "first") / "model.safetensors"
    if how == "copy":
        shutil.copy(weights, link)
    elif how == "saved by torch":
        link = link.with_suffix(".pth")
        torch.save({"state_dict": load_file(weights)}, link)
    else:
        link.symlink_to(weights)
    settings = f"model.weights.name=file model.weights.options.file={link}"
    assert train(ready, "linked", settings, "--fold", "0") == 2
    assert "a leak" in capsys.readouterr().err
    assert train(ready, "own", settings, "--fold", "1") == 0


def test_steps_are_cut_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = StepsLog(tmp_path / "steps.csv")
    log.cut(0)
    for step in range(3):
        log.add(step, 1, 0.1, 0.5)
    log.flush()
    before = log.path.read_text()
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            log.cut(1)
    assert log.path.read_text() == before


def test_a_replaced_picture_that_no_manifest_names_is_decoded_anew(ready: TinyProject) -> None:
    path = ready.layout.input("tiny") / "new.png"
    means = []
    for value in (0, 200):
        more_rows(ready, 1)
        cv2.imwrite(str(path), np.full((40, 36), value, dtype=np.uint8))
        found = problem(ready, extra={"rows": ["more.csv"]})
        means.append(float(found.cache.pixels[found.cache.position["new.png"]].mean()))
    assert means == [0, 200]


def test_the_loss_of_a_step_is_the_mean_over_its_batches(ready: TinyProject) -> None:
    assert train(ready, "sum", "optim.accumulate=3 train.batch_size=4", "--fold", "0") == 0
    folder = ready.fold(0, "sum")
    steps = read_csv(folder / "steps.csv")["loss"].astype(float).tolist()
    batches = read_json(folder / "meta.json")["rows_train"] // 4
    groups = [min(3, batches - start) for start in range(0, batches, 3)]
    assert len(groups) == len(steps)
    total = sum(loss * group for loss, group in zip(steps, groups, strict=True))
    assert float(read_csv(folder / "log.csv")["train_loss"][1]) == pytest.approx(total / batches)


def test_an_average_predicts_with_its_present_weights() -> None:
    """Networks such as LeViT keep what they computed from their weights until they are trained again."""

    class Keeping(torch.nn.Linear):
        kept: torch.Tensor | None = None

        def train(self, mode: bool = True) -> "Keeping":
            self.kept = None if mode else self.kept
            return super().train(mode)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training or self.kept is None:
                self.kept = self.weight.detach().clone()
            return x @ self.kept.T

    model = Keeping(1, 1)
    averages = Averages(model, Train(average=Average(name="ema", options={"decay": 0.5})), None)
    x = torch.ones(1, 1)
    for step in range(3):
        torch.nn.init.constant_(model.weight, float(step))
        averages.after_step(step)
        network = averages.predicting(step).eval()
        assert network(x).item() == network.state_dict()["weight"].item()


def test_folds_of_other_precisions_predict_in_their_own(ready: TinyProject) -> None:
    assert train(ready, "first") == 0
    assert ready.run("predict", "--run", "first") == 0
    _, run = resolve_run(ready.layout, "tiny", "first", "", [])
    metas = [FoldMeta.read(ready.fold(fold, "first") / "meta.json") for fold in range(3)]
    metas[0] = metas[0].changed(precision={"choice": "bf16"})
    predict_run(ready.layout, "tiny", "first", run, metas, "cpu", ready.root / "other")
    found = [read_parquet(ready.root / "other" / f"fold_{fold}" / "test.parquet") for fold in range(3)]
    same = [
        np.allclose(
            table["prob_bright"], read_parquet(ready.fold(fold, "first") / "test.parquet")["prob_bright"], atol=1e-6
        )
        for fold, table in enumerate(found)
    ]
    assert same == [False, True, True]


def test_weights_that_predict_no_numbers_stop_the_training(ready: TinyProject) -> None:
    class Broken(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full((len(x), 2), float("nan"))

    preprocessing = Preprocessing([0.5], [0.5], "bilinear")
    job = fold_job.make_job(
        problem(ready), cast("StartingWeights", SimpleNamespace(preprocessing=preprocessing)), 0, ready.root
    )
    with pytest.raises(FoldlineError, match="no finite numbers"):
        evaluate(job, Broken())


def download_again(project: TinyProject) -> None:
    shutil.rmtree(project.layout.input("tiny"))
    project.prepare()


def test_a_picture_that_was_left_out_and_is_mended(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither training nor what comes after it goes on without it in silence."""
    project.prepare()
    test_row = read_csv(project.layout.test_rows("tiny"))["row_id"].iloc[0]
    assert "p050" in set(read_csv(project.layout.folds("tiny"))["row_id"]), "choose a picture of a training row"
    picture, shown = (project.root / "raw" / f"{name}.png" for name in ("p050", test_row))
    whole, whole_shown = picture.read_bytes(), shown.read_bytes()
    picture.write_bytes(whole[:200])
    shown.write_bytes(whole_shown[:200])
    download_again(project)
    assert train(project, "skip", "data.bad_images=skip") == 0
    for stage in ("train", "predict", "ensemble"):
        assert project.run(stage, "--run", "skip") == 0, "nothing has changed"
    shown.write_bytes(whole_shown)
    download_again(project)
    capsys.readouterr()
    assert project.run("ensemble", "--run", "skip") == 2
    assert f"{test_row}.png" in capsys.readouterr().err, "its prediction is of a black picture"
    for stage in ("train", "predict", "ensemble"):
        assert project.run(stage, "--run", "skip") == 0, "no training saw it: predicted anew is enough"
    assert "up to date" not in capsys.readouterr().out
    picture.write_bytes(whole)
    download_again(project)
    capsys.readouterr()
    for stage in ("train", "predict", "ensemble"):
        assert project.run(stage, "--run", "skip") == 2
        assert "p050.png" in capsys.readouterr().err
    (project.layout.run("tiny", "skip") / "cv.json").unlink()
    assert project.run("predict", "--run", "skip") == 2
    assert "p050.png is not what this fold was trained with" in capsys.readouterr().err
    for fold in range(3):  # as a version wrote it that did not say what was left out
        path = project.fold(fold, "skip") / "meta.json"
        meta = read_json(path)
        del meta["sha256"]["inputs"]
        write_json(path, meta)
    assert project.run("predict", "--run", "skip") == 2
    assert "p050" in capsys.readouterr().err


def test_weights_that_are_cut_off_are_said_so(ready: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(ready, "first") == 0
    weights = ready.fold(1, "first") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert ready.run("predict", "--run", "first") == 2
    assert "not a file of weights" in capsys.readouterr().err
