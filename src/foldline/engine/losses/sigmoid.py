"""Losses in which each output is a yes or no by itself: several labels can be true at once.

Each builder returns a function of logits [batch, outputs] and a target, class indices [batch] or probabilities
[batch, outputs]; the mean over rows and outputs. Smoothing moves 0 and 1 towards 1/2. Everything is computed from
log sigmoids, so logits of any size give finite gradients.
"""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from foldline.engine.losses.spec import LossContext, LossFunction, Table, over_labels


def binary_cross_entropy(context: LossContext) -> LossFunction:
    """- t log p - (1 - t) log(1 - p), torch's.

    Options:
        pos_weight: above 0 to 1000, default 1; what a yes counts against a no.
    """
    weight = context.number("pos_weight")

    def terms(logits: Table, hot: Table) -> Table:
        positive = None if weight == 1 else torch.full((), weight, dtype=logits.dtype, device=logits.device)
        return F.binary_cross_entropy_with_logits(logits, hot, pos_weight=positive, reduction="none")

    return over_labels(context, terms)


def focal(context: LossContext) -> LossFunction:
    """Binary cross-entropy times (1 - p of the truth)^gamma (Lin et al. 2017, https://arxiv.org/abs/1708.02002).

    Equal to torchvision's sigmoid_focal_loss, whose gradient is no number for gamma < 1 and sure outputs.

    Options:
        gamma: 0 to 10, default 2; 0 is `bce`.
        alpha: 0 to 1, default off; what a yes counts, 1 - alpha what a no counts.
    """
    gamma, alpha = context.number("gamma"), context.options["alpha"]
    yes, no = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)

    def terms(logits: Table, hot: Table) -> Table:
        log_yes, log_no = F.logsigmoid(logits), F.logsigmoid(-logits)
        return -yes * hot * (gamma * log_no).exp() * log_yes - no * (1 - hot) * (gamma * log_yes).exp() * log_no

    return over_labels(context, terms)


def asymmetric(context: LossContext) -> LossFunction:
    """Focal loss with another gamma for "no", and easy "no" left out (Ridnik et al. 2021, https://arxiv.org/abs/2009.14119).

    timm's AsymmetricLossMultiLabel cuts log p off at 1e-8, so its very wrong outputs learn nothing, and takes the
    sum over the batch; this is its value as a mean.

    Options:
        gamma_neg: 0 to 10, default 4.
        gamma_pos: 0 to 10, default 1.
        clip: 0 to 0.5, default 0.05; a "no" of a smaller probability costs nothing. All three 0: `bce`.
    """
    negative, positive, clip = context.number("gamma_neg"), context.number("gamma_pos"), context.number("clip")

    def terms(logits: Table, hot: Table) -> Table:
        log_yes, log_no = F.logsigmoid(logits), F.logsigmoid(-logits)
        cost = -hot * (positive * log_no).exp() * log_yes
        if clip == 0:
            return cost - (1 - hot) * (negative * log_yes).exp() * log_no
        shifted = (logits.sigmoid() - clip).clamp_min(0)
        return cost - (1 - hot) * _power(shifted, negative) * torch.log1p(-shifted)

    return over_labels(context, terms)


def _power(x: Tensor, exponent: float) -> Tensor:
    """x^exponent for 0 <= x, with a slope of 0 at 0."""
    return torch.where(x > 0, x.clamp_min(1e-12), 1.0) ** exponent * (x > 0) if exponent else torch.ones_like(x)


def poly(context: LossContext) -> LossFunction:
    """Poly-1 of binary cross-entropy: plus epsilon (1 - p of the truth) (https://arxiv.org/abs/2204.12511).

    Options:
        epsilon: -1 to 10, default 1; 0 is `bce`.
    """
    epsilon = context.number("epsilon")

    def terms(logits: Table, hot: Table) -> Table:
        wrong = hot * torch.sigmoid(-logits) + (1 - hot) * torch.sigmoid(logits)
        return F.binary_cross_entropy_with_logits(logits, hot, reduction="none") + epsilon * wrong

    return over_labels(context, terms)
