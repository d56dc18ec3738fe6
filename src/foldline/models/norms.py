"""The batch-norms of a network."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """Those that keep running statistics, as all do that timm builds."""
    found = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    return [module for module in found if module.running_mean is not None]
