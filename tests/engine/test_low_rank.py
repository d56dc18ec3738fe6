"""LoRA: what learns, what stays, and that the weights that are kept are a plain network's."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from timm.utils import ModelEmaV3
from torch.nn.utils import parametrizations

from foldline.core.errors import FoldlineError
from foldline.core.run_training import Train
from foldline.engine.loop.averages import Averages, before_changes
from foldline.engine.loop.checkpoint import State
from foldline.engine.loop.low_rank import attach, merged
from foldline.models.backbone import classifier
from foldline.models.heads import HeadedNetwork
from tiny import RUN, TinyProject

VIT = {"name": "test_vit", "weights": "none"}


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    model: torch.nn.Module = timm.create_model("test_vit", num_classes=2, img_size=32)
    return model.eval()


def test_it_starts_as_it_was_and_few_weights_learn() -> None:
    plain, changed, x = network(), network(), torch.randn(3, 3, 32, 32)
    attach(changed, rank=2, alpha=4, seed=0)
    assert torch.equal(plain(x), changed(x))
    learns = {name for name, parameter in changed.named_parameters() if parameter.requires_grad}
    assert {name for name in learns if not name.endswith((".0.up", ".0.down"))} == {"head.weight", "head.bias"}
    assert "blocks.0.attn.qkv.parametrizations.weight.0.up" in learns
    assert changed.get_parameter("blocks.0.mlp.fc1.parametrizations.weight.0.down").shape[0] == 2
    again = network()
    attach(again, rank=2, alpha=4, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(changed.parameters(), again.parameters(), strict=True))


def test_what_is_kept_is_a_plain_network_that_says_the_same() -> None:
    plain, changed, x = network(), network(), torch.randn(3, 3, 32, 32)
    attach(changed, rank=2, alpha=4, seed=0)
    optimizer = torch.optim.SGD([p for p in changed.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        changed(x).square().sum().backward()
        optimizer.step()
    state = merged(changed.state_dict())
    assert state.keys() == plain.state_dict().keys()
    before = plain.state_dict()["blocks.0.mlp.fc1.weight"].clone()
    assert torch.linalg.matrix_rank(state["blocks.0.mlp.fc1.weight"] - before, rtol=1e-3) == 2
    plain.load_state_dict(state)
    assert torch.allclose(plain(x), changed(x), atol=1e-5)
    assert merged(before_state := plain.state_dict()).keys() == before_state.keys()


LAYER = "blocks.0.mlp.fc1.weight"


def changed_at_random(model: torch.nn.Module, seed: int) -> State:
    """The plain weights of a network whose changes are other numbers now."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith((".0.up", ".0.down")):
                parameter.normal_(std=0.3)
    return merged({name: tensor.clone() for name, tensor in model.state_dict().items()})


def test_what_is_validated_in_half_precision_is_what_is_kept() -> None:
    changed = network()
    attach(changed, rank=2, alpha=4, seed=0)
    kept = changed_at_random(changed, 1)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert torch.equal(changed.get_submodule("blocks.0.mlp.fc1").weight, kept[LAYER])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "options"), [("swa", {"epochs": 2}), ("best", {"epochs": 2}), ("ema", {"decay": 0.5})]
)
def test_averages_are_of_the_weights_with_their_changes(name: str, options: dict[str, Any]) -> None:
    """Two changes of rank 2 have a mean of rank 4, which no mean of their factors is."""
    train = Train.model_validate({"epochs": 2, "lora": {}, "average": {"name": name, "options": options}})
    model = network()
    start, plain = {name: tensor.clone() for name, tensor in model.state_dict().items()}, before_changes(model, train)
    attach(model, rank=2, alpha=4, seed=0)
    averages = Averages(model, train, None, plain)
    reference = ModelEmaV3(network(), use_warmup=True, decay=0.5)
    kept, follows = [], network()
    for epoch in (1, 2):
        kept.append(changed_at_random(model, epoch))
        follows.load_state_dict(kept[-1])
        reference.update(follows, step=epoch)
        averages.after_step(epoch)
        averages.after_epoch(epoch)
        averages.judged(epoch, dict.fromkeys(range(1, epoch + 1), 0.5), lambda left, right: left > right)
    found = merged(averages.predicting(2).state_dict())
    expected = reference.module.state_dict()[LAYER] if name == "ema" else (kept[0][LAYER] + kept[1][LAYER]) / 2
    assert torch.allclose(found[LAYER], expected, atol=1e-6)
    assert torch.linalg.matrix_rank(found[LAYER] - start[LAYER], rtol=1e-3) == 4
    assert torch.equal(merged(model.state_dict())[LAYER], kept[1][LAYER]), "what is trained stays as it is"
    parts = averages.state()
    model, plain = network(), network()
    attach(model, rank=2, alpha=4, seed=0)
    again = Averages(model, train, None, plain)
    again.load(parts)
    assert torch.equal(again.predicting(2).state_dict()[LAYER], found[LAYER])


def test_layers_that_compute_their_weights_from_others_stay_as_they_are_and_take_no_change() -> None:
    model = network()
    for name in ("fc1", "fc2"):
        with_norm = parametrizations.weight_norm if name == "fc1" else parametrizations.spectral_norm
        with_norm(model.get_submodule(f"blocks.0.mlp.{name}"))
    state = model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in merged(state).items())
    assert merged(state).keys() == state.keys()
    with pytest.raises(FoldlineError, match=r"compute their weights from others .*blocks.0.mlp.fc1, blocks.0.mlp.fc2"):
        attach(model, rank=2, alpha=4, seed=0)


def test_what_is_new_around_a_backbone_learns_too() -> None:
    backbone = network()
    width = classifier(backbone).in_features
    backbone.set_submodule("head", torch.nn.Identity())
    model = HeadedNetwork(backbone, torch.nn.Linear(width + 64, 2), 3, "head")
    attach(model, rank=2, alpha=4, seed=0)
    assert all(parameter.requires_grad for parameter in model.metadata.parameters())
    assert not any(p.requires_grad for n, p in model.named_parameters() if n.endswith("original"))


def test_a_network_of_convolutions_is_refused() -> None:
    with pytest.raises(FoldlineError, match="nothing for LoRA to change"):
        attach(timm.create_model("test_resnet"), rank=2, alpha=4, seed=0)
    with pytest.raises(ValueError, match="lora trains the same weights"):
        Train.model_validate({"lora": {}, "unfreeze": 0.5})


def test_a_network_of_convolutions_is_refused_before_its_probe_sees_a_picture(
    project: TinyProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise AssertionError("time was spent")

    monkeypatch.setattr("foldline.engine.starting_weights.features_of", fails)
    given = ("--set", "model.name=test_resnet train.probe.c=1", "--name", "convolutions")
    assert project.run("train", *given) == 2
    assert "there is nothing for LoRA to change" in capsys.readouterr().err


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    project = TinyProject(tmp_path_factory.mktemp("lora"), rows=48)
    train = {**RUN["train"], "lora": {"rank": 2}, "average": "ema"}
    project.write_yaml("quick", {**RUN, "model": VIT, "train": train})
    project.prepare()
    return project


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(folder / "model.safetensors")
    return found


def test_the_whole_line_knows_nothing_of_it(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    for fold in range(3):
        assert project.run("train", "--fold", str(fold)) == 0
    assert "train.lora changes little of random weights" in capsys.readouterr().out
    assert project.run("predict") == 0
    kept = weights(project.fold(0))
    assert not [name for name in kept if "parametrizations" in name]
    assert project.run("train", "--fold", "0", "--set", "train.lora.rank=4", "--name", "wider") == 0
    assert project.run("train", "--fold", "0", "--set", "train.lora.alpha=64", "--name", "louder") == 0
    assert project.run("train", "--fold", "0", "--set", "train.lora=null", "--name", "whole") == 0
    for name in ("wider", "louder", "whole"):
        other = weights(project.fold(0, name))
        assert other.keys() == kept.keys()
        assert not torch.equal(other["blocks.0.mlp.fc1.weight"], kept["blocks.0.mlp.fc1.weight"])
    assert torch.equal(weights(project.fold(0, "wider"))["patch_embed.proj.bias"], kept["patch_embed.proj.bias"])


@pytest.mark.parametrize("average", ["ema", "best"])
def test_a_killed_training_ends_with_the_same_bits(
    project: TinyProject, monkeypatch: pytest.MonkeyPatch, average: str
) -> None:
    from foldline.engine.loop.fit import _Training

    settings = "train.checkpoint_minutes=1e-6"
    if average == "best":
        settings += " train.average.name=best train.average.options.epochs=2"
        assert project.run("train", "--fold", "1", "--set", settings, "--name", "whole-best") == 0
    name = f"killed-{average}"
    given = ("--fold", "1", "--set", settings, "--name", name)
    real, learnt = _Training._learn, []

    def learn(self: _Training, batch: object) -> bool:
        learnt.append(1)
        if len(learnt) == 6:
            raise KeyboardInterrupt
        return real(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(_Training, "_learn", learn)
    assert project.run("train", *given) != 0
    monkeypatch.undo()
    assert (project.fold(1, name) / "resume").exists()
    assert project.run("train", *given) == 0
    one, two = (weights(project.fold(1, run)) for run in ("quick" if average == "ema" else "whole-best", name))
    assert all(torch.equal(one[name], two[name]) for name in one)
