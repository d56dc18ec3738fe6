"""A run without training (`train.epochs: 0`): it says of which settings nothing comes, and nothing comes of them."""

from typing import Any

import numpy as np
import pytest

from foldline.core.run import Run
from foldline.core.tables import read_parquet
from foldline.core.untrained import UNREAD, is_unread, unread, unread_in_words
from tiny import FACTS, RUN, TinyProject

BASE = "train.epochs=0 train.probe.c=0.1"
# what both runs have | what the second alone has, and nothing comes of
CASES = """
| model.drop_rate=0.5 model.head=multi_dropout model.checkpointing=true augment.mix=mixup data.workers=1
| sampling.balance=1 loss.smoothing=0.2 loss.class_weights=balanced loss.teacher=plain extra.rows=[more.csv]
| loss.masks=1 loss.auxiliary.age=1 augment.crop=jitter data.original=1.25 data.grow_from=0.8 train.keep_start=true
| optim.sam=0.1 optim.lr=0.1 schedule=poly train.batch_size=4 train.freeze=0.5 train.unfreeze=0.5 train.average=ema
| train.batch_norm=frozen train.select=best train.patience=1 train.checkpoint_minutes=1 train.validate_every=2
model.name=test_resnet | model.drop_path_rate=0.5
model.name=test_vit | train.lora.rank=4
TOGETHER | model.entity.options.pictures=1
""".replace("TOGETHER", "model.entity.name=mean model.entity.options.by=group model.entity.options.per_picture=all")
ELSEWHERE = {"loss.targets", "train.compile"}  # need several targets, minutes
READ = {
    "model.name", "model.weights", "model.pool", "model.entity", "model.metadata", "model.options", "data.image_size",
    "data.fit", "data.interpolation", "data.crop_fraction", "data.foreground", "data.channels", "data.neighbours",
    "data.intensity", "data.bad_images", "data.normalise", "data.cache", "data.cache_format", "loss.name",
    "loss.options", "train.folds", "train.folds_of", "train.without", "train.labels", "train.epochs", "train.probe",
    "train.precision", "train.deterministic", "train.log_to", "predict", "metrics", "seed",
}  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """Rows with an age and a mask each, and a file of further rows."""
    project = TinyProject(tmp_path_factory.mktemp("untrained"), rows=48)
    table = project.root / "raw" / "train.csv"
    head, *lines = table.read_text().splitlines()
    lines = [f"{line},{20 + i}" for i, line in enumerate(lines)]
    table.write_text("\n".join([f"{head},age", *lines[:42]]) + "\n")
    more = [f"{line.split(',')[0]},{line.split(',')[0]}.png,{line.split(',')[1]}" for line in lines[42:]]
    (project.root / "more.csv").write_text("\n".join(["row_id,image,target", *more]) + "\n")
    train: dict[str, Any] = {**FACTS["train"], "mask": "{id}.png", "metadata": ["age"]}
    project.write_yaml("competition", {**FACTS, "train": train})
    project.write_yaml("bare", {"model": {"name": "test_efficientnet", "weights": "none"}, "data": RUN["data"],
                                "train": {"precision": "fp32", "log_to": []}})  # fmt: skip
    project.prepare()
    assert project.run("train", "--run", "bare", "--name", "plain", "--set", BASE, "--fold", "0") == 0
    return project


def predicted(project: TinyProject, settings: str) -> Any:
    name = "".join(letter if letter.isalnum() else "-" for letter in settings) or "plain"
    if not (project.fold(0, name) / "meta.json").is_file():
        given = ("--run", "bare", "--name", name, "--set", f"{BASE} {settings}", "--fold", "0")
        assert project.run("train", *given) == 0, settings
    table = read_parquet(project.fold(0, name) / "valid.parquet").sort_values("row_id")
    return table.drop(columns="row_id").to_numpy(dtype=np.float64)


@pytest.mark.parametrize("case", CASES.strip().splitlines())
def test_nothing_comes_of_it_and_that_is_said(
    project: TinyProject, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    given, more = (part.strip() for part in case.split("|"))
    plain = predicted(project, given)
    capsys.readouterr()
    other = predicted(project, f"{given} {more}".strip())
    assert other == pytest.approx(plain, abs=1e-6)
    out = capsys.readouterr().out
    (said,) = [line for line in out.splitlines() if "nothing comes of" in line]
    for setting in more.split():
        name = setting.partition("=")[0]
        assert is_unread(name)
        assert name in said
    assert "learnt" not in out.replace(said, "")


def test_every_setting_is_read_or_named_in_the_table() -> None:
    """A new setting has its place: what it does to a probe is in the cases above, or in READ."""
    every = _names(Run.parse({"train": {"probe": {}, "lora": {}}}, where="").choices())
    undecided = [name for name in every if is_unread(name) == any(_is_part(name, one) for one in READ)]
    assert undecided == []
    changes = [setting for case in CASES.splitlines() for setting in case.partition("|")[2].split()]
    tried = [setting.partition("=")[0] for setting in changes]
    assert {one for one in UNREAD if not any(_is_part(name, one) for name in tried)} == ELSEWHERE


def _is_part(name: str, of: str) -> bool:
    return f"{name}.".startswith(f"{of}.")


def _names(content: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in content.items():
        found += _names(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [prefix + key]
    return found


def test_defaults_are_not_complained_of_nor_is_a_training() -> None:
    probe = {"epochs": 0, "probe": {}}
    given = {
        "train": {**probe, "keep_start": False},
        "augment": {"recipe": "light", "mix": "none"},
        "optim": {"lr": 3e-4},
    }
    assert unread(Run.parse(given, where="")) == []
    assert unread_in_words(Run.parse(given, where="")) == ""
    trained = {"train": {**probe, "epochs": 1}, "optim": {"lr": 0.1}}
    assert unread(Run.parse(trained, where="")) == []
    found = Run.parse({"train": probe, "optim": {"lr": 0.1, "clip": {"options": {"limit": 2}}}}, where="")
    assert unread(found) == ["optim.lr", "optim.clip.options.limit"]
    assert "nothing comes of optim.lr" in unread_in_words(found)
