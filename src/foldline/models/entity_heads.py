"""Heads over an entity's pictures: their features, in order and with a mask, become one vector, and that the answer.

`attach_entity_head` lets a network take [entities, pictures, channels, height, width]; its names and weights stay, and
`entity_head.*` is added. A picture alone [rows, channels, height, width] is an entity of one. Reads, writes nothing.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from foldline.core.choices import Entity
from foldline.core.errors import FoldlineError
from foldline.models.heads import classifier_name

MISSING = -1.0  # the place of a picture that is not there
SMALLEST = 1e-6


class EntityHead(nn.Module):
    """What the pictures of an entity have in common.

    Args:
        width: the length of a picture's features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def looked(self, x: Tensor, places: Tensor) -> Tensor:  # noqa: ARG002 - others look where they stand
        """[entities, pictures, width] each picture's features as it is seen among the others; here as they are."""
        return x

    def pooled(self, x: Tensor, there: Tensor) -> Tensor:
        """[entities, pictures, width] -> [entities, width]; `there` [entities, pictures, 1] is false where none is."""
        raise NotImplementedError


class Mean(EntityHead):
    """The mean of the features."""

    def pooled(self, x: Tensor, there: Tensor) -> Tensor:
        """As of every head."""
        return (x * there).sum(1) / there.sum(1)


class Max(EntityHead):
    """The largest of each feature."""

    def pooled(self, x: Tensor, there: Tensor) -> Tensor:
        """As of every head."""
        return x.masked_fill(~there, float("-inf")).amax(1)


class Gem(EntityHead):
    """Generalised mean (`models.heads.GeM`) over pictures; features below 0 count as 0. p is learnt and starts at 3."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.p = nn.Parameter(torch.full((1,), 3.0))

    def pooled(self, x: Tensor, there: Tensor) -> Tensor:
        """As of every head."""
        powers = x.clamp(min=SMALLEST) ** self.p * there
        mean: Tensor = (powers.sum(1) / there.sum(1)) ** (1 / self.p)
        return mean


class Attention(EntityHead):
    """Gated attention: weights of the pictures, by themselves, that sum to 1.

    Source: Ilse, Tomczak, Welling 2018, "Attention-based Deep Multiple Instance Learning", eq. 9,
    https://arxiv.org/abs/1802.04712.

    Args:
        units: the width of its hidden layer.
    """

    def __init__(self, width: int, *, units: int) -> None:
        super().__init__(width)
        self.tanh, self.gate, self.weigh = nn.Linear(width, units), nn.Linear(width, units), nn.Linear(units, 1)

    def weights(self, x: Tensor, there: Tensor) -> Tensor:
        """[entities, pictures, 1]; 0 where no picture is."""
        scores: Tensor = self.weigh(torch.tanh(self.tanh(x)) * torch.sigmoid(self.gate(x)))
        return scores.masked_fill(~there, float("-inf")).softmax(1)

    def pooled(self, x: Tensor, there: Tensor) -> Tensor:
        """As of every head."""
        return (self.weights(x, there) * x).sum(1)


class Sequence(Attention):
    """What looks at the pictures in their order adds to each one's features; then attention. It starts from nothing:
    the last layer's weights are 0, so the first step sees attention alone.

    Args:
        look: [entities, pictures, units] and places -> [entities, pictures, units].
    """

    def __init__(self, width: int, *, units: int) -> None:
        super().__init__(width, units=units)
        self.narrow, self.widen = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, units)), nn.Linear(units, width)
        nn.init.zeros_(self.widen.weight)
        nn.init.zeros_(self.widen.bias)

    def look(self, x: Tensor, places: Tensor) -> Tensor:
        """[entities, pictures, units] -> the same."""
        raise NotImplementedError

    def looked(self, x: Tensor, places: Tensor) -> Tensor:
        """As of every head."""
        seen: Tensor = x + self.widen(self.look(self.narrow(x), places))
        return seen


class Transformer(Sequence):
    """torch's encoder over the pictures, which know their place in the stack by sines of it (Vaswani et al. 2017)."""

    def __init__(self, width: int, *, units: int, layers: int, heads: int, dropout: float) -> None:
        if units % heads or units % 2:
            raise FoldlineError(
                f"{units} units are no even number, or cannot be divided among {heads} heads of attention",
                where="model.entity.options",
                next="give units that are a multiple of heads and of 2: 128 and 4",
            )
        super().__init__(width, units=units)
        layer = nn.TransformerEncoderLayer(
            units, heads, 4 * units, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def look(self, x: Tensor, places: Tensor) -> Tensor:
        """As of every sequence."""
        seen: Tensor = self.encoder(x + sines(places, x.shape[2]), src_key_padding_mask=places < 0)
        return seen


class Gru(Sequence):
    """torch's GRU over the pictures from the first to the last, and another one back."""

    def __init__(self, width: int, *, units: int, layers: int) -> None:
        super().__init__(width, units=units)
        self.forth = nn.GRU(units, units, layers, batch_first=True)
        self.back = nn.GRU(units, units, layers, batch_first=True)
        self.join = nn.Linear(2 * units, units)

    def look(self, x: Tensor, places: Tensor) -> Tensor:
        """As of every sequence; pictures that are not there stand behind the others, and are read last both times."""
        steps = torch.arange(x.shape[1], device=x.device)
        last = (places >= 0).sum(1, keepdim=True) - 1
        turned = torch.where(steps <= last, last - steps, steps)[:, :, None].expand_as(x)
        back = self.back(x.gather(1, turned))[0].gather(1, turned)
        joined: Tensor = self.join(torch.cat([self.forth(x)[0], back], dim=2))
        return joined


def sines(places: Tensor, width: int) -> Tensor:
    """[entities, pictures] from 0 to 1 -> [entities, pictures, width]: waves of half a turn to 1,000 over a stack."""
    waves = torch.logspace(0, 3, width // 2, device=places.device) * torch.pi / 2
    angles = places[:, :, None] * waves
    return torch.cat([angles.sin(), angles.cos()], dim=2)


ENTITY_HEADS: dict[str, Callable[..., EntityHead]] = {
    "mean": Mean, "max": Max, "gem": Gem, "attention": Attention, "transformer": Transformer, "gru": Gru,
}  # fmt: skip
NOT_OF_HEADS = ("pictures", "by", "per_picture")  # options that say which pictures, and what is answered


def attach_entity_head(model: nn.Module, entity: Mapping[str, Any], per_picture: list[bool]) -> nn.Module:
    """The network with a head over pictures; changed in place.

    Args:
        entity: `model.entity` as a JSON value.
        per_picture: of each logit, whether it is each picture's own; empty: all are the entity's.

    Raises:
        FoldlineError: its classifier takes no vector of features; options that do not fit one another.
    """
    last: Any = model.get_classifier()  # type: ignore[operator]
    if not hasattr(last, "in_features"):
        classifier_name(model)
    options = {key: value for key, value in entity["options"].items() if key not in NOT_OF_HEADS}
    model.entity_head = ENTITY_HEADS[entity["name"]](int(last.in_features), **options)
    if any(per_picture):
        model.register_buffer("per_picture", torch.tensor(per_picture), persistent=False)
    model.__class__ = _with_entities(type(model))  # type: ignore[arg-type]
    return model


def sees_entities(model: nn.Module) -> bool:
    """Whether a network has a head over pictures."""
    return hasattr(model, "entity_head")


def entity_options(entity: Entity) -> dict[str, Any]:
    """`model.entity` as an architecture keeps it; empty where there is none."""
    return {} if entity.name == "none" else entity.model_dump(mode="json")


@cache
def _with_entities(kind: type[Any]) -> type[nn.Module]:
    """A subclass and no wrapper: names of weights, layers and their groups stay those of the network."""

    def picture_features(self: Any, x: Tensor, *metadata: Tensor) -> Tensor:
        """[pictures, channels, height, width] -> [pictures, features]: what the classifier would take of each."""
        features: Tensor = self.forward_head(self.forward_features(x), *metadata, pre_logits=True)
        return features.flatten(1)

    def answer(self: Any, features: Tensor, places: Tensor) -> Tensor:
        """[entities, pictures, features] and [entities, pictures] places -> [entities, logits], or where some are
        answered picture by picture [entities, pictures, logits]. In float32."""
        with torch.autocast(features.device.type, enabled=False):
            seen = self.entity_head.looked(features.float(), places)
            whole: Tensor = self.get_classifier()(self.entity_head.pooled(seen, (places >= 0)[:, :, None]))
            if not hasattr(self, "per_picture"):
                return whole
            own = self.get_classifier()(seen.flatten(0, 1)).unflatten(0, seen.shape[:2])
            return torch.where(self.per_picture, own, whole[:, None])

    def forward(self: Any, x: Tensor, *beside: Tensor) -> Tensor:
        """[entities, pictures, channels, height, width], their places, [metadata of each]; or pictures alone."""
        if x.ndim == 4:
            features = self.picture_features(x, *beside)
            logits: Tensor = self.answer(features[:, None], features.new_zeros(len(x), 1, dtype=torch.float32))
            return logits.flatten(0, -2)
        places, *metadata = beside
        features = self.picture_features(x.flatten(0, 1), *(values.flatten(0, 1) for values in metadata))
        return self.answer(features.unflatten(0, x.shape[:2]), places)  # type: ignore[no-any-return]

    own = {"forward": forward, "picture_features": picture_features, "answer": answer}
    return type(kind.__name__, (kind,), {**own, "__doc__": kind.__doc__, "__module__": kind.__module__})
