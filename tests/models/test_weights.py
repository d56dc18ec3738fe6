"""Weights from a file: what fits is counted and said, wrappers are understood, what does not fit is refused."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.records.fold_meta import FoldMeta, TakenWeights
from foldline.core.run import Model, Run
from foldline.models.architecture import Architecture
from foldline.models.backbone import build_pretrained, require_known
from foldline.models.weights import plain_names, read_state
from tiny import FACTS, RUN, TinyProject

MADE = Architecture("test_resnet", 3, 3, 32, 32)
torch.manual_seed(1)
STATE = timm.create_model("test_resnet").state_dict()
STATE["bn1.running_mean"] += 0.25
CONV = "layer4.0.conv1.weight"


def from_file(folder: Path, content: Any) -> tuple[torch.nn.Module, TakenWeights]:
    torch.save(content, folder / "w.pth")
    choice = Model.model_validate({"name": MADE.name, "weights": {"name": "file", "options": {"file": "w.pth"}}})
    model, taken = build_pretrained(MADE, choice, Layout(folder))
    assert taken is not None
    return model, taken


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in STATE.items()}


@pytest.mark.parametrize(
    ("content", "prefix"),
    [
        (STATE, ""),
        ({"epoch": 3, "state_dict": prefixed("model.") | {"loss.weight": torch.ones(2)}}, "model."),
        (prefixed("backbone."), "backbone."),
        (
            {"model": prefixed("module._orig_mod."), "optimizer": {"state": {0: {"x": torch.ones(1)}}}},
            "module._orig_mod.",
        ),
        ({"net": {"ema": {"params": prefixed("module.model.")}}}, "module.model."),
    ],
)
def test_wrappers_are_understood_and_said(tmp_path: Path, content: Any, prefix: str) -> None:
    model, taken = from_file(tmp_path, content)
    assert torch.equal(model.state_dict()[CONV], STATE[CONV])
    assert (taken.share, taken.prefix, taken.missing) == (1.0, prefix, ["fc.bias", "fc.weight"])
    assert ("taken off" in taken.in_words()) == bool(prefix)
    assert taken.unexpected == (["loss.weight"] if "epoch" in content else [])


def test_an_average_is_taken_before_the_weights_that_it_is_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = {name: tensor + 1 for name, tensor in STATE.items()}
    model, _ = from_file(tmp_path, {"model": other, "model_ema": {"module": prefixed("module.")}, "ema": torch.ones(1)})
    assert torch.equal(model.state_dict()[CONV], STATE[CONV])
    assert "'model_ema.module' is taken" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({name: tensor for name, tensor in STATE.items() if not name.startswith("layer")}, "2% of the backbone"),
        ({f"trunk.{name}": tensor for name, tensor in STATE.items()}, "0 tensors fit"),
        (timm.create_model("test_efficientnet").state_dict(), "are like conv_stem.weight"),
        ({name: tensor[:1] if name == CONV else tensor for name, tensor in STATE.items()}, f"1 reshaped \\({CONV}\\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused_with_names_of_both(tmp_path: Path, content: Any, words: str) -> None:
    with pytest.raises(FoldlineError, match=words) as error:
        from_file(tmp_path, content)
    assert "the network's like conv1.0.weight" in str(error.value)


@pytest.mark.parametrize(
    ("content", "words"), [(b"hello", "not a file of weights"), ({"a": 1}, "no state dict.*it has a")]
)
def test_a_file_without_weights(tmp_path: Path, content: Any, words: str) -> None:
    if isinstance(content, bytes):
        (tmp_path / "w.pth").write_bytes(content)
    else:
        torch.save(content, tmp_path / "w.pth")
    with pytest.raises(FoldlineError, match=words):
        read_state(tmp_path / "w.pth")


def test_a_networks_own_prefix_stays() -> None:
    own = {"model.a": torch.ones(1), "model.b": torch.ones(1)}
    assert plain_names(own, own) == (own, "")
    assert plain_names({f"module.{name}": tensor for name, tensor in own.items()}, own)[1] == "module."


def test_what_was_taken_stands_in_the_meta(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({name: tensor for name, tensor in STATE.items() if name != "bn1.bias"}, project.root / "w.pth")
    weights = {"name": "file", "options": {"file": "w.pth"}}
    project.write_yaml(
        "quick", {**RUN, "model": {"name": "test_resnet", "weights": weights}, "data": {"image_size": 32}}
    )
    project.prepare()
    assert project.run("train", "--fold", "0") == 0
    assert "warning: weights: 74 tensors fit, 3 missing (bn1.bias, fc.bias, fc.weight)" in capsys.readouterr().out
    taken = FoldMeta.read(project.fold(0) / "meta.json").taken
    assert taken is not None
    assert 0.9 < taken.share < 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnt18", "did you mean 'resnet18'"),
        ("resnet", "timm has: resnet18"),
        ("test_resnet.x", "its tags: r160_in1k"),
        ("", "unknown backbone"),
    ],
)
def test_a_wrong_name_suggests_others(name: str, words: str) -> None:
    with pytest.raises(FoldlineError, match=words):
        require_known(name)


def test_a_name_with_its_hub_is_refused() -> None:
    for name in ("hf-hub:timm/resnet18", "timm/resnet18", "timm:resnet18"):
        with pytest.raises(FoldlineError, match="alone here: name: resnet18"):
            Run.parse({"model": {"name": name}}, where="run.yaml")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"model": {"name": "test_vit", "weights": "none"}, "data": {"image_size": 100}},
            "does not take pictures of 100 x 100 px",
        ),
        (
            {"model": {"name": "test_vit", "weights": "none"}, "data": {"image_size": 64, "grow_from": 0.4}},
            "data.grow_from",
        ),
        (
            {"model": {"name": "resnet10t", "weights": "none"}, "data": {"image_size": 32}, "train": {"batch_size": 1}},
            "more than one value",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused_before_training(
    project: TinyProject, capsys: pytest.CaptureFixture[str], settings: dict[str, Any], words: str
) -> None:
    project.write_yaml("competition", {**FACTS, "folds": {"k": 2}})
    project.write_yaml("quick", settings)
    project.prepare()
    assert project.run("train", "--fold", "0") == 2
    assert words in capsys.readouterr().err
    assert not (project.fold(0) / "log.csv").exists()
