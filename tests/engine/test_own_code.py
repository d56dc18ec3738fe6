"""A network, loss, augmentation and sampler of the user's own: through the line, rebuilt from a fold's folder."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foldline.core import own_code
from foldline.core.errors import FoldlineError
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.run import Loss
from foldline.core.tables import read_csv, read_json
from foldline.core.task import TASKS
from foldline.engine.finished.copies import write_run
from foldline.engine.finished.networks import load_models
from foldline.engine.losses.catalogue import build_objective
from tiny import FACTS, RUN, TinyProject

NETWORK = """
from torch import nn

from foldline.models.classic import SmallNetwork


def small(outputs, channels, height_width, width=4):
    features = nn.Sequential(nn.Conv2d(channels, width, 3, stride=2), nn.ReLU())
    return SmallNetwork(features, nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten()), 16 * width, outputs)
"""
TRAINING = """
import numpy as np
import torch


def hinge(logits, target, margin=1.0):
    right = logits.gather(1, target[:, None])[:, 0]
    return (margin - right + logits.mean(1)).clamp(min=0).mean()


def shifted(image, rng):
    return np.roll(image, int(rng.integers(-2, 3)), axis=1)


def half(labels, epoch, seed):
    return np.random.default_rng([seed, epoch]).permutation(len(labels))[: len(labels) // 2]


def every_row(logits, target):
    return (logits**2).mean(1)


def outside_torch(logits, target):
    return float(logits.detach().mean())


def wrong_shape(logits, target):
    return logits @ logits


def growing(labels, epoch, seed):
    return np.arange(8 + epoch)


def beyond(labels, epoch, seed):
    return np.array([len(labels)])
"""
CHOICES: dict[str, Any] = {
    **RUN,
    "model": {"name": "network.py:small", "options": {"width": 6}, "weights": "none"},
    "augment": {"recipe": "training.py:shifted"},
    "loss": {"name": "training.py:hinge", "options": {"margin": 0.5}},
    "sampling": {"function": "training.py:half"},
}


@pytest.fixture
def own(project: TinyProject) -> TinyProject:
    place = project.root / "configs" / "tiny"
    (place / "network.py").write_text(NETWORK)
    (project.root / "training.py").write_text(TRAINING)
    project.write_yaml("quick", CHOICES)
    project.prepare()
    return project


def test_code_of_ones_own_goes_through_the_line(own: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    for stage in ("train", "predict", "ensemble", "score"):
        assert own.run(stage) == 0, stage
    folder, network = own.fold(0), own.root / "configs" / "tiny" / "network.py"
    meta = read_json(folder / "meta.json")
    assert meta["model"] == meta["architecture"]["name"] == "network.py:small"
    assert set(meta["sha256"]["code"]) == {"network.py", "training.py"}
    assert (folder / "code" / "network.py").read_text() == NETWORK
    steps = read_csv(folder / "steps.csv")
    assert len(steps) == 2 * (meta["rows_train"] // 2 // 8), "the sampler gives half of the rows"
    capsys.readouterr()
    network.write_text(NETWORK + "\n# other words\n")
    assert own.run("train") == own.run("predict") == 2
    assert "model.name: network.py:small is not what this fold was trained with" in capsys.readouterr().err
    network.write_text(NETWORK)
    assert own.run("train") == 0


def test_a_network_is_rebuilt_from_the_folds_folder_alone(own: TinyProject) -> None:
    assert own.run("train", "--fold", "0") == 0
    folder, cpu = own.fold(0), torch.device("cpu")
    pictures = torch.rand(3, 1, 32, 32)
    (before,) = load_models(folder, FoldMeta.read(folder / "meta.json"), cpu)
    (copied,) = write_run(own.root / "copy", {folder: FoldMeta.read(folder / "meta.json")}, half=False)
    for path in (own.root / "configs" / "tiny").iterdir():
        path.unlink()
    own_code.forget()
    (after,) = load_models(folder, FoldMeta.read(folder / "meta.json"), cpu)
    assert torch.equal(before(pictures), after(pictures))
    (there,) = load_models(own.root / "copy" / "fold_0", copied, cpu)
    assert torch.equal(before(pictures), there(pictures))
    (folder / "code" / "network.py").write_text(NETWORK.replace("stride=2", "stride=1"))
    own_code.forget()
    with pytest.raises(FoldlineError, match=r"code/network\.py is not there, or is not the code"):
        load_models(folder, FoldMeta.read(folder / "meta.json"), cpu)


@pytest.mark.parametrize("select", ["best", "last"])
def test_a_metric_that_picked_the_epoch_is_an_input(own: TinyProject, select: str) -> None:
    place = own.root / "configs" / "tiny" / "metric.py"
    place.write_text("def right(truth, prob):\n    return float(((prob[:, 1] > 0.5) == truth).mean())\n")
    own.write_yaml("competition", {**FACTS, "metric": "metric.py:right"})
    given = ["--name", "picked", "--set", f"train.select={select}", "--fold", "0"]
    assert own.run("train", *given) == 0
    place.write_text(place.read_text().replace("0.5", "0.4"))
    assert own.run("train", *given) == (2 if select == "best" else 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("loss.name=training.py:every_row loss.options={}", r"gives a tensor of \[3\] for a batch, not the mean"),
        ("loss.name=training.py:outside_torch loss.options={}", "gives float for a batch"),
        ("loss.name=training.py:wrong_shape loss.options={}", "fails: RuntimeError"),
        ("loss.options.marge=1", "fails: TypeError: .*marge"),
        ("loss.smoothing=0.1", "does its own smoothing and weighting"),
        ("loss.name=training.py:nothing", "has no function 'nothing'"),
        ("sampling.function=training.py:beyond", "must give row numbers from 0 to"),
        ("sampling.function=training.py:growing", "an epoch has 9 rows and not 8"),
        ("sampling.balance=0.5", "does all of the sampling"),
        ("model.name=nowhere.py:small", r"no Python file 'nowhere\.py'"),
        ("model.options.depth=3", "fails: TypeError: .*depth"),
    ],
)
def test_what_does_not_fit_is_refused(
    own: TinyProject, capsys: pytest.CaptureFixture[str], settings: str, message: str
) -> None:
    import re

    assert own.run("train", "--name", "odd", "--set", settings, "--fold", "0") == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (own.fold(0, "odd") / "meta.json").exists()


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "soft", "regression"])
def test_a_loss_is_tried_on_targets_of_the_task(task: str, tmp_path: Path) -> None:
    code = "def loss(logits, target):\n    assert list(target.shape) == {}\n    return logits.mean()\n"
    expected = [4] if task in ("binary", "multiclass") else [4, 3]
    (tmp_path / "loss.py").write_text(code.format(expected) + "loss.activation = 'identity'\n")
    own_code.forget()
    settings = Loss(name=f"{tmp_path}/loss.py:loss")
    objective = build_objective(settings, TASKS[task], ["a", "b", "c"], np.zeros(4))
    assert (objective.logits, objective.activation) == (3, "identity")
