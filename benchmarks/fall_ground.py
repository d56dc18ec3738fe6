"""What all trainings of `fine_tuning_fall.py` share: a network cut in two, and what its frozen part gives of each flip.

Reads elpv's folds and pictures; writes activations, features and the folds' heads into a folder.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foldline.core.paths import Layout
from foldline.core.run import Run
from foldline.engine.fold_job import settled
from foldline.engine.machine.device import prepare_device
from foldline.engine.problem import Problem, open_problem
from foldline.images.augment import flip, key_seed
from foldline.images.normalise import Normaliser
from foldline.images.views import VIEWS
from foldline.models.backbone import build, build_pretrained
from foldline.models.fusing import fold_frozen
from foldline.models.norms import batch_norms, counted_anew
from foldline.models.probe import FittedHead, fit_head, start_classifier

CUT, CPU = 3, torch.device("cpu")  # stages below the cut are never trained
Floats = NDArray[np.float64]


class Tail(nn.Module):
    """A network from the cut on: what the frozen stages gave -> logits."""

    def __init__(self, whole: Any) -> None:
        super().__init__()
        self.whole = whole

    def features(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] -> [batch, features] what the classifier takes."""
        whole = self.whole
        for block in whole.blocks[CUT:]:
            x = block(x)
        pooled: Tensor = whole.forward_head(whole.bn2(whole.conv_head(x)), pre_logits=True)
        return pooled.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, logits]."""
        logits: Tensor = self.whole.classifier(self.features(x))
        return logits


class Ground:
    """elpv at one size: what all its trainings share.

    Attributes:
        views: the flips, in the order of `drawn`.
        below: [views, rows, height, width, channels] what the frozen stages give.
        features: [views, rows, features] of the pretrained network.
    """

    def __init__(self, layout: Layout, run: Run, kept: Path, moved: float) -> None:
        prepare_device(CPU)
        self.problem: Problem = settled(open_problem(layout, "elpv", run, CPU))
        assert run.train.probe is not None
        self.views = run.train.probe.views
        torch.manual_seed(0)
        self.pretrained, _ = build_pretrained(self.problem.architecture, run.model, layout)
        self.normaliser = Normaliser(*self._mean_std(), CPU)
        if moved:
            self._move(moved)
        self.folder = kept / f"{run.data.height_width[0]}-{moved:g}"
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "features.npy").is_file():
            self._look()
        self.below = np.load(self.folder / "below.npy", mmap_mode="r")
        self.features = np.load(self.folder / "features.npy")

    def _mean_std(self) -> tuple[Sequence[float], Sequence[float]]:
        preprocessing = self.problem.preprocessing(self.pretrained)
        return preprocessing.mean, preprocessing.std

    def _pictures(self, size: int) -> Iterator[tuple[Tensor, slice]]:
        rows = self.problem.cache.rows(self.problem.folds.frame["image"].tolist())
        for images, place in self.problem.pictures.batches(rows, size):
            yield self.normaliser(images), place

    @torch.no_grad()
    def _move(self, share: float) -> None:
        """Of all rows' pictures: labels are not looked at."""
        layers = batch_norms(self.pretrained)
        before = [(layer.running_mean.clone(), layer.running_var.clone()) for layer in layers]  # type: ignore[union-attr]
        with counted_anew(self.pretrained):
            self.pretrained.train()
            for x, _ in self._pictures(64):
                self.pretrained(x)
        for layer, (mean, var) in zip(layers, before, strict=True):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.lerp_(mean, 1 - share)
            layer.running_var.lerp_(var, 1 - share)

    @torch.inference_mode()
    def _look(self) -> None:
        whole: Any = self.network(None)
        tail, below, features = Tail(whole).eval(), list[Any](), list[Any]()
        for view in self.views:
            for x, _ in self._pictures(16):
                part = whole.blocks[:CUT](whole.bn1(whole.conv_stem(VIEWS[view](x))))
                below.append(part.permute(0, 2, 3, 1).numpy())
                features.append(tail.features(part).numpy())
        for name, parts in (("below", below), ("features", features)):
            joined = np.concatenate(parts)
            np.save(self.folder / f"{name}.npy", joined.reshape(len(self.views), -1, *joined.shape[1:]))

    def network(self, head: FittedHead | None, folded: bool = True) -> nn.Module:
        """A fresh one, with a head."""
        model = build(self.problem.architecture)
        model.load_state_dict(self.pretrained.state_dict())
        if head is not None:
            start_classifier(model, head)
        if folded:
            fold_frozen(model, self.problem.architecture)
        return model.to(memory_format=torch.channels_last).eval()

    def head(self, fold: int, c: float) -> FittedHead:
        """The probe of a fold."""
        path = self.folder / f"head-{fold}-{c:g}.npz"
        if not path.is_file():
            folds, rows = self.problem.folds, self.problem.own(fold, train=True)
            parts = folds.frame["fold"].to_numpy()[rows]
            found = fit_head(self.features[:, rows], self.problem.truth[rows], folds.task, len(folds.outputs), c, parts)
            np.savez(path, weight=found.weight, bias=found.bias, poor=found.poor)
        read = np.load(path)
        return FittedHead(read["weight"], read["bias"], read["poor"])

    def drawn(self, *key: int) -> int:
        """Which of the views a training picture is seen in."""
        corners = np.arange(4, dtype=np.uint8).reshape(2, 2, 1)
        return int(flip(corners, self.problem.augmenter.flips or [], key_seed(*key))[0, 0, 0])

    def batch(self, views: Any, rows: Any) -> Tensor:
        """[batch, channels, height, width], channels last in memory."""
        return torch.from_numpy(np.ascontiguousarray(self.below[views, rows])).permute(0, 3, 1, 2)

    @torch.inference_mode()
    def predicted(self, tail: Tail, rows: NDArray[np.int64], view: int = 0) -> tuple[Floats, Tensor]:
        """[rows] the probability of the second class, and [rows, features], in one view."""
        tail.eval()
        parts = [tail.features(self.batch(view, rows[i : i + 16])) for i in range(0, len(rows), 16)]
        features = torch.cat(parts)
        return tail.whole.classifier(features).double().softmax(1)[:, 1].numpy(), features
