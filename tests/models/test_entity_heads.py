"""Heads over an entity's pictures: what is missing counts for nothing, and the order for what reads it alone."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from foldline.core.choices import Entity
from foldline.core.errors import FoldlineError
from foldline.models.architecture import Architecture
from foldline.models.backbone import build
from foldline.models.entity_heads import ENTITY_HEADS, MISSING, NOT_OF_HEADS

HEADS = list(ENTITY_HEADS)
PLACES = torch.tensor([[0.0, 0.5, 1.0], [0.0, 1.0, MISSING]])


def network(name: str, per_picture: list[bool] | None = None, **more: Any) -> Any:
    entity = Entity.model_validate({"name": name, "options": {"units": 16} if name not in PLAIN else {}})
    torch.manual_seed(0)
    model = build(
        Architecture(
            "cifar_cnn", 2, 1, 16, 16, options={"width": 4}, entity=entity.model_dump(), per_picture=per_picture or [],
            **more,
        )
    )  # fmt: skip
    for layer in model.modules():  # a last layer of zeros hides what it reads
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight)
    return model.eval()


PLAIN = ("mean", "max", "gem")


def pictures() -> Tensor:
    return torch.randn(2, 3, 1, 16, 16, generator=torch.Generator().manual_seed(1))


def test_every_choice_has_a_head_and_its_options() -> None:
    assert {"none", *ENTITY_HEADS} == set(Entity.known)
    assert all(set(NOT_OF_HEADS) <= set(options) for name, options in Entity.known.items() if name != "none")


@pytest.mark.parametrize("name", HEADS)
@torch.no_grad()
def test_what_fills_up_an_entity_counts_for_nothing(name: str) -> None:
    model, x = network(name), pictures()
    logits = model(x, PLACES)
    assert logits.shape == (2, 2)
    other = x.clone()
    other[1, 2] = 5
    assert torch.allclose(model(other, PLACES), logits, atol=1e-6)
    assert torch.allclose(model(x[1:, :2], PLACES[1:, :2]), logits[1:], atol=1e-5), "nor how much of it there is"
    other[1, 1] = 5
    assert not torch.allclose(model(other, PLACES)[1], logits[1], atol=1e-4), "the negative control"


@pytest.mark.parametrize("name", HEADS)
@torch.no_grad()
def test_the_order_counts_for_heads_that_read_it_alone(name: str) -> None:
    model, x = network(name), pictures()[:1]
    same = torch.allclose(model(x.flip(1), PLACES[:1]), model(x, PLACES[:1]), atol=1e-5)
    assert same == (name in (*PLAIN, "attention"))


@pytest.mark.parametrize("name", HEADS)
@torch.no_grad()
def test_a_picture_alone_is_an_entity_of_one(name: str) -> None:
    model, x = network(name), pictures()
    assert torch.allclose(model(x[:, 0]), model(x[:, :1], torch.zeros(2, 1)), atol=1e-6)


@torch.no_grad()
def test_some_logits_may_be_each_pictures_own() -> None:
    model, x = network("attention", [True, False]), pictures()
    logits, whole = model(x, PLACES), network("attention")(x, PLACES)
    assert logits.shape == (2, 3, 2)
    assert torch.allclose(logits[:, :, 1], whole[:, None, 1].expand(2, 3), atol=1e-6)
    alone = model.get_classifier()(model.picture_features(x.flatten(0, 1))).view(2, 3, 2)
    assert torch.allclose(logits[:, :, 0], alone[:, :, 0], atol=1e-6)


@torch.no_grad()
def test_metadata_of_each_picture_stand_beside_it() -> None:
    model, x = network("max", metadata_features=2), pictures()
    zeros = torch.zeros(2, 3, 2)
    assert not torch.allclose(model(x, PLACES, zeros), model(x, PLACES, zeros + 1), atol=1e-3)


@pytest.mark.parametrize("name", HEADS)
def test_names_and_weights_of_the_network_stay(name: str) -> None:
    plain = build(Architecture("cifar_cnn", 2, 1, 16, 16, options={"width": 4}))
    names = {key for key in network(name).state_dict() if not key.startswith("entity_head.")}
    assert names == set(plain.state_dict())


def test_units_that_cannot_be_divided_are_refused() -> None:
    entity = Entity.model_validate({"name": "transformer", "options": {"units": 18, "heads": 4}})
    with pytest.raises(FoldlineError, match="divided among 4 heads"):
        build(Architecture("cifar_cnn", 2, 1, 16, 16, entity=entity.model_dump()))
