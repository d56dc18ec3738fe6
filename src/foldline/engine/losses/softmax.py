"""Losses for rows that have one class, or probabilities of classes: a softmax over all outputs.

Each builder returns a function of logits [batch, classes] and a target, class indices [batch] or probabilities
[batch, classes]. Everything is computed from logarithms, so logits of any size give finite gradients.
"""

import math

import torch
from torch import Tensor, nn

from foldline.engine.losses.spec import (
    Constant,
    LossContext,
    LossFunction,
    Mean,
    Rows,
    Table,
    Target,
    over_classes,
    over_rows,
    probabilities,
    smooth,
    weighted,
)

_LEAST = 1e-12  # below this a power smaller than 1 has too steep a slope


def cross_entropy(context: LossContext) -> LossFunction:
    """- sum_c weight_c t_c log p_c, torch's. Smoothing as in Szegedy et al. 2016 (https://arxiv.org/abs/1512.00567)."""
    if context.weights is None:
        return nn.CrossEntropyLoss(label_smoothing=context.smoothing)
    return over_classes(context, lambda logits, hot: -hot * logits.log_softmax(1))


def focal(context: LossContext) -> LossFunction:
    """- sum_c (1 - p_c)^gamma t_c log p_c (Lin et al. 2017, https://arxiv.org/abs/1708.02002).

    Options:
        gamma: 0 to 10, default 2; how little easy rows count; 0 is cross-entropy.
        alpha: 0 to 1, default off, for two classes; the weight of the last one, 1 - alpha that of the first.
    """
    gamma, alpha = context.number("gamma"), context.options.get("alpha")
    both = None if alpha is None else Constant(torch.tensor([1 - alpha, alpha], dtype=torch.float64))

    def terms(logits: Table, hot: Table) -> Table:
        log_prob = logits.log_softmax(1)
        parts = -hot * log_prob * _rest(log_prob) ** gamma
        return parts if both is None else parts * both.like(parts)

    return over_classes(context, terms)


def _rest(log_prob: Tensor) -> Tensor:
    """1 - p, exact where p is near 1."""
    return (-torch.expm1(log_prob)).clamp_min(_LEAST)


def asymmetric(context: LossContext) -> LossFunction:
    """Cross-entropy whose easy terms count less (the one-label form of https://arxiv.org/abs/2009.14119).

    A class's term counts (1 - p)^gamma_pos where it is the row's, else p^gamma_neg; the others' terms are not
    zero only with smoothing or soft labels. Equal to timm's AsymmetricLossSingleLabel, which takes indices alone.

    Options:
        gamma_pos: 0 to 10, default 1.
        gamma_neg: 0 to 10, default 4.
    """
    positive, negative = context.number("gamma_pos"), context.number("gamma_neg")

    def loss(logits: Table, target: Target) -> Mean:
        hot = probabilities(target, logits.shape[1], logits)
        log_prob = logits.log_softmax(1)
        focus = hot * _rest(log_prob) ** positive + (1 - hot) * (negative * log_prob).exp()
        terms = -smooth(hot, context.smoothing) * log_prob * focus
        return weighted(terms, context.weights).sum(1).mean()

    return loss


def poly(context: LossContext) -> LossFunction:
    """Poly-1: - log p + epsilon (1 - p) of the row's class (Leng et al. 2022, https://arxiv.org/abs/2204.12511).

    Options:
        epsilon: -1 to 10, default 1; 0 is cross-entropy.
    """
    epsilon = context.number("epsilon")

    def terms(logits: Table, hot: Table) -> Table:
        log_prob = logits.log_softmax(1)
        return hot * (-log_prob + epsilon * -torch.expm1(log_prob))

    return over_classes(context, terms)


def kullback_leibler(context: LossContext) -> LossFunction:
    """sum_c t_c (log t_c - log p_c): cross-entropy less the entropy of the soft label, so 0 is perfect."""
    return over_classes(context, lambda logits, hot: torch.xlogy(hot, hot) - hot * logits.log_softmax(1))


def arcface(context: LossContext) -> LossFunction:
    """Cross-entropy after the row's class's angle is made `margin` larger (https://arxiv.org/abs/1801.07698).

    Takes what an ArcFace head gives: scale x cosine. A soft label of t moves its class's angle by t x margin.
    Where the angle would pass pi the cosine goes on in a straight line, as in the authors' code. With `rare_margin`
    margins go with rows^(-1/4), as in Ha et al. 2020, https://arxiv.org/abs/2010.05350.

    Options:
        margin: 0 to 1.5 radians, default 0.3; 0 is cross-entropy. The scale is the head's (`model.head.options.scale`).
        rare_margin: 0 to 1.5, default off; the rarest class's margin, `margin` is then that of the most frequent one.
    """
    margins, scale, plain = _margins(context), context.scale, cross_entropy(context)

    def loss(logits: Table, target: Target) -> Mean:
        hot = probabilities(target, logits.shape[1], logits)
        return plain(_with_margin(logits, hot, margins.like(logits), scale), target)

    return loss


def _margins(context: LossContext) -> Constant:
    """[classes] each class's margin, or [1] that of all."""
    least, most = context.number("margin"), context.options.get("rare_margin")
    if most is None or context.counts is None:
        return Constant(torch.tensor([least], dtype=torch.float64))
    rarity = torch.from_numpy(context.counts).clamp_min(1) ** -0.25
    span = (rarity.max() - rarity.min()).clamp_min(1e-12)
    return Constant(least + (most - least) * (rarity - rarity.min()) / span)


def _with_margin(logits: Table, hot: Table, margin: Tensor, scale: float) -> Table:
    """Logits scale x cos(angle + margin x label); those without a label stay."""
    cosine = (logits / scale).clamp(-1 + 1e-6, 1 - 1e-6)  # the sine's slope is infinite at 1
    sine = (1 - cosine.square()).sqrt()
    angle = margin * hot
    moved = cosine * angle.cos() - sine * angle.sin()
    straight = cosine - angle * angle.sin()
    past_pi = cosine <= (math.pi - angle).cos()
    return torch.where(hot > 0, scale * torch.where(past_pi, straight, moved), logits)


def bi_tempered(context: LossContext) -> LossFunction:
    """The bi-tempered logistic loss: bounded for outliers (t1), heavy-tailed for mislabelled rows (t2).

    With log_t(x) = (x^(1-t) - 1) / (1-t), p the tempered softmax and y the label (Amid et al. 2019,
    https://arxiv.org/abs/1906.03361): sum_c y (log_t1 y - log_t1 p) - (y^(2-t1) - p^(2-t1)) / (2-t1).

    Options:
        t1: 0 to 1, default 0.8; below 1 the loss of a row is bounded.
        t2: 1 to 2, default 1.2; above 1 the tails are heavy. t1 = t2 = 1 is `kl`.
    """
    t1, t2 = context.number("t1"), context.number("t2")

    def terms(logits: Table, hot: Table) -> Rows:
        log_prob = log_tempered_softmax(logits, t2)
        matched = hot * (_log(hot.log(), t1) - _log(log_prob, t1)) if t1 < 1 else torch.xlogy(hot, hot) - hot * log_prob
        return (matched - (hot.pow(2 - t1) - ((2 - t1) * log_prob).exp()) / (2 - t1)).sum(1)

    return over_rows(context, terms)


def _log(log_x: Tensor, t: float) -> Tensor:
    """log_t(x) from log x; finite at x = 0 for t < 1."""
    return torch.expm1((1 - t) * log_x) / (1 - t)


def log_tempered_softmax(logits: Tensor, t2: float) -> Tensor:
    """log of exp_t2(logits - shift), where exp_t(x) = (1 + (1-t) x)^(1/(1-t)) and the shift makes the sum 1.

    The shift is found by Newton's method, which climbs from the largest logit and cannot overshoot, since the
    sum is convex in it. Its last step is the only one with a gradient: that is the exact gradient of the solution.

    >>> log_tempered_softmax(torch.tensor([[0.0, 0.0]]), 1.5).exp()
    tensor([[0.5000, 0.5000]])
    """
    if t2 == 1:
        return logits.log_softmax(-1)

    def log_prob(shift: Tensor) -> Tensor:
        return -torch.log1p((t2 - 1) * (shift - logits)) / (t2 - 1)

    with torch.no_grad():
        shift = logits.amax(-1, keepdim=True)
        for _ in range(40):  # the excess over 1 shrinks by a constant factor, then quadratically
            at_shift = log_prob(shift)
            step = (at_shift.exp().sum(-1, keepdim=True) - 1) / (t2 * at_shift).exp().sum(-1, keepdim=True)
            shift = shift + step.clamp_min(0)
        slope = (t2 * log_prob(shift)).exp().sum(-1, keepdim=True)
    return log_prob(shift + (log_prob(shift).exp().sum(-1, keepdim=True) - 1) / slope)
