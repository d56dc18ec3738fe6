"""Frozen features of training and test rows: what a run's network sees of them before it is trained.

Reads the folds, the images and pretrained weights; writes the features into the cache folder, where a training of the
run finds those of its rows.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import nn

from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.records.seal import Seal
from foldline.core.run import Run
from foldline.core.tables import sha256_json
from foldline.engine.frozen import features_of, features_path
from foldline.engine.machine.device import pick_device, prepare_device
from foldline.engine.problem import Problem, open_problem
from foldline.models.architecture import Preprocessing
from foldline.models.backbone import build_pretrained, state_sha256
from foldline.models.probe import Features


@dataclass(frozen=True)
class Frozen:
    """A network that is not trained, and the pictures of a competition."""

    problem: Problem
    model: nn.Module
    preprocessing: Preprocessing
    digest: str  # of its weights

    @classmethod
    def open(cls, layout: Layout, comp: str, run: Run, device_name: str) -> Self:
        """The run's network with its pretrained weights; raises FoldlineError where they cannot be reached."""
        device = pick_device(device_name)
        prepare_device(device, deterministic=run.train.deterministic)
        problem = open_problem(layout, comp, run, device)
        torch.manual_seed(run.seed)  # as a training does: the classifier's numbers are part of the weights' hash
        model, _ = build_pretrained(problem.architecture, run.model, layout)
        return cls(problem, model, problem.preprocessing(model), state_sha256(model.state_dict()))

    def kept(self, images: list[str] | None, views: list[str]) -> Path:
        """Where the features of pictures are kept, whether or not they are there; None: of all training rows."""
        rows = self.problem.folds.sha256 if images is None else sha256_json(images)
        return features_path(self.problem, self.preprocessing, self.digest, views, rows)

    def features(self, images: list[str] | None, views: list[str]) -> Features:
        """[views, rows, features] float32, computed where they are not kept."""
        path, own = self.kept(images, views), self.problem.folds.frame["image"].tolist()
        wanted = own if images is None else images
        return features_of(self.problem, self.model, self.preprocessing, wanted, views, path)


def frozen_both(
    layout: Layout, comp: str, run: Run, train: list[str], test: list[str], device_name: str, *, compute: bool
) -> tuple[Features, Features]:
    """[train, features] and [test, features] of pictures, float32, by the first view of the run's probe.

    Args:
        run: has a probe.
        train, test: picture paths as rows name them; those of `train` are training rows of the folds.
        compute: also where a training has not kept those of its rows; else that is an error, before anything is read.

    Raises:
        FoldlineError: there are no such features yet; no folds; the weights cannot be reached or do not fit.
    """
    missing = FoldlineError("none are kept yet", next="--features computes them, once for training too")
    if not compute and not list(layout.cache(comp).glob("features-*.npy")):
        raise missing
    probe = run.train.probe
    if run.model.weights.name == "run" or probe is None:
        raise FoldlineError("each fold starts from other weights", where="model.weights")
    if run.data.neighbours:
        raise FoldlineError("pictures are looked at one by one here, and the run stacks them", where="data.neighbours")
    run = run.model_copy(update={"data": run.data.model_copy(update={"bad_images": "skip"})})
    frozen = Frozen.open(layout, comp, run, device_name)
    if not compute and Seal.of(frozen.kept(None, probe.views)) is None:
        raise missing
    features = frozen.features(None, probe.views)[0]
    return features[_places(frozen.problem, train)], frozen.features(test, probe.views[:1])[0]


def _places(problem: Problem, images: list[str]) -> list[int]:
    """The row of the folds that each picture is of."""
    place = {image: row for row, image in enumerate(problem.folds.frame["image"])}
    return [place[image] for image in images]
