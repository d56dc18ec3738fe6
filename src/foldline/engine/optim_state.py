"""An optimizer's state as named tensors and a JSON value, and back: what a resume point can hold without pickle.

Most optimizers keep tensors by parameter; some also keep lists of tensors, numbers, tensors in their groups, or
types. All of these are kept.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


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
