"""The classifier in float32, also where autocast computes the body of a network in half precision.

A logit in bf16 has 8 bits: of 394 rows' scores 268 were distinct, a tie in a third of them, where a classifier in
float32 on the same features gave 394. It is the cheapest layer. Changes a network in place; names and weights stay.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

_HALF = (torch.bfloat16, torch.float16)


def keep_classifier_exact(model: nn.Module) -> None:
    """Lets the layer that gives the logits (of some networks two) take and give float32."""
    last = model.get_classifier()  # type: ignore[operator]
    for layer in last if isinstance(last, tuple | list | nn.ModuleList) else [last]:
        if not hasattr(type(layer), "computes_in_float32"):
            layer.__class__ = _in_float32(type(layer))  # type: ignore[arg-type]


@cache
def _in_float32(kind: type[nn.Module]) -> type[nn.Module]:
    """A subclass and no hook or closure: copies of a network (an average, a fused one) must use their own weights."""

    def forward(self: nn.Module, x: Tensor, *args: Any, **options: Any) -> Any:
        with torch.autocast(x.device.type, enabled=False):
            return kind.forward(self, x.float() if x.dtype in _HALF else x, *args, **options)

    names = {"forward": forward, "computes_in_float32": True, "__doc__": kind.__doc__, "__module__": kind.__module__}
    return type(kind.__name__, (kind,), names)
