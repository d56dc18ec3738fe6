"""What a fold's meta keeps of its network: all that rebuilds it, and how its pictures are scaled."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Architecture:
    """Everything that rebuilds a network without its YAML: kept in each fold's meta.

    Attributes:
        name: timm's, or a function of the user's own as `core.own_code.locate` gives it.
        outputs: logits a row.
        channels: of a picture.
        height: of a picture, in px; so is `width`.
        pool: `model.pool`.
        head: `model.head` as a JSON value; empty: linear.
        metadata_features: numbers a row beside the picture (`models.metadata.Encoding.features`); 0: none.
        options: further arguments of the network in timm.
        channels_last: the layout of its pictures in memory; the results differ by rounding.
        entity: `model.entity` as a JSON value; empty: it sees one picture a row.
        per_picture: of each logit, whether it is each picture's own; empty: all are the entity's.
    """

    name: str
    outputs: int
    channels: int
    height: int
    width: int
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    pool: str = "default"
    head: dict[str, Any] = field(default_factory=dict)
    metadata_features: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    channels_last: bool = True
    entity: dict[str, Any] = field(default_factory=dict)
    per_picture: list[bool] = field(default_factory=list)


@dataclass(frozen=True)
class Preprocessing:
    """What the pretrained weights expect: pictures in [0, 1], then (x - mean) / std for each channel."""

    mean: list[float]
    std: list[float]
    interpolation: str
