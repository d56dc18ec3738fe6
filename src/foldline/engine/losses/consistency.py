"""The loss of a row's pictures together: that of the first, which is as it is, and how far what is said of all differs.

Source: AugMix, Hendrycks et al. 2020, https://arxiv.org/abs/1912.02781; timm's `JsdCrossEntropy`, here beside any loss.
"""

from dataclasses import replace

import torch
from torch import Tensor

from foldline.core.choices import Copies
from foldline.core.errors import FoldlineError
from foldline.engine.losses.activations import activate
from foldline.engine.losses.catalogue import Objective
from foldline.engine.losses.spec import Mean, Table, Target

LEAST = 1e-7  # of a probability whose logarithm is taken, as in timm's


def compared(copies: Copies) -> int:
    """How many rows beside each other are pictures of one and are compared; 1: none are."""
    return int(copies.options["count"]) if copies.name == "consistent" else 1


def consistent(objective: Objective, copies: Copies) -> Objective:
    """The objective with the divergence of the copies beside it; as it is where they are not compared.

    Its logits and targets are those of the copies of a row beside each other. The validation loss stays.

    Raises:
        FoldlineError: the outputs are no probabilities.
    """
    count, activation, function = compared(copies), objective.activation, objective.function
    if count == 1:
        return objective
    weight = float(copies.options["weight"])
    if activation not in ("softmax", "sigmoid"):
        raise FoldlineError(
            f"outputs that are read as '{activation}' are not probabilities by one softmax or by sigmoids",
            where="augment.copies: consistent",
            next="use augment.copies: augmented, or loss.name: auto",
        )

    def loss(logits: Table, target: Target) -> Mean:
        prob = activate(logits, activation).reshape(len(logits) // count, count, -1)
        return function(logits[::count], target[::count]) + weight * divergence(prob, activation)

    return replace(objective, function=loss)


def divergence(prob: Tensor, activation: str) -> Mean:
    """The Jensen-Shannon divergence of what is said of a row's copies, the mean over the rows.

    Args:
        prob: [rows, copies, outputs].
        activation: sigmoid: each output is a yes or no, whose divergences add up.
    """
    if activation == "sigmoid":
        prob = torch.stack([prob, 1 - prob], -1).flatten(2)
    mixture = prob.mean(1, keepdim=True).clamp(LEAST, 1)
    terms: Tensor = prob * (prob.clamp(min=LEAST).log() - mixture.log())  # whose gradient is finite where prob is 0
    return terms.sum(2).mean()
