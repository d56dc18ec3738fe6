"""Small networks that are trained from nothing: what they have in common, and `model.name: cifar_cnn`.

Importing this module registers `cifar_cnn` with timm; it reads and writes nothing. `SmallNetwork` has the surface of a
timm network, so that probes, layer decay and folds work with it as with any other; networks of one's own build on it
(configs/simpsons/network.py). None has pretrained weights.
"""

from collections import OrderedDict
from typing import Any

from timm.layers import SelectAdaptivePool2d
from timm.models import build_model_with_cfg, register_model
from torch import Tensor, nn


def config(mean: float, std: float) -> dict[str, Any]:
    """What timm keeps of a network: how its pictures are scaled, and the names of its first and last layer."""
    return {
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "mean": (mean,) * 3,
        "std": (std,) * 3,
        "first_conv": "features.0.0",
        "classifier": "classifier",
    }


default_cfgs = {"cifar_cnn": {**config(0.5, 0.5), "input_size": (3, 32, 32), "num_classes": 10}}


class SmallNetwork(nn.Module):
    """Layers that look at the picture, layers that make one vector of what they found, and a linear classifier.

    Args:
        features: [rows, channels, height, width] -> a feature map (or, for a fully connected network, a vector).
        neck: what `features` gives -> [rows, num_features].
        num_features: the length of that vector.
        num_classes: logits; 0: none, the network then gives the vector.
        drop_rate: dropout before the classifier.
        mean, std: how pictures in [0, 1] are scaled: (x - mean) / std.
    """

    def __init__(
        self,
        features: nn.Sequential,
        neck: nn.Sequential,
        num_features: int,
        num_classes: int,
        drop_rate: float = 0.0,
        *,
        mean: float = 0.0,
        std: float = 1.0,
    ) -> None:
        super().__init__()
        self.features, self.neck = features, neck
        self.num_features, self.drop_rate = num_features, drop_rate
        self.drop = nn.Dropout(drop_rate)
        self.pretrained_cfg: Any = config(mean, std)
        self.num_classes = num_classes
        self.classifier = nn.Linear(num_features, num_classes) if num_classes else nn.Identity()

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.classifier

    def forward_features(self, x: Tensor) -> Tensor:
        """What `neck` takes."""
        feature_map: Tensor = self.features(x)
        return feature_map

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """[rows, num_classes] logits, or [rows, num_features] what the classifier would take."""
        x = self.drop(self.neck(x))
        return x if pre_logits else self.classifier(x)

    def forward(self, x: Tensor) -> Tensor:
        """[rows, channels, height, width] -> [rows, num_classes]."""
        return self.forward_head(self.forward_features(x))

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Which parameters form a layer, for layer-wise decay and gradual unfreezing (timm's convention)."""
        return {"features": r"^features\.(\d+)", "neck": r"^neck" if coarse else r"^neck\.(\d+)"}


def _conv_bn_relu(before: int, after: int) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


class CifarCnn(SmallNetwork):
    """Three stages of two 3x3 convolutions with batch-norm and ReLU, halved between them, then one vector a picture.

    Any size from 4 px on. With `width` 32 (32-64-128 channels) it has 0.29 million weights and costs 29 million
    multiplications and additions for a 28 px picture of one channel, 38 million for 32 px.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 3,
        drop_rate: float = 0.0,
        width: int = 32,
        global_pool: str = "avg",
    ) -> None:
        layers: list[nn.Module] = []
        before = in_chans
        for stage, channels in enumerate((width, 2 * width, 4 * width)):
            layers += [nn.MaxPool2d(2)] if stage else []
            layers += [_conv_bn_relu(before, channels), _conv_bn_relu(channels, channels)]
            before = channels
        pool = SelectAdaptivePool2d(pool_type=global_pool, flatten=True)
        neck = nn.Sequential(OrderedDict(global_pool=pool))
        super().__init__(nn.Sequential(*layers), neck, before, num_classes, drop_rate)


@register_model  # type: ignore[untyped-decorator]
def cifar_cnn(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """A plain convolutional network for pictures of about 32 px. There is no residual branch to drop."""
    if not arguments.get("drop_path_rate", 1):
        del arguments["drop_path_rate"]
    model: nn.Module = build_model_with_cfg(CifarCnn, "cifar_cnn", pretrained, **arguments)
    return model
