"""Small networks that are trained from nothing, registered with timm: `model.name: simpsons_cnn`.

Importing this module registers them; it reads and writes nothing. Each has the surface of a timm network
(forward_features, forward_head, get_classifier, reset_classifier, group_matcher), so that probes, layer decay and
folds work with it as with any other. None has pretrained weights: their runs say `model.weights: none`.
"""

from collections import OrderedDict
from itertools import pairwise
from typing import Any

from timm.layers import SelectAdaptivePool2d
from timm.models import build_model_with_cfg, register_model
from torch import Tensor, nn


def _config(
    side: int, mean: float, std: float, classes: int, *, smallest: int = 1, fixed: bool = False
) -> dict[str, Any]:
    """What timm keeps of a network: its own and its smallest input size in px, and how its pictures are scaled."""
    return {
        "num_classes": classes,
        "input_size": (3, side, side),
        "min_input_size": (3, smallest, smallest),
        "fixed_input_size": fixed,  # timm then wants to know the picture's size when the network is made
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "mean": (mean,) * 3,
        "std": (std,) * 3,
        "first_conv": "features.0.0",
        "classifier": "classifier",
    }


default_cfgs = {
    "mnist_mlp": {**_config(28, 0.0, 1.0, 10, fixed=True), "input_size": (1, 28, 28), "first_conv": "features.1"},
    "cifar_cnn": _config(32, 0.5, 0.5, 10, smallest=4),
    "simpsons_cnn": _config(64, 0.0, 1.0, 42, smallest=64),
    "pepe_alexnet": _config(224, 0.0, 1.0, 2, smallest=63),
    "dere_cnn": _config(256, 0.5, 0.5, 5, smallest=8),
}


class SmallNetwork(nn.Module):
    """Layers that look at the picture, layers that make one vector of what they found, and a linear classifier.

    Args:
        features: [rows, channels, height, width] -> a feature map (or, for a fully connected network, a vector).
        neck: what `features` gives -> [rows, num_features].
        num_features: the length of that vector.
        num_classes: logits; 0: none, the network then gives the vector.
        drop_rate: dropout before the classifier.
    """

    def __init__(
        self, features: nn.Sequential, neck: nn.Sequential, num_features: int, num_classes: int, drop_rate: float
    ) -> None:
        super().__init__()
        self.features, self.neck = features, neck
        self.num_features, self.drop_rate = num_features, drop_rate
        self.drop = nn.Dropout(drop_rate)
        self.reset_classifier(num_classes)

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new last layer of `num_classes` units; 0 takes it away."""
        if global_pool is not None:
            raise TypeError(f"{type(self).__name__} has one way of pooling")
        self.num_classes = num_classes
        self.classifier = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        """What `neck` takes."""
        found: Tensor = self.features(x)
        return found

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

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """These networks are too small to need it: refused, as timm's own do."""
        assert not enable, "gradient checkpointing not supported"


class MnistMlp(SmallNetwork):
    """pixels-16-16-classes with sigmoids: the network of 3Blue1Brown's "But what is a neural network?" (2017).

    https://www.3blue1brown.com/lessons/neural-networks. There the last layer has a sigmoid too, here it gives
    logits: the loss has the softmax.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 1,
        img_size: int | tuple[int, int] = 28,
        hidden: int = 16,
        drop_rate: float = 0.0,
    ) -> None:
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        layers = [
            nn.Flatten(), nn.Linear(in_chans * height * width, hidden), nn.Sigmoid(),
            nn.Linear(hidden, hidden), nn.Sigmoid(),
        ]  # fmt: skip
        super().__init__(nn.Sequential(*layers), nn.Sequential(), hidden, num_classes, drop_rate)


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


class SimpsonsCnn(SmallNetwork):
    """Six blocks of 3x3 convolution, ReLU, max-pool and batch-norm (16 to 512 channels), then 512-120-84-classes.

    Six poolings leave one pixel of pictures of 64 to 127 px; of larger ones the mean over what is left is taken.
    Smaller ones leave nothing. Dropout of 0.1 stands after both hidden layers, beside `drop_rate`.
    """

    def __init__(self, num_classes: int = 42, in_chans: int = 3, drop_rate: float = 0.0, dropout: float = 0.1) -> None:
        channels = (in_chans, 16, 32, 64, 128, 256, 512)
        blocks = [
            nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(after))
            for before, after in pairwise(channels)
        ]
        neck = [
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            nn.Sequential(nn.Linear(512, 120), nn.ReLU(), nn.Dropout(dropout)),
            nn.Sequential(nn.Linear(120, 84), nn.ReLU(), nn.Dropout(dropout)),
        ]
        super().__init__(nn.Sequential(*blocks), nn.Sequential(*neck), 84, num_classes, drop_rate)


class PepeAlexNet(SmallNetwork):
    """AlexNet's convolutions (Krizhevsky et al. 2012, one tower as in Krizhevsky 2014, https://arxiv.org/abs/1404.5997),
    one batch-norm between them and two hidden layers.

    Args:
        batch_norm: False takes the batch-norm away, the experiment of docs/recipes.md: whether the loss leaves ln 2.
        hidden: the units of either hidden layer.

    Any size from 63 px on: what is left is pooled to 6x6.
    """

    def __init__(
        self,
        num_classes: int = 2,
        in_chans: int = 3,
        drop_rate: float = 0.0,
        batch_norm: bool = True,
        hidden: int = 1024,
        dropout: float = 0.5,
    ) -> None:
        pool = nn.MaxPool2d(3, 2)
        features = nn.Sequential(
            nn.Sequential(nn.Conv2d(in_chans, 64, 11, stride=4, padding=2), nn.ReLU(), pool),
            nn.Sequential(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), pool),
            nn.Sequential(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
            nn.Sequential(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
            nn.Sequential(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), pool),
        )
        norm = nn.BatchNorm2d(256) if batch_norm else nn.Identity()
        neck = nn.Sequential(
            nn.Sequential(norm, nn.AdaptiveAvgPool2d(6), nn.Flatten()),
            nn.Sequential(nn.Dropout(dropout), nn.Linear(256 * 36, hidden), nn.ReLU()),
            nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.ReLU()),
        )
        super().__init__(features, neck, hidden, num_classes, drop_rate)


class DereCnn(SmallNetwork):
    """Three 3x3 convolutions with ReLU and max-pool, then one fully connected layer, the classifier.

    Args:
        filters: the first convolution's; the second has twice, the third four times as many.

    Any size from 8 px on: what the convolutions leave is pooled to 4x4.
    """

    def __init__(self, num_classes: int = 5, in_chans: int = 3, drop_rate: float = 0.0, filters: int = 16) -> None:
        channels = (in_chans, filters, 2 * filters, 4 * filters)
        blocks = [
            nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
            for before, after in pairwise(channels)
        ]
        neck = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten())
        super().__init__(nn.Sequential(*blocks), neck, 4 * filters * 16, num_classes, drop_rate)


def _create(network: type[SmallNetwork], name: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    """The network as timm builds it. Stochastic depth of 0 is left out: there is no residual branch to drop."""
    if not arguments.get("drop_path_rate", 1):
        del arguments["drop_path_rate"]
    model: nn.Module = build_model_with_cfg(network, name, pretrained, **arguments)
    return model


@register_model  # type: ignore[untyped-decorator]
def mnist_mlp(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """784-16-16-10 with sigmoids."""
    return _create(MnistMlp, "mnist_mlp", pretrained, arguments)


@register_model  # type: ignore[untyped-decorator]
def cifar_cnn(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """A plain convolutional network for pictures of about 32 px."""
    return _create(CifarCnn, "cifar_cnn", pretrained, arguments)


@register_model  # type: ignore[untyped-decorator]
def simpsons_cnn(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """Six convolutions with ReLU, max-pool and batch-norm, then 512-120-84-classes."""
    return _create(SimpsonsCnn, "simpsons_cnn", pretrained, arguments)


@register_model  # type: ignore[untyped-decorator]
def pepe_alexnet(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """AlexNet-like, with a single batch-norm between the convolutions and the classifier."""
    return _create(PepeAlexNet, "pepe_alexnet", pretrained, arguments)


@register_model  # type: ignore[untyped-decorator]
def dere_cnn(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """Three convolutions and one fully connected layer."""
    return _create(DereCnn, "dere_cnn", pretrained, arguments)
