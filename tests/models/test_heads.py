"""Pooling, classifiers and metadata: the formulas, and that each is where it was asked for."""

import math
from dataclasses import asdict
from pathlib import Path

import pytest
import timm
import torch
from timm.layers import SelectAdaptivePool2d
from timm.optim import create_optimizer_v2
from timm.optim._param_groups import param_groups_layer_decay
from torch import Tensor, nn

from foldline.core.errors import FoldlineError
from foldline.models.architecture import Architecture
from foldline.models.backbone import build
from foldline.models.heads import ArcFace, GeM, HeadedNetwork, MultiDropout, gem_like

CONFIGS = Path(__file__).parents[2] / "configs"
NETWORKS = ("mnist/network.py:mnist_mlp", "simpsons/network.py:simpsons_cnn")

SEEN = torch.rand(2, 5, 3, 4, generator=torch.Generator().manual_seed(0)) + 0.01


class TestGeM:
    def test_p_1_is_the_mean(self) -> None:
        assert torch.allclose(GeM(flatten=True, p=1.0)(SEEN), SEEN.mean((2, 3)))

    def test_large_p_is_nearly_the_maximum(self) -> None:
        largest = SEEN.amax((2, 3))
        far, near = GeM(flatten=True, p=3.0)(SEEN), GeM(flatten=True, p=60.0)(SEEN)
        assert (largest - far).min() > 0.05
        assert torch.allclose(near, largest, atol=0.05)

    def test_by_hand(self) -> None:
        x = torch.tensor([1.0, 2.0, 2.0, 3.0]).view(1, 1, 2, 2)
        assert GeM(flatten=True)(x).item() == pytest.approx(((1 + 8 + 8 + 27) / 4) ** (1 / 3))

    def test_channels_last(self) -> None:
        assert torch.equal(GeM(flatten=True)(SEEN), GeM(flatten=True, input_fmt="NHWC")(SEEN.permute(0, 2, 3, 1)))

    @pytest.mark.parametrize("flatten", [True, False])
    @pytest.mark.parametrize(("kind", "form"), [("avg", "NCHW"), ("fastmax", "NCHW"), ("avg", "NHWC"), ("", "NCHW")])
    def test_stands_in_for_timms_pooling(self, kind: str, form: str, flatten: bool) -> None:
        pool = gem_like(SelectAdaptivePool2d(pool_type=kind or "fast", flatten=flatten, input_fmt=form))
        with torch.no_grad():
            pool.p.fill_(1.0)
        mean = SelectAdaptivePool2d(pool_type="fastavg", flatten=flatten, input_fmt=form)
        assert torch.allclose(pool(SEEN), mean(SEEN))

    def test_p_is_learned_and_negatives_do_no_harm(self) -> None:
        pool = GeM(flatten=True)
        pool(SEEN - 0.5).sum().backward()
        assert pool.p.grad is not None
        assert torch.isfinite(pool.p.grad).all()
        assert pool.p.grad.abs().item() > 0

    def test_half_precision_holds_large_features(self) -> None:
        """200^3 is beyond float16."""
        pooled = GeM(flatten=True)(torch.full((1, 2, 2, 2), 200.0, dtype=torch.float16))
        assert pooled.dtype == torch.float16
        assert pooled.flatten().tolist() == pytest.approx([200.0, 200.0], rel=1e-3)


def network(name: str, pool: str) -> nn.Module:
    torch.manual_seed(0)
    return build(Architecture(name, 3, 3, 64, 64, pool=pool)).eval()


@torch.no_grad()
@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext", "cifar_cnn"])
def test_pools_do_what_they_say(name: str) -> None:
    """On a constant feature map all pools agree; on others they differ; GeM at p = 1 is the mean."""
    models = {pool: network(name, pool) for pool in ("default", "avg", "max", "avgmax", "gem")}
    weights = models["default"].state_dict()
    for pool, model in models.items():
        odd = model.load_state_dict(weights, strict=False)
        assert odd.unexpected_keys == []
        assert [key.endswith("global_pool.p") for key in odd.missing_keys] == ([True] if pool == "gem" else [])
    features = torch.rand_like(models["avg"].forward_features(torch.rand(2, 3, 64, 64))) + 0.1  # type: ignore[operator]
    flat = torch.ones_like(features) * features[..., :1, :1]
    logits = {pool: model.forward_head(features) for pool, model in models.items()}  # type: ignore[operator]
    same = {pool: model.forward_head(flat) for pool, model in models.items()}  # type: ignore[operator]
    assert torch.equal(logits["default"], logits["avg"])
    for pool in ("max", "avgmax", "gem"):
        assert not torch.allclose(logits[pool], logits["avg"], atol=1e-4)
        assert torch.allclose(same[pool], same["avg"], atol=1e-3)
    for name, parameter in models["gem"].named_parameters():
        if name.endswith("global_pool.p"):
            parameter.fill_(1.0)
    assert torch.allclose(models["gem"].forward_head(features), logits["avg"], atol=1e-5)  # type: ignore[operator]


@pytest.mark.parametrize("name", ["test_vit", "levit_128", *(f"{CONFIGS}/{name}" for name in NETWORKS)])
@pytest.mark.parametrize("pool", ["max", "gem"])
def test_a_pool_that_has_no_place_is_refused(name: str, pool: str) -> None:
    with pytest.raises(FoldlineError) as caught:
        build(Architecture(name, 3, 3, 224, 224, pool=pool))
    assert "model.pool" in caught.value.where


def test_another_head_on_a_convolutional_classifier_is_refused() -> None:
    with pytest.raises(FoldlineError, match="Conv2d, not linear"):
        build(Architecture("dla46_c", 3, 3, 64, 64, head={"name": "arcface"}))


class TestMultiDropout:
    def test_plain_after_training(self) -> None:
        layer = MultiDropout(6, 2, dropout=0.5, samples=4).eval()
        x = torch.rand(3, 6)
        assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))

    def test_mean_of_the_masks_logits(self) -> None:
        layer, x = MultiDropout(6, 2, dropout=0.5, samples=4).train(), torch.rand(3, 6)
        torch.manual_seed(5)
        logits = layer(x)
        torch.manual_seed(5)
        each = [nn.functional.linear(nn.functional.dropout(x, 0.5), layer.weight, layer.bias) for _ in range(4)]
        assert torch.allclose(logits, torch.stack(each).mean(0), atol=1e-6)

    def test_more_masks_are_less_noisy(self) -> None:
        def noise(samples: int) -> float:
            torch.manual_seed(0)
            layer = MultiDropout(50, 1, dropout=0.5, samples=samples).train()
            with torch.no_grad():
                return float(layer(torch.ones(500, 50)).std())

        assert noise(16) == pytest.approx(noise(1) / 4, rel=0.2)

    def test_starts_from_the_same_weights_as_a_plain_run(self) -> None:
        models = []
        for kind in ("linear", "multi_dropout"):
            torch.manual_seed(0)
            models.append(build(Architecture("test_resnet", 3, 3, 32, 32, head={"name": kind})))
        plain, masked = (model.state_dict() for model in models)
        assert list(plain) == list(masked)
        assert all(torch.equal(plain[key], masked[key]) for key in plain)


class TestArcFace:
    def test_cosines(self) -> None:
        layer = ArcFace(2, 3, scale=10.0, centers=1)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor([[5.0, 0.0], [0.0, 0.1], [-1.0, 0.0]]))
        cosines = layer(torch.tensor([[3.0, 0.0], [1.0, 1.0]]))
        root = 10 / math.sqrt(2)
        assert torch.allclose(cosines, torch.tensor([[10.0, 0.0, -10.0], [root, root, -root]]), atol=1e-5)

    def test_the_nearest_centre_counts(self) -> None:
        layer = ArcFace(2, 2, scale=1.0, centers=2)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]))
        assert layer(torch.tensor([[0.0, 2.0]])).tolist() == [[1.0, 0.0]]

    def test_float32_inside_autocast(self) -> None:
        layer = ArcFace(8, 3, scale=30.0, centers=1)
        x = torch.rand(4, 8)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cosines = layer(x)
        assert cosines.dtype == torch.float32
        assert torch.equal(cosines, layer(x))


def beside(kind: str = "linear") -> HeadedNetwork:
    torch.manual_seed(0)
    model = build(Architecture("test_resnet", 3, 3, 32, 32, metadata_features=4, head={"name": kind}))
    assert isinstance(model, HeadedNetwork)
    return model


class TestMetadata:
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))

    def test_both_inputs_matter(self) -> None:
        model, rows = beside().eval(), torch.rand(2, 4)
        base = model(self.x, rows)
        assert not torch.allclose(base, model(self.x, rows + 1), atol=1e-3)
        assert not torch.allclose(base, model(self.x * 0, rows), atol=1e-5)

    def test_learns_from_metadata_alone(self) -> None:
        """The label is the sign of the second number; the pictures are all the same."""
        generator = torch.Generator().manual_seed(0)
        rows = torch.randn(64, 4, generator=generator)
        labels = (rows[:, 1] > 0).long()
        model, pictures = beside().train(), self.x[:1].expand(64, -1, -1, -1)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for _ in range(40):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(pictures, rows), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        model.eval()
        assert (model(pictures, rows).argmax(1) == labels).float().mean() > 0.9

    @pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit", "cifar_cnn"])
    def test_layer_decay_gives_each_layer_timms_rate(self, name: str) -> None:
        made = Architecture(name, 3, 3, 160, 160)
        plain = build(made)
        model = build(Architecture(**{**asdict(made), "metadata_features": 4}))

        def rates(network: nn.Module) -> dict[str, float]:
            groups = param_groups_layer_decay(network, layer_decay=0.5)
            scale = {id(value): group["lr_scale"] for group in groups for value in group["params"]}
            return {key.removeprefix("backbone."): scale[id(value)] for key, value in network.named_parameters()}

        with_metadata, without = rates(model), rates(plain)
        shared = without.keys() & with_metadata.keys()
        assert len(shared) > len(without) - 3
        assert {key: with_metadata[key] for key in shared} == {key: without[key] for key in shared}
        assert all(rate == 1.0 for key, rate in with_metadata.items() if key.startswith(("classifier.", "metadata.")))
        assert min(with_metadata.values()) < 0.2

    def test_no_weight_decay_where_the_backbone_wants_none(self) -> None:
        made = Architecture("test_vit", 3, 3, 160, 160, metadata_features=4)
        groups = create_optimizer_v2(build(made), opt="adamw", lr=1e-3, weight_decay=0.1).param_groups
        decays = {tuple(value.shape) for group in groups if group["weight_decay"] for value in group["params"]}
        assert timm.create_model("test_vit").pos_embed.shape not in decays
        assert (3, 64 + 64) in decays


def test_input_is_not_changed() -> None:
    """Heads that work in place would spoil a batch that another model of the ensemble sees next."""
    model = network("test_efficientnet", "gem")
    x = torch.rand(2, 3, 64, 64)
    kept: Tensor = x.clone()
    model(x)
    assert torch.equal(x, kept)
