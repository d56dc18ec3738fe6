"""A few figures that timm publishes, images/s in mixed precision, for the cards that it was measured on.

From https://github.com/huggingface/pytorch-image-models, folder results/, as of commit aa4b5850c154 (8 August 2026);
Apache-2.0. Its batches are larger (256 to 1,024 pictures) and its versions of torch older. No figures are published
there for data-centre cards (T4, A100, H100).
"""

from typing import Any

CARDS: dict[str, dict[str, Any]] = {
    "RTX 3090": {
        "source": "benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv, benchmark-infer-amp-nhwc-pt240-cu124-rtx3090.csv",
        "train": {"resnet50": 1218.01, "convnext_tiny": 819.24, "vit_small_patch16_224": 1057.92},
        "infer": {"resnet50": 3729.86, "convnext_tiny": 3120.16, "vit_small_patch16_224": 4616.60},
    },
    "RTX 4090": {
        "source": "benchmark-infer-amp-nhwc-pt240-cu124-rtx4090.csv",
        "train": {},
        "infer": {"resnet50": 5088.39, "convnext_tiny": 4844.53, "vit_small_patch16_224": 7695.68},
    },
    "RTX 5090": {
        "source": "benchmark-infer-amp-nchw-pt291-cu130-5090.csv",
        "train": {},
        "infer": {"resnet50": 6356.02, "convnext_tiny": 5940.47, "vit_small_patch16_224": 10972.65},
    },
}


def of_card(name: str) -> dict[str, Any] | None:
    """The figures for a card by its name as the driver gives it; None where none are published.

    >>> of_card("NVIDIA GeForce RTX 4090")["infer"]["resnet50"]
    5088.39
    >>> of_card("NVIDIA GeForce RTX 4090 Laptop GPU") is None
    True
    """
    if "Laptop" in name or "Ti" in name.split():
        return None
    return next((figures for card, figures in CARDS.items() if name.endswith(card)), None)
