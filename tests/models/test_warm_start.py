"""A fold that starts from another run's fold: what is taken over, what is said, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from foldline.core.choices import Weights
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.models.architecture import Architecture
from foldline.models.backbone import build
from foldline.models.weights import odd_names, state_from, timm_state

MADE: dict[str, Any] = {"name": "test_resnet", "outputs": 3, "channels": 3, "height": 32, "width": 32}


def saved(folder: Path, **other: Any) -> Path:
    """The weights of a network with numbers that no fresh one has."""
    torch.manual_seed(1)
    model = build(Architecture(**{**MADE, **other}))
    state = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    state["bn1.running_mean" if "bn1.running_mean" in state else "backbone.bn1.running_mean"] += 0.25
    save_file(state, folder / "model.safetensors")
    return folder / "model.safetensors"


def fresh(**other: Any) -> torch.nn.Module:
    torch.manual_seed(2)
    return build(Architecture(**{**MADE, **other}))


def test_all_is_taken_over_where_all_fits(tmp_path: Path) -> None:
    path, model = saved(tmp_path), fresh()
    assert odd_names(state_from(path, model)) == set()
    torch.manual_seed(1)
    source = build(Architecture(**MADE)).state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, source[name] + (0.25 if name == "bn1.running_mean" else 0.0)), name


@pytest.mark.parametrize(
    ("source", "target", "skipped"),
    [
        ({"outputs": 7}, {}, ["fc.bias", "fc.weight"]),
        ({}, {"head": {"name": "arcface"}}, ["fc.bias"]),
        ({}, {"pool": "gem"}, ["global_pool.p"]),
        ({"pool": "gem"}, {}, ["global_pool.p"]),
        ({"metadata_features": 2}, {"metadata_features": 2}, []),
        ({"metadata_features": 2}, {"metadata_features": 5}, ["metadata.0.weight"]),
    ],
)
def test_the_head_may_differ(tmp_path: Path, source: Any, target: Any, skipped: list[str]) -> None:
    path, model = saved(tmp_path, **source), fresh(**target)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert odd_names(state_from(path, model)) == set(skipped)
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])]
    assert any(name.endswith("layer4.0.conv1.weight") for name in changed)
    assert not set(skipped) & set(changed)


def test_gem_in_an_own_network_may_be_new(tmp_path: Path) -> None:
    path, model = saved_own(tmp_path), build(Architecture("cifar_cnn", 3, 3, 32, 32, pool="gem"))
    assert odd_names(state_from(path, model)) == {"neck.global_pool.p"}


def saved_own(folder: Path) -> Path:
    state = build(Architecture("cifar_cnn", 3, 3, 32, 32)).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors")
    return folder / "model.safetensors"


def test_metadata_stand_beside_a_plain_runs_backbone(tmp_path: Path) -> None:
    path, model = saved(tmp_path), fresh(metadata_features=2)
    skipped = odd_names(state_from(path, model))
    assert {name.split(".")[0] for name in skipped} == {"classifier", "metadata", "fc"}
    assert torch.allclose(model.state_dict()["backbone.bn1.running_mean"], torch.tensor(0.25))


@pytest.mark.parametrize(
    "other", [{"name": "test_efficientnet"}, {"channels": 1}, {"options": {"layers": [2, 1, 1, 1]}}]
)
def test_another_backbone_is_refused(tmp_path: Path, other: dict[str, Any]) -> None:
    path = saved(tmp_path)
    with pytest.raises(FoldlineError, match="another network"):
        state_from(path, fresh(**other))


@pytest.mark.parametrize("other", [{"options": {"layers": [2, 1, 1, 1]}}])
def test_a_deeper_source_is_refused(tmp_path: Path, other: dict[str, Any]) -> None:
    """Every tensor of the network is in the file, which holds more."""
    with pytest.raises(FoldlineError, match="another network"):
        state_from(saved(tmp_path, **other), fresh())


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FoldlineError, match="file not found"):
        state_from(tmp_path / "model.safetensors", fresh())


def test_names_of_efficientnet_pytorch_are_known_by_themselves(tmp_path: Path) -> None:
    model = timm.create_model("tf_efficientnet_lite0")
    names = {
        "_conv_stem.weight": "conv_stem.weight", "_blocks.0._project_conv.weight": "blocks.0.0.conv_pw.weight",
        "_blocks.2._expand_conv.weight": "blocks.1.1.conv_pw.weight", "_fc.bias": "classifier.bias",
    }  # fmt: skip
    file = Weights(name="file", options={"file": "foreign.safetensors"})
    save_file(
        {name: model.state_dict()[ours].clone() for name, ours in names.items()}, tmp_path / "foreign.safetensors"
    )
    state, _ = timm_state(file, model, Layout(tmp_path))
    assert set(state) == set(names.values())
    assert all(torch.equal(state[name], model.state_dict()[name]) for name in state)
    save_file({"conv_stem.weight": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    assert set(timm_state(file, model, Layout(tmp_path))[0]) == {"conv_stem.weight"}
    with pytest.raises(FoldlineError, match="needs its version"):
        timm_state(
            Weights(name="pypi", options={"package": "weights", "file": "w.safetensors"}), model, Layout(tmp_path)
        )
