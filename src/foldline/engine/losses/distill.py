"""Distillation: the fold's network also learns from what another run's network of the same fold says.

That teacher saw exactly the rows that the pupil sees, so the fold's validation rows stay unseen. It looks at the same
augmented picture as the pupil (Beyer et al. 2022, "Knowledge distillation: A good teacher is patient and
consistent", https://arxiv.org/abs/2106.05237).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from foldline.core.errors import FoldlineError
from foldline.engine.losses.activations import blocks_in, center_and_spread, kind_of
from foldline.engine.losses.spec import Constant, Mean, Table, weighted_mean
from foldline.images.normalise import Normaliser
from foldline.models.architecture import Preprocessing


@dataclass(frozen=True)
class Teacher:
    """A frozen network and how it wants its pictures."""

    models: list[nn.Module]
    preprocessing: Preprocessing
    height_width: tuple[int, int]
    activation: str
    device: torch.device

    @cached_property
    def normaliser(self) -> Normaliser:
        """Brings pictures to where it stands."""
        return Normaliser(self.preprocessing.mean, self.preprocessing.std, self.device)

    @torch.no_grad()
    def logits(self, images: Tensor, activation: str) -> Tensor:
        """[batch, outputs] for pictures [batch, channels, height, width] of any size, 0..255; mixed as the pupil's.

        Args:
            activation: the pupil's; where it scales numbers otherwise than the teacher's, these are its logits.
        """
        x = self.normaliser(images)
        if tuple(x.shape[2:]) != self.height_width:
            x = F.interpolate(x, self.height_width, mode="bilinear", antialias=True, align_corners=False)
        logits = torch.stack([model(x).float() for model in self.models]).mean(0)
        factor, shift = _between(self.activation, activation, logits.shape[1])
        return logits * factor.like(logits) + shift.like(logits)


@cache
def _between(theirs: str, ours: str, logits: int) -> tuple[Constant, Constant]:
    """[logits] what a teacher's logits are multiplied with, and what is added, so that they are the pupil's."""
    (center, spread), (own, by) = (center_and_spread(name, logits) for name in (theirs, ours))
    return Constant(spread / by), Constant((center - own) / by)


def distillation_loss(
    logits: Table, teacher: Table, activation: str, temperature: float, shares: Sequence[float] = ()
) -> Mean:
    """How far the pupil's softened prediction is from the teacher's, times temperature squared; a mean over the batch.

    Of several targets it is the mean of each one's, or by these `shares`, which sum to 1.
    softmax: KL divergence (Hinton et al. 2015, https://arxiv.org/abs/1503.02531); sigmoid: the sum over outputs of
    the binary cross-entropy minus the teacher's entropy; identity: the mean squared difference.

    Raises:
        FoldlineError: another activation.
    """
    require_distillable(activation)
    activation = kind_of(activation)
    blocks = blocks_in(activation)
    if blocks:
        sizes, names = [size for _, size in blocks], [name for name, _ in blocks]
        pairs = zip(torch.split(logits, sizes, 1), torch.split(teacher, sizes, 1), names, strict=True)
        return weighted_mean([distillation_loss(*pair, temperature) for pair in pairs], shares)
    if activation == "identity":
        return F.mse_loss(logits, teacher)
    soft, soft_teacher = logits / temperature, teacher / temperature
    if activation == "softmax":
        loss = F.kl_div(soft.log_softmax(1), soft_teacher.log_softmax(1), reduction="batchmean", log_target=True)
    else:
        target = soft_teacher.sigmoid()
        entropy = F.binary_cross_entropy_with_logits(soft_teacher, target)
        loss = (F.binary_cross_entropy_with_logits(soft, target) - entropy) * logits.shape[1]
    return loss * temperature**2


def require_distillable(activation: str) -> None:
    """Raises FoldlineError where there is no distance between two networks with such outputs."""
    activation = kind_of(activation)
    names = [name for name, _ in blocks_in(activation)] or [activation]
    if not set(names) <= {"softmax", "sigmoid", "identity"}:
        raise FoldlineError(
            f"a network whose outputs are read as '{activation}' cannot be distilled",
            where="loss.teacher",
            next="choose loss.name: auto, or leave the teacher out",
        )
