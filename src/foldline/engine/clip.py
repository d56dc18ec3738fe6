"""Keeps gradients from growing too large, between the backward pass and the optimizer's step."""

from timm.utils import dispatch_clip_grad
from torch import nn

from foldline.core.run import Optim
from foldline.engine.unfreeze import classifier_names


def clip(model: nn.Module, optim: Optim) -> None:
    """Clips the gradients in place, by timm's dispatcher; `optim.clip` of 0 leaves them alone.

    norm: all gradients together are scaled down to a norm of at most `clip`. value: each number is cut off at
    +- clip. agc: each unit's gradient is at most `clip` times its weights' norm (Brock et al. 2021,
    https://arxiv.org/abs/2102.06171; 0.01 to 0.16 there), but for the classifier, as the paper says.
    """
    if optim.clip == 0:
        return
    left_out = classifier_names(model) if optim.clip_mode == "agc" else set()
    parameters = [parameter for name, parameter in model.named_parameters() if name not in left_out]
    dispatch_clip_grad(parameters, optim.clip, mode=optim.clip_mode)
