"""What training and prediction of a run share: its rows as arrays, its pictures, its network.

Reads `folds/<comp>.csv` and the images (through the cache); nothing is written but caches.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from foldline.core.competition import Competition, load_competition
from foldline.core.folds import Folds, load_folds
from foldline.core.paths import Layout
from foldline.core.progress import Progress
from foldline.core.run import Probe, Run
from foldline.core.tables import atomic_path, sha256_json
from foldline.core.tasks import truth_array
from foldline.images.batches import evaluation_batches
from foldline.images.cache import ImageCache, open_cache
from foldline.images.views import require_views
from foldline.models.backbone import Architecture, Preprocessing, build_pretrained, preprocessing, state_sha256
from foldline.models.probe import Features, fit_head, frozen_features, start_classifier
from foldline.scoring.metrics import metric_for

FEATURE_BATCH = 16  # images a batch, before views: activations that stay in a CPU's cache are several times faster


@dataclass(frozen=True)
class Problem:
    """A competition's rows with their pictures at a run's size, checked before anything is trained."""

    layout: Layout
    comp: str
    facts: Competition
    run: Run
    folds: Folds
    cache: ImageCache
    truth: NDArray[np.float64]  # as `core.tasks.truth_array` gives it
    usable: NDArray[np.bool_]
    device: torch.device

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """[training rows] the position of each row's picture in the cache."""
        return self.cache.rows(self.folds.frame["image"].tolist())

    @property
    def architecture(self) -> Architecture:
        """The network that the run names, for this competition's outputs."""
        height, width = self.run.data.height_width
        model = self.run.model
        channels = int(self.cache.pixels.shape[3])
        return Architecture(
            model.name, len(self.folds.outputs), channels, height, width, model.drop_rate, model.drop_path_rate
        )

    def rows_of(self, fold: int, *, train: bool) -> NDArray[np.int64]:
        """The rows that fold `fold` trains on, or is validated on; rows whose picture is bad are left out."""
        own = self.folds.frame["fold"].to_numpy() == fold
        return np.flatnonzero((~own if train else own) & self.usable)

    def pretrained(self) -> nn.Module:
        """A fresh network with the pretrained weights, in main memory, from the seed's random classifier."""
        torch.manual_seed(self.run.seed)
        return build_pretrained(self.architecture, self.run.model, self.layout.weights_cache())


def open_problem(layout: Layout, comp: str, run: Run, device: torch.device) -> Problem:
    """Loads facts and folds, checks names that the run gives, and opens (or builds) the image cache."""
    facts = load_competition(layout, comp)
    metric_for(facts.metric, facts.task, where="metric")
    require_views(run.predict.views, run.data.height_width, where="predict.views")
    if run.train.probe is not None:
        require_views(run.train.probe.views, run.data.height_width, where="train.probe.views")
    folds = load_folds(layout, comp)
    images = folds.frame["image"].tolist()
    cache = open_cache(
        layout.input(comp),
        layout.cache(comp),
        images + folds.test["image"].tolist(),
        run.data.height_width,
        run.data.channels,
        intensity=run.data.intensity,
        bad_images=run.data.bad_images,
    )
    usable = np.array([image not in cache.bad for image in images])
    truth = truth_array(folds.frame, folds.task, folds.outputs, where=layout.relative(layout.folds(comp)))
    return Problem(layout, comp, facts, run, folds, cache, truth, usable, device)


@dataclass(frozen=True)
class Start:
    """The state that every fold's training starts from: the pretrained network, and features for the probe."""

    model: nn.Module
    prepare: Preprocessing
    sha256: str
    features: Features | None

    def for_fold(self, problem: Problem, fold: int) -> nn.Module:
        """A fresh network on the device, its classifier fitted on the fold's training rows where there is a probe."""
        torch.manual_seed(problem.run.seed)
        model = problem.pretrained()
        model.load_state_dict(self.model.state_dict())
        probe = problem.run.train.probe
        if probe is not None and self.features is not None:
            rows = problem.rows_of(fold, train=True)
            folds = problem.folds
            head = fit_head(self.features[:, rows], problem.truth[rows], folds.task, len(folds.outputs), probe.c)
            start_classifier(model, *head)
        return model.to(problem.device)


def make_start(problem: Problem) -> Start:
    """Builds the pretrained network once and, for a probe, runs all training rows through it (or finds the cache)."""
    model = problem.pretrained()
    prepare = preprocessing(model, int(problem.cache.pixels.shape[3]))
    digest = state_sha256(model.state_dict())
    probe = problem.run.train.probe
    features = None if probe is None else _features(problem, model, prepare, probe, digest)
    return Start(model, prepare, digest, features)


def _features(problem: Problem, model: nn.Module, prepare: Preprocessing, probe: Probe, digest: str) -> Features:
    """[views, rows, features] float32, kept in the cache folder."""
    content = [problem.cache.key, problem.folds.sha256, digest, probe.views, problem.device.type, prepare.mean]
    path: Path = problem.layout.cache(problem.comp) / f"features-{sha256_json(content)[:16]}.npy"
    if not path.is_file():
        model.to(problem.device)
        rows = len(problem.positions)
        batches = evaluation_batches(problem.cache.pixels, problem.positions, FEATURE_BATCH)
        with Progress() as progress:
            watched = progress.over(batches, "probe: frozen features", total=-(-rows // FEATURE_BATCH))
            found = frozen_features(model, watched, rows, probe.views, prepare, problem.device)
        with atomic_path(path) as temporary, temporary.open("wb") as handle:
            np.save(handle, found)
        model.to("cpu")
    loaded: Features = np.load(path)
    return loaded
