"""Every setting of a run does something: a network trained with it has other weights than one trained without it.

What a setting does exactly is tested beside its part; here the whole line is held against forgetting one.
"""

import os
import re
from pathlib import Path
from typing import Any

import pytest
from timm.models import resnet

from foldline.core.run import Run
from foldline.core.tables import read_csv, read_json, sha256_file
from tiny import FACTS, RUN, TinyProject

DEVICE = os.environ.get("FOLDLINE_GPU", "auto")  # `make gpu-check` says which GPU
BASE = "train.epochs=2 augment.recipe=none"
# what is set in both trainings | what is set in the second alone
CHANGES = """
| model.name=test_resnet
| model.drop_rate=0.5
model.name=test_resnet | model.drop_path_rate=0.5
data.image_size=64 | model.pool=max
| model.pool=gem
| model.head.name=multi_dropout
model.head.name=multi_dropout | model.head.options.dropout=0.2
model.head.name=multi_dropout | model.head.options.samples=2
| model.head.name=arcface loss.name=arcface
model.head.name=arcface loss.name=arcface | model.head.options.scale=10
model.head.name=arcface loss.name=arcface | model.head.options.centers=3
| model.entity.name=mean model.entity.options.by=case
model.entity.name=mean model.entity.options.by=case | model.entity.name=gem
model.entity.name=mean model.entity.options.by=case | model.entity.options.pictures=1
model.entity.name=mean model.entity.options.by=case | model.entity.options.per_picture=all
model.entity.name=attention model.entity.options.by=case | model.entity.options.units=16
model.entity.name=transformer model.entity.options.by=case | model.entity.options.heads=2
model.entity.name=transformer model.entity.options.by=case | model.entity.options.dropout=0.3
model.entity.name=gru model.entity.options.by=case | model.entity.options.layers=2
| data.neighbours=1
| model.metadata=[age,site]
| model.options.bn_eps=0.1
| data.image_size=40
| data.channels=3
| data.fit=letterbox
| data.fit=pad
| data.fit=crop
| data.interpolation=bicubic
| data.interpolation=weights
| data.crop_fraction=0.8
| data.crop_fraction=weights
| data.foreground=threshold
data.normalise=half | data.normalise=imagenet
| data.normalise=half
| data.normalise=pictures
| data.normalise=[[0.4],[0.3]]
| augment.crop.name=random_resized
augment.crop=random_resized | augment.crop.options.scale=0.9
augment.crop=random_resized | augment.crop.options.ratio=0.3
augment.crop=random_resized | augment.crop=jitter
augment.crop=jitter | augment.crop.options.least=0.3
augment.crop=jitter | data.original=1.25
augment.crop=jitter data.original=1.25 | data.grow_from=0.5
augment.crop=jitter data.original=1.25 | data.fit=letterbox
train.probe.c=0.1 | predict.image_size=48
| data.cache_format=jpeg
| data.grow_from=0.5
| augment.recipe=light
augment.recipe=light | augment.strength=2
augment.recipe=light | augment.engine=torch
| augment.transforms=[HorizontalFlip]
| augment.erasing=0.5
| augment.mix.name=mixup
| augment.mix.name=cutmix
augment.mix.name=mixup | augment.mix.name=both
train.batch_size=6 augment.recipe=light | augment.copies=augmented
train.batch_size=6 augment.recipe=light augment.copies=augmented | augment.copies.options.count=2
train.batch_size=6 augment.recipe=light augment.copies.name=augmented | augment.copies.name=consistent
train.batch_size=6 augment.recipe=light augment.copies=consistent | augment.copies.options.weight=1
augment.recipe=light | augment.recipe=timm/rand-m9-mstd0.5
augment.mix.name=mixup | augment.mix.options.alpha=1
augment.mix.name=mixup | augment.mix.options.probability=0.5
augment.mix.name=mixup | augment.mix.options.off_epochs=1
augment.mix.name=both | augment.mix.options.mixup=1
augment.mix.name=both | augment.mix.options.cutmix=0.4
| sampling.balance=1
| sampling.weights.bright=3
| sampling.at_least=60
| sampling.at_most=10
| loss.name=bce
| loss.name=focal
loss.name=focal | loss.options.gamma=4
| loss.smoothing=0.2
| loss.class_weights=balanced
| loss.class_weights.bright=5
| loss.auxiliary.age=0.5
loss.auxiliary.age=0.5 | loss.auxiliary.site=1
| loss.masks=1
loss.masks=1 | loss.masks=0.1
| optim.name=sgd
| optim.lr=1e-2
| optim.weight_decay=1
| optim.layer_decay=0.5
| optim.head_lr=10
| optim.clip=none
| optim.clip.options.limit=1e-3
optim.clip.options.limit=1e-2 | optim.clip.name=value
optim.clip.options.limit=1e-2 | optim.clip.name=agc
| optim.sam=0.1
| optim.accumulate=3
| optim.options.betas=[0.5,0.9]
| schedule.name=constant
| schedule.name=one_cycle
schedule.name=step | schedule.options.decay=0.5
schedule.name=step | schedule.options.every=0.1
schedule.name=poly | schedule.options.power=3
| schedule.warmup=0.5
| schedule.options.min_lr_fraction=0.5
| schedule.options.cycles=2
schedule.options.cycles=2 | schedule.options.cycle_decay=0.5
| schedule.name=multistep
schedule.name=multistep | schedule.options.milestones=[0.3]
schedule.name=plateau optim.lr=1e-9 train.epochs=4 | schedule.options.patience=1
| train.epochs=1
| train.batch_size=4
| train.probe.c=0.1
train.probe.c=0.1 | train.probe.c=10
train.probe.c=0.1 | train.probe.views=[identity,hflip]
| train.batch_norm=frozen
| train.without=[1] train.folds=[0,2]
| train.labels.name=file
train.labels.name=file | train.labels.options.file=other.csv
| train.freeze=[conv_stem]
| train.freeze=0.5
model.name=test_vit | train.lora.rank=4
model.name=test_vit train.lora.rank=4 | train.lora.alpha=64
| train.unfreeze=0.9
train.freeze=[classifier] | train.unfreeze=0.9
| train.average.name=ema train.average.options.decay=0.9
| train.average.name=swa train.average.options.epochs=2
train.epochs=4 | train.average.name=best train.average.options.epochs=2
train.epochs=4 optim.lr=3e-2 | train.select=best
| train.precision=bf16
| seed=1
"""
# settings that are tested where they act: prediction, files, speed, several runs
ELSEWHERE = {
    "model.weights.name", "model.weights.options", "model.checkpointing", "data.intensity", "data.bad_images",
    "data.workers", "data.cache", "extra.rows", "extra.pseudo.name", "extra.pseudo.options", "loss.teacher.name",
    "loss.teacher.options", "predict.compile", "train.compile", "train.deterministic", "train.folds", "train.folds_of",
    "train.patience", "train.keep_start", "train.checkpoint_minutes", "train.validate_every", "predict.views",
    "predict.batch_size", "metrics", "sampling.function", "train.log_to", "loss.targets",
}  # fmt: skip
MNIST = f"{Path(__file__).parents[2]}/configs/mnist/network.py:mnist_mlp"
CASES = [tuple(part.strip() for part in line.split("|")) for line in CHANGES.strip().splitlines()]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    project = TinyProject(tmp_path_factory.mktemp("settings"), rows=60)
    table = project.root / "raw" / "train.csv"
    lines = table.read_text().splitlines()
    more = [f"{line},{20 + i % 50},{['arm', 'leg', 'head'][i % 3]}" for i, line in enumerate(lines[1:])]
    more = [f"{line},{'-'.join(line.split(',')[1:3])}" for line in more]  # the pictures of a patient with one label
    table.write_text("\n".join([lines[0] + ",age,site,case", *more]) + "\n")
    train: dict[str, Any] = {**FACTS["train"], "order": "id", "mask": "{id}.png", "metadata": ["age", "site", "case"]}
    project.write_yaml("competition", {**FACTS, "train": train})
    project.prepare()
    rows = read_csv(project.layout.folds("tiny"))
    ids = rows.loc[rows["fold"] != "0", "row_id"].tolist()
    for name, left_out in (("labels", ids[:4]), ("other", ids[4:8])):
        lines = [f"{row},exclude" for row in left_out]
        (project.root / "configs" / "tiny" / f"{name}.csv").write_text("\n".join(["row_id,action", *lines]) + "\n")
    return project


def trained(project: TinyProject, settings: str) -> Path:
    """The folder of fold 0 trained with these settings; each combination is trained once."""
    name = "".join(letter if letter.isalnum() else "-" for letter in settings)
    folder = project.fold(0, name)
    if not (folder / "meta.json").is_file():
        given = ("--name", name, "--set", settings, "--fold", "0", "--device", DEVICE)
        assert project.run("train", *given) == 0, settings
    return folder


@pytest.mark.parametrize(("given", "changed"), CASES, ids=[" ".join(case).strip() for case in CASES])
def test_a_setting_changes_the_weights(shared: TinyProject, given: str, changed: str) -> None:
    plain = trained(shared, f"{BASE} {given}")
    other = trained(shared, f"{BASE} {given} {changed}")
    assert sha256_file(plain / "model.safetensors") != sha256_file(other / "model.safetensors")


def test_a_setting_that_does_nothing_is_noticed(shared: TinyProject) -> None:
    """The negative control: the same training under another name has the same weights."""
    plain = trained(shared, f"{BASE} ")
    other = trained(shared, f"{BASE} train.checkpoint_minutes=7")
    assert sha256_file(plain / "model.safetensors") == sha256_file(other / "model.safetensors")


def keys(content: dict[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for key, value in content.items():
        found |= keys(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {prefix + key}
    return found


def test_no_setting_is_forgotten() -> None:
    every = keys(Run.parse({"train": {"probe": {}}}, where="").choices())
    named = {part.partition("=")[0] for case in CASES for half in case for part in half.split()}
    covered = ELSEWHERE | {name for name in every if any(one == name or one.startswith(f"{name}.") for one in named)}
    assert every - covered == set()


def test_settings_that_act_otherwise_on_a_gpu_are_settings() -> None:
    """The table of docs/gpu.md."""
    page = (Path(__file__).parents[2] / "docs" / "gpu.md").read_text(encoding="utf-8")
    section = page.partition("## What settings do on each device")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `([a-z_.]+)`", section, re.MULTILINE))
    assert {"data.cache", "train.precision", "train.compile", "predict.compile"} <= named
    assert named <= keys(Run.parse({"train": {"probe": {}}}, where="").choices())


def test_gradient_checkpointing_changes_nothing_but_memory(
    shared: TinyProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[str] = []
    inner = resnet.checkpoint_seq

    def counted(*given: Any, **more: Any) -> Any:
        used.append("checkpoint_seq")
        return inner(*given, **more)

    monkeypatch.setattr(resnet, "checkpoint_seq", counted)
    plain = trained(shared, f"{BASE} model.name=test_resnet train.checkpoint_minutes=8")
    assert not used
    other = trained(shared, f"{BASE} model.name=test_resnet model.checkpointing=true")
    logs = [read_csv(folder / "log.csv")["train_loss"].tolist() for folder in (plain, other)]
    assert used, "activations are computed again, not kept"
    assert [round(float(x), 4) for x in logs[0][1:]] == [round(float(x), 4) for x in logs[1][1:]]


def test_rates_and_losses_are_recorded_for_each_step(shared: TinyProject) -> None:
    folder = trained(shared, f"{BASE} schedule.name=one_cycle schedule.warmup=0.5")
    steps, log = read_csv(folder / "steps.csv"), read_csv(folder / "log.csv")
    rates = steps["lr"].astype(float)
    assert steps["step"].tolist() == [str(i) for i in range(len(steps))]
    assert rates.iloc[0] < rates.max() > rates.iloc[-1]
    assert float(log["train_loss"][1]) == pytest.approx(steps["loss"].astype(float)[steps["epoch"] == "1"].mean())


def test_validation_may_be_rarer(shared: TinyProject) -> None:
    folder = trained(shared, f"{BASE} train.epochs=5 train.validate_every=2")
    scores = read_csv(folder / "log.csv")["score"]
    assert [bool(cell) for cell in scores] == [True, False, True, False, True, True]


def test_pictures_cannot_grow_where_the_network_takes_one_size(
    shared: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = f"{BASE} model.name={MNIST} data.grow_from=0.5"
    assert shared.run("train", "--name", "grow", "--set", settings, "--fold", "0") == 2
    assert "data.grow_from" in capsys.readouterr().err


def test_chosen_folds_alone_make_a_run(shared: TinyProject) -> None:
    given = ["--name", "part", "--set", f"{BASE} train.folds=[1]"]
    for stage in ("train", "predict", "ensemble"):
        assert shared.run(stage, *given) == 0
    assert not shared.fold(0, "part").exists()
    cv = read_json(shared.layout.run("tiny", "part") / "cv.json")
    assert len(cv["per_fold"]) == 1
    assert cv["rows"] == read_json(shared.fold(1, "part") / "meta.json")["rows_valid"]
    assert shared.run("score", "--name", "part") == 0
    assert RUN["train"]["epochs"] == 2
