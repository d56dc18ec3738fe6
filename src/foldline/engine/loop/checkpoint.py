"""A fold's files: weights, meta, and the resume point. safetensors and JSON only, written whole or not at all.

`resume` is one safetensors file; what is no tensor stands as JSON in its header. It holds the position in
training and everything that the next step depends on. Nothing random is in it: what is random in a step
is a function of (seed, fold, step). The newest two are kept, each with a hash of all its content.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from foldline.core.errors import FoldlineError, first_few
from foldline.core.progress import say
from foldline.core.tables import atomic_path, remove, sha256_json
from foldline.engine.machine.ranks import Ranks
from foldline.models.backbone import state_sha256

State = dict[str, Tensor]


def cpu_copy(state: State) -> State:
    """A copy of a state dict in main memory, which later steps do not change."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in state.items()}


def save_weights(path: Path, state: State) -> None:
    """Writes a state dict as safetensors."""
    _save(path, {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})


def _save(path: Path, state: State, metadata: dict[str, str] | None = None, former: Path | None = None) -> None:
    with atomic_path(path, former=former) as temporary:
        try:
            save_file(state, temporary, metadata=metadata)
        except safetensors.SafetensorError as error:
            refused = re.search(r"os error (\d+)", str(error))
            if refused is None:
                raise
            raise OSError(int(refused[1]), os.strerror(int(refused[1])), str(path)) from error


def former_resume(path: Path) -> Path:
    """Where the resume point lies that was written before the one at `path`."""
    return path.with_name(path.name + ".before")


def save_resume(
    path: Path, tensors: dict[str, State], optimizer: Optimizer, position: dict[str, Any], made_from: dict[str, Any]
) -> None:
    """Writes a resume point, with the hash of all that is in it; the one that lies there becomes the former one.

    Args:
        tensors: named state dicts: model, and where used ema and best.
        position: a JSON value: where training stands.
        made_from: a JSON value: what the training is of (folds, choices, inputs).
    """
    moments, rest = pack(optimizer)
    flat = {f"{part}/{name}": tensor for part, content in tensors.items() for name, tensor in content.items()}
    flat = cpu_copy(flat | {f"optimizer/{name}": tensor for name, tensor in moments.items()})
    header = json.dumps({"position": position, "optimizer": rest, "made_from": made_from})
    _save(path, flat, {"foldline": header, "sha256": _sha256(header, flat)}, former_resume(path))


def _sha256(header: str, flat: State) -> str:
    return sha256_json([header, state_sha256(flat)])


def load_resume(
    path: Path, optimizer: Optimizer, made_from: dict[str, Any], title: str, ranks: Ranks | None = None
) -> tuple[dict[str, State], dict[str, Any]] | None:
    """Fills the optimizer; returns the named state dicts and the position, None where there is no resume point.

    One that is damaged is said to be so and removed; then the former one counts.

    Args:
        title: what messages call the fold.
        ranks: of which the first one reads, and tells the others; None: there is one.

    Raises:
        FoldlineError: it is of another training: weights that were trained on other folds may have seen this fold's
            rows (it can be deleted; the fold then starts anew).
    """
    found = (ranks or Ranks()).told(lambda: _newest(path, made_from, title))
    if found is None:
        return None
    header, flat = found
    parts: dict[str, State] = {}
    for key, tensor in flat.items():
        part, _, name = key.partition("/")
        parts.setdefault(part, {})[name] = tensor
    unpack(optimizer, parts.pop("optimizer", {}), header["optimizer"])
    _lay_out_like_parameters(optimizer)
    return parts, header["position"]


def _newest(path: Path, made_from: dict[str, Any], title: str) -> tuple[dict[str, Any], State] | None:
    """The header and the tensors of the newest resume point that is whole."""
    for place in (path, former_resume(path)):
        if not place.is_file():
            continue
        try:
            header, flat = _read(place)
        except DamagedError as error:
            other = place == path and former_resume(path).is_file()
            then = "it goes on from the one before" if other else "it starts anew"
            say(f"warning: {title}: the resume point is damaged ({error}): {then}")
            remove(place)
            continue
        _require_same(place, header["made_from"], made_from)
        return header, flat
    return None


class DamagedError(Exception):
    """A file is not as it was written."""


def _read(path: Path) -> tuple[dict[str, Any], State]:
    """A resume point's header and tensors; raises DamagedError where they are not those that were written."""
    path.open("rb").close()  # what cannot be opened is not damaged
    try:
        with safetensors.safe_open(path, framework="pt") as handle:
            metadata = handle.metadata()
            flat = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 - not a dict
        text = metadata["foldline"]
        header: dict[str, Any] = json.loads(text)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DamagedError(str(error) or type(error).__name__) from error
    if metadata.get("sha256", "") not in ("", _sha256(text, flat)):  # earlier versions wrote none
        raise DamagedError("its content has another sha256 than was written into it")
    return header, flat


def _require_same(path: Path, was: dict[str, Any], now: dict[str, Any]) -> None:
    odd = [name for name in now if was.get(name) != now[name]]
    if odd:
        raise FoldlineError(
            f"the resume point is of another training than that of now: {first_few(odd)} changed since it was written",
            where=str(path),
            next=f"delete this file and {former_resume(path).name}: the fold starts anew",
        )


def _lay_out_like_parameters(optimizer: Optimizer) -> None:
    """Gives the moments their parameters' strides: a fused optimizer walks through both memories side by side."""
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def load_state(model: nn.Module, state: State, *, where: str = "") -> None:
    """Fills a network from a state dict; raises FoldlineError where names or shapes are not the same."""
    own = model.state_dict()
    odd = sorted(state.keys() ^ own.keys()) or [name for name in own if own[name].shape != state[name].shape]
    if odd:
        raise FoldlineError(
            f"these weights are of another network: {first_few(odd)}",
            where=where,
            next="delete this fold's folder and train it again",
        )
    with torch.no_grad():
        model.load_state_dict(state)


def pack(optimizer: Optimizer) -> tuple[dict[str, Tensor], Any]:
    """The named tensors of an optimizer's state and, as a JSON value, everything else.

    Raises:
        TypeError: something is neither a tensor nor JSON, which is our own bug.
    """
    tensors: dict[str, Tensor] = {}
    return tensors, _pack(optimizer.state_dict(), tensors, "")


def _pack(value: Any, tensors: dict[str, Tensor], path: str) -> Any:
    if isinstance(value, Tensor):
        tensors[path] = value
        return {"tensor": path}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, Mapping):
        return {"items": [[key, _pack(item, tensors, f"{path}/{key}")] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_pack(item, tensors, f"{path}/{i}") for i, item in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{path}: a {type(value).__name__} cannot be kept in a resume point")


def unpack(optimizer: Optimizer, tensors: Mapping[str, Tensor], rest: Any) -> None:
    """Fills an optimizer with what `pack` gave."""
    optimizer.load_state_dict(_unpack(rest, tensors))


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    kind, content = next(iter(value.items()))
    if kind == "tensor":
        return tensors[content]
    if kind == "dtype":
        return getattr(torch, content)
    if kind == "items":
        return {key: _unpack(item, tensors) for key, item in content}
    items = [_unpack(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items
