"""What stands after a backbone's feature map: pooling, classifier, and metadata beside the picture.

`attach_head` puts the parts that a run asks for into a timm network; where it asks for none, the network stays
timm's own, with the same keys. Pooling and classifiers take the place (and keep the names) of timm's own layers.
Metadata needs a second input: then a `HeadedNetwork` stands around the backbone. Reads and writes nothing.
"""

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from timm.layers import ClNormMlpClassifierHead, SelectAdaptivePool2d
from timm.models._manipulate import group_with_matcher
from torch import Tensor, nn
from torch.nn import functional

from foldline.core.choices import Head
from foldline.core.errors import FoldlineError

METADATA_UNITS = 64


class GeM(SelectAdaptivePool2d):  # type: ignore[misc]
    """Generalised mean: (mean of x^p)^(1/p) over the places of a feature map, with a learned p for all channels.

    p = 1 is the mean, p -> infinity the maximum. Values below `smallest` count as `smallest`, so features that can
    be negative lose that part. Computed in float32, since x^p leaves half precision.

    Source: Radenovic, Tolias, Chum 2018, "Fine-tuning CNN Image Retrieval with No Human Annotation", eq. 3,
    https://arxiv.org/abs/1711.02512, where p starts at 3.

    Args:
        flatten: gives [rows, channels]; else a map of one place.
        input_fmt: "NCHW" or "NHWC".
    """

    def __init__(self, *, flatten: bool, input_fmt: str = "NCHW", p: float = 3.0, smallest: float = 1e-6) -> None:
        super().__init__(pool_type="fastavg", flatten=flatten, input_fmt=input_fmt)
        self.p = nn.Parameter(torch.full((1,), p))
        self.smallest = smallest

    def forward(self, x: Tensor) -> Tensor:
        """[rows, channels, height, width], or with channels last as `input_fmt` says, -> [rows, channels]."""
        p = self.p.float()
        with torch.autocast(x.device.type, enabled=False):
            powers = x.float().clamp(min=self.smallest) ** p
            pooled: Tensor = self.pool(powers) ** (1 / p)
        return pooled.to(x.dtype)


class MultiDropout(nn.Linear):
    """One linear layer over several dropout masks: while training, the mean of their logits; else the plain layer.

    The masks share the layer, so the mean of the logits is the layer on the mean of the masked features, which is
    how it is computed. Inoue 2019, "Multi-Sample Dropout for Accelerated Training and Better Generalization",
    https://arxiv.org/abs/1905.09788, takes the mean of the losses; the mean of the logits is less noisy.

    Args:
        dropout: the share of features that a mask drops.
        samples: how many masks.
    """

    def __init__(self, in_features: int, out_features: int, *, dropout: float, samples: int) -> None:
        super().__init__(in_features, out_features)
        self.dropout, self.samples = dropout, samples

    def forward(self, input: Tensor) -> Tensor:
        """[rows, in_features] -> [rows, out_features]."""
        if self.training:
            masked = [functional.dropout(input, self.dropout) for _ in range(self.samples)]
            input = torch.stack(masked).mean(0)
        return super().forward(input)


class ArcFace(nn.Module):
    """scale x the cosine between features and each class's centre; of several centres a class the nearest counts.

    The margin belongs to the loss (`loss.name: arcface`), so inference needs none. In float32: near a cosine of 1
    half precision cannot tell two angles apart.

    Sources: Deng et al. 2019, "ArcFace", https://arxiv.org/abs/1801.07698; sub-centres: Deng et al. 2020,
    "Sub-center ArcFace", https://www.ecva.net/papers/eccv_2020/papers_ECCV/papers/123560715.pdf.
    """

    def __init__(self, in_features: int, out_features: int, *, scale: float, centers: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.scale, self.centers = scale, centers
        self.weight = nn.Parameter(torch.empty(out_features * centers, in_features))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[rows, in_features] -> [rows, out_features] in [-scale, scale], float32."""
        with torch.autocast(x.device.type, enabled=False):
            centers = functional.normalize(self.weight.float(), dim=1)
            cosines = functional.linear(functional.normalize(x.float(), dim=1), centers)
            return self.scale * cosines.view(-1, self.out_features, self.centers).amax(-1)


class HeadedNetwork(nn.Module):
    """A timm network whose classifier sees metadata beside the picture; the surface is timm's.

    Metadata go through Linear-LayerNorm-SiLU to 64 numbers, which stand behind the pooled features. A LayerNorm does
    the same in training and after it, so that a probe fitted on the starting network is still right in the first
    step.

    Args:
        backbone: without its classifier.
        classifier: of (pooled features + 64) numbers.
        metadata_features: how many numbers describe a row.
        replaced: the name that the classifier had in the backbone.
    """

    def __init__(self, backbone: nn.Module, classifier: nn.Module, metadata_features: int, replaced: str) -> None:
        super().__init__()
        self.backbone = backbone
        self.metadata = nn.Sequential(
            nn.Linear(metadata_features, METADATA_UNITS), nn.LayerNorm(METADATA_UNITS), nn.SiLU()
        )
        self.classifier = classifier
        self.replaced = replaced
        self.pretrained_cfg: Any = backbone.pretrained_cfg
        self.default_cfg: Any = backbone.pretrained_cfg
        self.num_classes: Any = classifier.out_features

    def get_classifier(self) -> nn.Module:
        """The layer that gives the logits."""
        return self.classifier

    def forward_features(self, x: Tensor) -> Tensor:
        """The backbone's feature map."""
        feature_map: Tensor = self.backbone.forward_features(x)  # type: ignore[operator]
        return feature_map

    def forward_head(self, features: Tensor, metadata: Tensor, *, pre_logits: bool = False) -> Tensor:
        """[rows, num_classes] logits, or [rows, in_features of the classifier] what it would take.

        Args:
            features: what `forward_features` gave.
            metadata: [rows, metadata_features] float32.
        """
        pooled = self.backbone.forward_head(features, pre_logits=True)  # type: ignore[operator]
        joined = torch.cat([pooled, self.metadata(metadata).to(pooled.dtype)], dim=1)
        logits: Tensor = joined if pre_logits else self.classifier(joined)
        return logits

    def forward(self, x: Tensor, metadata: Tensor) -> Tensor:
        """[rows, channels, height, width] and [rows, metadata_features] -> [rows, num_classes]."""
        return self.forward_head(self.forward_features(x), metadata)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """The backbone's."""
        self.backbone.set_grad_checkpointing(enable)  # type: ignore[operator]

    def no_weight_decay(self) -> set[str]:
        """The backbone's parameters that must not decay."""
        spared: Callable[[], set[str]] = getattr(self.backbone, "no_weight_decay", set)
        return {f"backbone.{name}" for name in spared()}

    def group_matcher(self, coarse: bool = False) -> Callable[[str], tuple[float]]:
        """The backbone's layers; metadata and classifier belong to the layer in which the backbone's own was."""
        matcher = self.backbone.group_matcher(coarse=coarse)  # type: ignore[operator]
        named = chain(self.backbone.named_parameters(), [(f"{self.replaced}.weight", None)])
        layers: dict[str, int] = group_with_matcher(named, matcher, reverse=True)
        last = layers[f"{self.replaced}.weight"]
        return lambda name: (float(layers.get(name.removeprefix("backbone."), last)),)


def attach_head(model: nn.Module, outputs: int, pool: str, head: Head, metadata_features: int) -> nn.Module:
    """The network with the pooling, classifier and metadata input that a run asks for.

    Args:
        model: a timm network with `outputs` logits; it is changed.
        pool: "gem" puts GeM in the place of the network's pooling; others are timm's own and were asked of timm.
        metadata_features: numbers a row beside the picture; 0: none.

    Raises:
        FoldlineError: the network has no such pooling, or no linear classifier, to put another in the place of.
    """
    if pool == "gem":
        _put_gem(model)
    if head.name == "linear" and not metadata_features:
        return model
    name = classifier_name(model)
    in_features = int(model.get_submodule(name).in_features)  # type: ignore[arg-type]
    in_features += METADATA_UNITS if metadata_features else 0
    new = CLASSIFIERS[head.name](in_features, outputs, **head.options)
    if not metadata_features:
        if isinstance(new, MultiDropout):  # the same weights: the masks are all that differs from a plain run
            new.load_state_dict(model.get_submodule(name).state_dict())
        model.set_submodule(name, new)
        return model
    model.set_submodule(name, nn.Identity())
    return HeadedNetwork(model, new, metadata_features, name)


CLASSIFIERS: dict[str, Callable[..., nn.Module]] = {
    "linear": nn.Linear,
    "multi_dropout": MultiDropout,
    "arcface": ArcFace,
}


def classifier_name(model: nn.Module) -> str:
    """The name of the linear layer that gives the logits; raises FoldlineError where it is something else."""
    last = model.get_classifier()  # type: ignore[operator]
    names: list[str] = [
        name for name, module in model.named_modules() if module is last and isinstance(module, nn.Linear)
    ]
    if not names:
        raise FoldlineError(
            f"the classifier of this backbone is a {type(last).__name__}, not linear: no other can take its place",
            where="model.head, model.metadata",
            next="leave model.head and model.metadata out, or choose another backbone",
        )
    return names[0]


def require_pool(model: nn.Module, pool: str) -> None:
    """Raises FoldlineError unless the network pools one feature map by `pool` ("avg", "max" or "avgmax").

    Transformers take the argument too, but then leave out or add layers that the pretrained weights have or lack.
    """
    pools = (SelectAdaptivePool2d, ClNormMlpClassifierHead)
    kinds = [part.pool_type.removeprefix("fast") for part in model.modules() if isinstance(part, pools)]
    if kinds != [pool]:
        raise FoldlineError(
            f"this backbone cannot pool by '{pool}' (transformers pool tokens in their own ways)",
            where="model.pool",
            next="leave model.pool out; what timm takes for this backbone can be set as model.options.global_pool",
        )


def _put_gem(model: nn.Module) -> None:
    pools = [(name, part) for name, part in model.named_modules() if isinstance(part, SelectAdaptivePool2d)]
    if len(pools) != 1 or pools[0][1].is_identity():
        raise FoldlineError(
            "this backbone does not pool one feature map (transformers pool tokens): GeM has no place in it",
            where="model.pool: gem",
            next="leave model.pool out, or choose a convolutional backbone",
        )
    name, pool = pools[0]
    model.set_submodule(name, gem_like(pool))


def gem_like(pool: SelectAdaptivePool2d) -> GeM:
    """GeM that takes and gives tensors of the same shapes as timm's `pool`."""
    flatten = isinstance(pool.flatten, nn.Flatten) or getattr(pool.pool, "flatten", False) is True
    # only timm's fast poolings know another place of the channels than the second
    dims = getattr(pool.pool, "dim", getattr(pool.pool, "dim_reduce", (2, 3)))
    return GeM(flatten=flatten, input_fmt="NHWC" if tuple(dims) == (1, 2) else "NCHW")
