"""Sharpness-aware minimisation: gradients are taken where the loss is worst near the weights.

Source: Foret et al. 2021, https://arxiv.org/abs/2010.01412.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

TINY = 1e-12  # beside the gradients' norm


@contextmanager
def climbed(model: nn.Module, radius: float) -> Iterator[None]:
    """Inside, the weights stand `radius` uphill along their gradients; behind it, where they stood, bit for bit.

    Batch-norm statistics of what is seen inside are forgotten: predictions are made with the weights outside. Scaled
    gradients (fp16) climb alike, since their length does not count.
    """
    moved = [parameter for parameter in model.parameters() if parameter.grad is not None]
    before = [parameter.detach().clone() for parameter in moved]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with torch.no_grad():
        length = torch.stack([parameter.grad.norm() for parameter in moved if parameter.grad is not None]).norm()
        for parameter in moved:
            assert parameter.grad is not None
            parameter.add_(parameter.grad * (radius / (length + TINY)))
    yield
    with torch.no_grad():
        for parameter, own in zip(moved, before, strict=True):
            parameter.copy_(own)
        for buffer, was in buffers:
            buffer.copy_(was)
