"""What each fold's training starts from: pretrained weights, a probe on frozen features, or another run's fold.

Reads weights and, for a probe, the images; writes the features into the cache folder.
"""

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from foldline.core.errors import FoldlineError
from foldline.core.own_code import sha256
from foldline.core.progress import Progress, say
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.records.same import differences, require_same
from foldline.core.records.seal import Seal
from foldline.core.run import Probe
from foldline.core.tables import atomic_path, sha256_file, sha256_json
from foldline.engine.problem import Problem
from foldline.images.batches import evaluation_batches
from foldline.images.resize import side_at
from foldline.models.architecture import Preprocessing
from foldline.models.backbone import (
    build,
    build_pretrained,
    classifier,
    preprocessing_of,
    set_checkpointing,
    state_sha256,
)
from foldline.models.licences import licence_note
from foldline.models.probe import Features, fit_head, frozen_features, start_classifier
from foldline.models.weights import state_from

MOST_FEATURES = 4e9  # numbers of the probe's table: 32 GB as float64
MOST_WORK = 1e12  # times outputs: some minutes for each pass of the solver
FEATURE_BATCH = 16  # images a batch, before views: activations that stay in a CPU's cache are several times faster


@dataclass(frozen=True)
class StartingWeights:
    """The state that every fold's training starts from: the pretrained network, and features for the probe."""

    model: nn.Module
    preprocessing: Preprocessing
    sha256: str
    features: Features | None

    def for_fold(self, problem: Problem, fold: int) -> nn.Module:
        """A fresh network on the device, its classifier fitted on the fold's training rows where there is a probe."""
        run = problem.run
        torch.manual_seed(run.seed)
        model = build(problem.architecture)
        model.load_state_dict(self.model.state_dict())
        if run.model.weights.name == "run":
            state_from(_warm_start(problem, fold), model)
        if run.train.probe is not None and self.features is not None:
            rows, folds = problem.own(fold, train=True), problem.folds
            head = fit_head(
                self.features[:, rows], problem.truth[rows], folds.task, len(folds.outputs), run.train.probe.c
            )
            start_classifier(model, *head)
        if run.model.checkpointing:
            set_checkpointing(model)
        return model.to(problem.device)


def make_starting_weights(problem: Problem, folds: list[int]) -> StartingWeights:
    """Builds the pretrained network once and, for a probe, runs all training rows through it (or finds the cache).

    Raises:
        FoldlineError: the weights cannot be reached, do not fit, or saw rows of a fold that they are to start.
    """
    run = problem.run
    _refuse_leak(problem, folds)
    torch.manual_seed(run.seed)
    if run.model.weights.name == "run":
        for fold in folds:
            _warm_start(problem, fold)
        model = build(problem.architecture)
    else:
        model = build_pretrained(problem.architecture, run.model, problem.layout)
    note = licence_note(run.model.name) if run.model.weights.name == "hub" else ""
    if note:
        say(f"note: {note}")
    _require_growing(problem, model)
    preprocessing = preprocessing_of(model, int(problem.cache.pixels.shape[3]))
    digest = state_sha256(model.state_dict())
    probe = run.train.probe
    if probe is not None:
        _require_small(problem, model, len(probe.views))
    features = None if probe is None else _features(problem, model, preprocessing, probe, digest)
    return StartingWeights(model, preprocessing, digest, features)


def _require_small(problem: Problem, model: nn.Module, views: int) -> None:
    """Raises FoldlineError where fitting a probe would take hours: it is for thousands of rows, not millions."""
    rows, outputs = len(problem.folds.frame), len(problem.folds.outputs)
    size = rows * views * classifier(model).in_features
    if size > MOST_FEATURES or size * outputs > MOST_WORK:
        raise FoldlineError(
            f"a probe of {outputs:,} outputs on {rows:,} rows in {views} views would take hours",
            where="train.probe",
            next='leave it out: SET="train.probe=null train.keep_start=false" NAME=no-probe',
        )


@torch.no_grad()
def _require_growing(problem: Problem, model: nn.Module) -> None:
    """Raises FoldlineError where pictures shall grow and the network takes one size alone."""
    run, architecture = problem.run, problem.architecture
    if run.data.grow_from == 1:
        return
    side = side_at(0, run.train.epochs, run.data.grow_from, run.data.height_width)
    inputs = [torch.zeros(2, architecture.channels, *side)]
    inputs += [torch.zeros(2, architecture.metadata_features)] if architecture.metadata_features else []
    try:
        model.eval()(*inputs)
    except (AssertionError, RuntimeError, ValueError, FoldlineError) as error:
        raise FoldlineError(
            f"'{architecture.name}' does not take pictures of {side[0]} x {side[1]} px: {' '.join(str(error).split())}",
            where="data.grow_from",
            next="leave data.grow_from out, choose a larger one, or another backbone",
        ) from error


def _warm_start(problem: Problem, fold: int) -> Path:
    """The weights of the same fold of the run that `model.weights` names.

    Raises:
        FoldlineError: that fold is not trained, or on other folds, so that its network may have seen this fold's rows.
    """
    other = problem.run.model.weights.options["run"]
    folder = problem.layout.fold(problem.comp, other, fold)
    meta = FoldMeta.read(folder / "meta.json", next=f"make train COMP={problem.comp} RUN={other} FOLD={fold}")
    require_same(meta, folds=problem.folds.sha256, where="model.weights")
    if problem.run.train.probe is not None:
        raise FoldlineError("a probe needs one network for all folds", where="train.probe", next="leave it out")
    return folder / "model.safetensors"


def _refuse_leak(problem: Problem, folds: list[int]) -> None:
    """A weights file that is a fold of a run may start that fold alone."""
    weights = problem.run.model.weights
    if weights.name != "file":
        return
    meta = _meta_of(problem, (problem.layout.root / weights.options["file"]).resolve())  # of what a link points to
    if meta is None or meta.comp != problem.comp:
        return
    seen = [fold for fold in folds if fold != meta.fold or differences(meta, folds=problem.folds.sha256)]
    if seen:
        raise FoldlineError(
            f"these weights were trained on rows of fold {seen[0]}: its score would be of learnt rows (a leak)",
            where=f"model.weights: {weights.options['file']}",
            next="set model.weights.name=run and model.weights.options.run: each fold then starts from its own",
        )


def _meta_of(problem: Problem, file: Path) -> FoldMeta | None:
    """The `meta.json` of the fold that made a weights file, also of a copy of it elsewhere; else None."""
    trained = problem.layout.runs(problem.comp).glob("*/fold_*/*.safetensors")
    size = file.stat().st_size if file.is_file() else -1
    same = [path for path in trained if path.stat().st_size == size and sha256_file(path) == sha256_file(file)]
    metas = [FoldMeta.read_if_there(path.with_name("meta.json")) for path in sorted(same)]
    with suppress(FoldlineError):  # a file of that name that is not foldline's
        metas.append(FoldMeta.read_if_there(file.with_name("meta.json")))
    return next((meta for meta in metas if meta is not None), None)


def _features(problem: Problem, model: nn.Module, preprocessing: Preprocessing, probe: Probe, digest: str) -> Features:
    """[views, rows, features] float32, kept in the cache folder."""
    positions = problem.cache.rows(problem.folds.frame["image"].tolist())
    network = asdict(problem.architecture)  # pooling and options have no weights, and make other features
    network["name"] += sha256(problem.architecture.name)
    content = [
        problem.cache.key, problem.folds.sha256, digest, network, probe.views, problem.device.type,
        preprocessing.mean, preprocessing.std,
    ]  # fmt: skip
    path: Path = problem.layout.cache(problem.comp) / f"features-{sha256_json(content)[:16]}.npy"
    if Seal.of(path) is None:
        model.to(problem.device)
        rows = len(positions)
        batches = evaluation_batches(problem.cache.pixels, positions, FEATURE_BATCH)
        with Progress() as progress:
            watched = progress.over(batches, "probe: frozen features", total=-(-rows // FEATURE_BATCH))
            features = frozen_features(model, watched, rows, probe.views, preprocessing, problem.device)
        with atomic_path(path) as temporary, temporary.open("wb") as handle:
            np.save(handle, features)
        Seal.put(path)
        model.to("cpu")
    loaded: Features = np.load(path)
    return loaded
