"""The parts of training: losses, precision, optimizer, schedule, selection."""

import time
from pathlib import Path
from typing import Any, cast

import pytest
import timm
import torch

from foldline.core.advice import ways_out
from foldline.core.errors import FoldlineError
from foldline.core.run import Run
from foldline.core.run_training import Optim
from foldline.core.tables import read_csv, read_json
from foldline.engine.evaluate import evaluate
from foldline.engine.loop import step as stepping
from foldline.engine.loop.optim import build_optimizer, freeze
from foldline.engine.loop.step import Learner
from foldline.engine.machine.precision import DTYPES, Precision, choose_precision, set_batch_norm
from tiny import TinyProject

CPU = torch.device("cpu")


def model() -> torch.nn.Module:
    return cast("torch.nn.Module", timm.create_model("test_efficientnet", num_classes=2, in_chans=1))


def test_layer_decay_and_no_decay_of_norms() -> None:
    optimizer = build_optimizer(model(), Optim(lr=1e-3, layer_decay=0.5), CPU)
    scales = {group["lr_scale"] for group in optimizer.param_groups}
    assert max(scales) == 1.0
    assert len(scales) > 3
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 0.05}


def test_frozen_parameters_and_statistics_stay() -> None:
    network = model()
    freeze(network, ["conv_stem", "blocks.0"])
    network.train()
    set_batch_norm(network, "frozen")
    before = {k: v.clone() for k, v in network.state_dict().items()}
    optimizer = build_optimizer(network, Optim(lr=1e-2), CPU)
    network(torch.randn(4, 1, 32, 32)).sum().backward()
    optimizer.step()
    after = network.state_dict()
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert changed
    assert not [k for k in changed if k.startswith(("conv_stem", "blocks.0")) or "running" in k]
    with pytest.raises(FoldlineError, match="conv_stem"):
        freeze(network, ["stem"])


def test_precision_is_measured_once_for_all_folds(tmp_path: Path) -> None:
    calls: list[str] = []

    slow = {"fp32": 0.004, "bf16": 0.001}

    def make_step(precision: Precision) -> Any:
        calls.append(precision.choice)
        return (lambda: time.sleep(slow[precision.choice])), 8

    path = tmp_path / "precision.json"
    found = choose_precision("auto", CPU, "this machine", path, make_step)
    assert calls == ["fp32", "bf16"]
    assert found.choice == "bf16"
    assert choose_precision("auto", CPU, "this machine", path, make_step) == found
    assert len(calls) == 2
    slow["bf16"] = 0.0039
    assert choose_precision("auto", CPU, "another machine", path, make_step).choice == "fp32", "no real gain"
    assert len(calls) == 4
    assert choose_precision("bf16", CPU, "", tmp_path / "none.json", make_step).choice == "bf16"
    assert len(calls) == 4


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_training_works_in_every_precision(project: TinyProject, precision: str) -> None:
    project.prepare()
    settings = f"train.precision={precision} train.epochs=6"  # fp16 leaves out its first steps, to find its scale
    assert project.run("train", "--name", precision, "--set", settings, "--fold", "0") == 0
    meta = read_json(project.fold(0, precision) / "meta.json")
    assert meta["precision"]["choice"] == precision
    log = read_csv(project.fold(0, precision) / "log.csv")
    assert float(log["train_loss"][6]) < float(log["train_loss"][1])


def test_fp16_scales_its_gradients() -> None:
    precision = Precision("fp16", "", {})
    assert precision.scaler(CPU).is_enabled()
    assert not Precision("bf16", "", {}).scaler(CPU).is_enabled()
    scaler, weight = precision.scaler(CPU), torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scaler.scale(weight * float("inf")).sum().backward()  # type: ignore[no-untyped-call]
    scaler.step(optimizer)
    scale = scaler.get_scale()
    scaler.update()
    assert weight.item() == 1.0, "a step with infinite gradients is left out"
    assert scaler.get_scale() < scale


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["auto", "fp16", "bf16"])
def test_training_on_cuda(project: TinyProject, gpu: str, precision: str) -> None:
    project.prepare()
    for name in ("one", "two"):
        settings = f"train.precision={precision}"
        assert project.run("train", "--name", name, "--set", settings, "--fold", "0", "--device", gpu) == 0
    weights = [(project.fold(0, name) / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]


def test_best_epoch_early_stopping_and_the_warning(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    project.prepare()
    settings = "train.select=best train.patience=1 train.epochs=9 optim.lr=1e-9 train.probe.c=0.1"
    assert project.run("train", "--name", "early", "--set", settings) == 0
    meta = read_json(project.fold(0, "early") / "meta.json")
    assert meta["epochs"] < 9
    assert "stops early" in capsys.readouterr().out
    assert project.run("predict", "--run", "early") == 0
    assert read_json(project.layout.run("tiny", "early") / "cv.json")["optimistic"]


def test_fine_tuning_below_the_probe_is_said(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    project.prepare()
    settings = "train.probe.c=0.1 optim.lr=3 optim.clip=none train.epochs=1 optim.name=sgd"
    assert project.run("train", "--name", "bad", "--set", settings, "--fold", "0") in (0, 2)
    out = capsys.readouterr()
    if "became" not in out.err:
        assert "worse than their own probe" in out.out
        assert read_json(project.fold(0, "bad") / "meta.json")["below_probe"]


def test_an_average_is_refreshed_with_pictures_in_half_precision(
    project: TinyProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a GPU makes them."""
    monkeypatch.setattr(stepping, "input_dtype", lambda job: DTYPES[job.precision.choice])
    project.prepare()
    settings = "train.average.name=swa train.average.options.epochs=2 train.precision=bf16 augment.mix.name=none"
    assert project.run("train", "--name", "mean", "--set", settings, "--fold", "0") == 0


def test_the_way_out_is_none_that_the_run_takes_already() -> None:
    assert ways_out(Run()) == "lower optim.lr, set train.batch_norm=frozen, set optim.layer_decay=0.8, or augment less"
    gentle = {"train": {"batch_norm": "frozen"}, "optim": {"layer_decay": 0.7}, "augment": {"recipe": "none"}}
    assert ways_out(Run.parse(gentle, where="")) == "lower optim.lr"


def test_a_loss_that_is_no_number_stops_with_advice(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    project.prepare()
    settings = "optim.lr=1000 optim.clip=none optim.name=sgd schedule.warmup=0"
    assert project.run("train", "--name", "nan", "--set", settings, "--fold", "0") == 2
    assert "lower optim.lr" in capsys.readouterr().err


def test_the_rate_that_is_logged_is_the_runs_own(project: TinyProject) -> None:
    project.prepare()
    for name, scales in (("head", "optim.head_lr=10"), ("layers", "optim.head_lr=10 optim.layer_decay=0.5")):
        settings = f"schedule=constant schedule.warmup=0 optim.lr=1e-3 {scales} train.epochs=1"
        assert project.run("train", "--name", name, "--set", settings, "--fold", "0") == 0
        assert float(read_csv(project.fold(0, name) / "log.csv")["lr"][1]) == pytest.approx(1e-3, rel=1e-12)


def test_seconds_are_those_of_the_whole_fold_and_speed_counts_rows(
    project: TinyProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that goes on by a second at each batch, by a hundred at each validation."""
    project.prepare()
    now = [0.0]

    def later(seconds: float, function: Any) -> Any:
        def call(*given: Any, **more: Any) -> Any:
            now[0] += seconds
            return function(*given, **more)

        return call

    monkeypatch.setattr("foldline.engine.loop.fit.time.monotonic", lambda: now[0])
    monkeypatch.setattr("foldline.engine.loop.fit.evaluate", later(100.0, evaluate))
    monkeypatch.setattr(Learner, "learn", later(1.0, Learner.learn))
    settings = "train.epochs=2 train.batch_size=1000 train.precision=fp32"
    assert project.run("train", "--name", "slow", "--set", settings, "--fold", "0") == 0
    meta, log = read_json(project.fold(0, "slow") / "meta.json"), read_csv(project.fold(0, "slow") / "log.csv")
    assert meta["seconds"] == 302
    assert log["seconds"].astype(float).tolist() == [100, 201, 302]
    assert log["images_per_second"][1:].astype(float).tolist() == [meta["rows_train"]] * 2
