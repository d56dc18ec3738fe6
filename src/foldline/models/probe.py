"""A linear head on frozen features: seconds on a CPU, and the best start for fine-tuning (LP-FT).

Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution",
https://arxiv.org/abs/2202.10054: a head that fits the features first keeps fine-tuning from distorting them.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foldline.core.task import Array, Task
from foldline.images.batches import normalise
from foldline.images.views import all_views
from foldline.models.architecture import Preprocessing
from foldline.models.backbone import classifier

Features = NDArray[np.float32]


@torch.inference_mode()
def frozen_features(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, slice]],
    rows: int,
    views: Sequence[str],
    preprocessing: Preprocessing,
    device: torch.device,
) -> Features:
    """[views, rows, features] what reaches the classifier, for each view of each picture.

    Args:
        batches: pictures, and which rows they are.
    """
    model.eval()
    width = classifier(model).in_features
    result = np.empty((len(views), rows, width), dtype=np.float32)
    for images, place in batches:
        x = all_views(normalise(images, preprocessing.mean, preprocessing.std, device), views)
        pooled = model.forward_head(model.forward_features(x), pre_logits=True)  # type: ignore[operator]
        result[:, place] = pooled.float().cpu().numpy().reshape(len(views), len(images), width)
    return result


def fit_head(features: Features, truth: Array, task: Task, outputs: int, c: float) -> tuple[Array, Array]:
    """A regularised linear model of each target on scaled features, as weight and bias of the classifier layer.

    Args:
        features: [views, rows, features]; each view counts as a row of its own.
        truth: as `core.task.Task.truth` gives it.
        outputs: how many numbers the network predicts.
        c: inverse strength of the L2 penalty.

    Returns:
        weight [outputs, features] and bias [outputs], for features that are not scaled.
    """
    stacked = features.reshape(-1, features.shape[2]).astype(np.float64)
    mean, scale = stacked.mean(axis=0), stacked.std(axis=0)
    scale[scale < 1e-6] = 1.0  # a dead feature carries nothing
    scaled = (stacked - mean) / scale
    labels = np.concatenate([truth] * features.shape[0])
    heads = [
        _fit(scaled, block.truth(labels), block.task, len(range(outputs)[block.columns]), c) for block in task.blocks
    ]
    weight, bias = (np.concatenate(parts) for parts in zip(*heads, strict=True))
    weight = weight / scale
    return weight, bias - weight @ mean


def _fit(x: Array, labels: Array, task: Task, outputs: int, c: float) -> tuple[Array, Array]:
    from sklearn.linear_model import Ridge

    if not task.has_classes:
        ridge = Ridge(alpha=1 / c).fit(x, labels.reshape(len(x), outputs))
        return np.atleast_2d(ridge.coef_), np.atleast_1d(ridge.intercept_)
    if task.label_sets:
        columns = [_logistic(x, labels[:, i], None, 2, c) for i in range(outputs)]
        return np.stack([w[1] - w[0] for w, _ in columns]), np.array([b[1] - b[0] for _, b in columns])
    if task.soft:  # each row counts once for each class, weighted by that class's share
        repeated, classes = np.tile(x, (outputs, 1)), np.repeat(np.arange(outputs), len(x))
        return _logistic(repeated, classes.astype(np.float64), labels.T.reshape(-1), outputs, c)
    return _logistic(x, labels, None, outputs, c)


def _logistic(x: Array, labels: Array, weights: Array | None, outputs: int, c: float) -> tuple[Array, Array]:
    """Softmax weights [outputs, features] and biases [outputs]; classes without a row get a low constant logit."""
    from sklearn.linear_model import LogisticRegression

    present = np.unique(labels).astype(int)
    weight, bias = np.zeros((outputs, x.shape[1])), np.full(outputs, -10.0)
    if len(present) == 1:
        bias[present] = 0.0
        return weight, bias
    model = LogisticRegression(C=c, max_iter=1000).fit(x, labels.astype(int), sample_weight=weights)
    if len(present) == 2:  # one row of coefficients, for the second class against the first
        weight[present] = np.concatenate([-model.coef_, model.coef_]) / 2
        bias[present] = np.array([-model.intercept_[0], model.intercept_[0]]) / 2
    else:
        weight[present], bias[present] = model.coef_, model.intercept_
    return weight, bias


@torch.no_grad()
def start_classifier(model: nn.Module, weight: Array, bias: Array) -> None:
    """Copies a fitted head into the network's last layer."""
    head = classifier(model)
    head.weight.copy_(torch.from_numpy(weight).to(head.weight))
    head.bias.copy_(torch.from_numpy(bias).to(head.bias))
