"""Networks that differ in the classifier alone share one pass; all others are run as they are."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from convolved import inputs, lived_in
from foldline.models.architecture import Architecture
from foldline.models.backbone import build, classifier
from foldline.models.fusing import fuse
from foldline.models.together import Together

SMALL = Architecture("test_efficientnet", 4, 3, 64, 64)


def with_other_classifier(model: nn.Module) -> nn.Module:
    copy = deepcopy(model)
    nn.init.normal_(classifier(copy).weight)
    return copy


@torch.no_grad()
@pytest.mark.parametrize(
    "name", ["test_efficientnet", "resnet18", "test_convnext", "test_vit", "tf_efficientnet_lite0"]
)
@pytest.mark.parametrize("fused", [False, True])
def test_shared_and_alone(name: str, fused: bool) -> None:
    """Two networks of their own, three that share a body: five columns of logits, three bodies."""
    made = Architecture(name, 4, 3, 160, 160) if name == "test_vit" else Architecture(name, 4, 3, 64, 64)
    start, one = lived_in(made).eval(), build(made).eval()
    models = [one, start, with_other_classifier(start), build(made).eval(), with_other_classifier(start)]
    models = [fuse(model, made) for model in models] if fused else models
    x = inputs(made)
    together = Together(models, *(values[:1] for values in x))
    assert [body.places for body in together.bodies] == [[0], [1, 2, 4], [3]]
    expected = torch.stack([model(*x) for model in models])
    assert torch.allclose(together(*x), expected, atol=1e-5 * float(expected.abs().max()))


@torch.no_grad()
def test_beside_metadata() -> None:
    made = Architecture("test_resnet", 4, 3, 64, 64, metadata_features=5)
    model = lived_in(made).eval()
    models, x = [model, with_other_classifier(model)], inputs(made)
    together = Together(models, *x)
    assert len(together.bodies) == 1
    assert torch.allclose(together(*x), torch.stack([model(*x) for model in models]), atol=1e-5)


class Doubled(nn.Module):
    """A network of the user's own that does something behind its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

    def get_classifier(self) -> nn.Linear:
        return self.last

    def forward_features(self, x: Tensor) -> Tensor:
        found: Tensor = self.body(x)
        return found

    def forward_head(self, x: Tensor, *, pre_logits: bool = False) -> Tensor:
        found: Tensor = x if pre_logits else 2 * self.last(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


@torch.no_grad()
def test_what_cannot_be_taken_apart_is_left_whole() -> None:
    model, x = Doubled(), torch.randn(5, 3)
    for models in ([model, with_other_classifier(model)], [nn.Linear(3, 2), nn.Linear(3, 2)]):
        together = Together(models, x[:2])
        assert [body.places for body in together.bodies] == [[0], [1]]
        assert torch.equal(together(x), torch.stack([one(x) for one in models]))


class Stubborn(Doubled):
    """One that gives no features."""

    def forward_head(self, x: Tensor) -> Tensor:  # type: ignore[override]
        found: Tensor = self.last(x)
        return found


@torch.no_grad()
def test_a_network_that_gives_no_features_is_left_whole() -> None:
    model, x = Stubborn(), torch.randn(5, 3)
    together = Together([model, with_other_classifier(model)], x[:2])
    assert [body.places for body in together.bodies] == [[0], [1]]


@torch.no_grad()
def test_networks_with_channels_first_get_them_so_when_they_share_a_body() -> None:
    made = Architecture("test_efficientnet", 4, 3, 64, 64, channels_last=False)
    model = lived_in(made).eval()
    seen: list[bool] = []
    model.get_submodule("conv_stem").register_forward_pre_hook(lambda _, x: seen.append(x[0].is_contiguous()))
    (x,) = inputs(made)
    x = x.contiguous(memory_format=torch.channels_last)
    together = Together([model, with_other_classifier(model)], x[:2])
    assert len(together.bodies) == 1
    together(x)
    assert len(seen) >= 3
    assert all(seen)
