"""What training minimises and how logits become predictions; a new loss is a function here and a line in LOSSES."""

from foldline.engine.losses.activations import activate
from foldline.engine.losses.catalogue import LOSSES, Objective, balanced_weights, build_objective
from foldline.engine.losses.distill import Teacher, distillation_loss, require_distillable

__all__ = [
    "LOSSES",
    "Objective",
    "Teacher",
    "activate",
    "balanced_weights",
    "build_objective",
    "distillation_loss",
    "require_distillable",
]
