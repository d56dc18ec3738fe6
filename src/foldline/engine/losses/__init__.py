"""What training minimises and how logits become predictions; a new loss is a function here and a line in LOSSES."""

from foldline.engine.losses.activations import activate, as_logits, center_and_spread, kind_of
from foldline.engine.losses.catalogue import LOSSES, Objective, balanced_weights, build_objective
from foldline.engine.losses.consistency import compared, consistent
from foldline.engine.losses.distill import Teacher, distillation_loss, require_distillable

__all__ = [
    "LOSSES",
    "Objective",
    "Teacher",
    "activate",
    "as_logits",
    "balanced_weights",
    "build_objective",
    "center_and_spread",
    "compared",
    "consistent",
    "distillation_loss",
    "kind_of",
    "require_distillable",
]
