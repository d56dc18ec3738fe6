"""A linear head on frozen features: seconds on a CPU, and the best start for fine-tuning (LP-FT).

Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution",
https://arxiv.org/abs/2202.10054: a head that fits the features first keeps fine-tuning from distorting them.
"""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, softmax
from torch import Tensor, nn

from foldline.core.task import Array, Task, hot_truth
from foldline.images.normalise import Normaliser
from foldline.images.views import all_views
from foldline.models.architecture import Preprocessing
from foldline.models.backbone import classifier
from foldline.models.fusing import alike

Features = NDArray[np.float32]
Rows = NDArray[np.int64]
# Of the features' root mean square deviation, for targets of one label and for all others (EXPERIMENTS.md)
LEAST_SCALE_LABEL, LEAST_SCALE = 1.0, 0.3
MOST_JUDGED = 10_000  # rows on which the probe is held against a constant, and that it is fitted on for that
FIT_SECONDS = 2.5e-7  # of a head, for each row x view x feature x output but one, by one core of a server's CPU
PARTS = 5  # at most, that are held out in turn


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
    normaliser = Normaliser(preprocessing.mean, preprocessing.std, device)
    result = np.empty((len(views), 0, 0), dtype=np.float32)
    for images, place in batches:
        begin = 0
        for x, count in all_views(normaliser(images), views):
            pooled = model.forward_head(model.forward_features(x), pre_logits=True)  # type: ignore[operator]
            pooled = pooled.flatten(1).float().cpu().numpy()
            if not result.size:
                result = np.empty((len(views), rows, pooled.shape[1]), dtype=np.float32)
            result[begin : begin + count, place] = pooled.reshape(count, len(images), -1)
            begin += count
    return result


@torch.no_grad()
def ends_linear(model: nn.Module, x: Tensor) -> bool:
    """Whether the network's logits are what its classifier makes of what a probe is fitted on, and nothing more.

    Args:
        x: a picture that the network takes.
    """
    tried = deepcopy(model).eval()
    nn.init.normal_(classifier(tried).weight)  # of some networks it is 0 at first
    features = tried.forward_head(tried.forward_features(x), pre_logits=True)  # type: ignore[operator]
    return alike(classifier(tried)(features), tried(x))


@dataclass(frozen=True)
class FittedHead:
    """A linear head, for features as they come.

    Attributes:
        weight: [outputs, features]; bias: [outputs].
        poor: [outputs] whether a constant was better on rows that the fit had not seen: it stands here instead.
    """

    weight: Array
    bias: Array
    poor: NDArray[np.bool_]

    def joins(self, task: Task) -> bool:
        """Whether its predictions may be averaged with others': a constant would only draw them together. Of sets of
        labels it leaves the order of the rows alone, so one label that is no constant is enough."""
        poor = [(block.task.label_sets, self.poor[block.columns]) for block in task.blocks]
        return not any(mask.all() if sets else mask.any() for sets, mask in poor)


@dataclass(frozen=True)
class JudgingFits:
    """Fits that judge a probe, kept for whom they serve as well: without fold a, and fold b held out of the rest, is
    without fold b, and fold a held out. Of one table of features and one strength of the penalty.

    Attributes:
        kept: by the rows and what is true of them; each until it was asked for again.
    """

    kept: dict[bytes, tuple[Array, Array]] = field(default_factory=dict)

    def fit(self, rows: Rows, truth: Array, make: Callable[[], tuple[Array, Array]]) -> tuple[Array, Array]:
        """Weight and bias of a fit, which is made where it is not here yet.

        Args:
            rows: that it is made from, by their numbers among all rows.
            truth: of these rows.
        """
        key = sha256(rows.tobytes() + np.ascontiguousarray(truth).tobytes()).digest()
        if key in self.kept:
            return self.kept.pop(key)
        self.kept[key] = make()
        return self.kept[key]


def fit_head(
    features: Features,
    truth: Array,
    task: Task,
    outputs: int,
    c: float,
    parts: NDArray[np.int64],
    rows: Rows | None = None,
    judging: JudgingFits | None = None,
) -> FittedHead:
    """A regularised linear model of each target on scaled features; a constant where that is the better one.

    What is better is seen on one part of the rows after the other, by fits on the rest: the probe has many features
    and few rows, and no row of the fold's validation may be asked.

    Args:
        features: [views, rows, features]; each view counts as a row of its own.
        truth: as `core.task.Task.truth` gives it, numbers as logits (`engine.losses.as_logits`).
        outputs: how many numbers the network predicts.
        c: inverse strength of the L2 penalty.
        parts: [rows] which rows are held out together: their folds.
        rows: [rows] their numbers among all rows, for `judging`.
        judging: what other folds' heads have fitted already.
    """
    weight, bias = _fit_blocks(features, truth, task, outputs, c)
    numbers, judging = np.arange(len(truth)) if rows is None else rows, judging or JudgingFits()

    def fit_on(some: Rows) -> tuple[Array, Array]:
        labels = truth[some]
        return judging.fit(numbers[some], labels, lambda: _fit_blocks(features[:1, some], labels, task, outputs, c))

    poor = _worse_than_constant(fit_on, features[0], truth, task, outputs, parts)
    constant = _constant(truth, task, outputs)
    return FittedHead(np.where(poor[:, None], 0.0, weight), np.where(poor, constant, bias), poor)


def _fit_blocks(features: Features, truth: Array, task: Task, outputs: int, c: float) -> tuple[Array, Array]:
    """Weight [outputs, features] and bias [outputs], for features that are not scaled."""
    stacked = features.reshape(-1, features.shape[2]).astype(np.float64)
    mean, scale = stacked.mean(axis=0), stacked.std(axis=0)
    labels = np.concatenate([truth] * features.shape[0])
    heads = []
    for block in task.blocks:
        scales = _scales(scale, block.task)
        size = len(range(outputs)[block.columns])
        weight, bias = _fit((stacked - mean) / scales, block.truth(labels), block.task, size, c)
        heads.append((weight / scales, bias - (weight / scales) @ mean))
    weight, bias = (np.concatenate(parts) for parts in zip(*heads, strict=True))
    return weight, bias


def _scales(std: Array, task: Task) -> Array:
    """[features] what they are divided by: their deviation, and no less than a share of that of all features.

    A feature that is alive in a row or two of hundreds has a tiny deviation. Divided by that, a new row's is thousands
    of deviations away and outweighs all others; and where such weights start a training, its first small steps, which
    wake such features, are answered with logits of hundreds (EXPERIMENTS.md)."""
    share = LEAST_SCALE_LABEL if task.single_label else LEAST_SCALE
    scale = np.maximum(std, share * float(np.sqrt((std**2).mean())))
    scale[scale < 1e-6] = 1.0  # a dead feature carries nothing
    return np.asarray(scale)


def _worse_than_constant(
    fit_on: Callable[[Rows], tuple[Array, Array]], x: Features, truth: Array, task: Task, outputs: int, parts: Rows
) -> NDArray[np.bool_]:
    """[outputs] whether fits without each part of the rows do not predict these parts better than constants do, by
    more than twice the standard error of the difference.

    Args:
        fit_on: weight and bias of a fit on these rows alone.
        x: [rows, features] of the first view.
    """
    few = np.arange(len(parts))[:: -(-len(parts) // MOST_JUDGED)]
    _, part = np.unique(parts[few], return_inverse=True)
    part = (part if part.any() else np.arange(len(few))) % PARTS
    gained = np.empty((len(few), outputs))
    for number in np.unique(part):
        now = part == number
        rest, held = few[~now], few[now]
        if not len(rest):
            return np.zeros(outputs, dtype=bool)
        weight, bias = fit_on(rest)
        logits = x[held].astype(np.float64) @ weight.T + bias
        constant = np.broadcast_to(_constant(truth[rest], task, outputs), logits.shape)
        gained[now] = _losses(constant, truth[held], task) - _losses(logits, truth[held], task)
    return np.asarray(gained.mean(axis=0) <= 2 * gained.std(axis=0) / np.sqrt(len(gained)))


def _constant(truth: Array, task: Task, outputs: int) -> Array:
    """[outputs] the logits that predict best without looking at the picture; half a row more of each class."""
    mean = hot_truth(truth, task, outputs).mean(axis=0, dtype=np.float64)
    result = np.empty(outputs)
    for block in task.blocks:
        part, half = mean[block.columns], 0.5 / len(truth)
        if block.task.has_classes:
            part = np.log(part + half) - (0.0 if block.task.exclusive else np.log(1 - part + half))
        result[block.columns] = part
    return result


def _losses(logits: Array, truth: Array, task: Task) -> Array:
    """[rows, outputs] the squared error of numbers and of probabilities (Brier score): bounded for a label, so that one
    row that is surely wrong does not outweigh all others; of classes that exclude each other all have the same."""
    hot = hot_truth(truth, task, logits.shape[1]).astype(np.float64)
    result = np.empty(logits.shape)
    for block in task.blocks:
        x, y = logits[:, block.columns], hot[:, block.columns]
        if not block.task.has_classes:
            result[:, block.columns] = (x - y) ** 2
        elif block.task.exclusive:
            result[:, block.columns] = ((softmax(x, axis=1) - y) ** 2).sum(axis=1, keepdims=True)
        else:
            result[:, block.columns] = (expit(x) - y) ** 2
    return result


def _fit(x: Array, labels: Array, task: Task, outputs: int, c: float) -> tuple[Array, Array]:
    return linear_path(x, labels, task, outputs, [c])[0]


def linear_path(
    x: Array, labels: Array, task: Task, outputs: int, strengths: Sequence[float]
) -> list[tuple[Array, Array]]:
    """Weight [outputs, features] and bias [outputs] of each inverse strength of the penalty, the strongest first.

    Args:
        labels: as `core.task.Task.truth` gives them, of one target.
    """
    from sklearn.linear_model import Ridge

    if not task.has_classes:
        ridges = [Ridge(alpha=1 / c).fit(x, labels.reshape(len(x), outputs)) for c in strengths]
        return [(np.atleast_2d(ridge.coef_), np.atleast_1d(ridge.intercept_)) for ridge in ridges]
    if task.label_sets:
        columns = [_logistic(x, labels[:, i], None, 2, strengths) for i in range(outputs)]
        paths = zip(*columns, strict=True)
        return [(np.stack([w[1] - w[0] for w, _ in at]), np.array([b[1] - b[0] for _, b in at])) for at in paths]
    if task.soft:  # each row counts once for each class, weighted by that class's share
        repeated, classes = np.tile(x, (outputs, 1)), np.repeat(np.arange(outputs), len(x))
        return _logistic(repeated, classes.astype(np.float64), labels.T.reshape(-1), outputs, strengths)
    return _logistic(x, labels, None, outputs, strengths)


def _logistic(
    x: Array, labels: Array, weights: Array | None, outputs: int, strengths: Sequence[float]
) -> list[tuple[Array, Array]]:
    """Softmax weights [outputs, features] and biases [outputs] of each strength, each fit starting from the one before;
    classes without a row get a low constant logit."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    present = np.unique(labels).astype(int)
    model = LogisticRegression(max_iter=1000, warm_start=len(strengths) > 1)
    path = []
    for c in strengths:
        weight, bias = np.zeros((outputs, x.shape[1])), np.full(outputs, -10.0)
        path.append((weight, bias))
        if len(present) == 1:
            bias[present] = 0.0
            continue
        with threadpool_limits(1, user_api="blas"):  # two threads took three times as long (EXPERIMENTS.md, Speed)
            model.set_params(C=c).fit(x, labels.astype(int), sample_weight=weights)
        if len(present) == 2:  # one row of coefficients, for the second class against the first
            weight[present] = np.concatenate([-model.coef_, model.coef_]) / 2
            bias[present] = np.array([-model.intercept_[0], model.intercept_[0]]) / 2
        else:
            weight[present], bias[present] = model.coef_, model.intercept_
    return path


@torch.no_grad()
def start_classifier(model: nn.Module, fitted: FittedHead) -> None:
    """Copies a fitted head into the network's last layer."""
    head = classifier(model)
    head.weight.copy_(torch.from_numpy(fitted.weight).to(head.weight))
    head.bias.copy_(torch.from_numpy(fitted.bias).to(head.bias))
