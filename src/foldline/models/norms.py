"""The batch-norms of a network."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """Those that keep running statistics, as all do that timm builds."""
    found = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    return [module for module in found if module.running_mean is not None]


@contextmanager
def counted_anew(network: nn.Module) -> Iterator[None]:
    """Inside, running statistics begin anew and are plain means over the batches seen in training mode."""
    layers = batch_norms(network)
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a cumulative mean
    yield
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
