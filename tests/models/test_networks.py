"""Every network of foldline's own, and some of timm's, with everything that a run can ask of a network."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

from foldline.core.choices import Weights
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.run import Model
from foldline.models.architecture import Architecture
from foldline.models.backbone import (
    build,
    build_pretrained,
    classifier,
    preprocessing_of,
    set_checkpointing,
    state_sha256,
)
from foldline.models.classic import default_cfgs
from foldline.models.licences import licence_note
from foldline.models.weights import weights_file

CONFIGS = Path(__file__).parents[2] / "configs"
MNIST = f"{CONFIGS}/mnist/network.py:mnist_mlp"
SIMPSONS = f"{CONFIGS}/simpsons/network.py:simpsons_cnn"
PEPE = f"{CONFIGS}/pepe/network.py:pepe_alexnet"
DERE = f"{CONFIGS}/dere/network.py:dere_cnn"
OWN = {MNIST: 28, "cifar_cnn": 32, SIMPSONS: 64, PEPE: 64, DERE: 32}
TIMM = {"test_resnet": 32, "test_efficientnet": 32, "test_convnext": 32, "test_vit": 32, "ghostnet_050": 32}
HEADS: dict[str, dict[str, Any]] = {
    "timm": {},
    "multi_dropout": {"head": {"name": "multi_dropout", "options": {"samples": 3}}},
    "arcface": {"head": {"name": "arcface", "options": {"centers": 2}}},
    "metadata": {"metadata_features": 4},
    "metadata and arcface": {"head": {"name": "arcface"}, "metadata_features": 4},
}


def architecture(name: str, outputs: int = 3, **asked: Any) -> Architecture:
    size = {**OWN, **TIMM}.get(name, 32)
    return Architecture(name, outputs, 2, size, size, **asked)


def inputs(made: Architecture, rows: int = 4) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    pictures = torch.rand(rows, made.channels, made.height, made.width, generator=generator)
    beside = torch.rand(rows, made.metadata_features, generator=generator)
    return (pictures, beside) if made.metadata_features else (pictures,)


def test_own_networks_are_all_tested() -> None:
    assert set(OWN) == set(default_cfgs) | {MNIST, SIMPSONS, PEPE, DERE}
    assert {Path(name.partition(":")[0]) for name in OWN if ":" in name} == set(CONFIGS.glob("*/network.py"))


@pytest.mark.parametrize(
    ("name", "channels", "side", "options", "expected"),
    [
        (MNIST, 1, 28, {}, "18ec8df63a0649ea"),
        (SIMPSONS, 3, 64, {}, "ef061a9883b9a1ee"),
        (PEPE, 3, 224, {}, "bb0229a24d807ed4"),
        (PEPE, 3, 224, {"batch_norm": False}, "23cb1da8f18e6095"),
        (DERE, 3, 256, {"filters": 16}, "e8d21c6b68be7f85"),
        (DERE, 3, 256, {"filters": 32}, "606c751306000201"),
    ],
)
def test_the_published_networks_start_from_the_same_weights(
    name: str, channels: int, side: int, options: dict[str, Any], expected: str
) -> None:
    """Hashes of the networks as they stood in the package, before they moved beside their facts."""
    torch.manual_seed(0)
    model = build(Architecture(name, 5, channels, side, side, options=options))
    assert state_sha256(model.state_dict())[:16] == expected


@pytest.mark.parametrize("head", list(HEADS))
@pytest.mark.parametrize("name", [*OWN, *TIMM])
def test_learns_and_is_rebuilt(name: str, head: str) -> None:
    """Forward, backward, steps that every part takes part in; a fresh network has the same keys and takes them."""
    made = architecture(name, drop_rate=0.1, **HEADS[head])
    torch.manual_seed(0)
    model, x = build(made), inputs(made)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-2, weight_decay=0.05, layer_decay=0.9)
    for _ in range(2):  # timm starts the last batch-norm of each residual branch at 0: its branch learns second
        logits = model(*x)
        assert logits.shape == (4, 3)
        loss = nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0]))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    still = [key for key, value in model.named_parameters() if torch.equal(before[key], value)]
    assert still == []
    copy = build(Architecture(**asdict(made)))
    assert list(copy.state_dict()) == list(model.state_dict())
    copy.load_state_dict(model.state_dict())
    assert torch.equal(model.eval()(*x), copy.eval()(*x))


@pytest.mark.parametrize("head", list(HEADS))
@pytest.mark.parametrize("name", [*OWN, *TIMM])
def test_classifier_takes_what_forward_head_gives(name: str, head: str) -> None:
    made = architecture(name, **HEADS[head])
    model, x = build(made).eval(), inputs(made)
    features = model.forward_head(model.forward_features(x[0]), *x[1:], pre_logits=True)  # type: ignore[operator]
    last = model.get_classifier()  # type: ignore[operator]
    assert features.shape == (4, last.in_features)
    assert torch.allclose(last(features), model(*x), atol=1e-6)
    if "arcface" in head:
        with pytest.raises(FoldlineError, match="not linear"):
            classifier(model)
    else:
        assert classifier(model) is last


@pytest.mark.parametrize("name", TIMM)
def test_nothing_asked_is_timms_own(name: str) -> None:
    made = architecture(name)
    size = {"img_size": (32, 32)} if name == "test_vit" else {}
    torch.manual_seed(3)
    model = build(made)
    torch.manual_seed(3)
    plain = timm.create_model(name, num_classes=3, in_chans=2, **size).to(memory_format=torch.channels_last)
    assert type(model) is type(plain)
    assert list(model.state_dict()) == list(plain.state_dict())
    assert torch.equal(model.eval()(*inputs(made)), plain.eval()(*inputs(made)))


def test_old_meta_still_loads() -> None:
    old: dict[str, Any] = {
        "name": "test_resnet",
        "outputs": 2,
        "channels": 1,
        "height": 32,
        "width": 32,
        "drop_rate": 0.0,
    }
    assert list(build(Architecture(**old)).state_dict()) == list(build(architecture("test_resnet", 2)).state_dict())


@pytest.mark.parametrize(("name", "mean", "std"), [(MNIST, 0.0, 1.0), (DERE, 0.5, 0.5), ("cifar_cnn", 0.5, 0.5)])
def test_own_preprocessing(name: str, mean: float, std: float) -> None:
    model = build(architecture(name))
    scaling = preprocessing_of(model, 2)
    assert (scaling.mean, scaling.std) == ([mean] * 2, [std] * 2)


def test_the_shapes_that_the_recipes_name() -> None:
    mlp = build(Architecture(MNIST, 10, 1, 28, 28))
    assert [tuple(part.weight.shape) for part in mlp.modules() if isinstance(part, nn.Linear)] == [
        (16, 784), (16, 16), (10, 16),
    ]  # fmt: skip
    assert sum(isinstance(part, nn.Sigmoid) for part in mlp.modules()) == 2
    simpsons = build(Architecture(SIMPSONS, 20, 3, 64, 64))
    convolutions = [part for part in simpsons.modules() if isinstance(part, nn.Conv2d)]
    assert [part.out_channels for part in convolutions] == [16, 32, 64, 128, 256, 512]
    assert [type(part).__name__ for part in simpsons.get_submodule("features.0").children()] == [
        "Conv2d",
        "ReLU",
        "MaxPool2d",
        "BatchNorm2d",
    ]
    linear = [part.out_features for part in simpsons.modules() if isinstance(part, nn.Linear)]
    assert linear == [120, 84, 20]
    dere = build(Architecture(DERE, 5, 3, 256, 256))
    assert sum(isinstance(part, nn.Conv2d) for part in dere.modules()) == 3
    assert sum(isinstance(part, nn.Linear) for part in dere.modules()) == 1


@pytest.mark.parametrize("size", [64, 100, 128, 200])
def test_simpsons_takes_any_larger_picture(size: int) -> None:
    assert build(Architecture(SIMPSONS, 3, 3, size, size)).eval()(torch.rand(1, 3, size, size)).shape == (1, 3)


def test_too_small_pictures_are_refused() -> None:
    with pytest.raises(FoldlineError, match="needs pictures of 64 px"):
        build(Architecture(SIMPSONS, 3, 3, 63, 200))
    with pytest.raises(FoldlineError, match="fails on pictures of 7 x 200 px") as caught:
        build(Architecture(DERE, 3, 3, 7, 200))
    assert "data.image_size" in caught.value.where


def norms(model: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in model.modules())


def test_options_reach_the_network() -> None:
    assert norms(build(architecture(PEPE))) == 1
    assert norms(build(architecture(PEPE, options={"batch_norm": False}))) == 0
    dere = build(architecture(DERE, options={"filters": 5}))
    assert [part.out_channels for part in dere.modules() if isinstance(part, nn.Conv2d)] == [5, 10, 20]


@pytest.mark.parametrize("option", ["num_classes", "img_size", "pretrained", "drop_path_rate"])
def test_options_do_not_overrule_settings(option: str) -> None:
    with pytest.raises(FoldlineError, match=option):
        build(architecture("test_resnet", options={option: 1}))


def test_an_option_that_no_one_knows_is_refused() -> None:
    with pytest.raises(FoldlineError, match="filtres"):
        build(architecture(DERE, options={"filtres": 5}))


@pytest.mark.parametrize("name", [DERE, "ghostnet_050"])
def test_stochastic_depth_is_refused_where_there_is_none(name: str) -> None:
    with pytest.raises(FoldlineError, match="drop_path_rate"):
        build(architecture(name, drop_path_rate=0.1))


def test_rates_of_zero_overrule_timms_defaults() -> None:
    """Swin has a stochastic depth of 0.1 where nobody says otherwise."""

    def deepest(rate: float) -> float:
        made = Architecture("swin_tiny_patch4_window7_224", 2, 3, 224, 224, drop_path_rate=rate)
        with torch.device("meta"):
            return max(getattr(part, "drop_prob", 0.0) or 0.0 for part in build(made).modules())

    assert deepest(0.0) == 0.0
    assert deepest(0.2) == pytest.approx(0.2)


@pytest.mark.parametrize("name", OWN)
def test_no_pretrained_weights_are_said_so(name: str, tmp_path: Path) -> None:
    with pytest.raises(FoldlineError, match="has no pretrained weights") as caught:
        build_pretrained(architecture(name), Model(name=name), Layout(tmp_path))
    assert "model.weights: none" in caught.value.next


def test_own_networks_start_from_a_file(tmp_path: Path) -> None:
    """Weights of ten classes and three channels, in a network of three classes and two channels."""
    torch.manual_seed(0)
    trained = timm.create_model("cifar_cnn")
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    choice = Model.model_validate(
        {"name": "cifar_cnn", "weights": {"name": "file", "options": {"file": str(tmp_path / "w.safetensors")}}}
    )
    model, _ = build_pretrained(architecture("cifar_cnn"), choice, Layout(tmp_path))
    assert torch.equal(model.state_dict()["features.1.0.weight"], trained.state_dict()["features.1.0.weight"])
    assert model(*inputs(architecture("cifar_cnn"))).shape == (4, 3)


class TestCheckpointing:
    def runs_of_a_block(self, checkpointing: bool) -> int:
        made = architecture("test_resnet")
        model = build(made).train()
        runs: list[int] = []
        if checkpointing:
            set_checkpointing(model)
        block = model.get_submodule("layer3.0.conv1")
        block.register_forward_hook(lambda *_: runs.append(1))
        model(*inputs(made)).sum().backward()
        return len(runs)

    def test_activations_are_computed_again(self) -> None:
        assert self.runs_of_a_block(checkpointing=False) == 1
        assert self.runs_of_a_block(checkpointing=True) == 2

    @pytest.mark.parametrize("name", ["cifar_cnn", "dla46_c"])
    def test_refused_where_there_is_none(self, name: str) -> None:
        with pytest.raises(FoldlineError, match="no gradient checkpointing"):
            set_checkpointing(build(architecture(name)))

    def test_reaches_the_backbone_beside_metadata(self) -> None:
        model = build(architecture("test_resnet", metadata_features=2))
        set_checkpointing(model)
        assert getattr(model.get_submodule("backbone"), "grad_checkpointing") is True  # noqa: B009


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet18", ""),
        ("tf_efficientnet_lite0", ""),
        ("cifar_cnn", ""),
        ("convnextv2_atto.fcmae", "cc-by-nc-4.0: not for commercial use"),
        ("fastvit_mci0.apple_mclip", "not for commercial use"),
        ("dla60_res2net.in1k", "unknown"),
        ("cpubone_b0_bfrobust.r224_in1k", "unknown"),
        ("convnext_base.dinov3_lvd1689m", "licence of their own, dinov3-license"),
    ],
)
def test_licences(name: str, words: str) -> None:
    note = licence_note(name)
    assert words in note
    assert bool(words) == bool(note)


def test_licence_of_nothing() -> None:
    with pytest.raises(FoldlineError, match="unknown backbone"):
        licence_note("resnet1818")


def test_a_name_that_timm_does_not_know_gets_the_three_nearest() -> None:
    with pytest.raises(FoldlineError, match=r"did you mean '\w+', '\w+' or '\w+'\? \(\d{4} are known\)$"):
        licence_note("resnext1818")


MORE = """
from torch import nn


class Bare(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.outputs, self.fc = outputs, nn.Linear(3, outputs)

    def get_classifier(self):
        return self.fc

    def forward_features(self, x):
        return x

    def forward_head(self, x, pre_logits=False):
        x = x.mean((2, 3))
        return x if pre_logits else self.fc(x)

    def forward(self, x):
        return self.forward_head(x)


def bare(outputs, channels, height_width):
    return Bare(outputs)


def plain(outputs, channels, height_width):
    return nn.Flatten()


def short(outputs, channels, height_width):
    return Bare(1)


def narrow(outputs):
    return Bare(outputs)
"""


@pytest.fixture
def more(tmp_path: Path) -> str:
    (tmp_path / "more.py").write_text(MORE)
    return f"{tmp_path}/more.py"


def test_a_network_needs_no_more_than_timms_three_methods(more: str) -> None:
    model = build(Architecture(f"{more}:bare", 3, 3, 32, 32))
    assert model.training
    assert classifier(model).out_features == 3
    assert preprocessing_of(model, 3).mean == pytest.approx([0.485, 0.456, 0.406])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("plain", "gives a Flatten, which has no forward_features, forward_head, get_classifier"),
        ("short", r"gives \[2, 1\] for two pictures, not logits of \[2, 3\]"),
        ("narrow", r"takes \(outputs\), not \(outputs, channels, height_width\)"),
        ("nothing", "no function 'nothing'"),
    ],
)
def test_what_is_no_network_is_refused(more: str, name: str, message: str) -> None:
    with pytest.raises(FoldlineError, match=message):
        build(Architecture(f"{more}:{name}", 3, 3, 32, 32))


def test_a_network_of_ones_own_starts_from_a_file(tmp_path: Path) -> None:
    """The head is taken over where it fits; all else must be the same network."""
    torch.manual_seed(0)
    trained = build(architecture(DERE, 5))
    file = tmp_path / "w.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in trained.state_dict().items()}, file)
    choice = Model.model_validate({"name": DERE, "weights": {"name": "file", "options": {"file": str(file)}}})
    model, _ = build_pretrained(architecture(DERE), choice, Layout(tmp_path))
    assert torch.equal(model.state_dict()["features.0.0.weight"], trained.state_dict()["features.0.0.weight"])
    with pytest.raises(FoldlineError, match="weights are of another network"):
        build_pretrained(architecture(DERE, options={"filters": 4}), choice, Layout(tmp_path))


def test_a_weights_file_is_below_the_project_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `extra.rows` is, whatever folder the command runs in; an absolute path stays."""
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    for folder in (project, elsewhere):
        folder.mkdir()
        (folder / "w.safetensors").write_bytes(b"")
    monkeypatch.chdir(elsewhere)
    for file, place in (
        ("w.safetensors", project),
        (str(elsewhere / "w.safetensors"), elsewhere),
    ):
        weights = Weights.model_validate({"name": "file", "options": {"file": file}})
        assert weights_file(weights, Layout(project)) == place / "w.safetensors"
