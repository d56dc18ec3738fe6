"""Backbones that a first run takes on a GPU, by its memory. None of them was measured here: the figures are timm's.

Published: ImageNet-1k top-1 of timm's results-imagenet.csv, at the side that it was tested at. Winners: EVA-02 with
EdgeNeXt came first in ISIC 2024, ConvNeXt-small and EfficientNets in SPR Screening Mammography Recall 2025; DINOv3 and
SigLIP 2 are newer and have no ImageNet head. Reads and writes nothing.
"""

from dataclasses import dataclass

from foldline.models.licences import weights_licence


@dataclass(frozen=True)
class Backbone:
    """A pretrained network of timm's.

    Attributes:
        name: with its weights' tag.
        side: px that its weights were tested at.
        top1: per cent of ImageNet-1k; 0: it has no such head.
        millions: of parameters.
    """

    name: str
    side: int
    top1: float
    millions: float

    def in_words(self) -> str:
        """Such as `convnext_small.in12k_ft_in1k: 85.3 % at 288 px, 50 million parameters, apache-2.0`."""
        told = f"{self.top1:.1f} % of ImageNet at" if self.top1 else "no ImageNet head,"
        return (
            f"{self.name}: {told} {self.side} px, {self.millions:.0f} million parameters, {weights_licence(self.name)}"
        )


@dataclass(frozen=True)
class Tier:
    """GPUs of like memory.

    Attributes:
        name: a GPU that is known.
        least_gb: memory from which on the tier holds.
        lr: the peak rate; pretrained transformers and large ConvNeXts are fine-tuned at a tenth of lite0's.
        backbones: the first is taken, the others are named.
    """

    name: str
    least_gb: float
    lr: str
    backbones: tuple[Backbone, ...]


TIERS = (
    Tier(
        "A100",
        36,
        "1e-4",
        (
            Backbone("convnext_base.clip_laion2b_augreg_ft_in12k_in1k_384", 384, 87.13, 88.6),
            Backbone("eva02_base_patch14_448.mim_in22k_ft_in22k_in1k", 448, 88.69, 87.1),
            Backbone("eva02_large_patch14_448.mim_m38m_ft_in22k_in1k", 448, 90.05, 305.1),
            Backbone("tf_efficientnetv2_m.in21k_ft_in1k", 480, 86.00, 54.1),
            Backbone("vit_base_patch16_dinov3.lvd1689m", 256, 0, 85.6),
            Backbone("vit_so400m_patch14_siglip_378.v2_webli", 378, 0, 428.2),
        ),
    ),
    Tier(
        "T4",
        10,
        "1e-4",
        (
            Backbone("convnext_small.in12k_ft_in1k", 288, 85.33, 50.2),
            Backbone("eva02_small_patch14_336.mim_in22k_ft_in1k", 336, 85.72, 22.1),
            Backbone("tf_efficientnetv2_s.in21k_ft_in1k", 384, 84.29, 21.5),
            Backbone("vit_small_patch16_dinov3.lvd1689m", 256, 0, 21.6),
        ),
    ),
)


def tier_for(memory_gb: float) -> Tier | None:
    """The tier of a GPU with so much memory; None: it is too small, or there is none, and lite0 is taken.

    >>> [tier and tier.name for tier in map(tier_for, (0, 8, 15.6, 24, 39.4, 80))]
    [None, None, 'T4', 'T4', 'A100', 'A100']
    """
    return next((tier for tier in TIERS if memory_gb >= tier.least_gb), None)
