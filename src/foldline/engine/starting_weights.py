"""What each fold's training starts from: pretrained weights, a probe on frozen features, or another run's fold.

Reads weights and, for a probe, the images; writes the features into the cache folder.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.progress import say
from foldline.core.provenance import fold_of, refuse_diverged
from foldline.core.records.fold_meta import FoldMeta, TakenWeights
from foldline.core.records.same import require_same
from foldline.core.run_training import Probe, usual_batch
from foldline.core.task import Array
from foldline.engine.frozen import features_of, features_path
from foldline.engine.learnt_weights import refuse_leak
from foldline.engine.losses import as_logits, center_and_spread, kind_of
from foldline.engine.machine.precision import set_batch_norm
from foldline.engine.problem import Problem
from foldline.engine.refused import require_adaptable
from foldline.images.resize import side_at
from foldline.images.views import OTHER_SIZES, VIEWS
from foldline.models.architecture import Preprocessing
from foldline.models.backbone import (
    build,
    build_pretrained,
    classifier,
    set_checkpointing,
    state_sha256,
)
from foldline.models.fusing import fold_frozen, random_inputs
from foldline.models.heads import classifier_name
from foldline.models.licences import licence_note
from foldline.models.probe import Features, FittedHead, JudgingFits, ends_linear, fit_head, start_classifier
from foldline.models.weights import odd_names, state_from

MOST_FEATURES = 4e9  # numbers of the probe's table: 32 GB as float64
_UNFIT = (AssertionError, RuntimeError, ValueError, LookupError, TypeError, FoldlineError)
INVERTED = ("scaled", "bounded")  # activations of numbers: the probe predicts what they are made of
MOST_WORK = 1e12  # times outputs: some minutes for each pass of the solver


@dataclass(frozen=True)
class StartingWeights:
    """The state that every fold's training starts from: the pretrained network, and features for the probe."""

    model: nn.Module
    preprocessing: Preprocessing
    sha256: str
    features: Features | None
    taken: dict[int | None, TakenWeights] = field(default_factory=dict)  # by fold, or of all folds: None
    heads: dict[int, FittedHead] = field(default_factory=dict)  # of the folds that were asked for
    ends_linear: bool = True  # see `models.probe.ends_linear`
    judging: JudgingFits = field(default_factory=JudgingFits)

    def joins(self, problem: Problem, fold: int) -> bool:
        """Whether the fold's start is averaged with what training makes of it (`train.keep_start`)."""
        return problem.run.train.keep_start and self._head(problem, fold).joins(problem.folds.task)

    def for_fold(self, problem: Problem, fold: int) -> nn.Module:
        """A fresh network on the device, its classifier fitted on the fold's training rows where there is a probe."""
        run = problem.run
        torch.manual_seed(run.seed)
        model = build(problem.architecture)
        model.load_state_dict(self.model.state_dict())
        if run.model.weights.name == "run":
            path, meta = _warm_start(problem, fold)
            self.taken[fold] = state_from(path, model)
            _rescale(model, self.taken[fold], meta.activation, problem.objective_of(fold).activation)
        if run.train.probe is not None:
            start_classifier(model, self._head(problem, fold))
        if run.model.checkpointing:
            set_checkpointing(model)
        model = model.to(problem.device)
        if run.train.batch_norm == "frozen":
            fold_frozen(model, problem.architecture)
        return model

    def valid_logits(self, problem: Problem, fold: int) -> dict[str, Array]:
        """[rows, outputs] what the fold's start says of its validation rows, by view, as far as the probe's features
        tell; nothing without a probe, and of a network that does more after its classifier."""
        if self.features is None or not self.ends_linear:
            return {}
        head, rows = self._head(problem, fold), problem.own(fold, train=False)
        views = problem.run.train.probe.views if problem.run.train.probe is not None else []
        return {view: self.features[i, rows] @ head.weight.T + head.bias for i, view in enumerate(views)}

    def _head(self, problem: Problem, fold: int) -> FittedHead:
        """The probe of the fold's training rows, fitted once; where a constant is better, that is said."""
        probe, folds = problem.run.train.probe, problem.folds
        assert probe is not None
        assert self.features is not None
        if fold not in self.heads:
            rows = problem.own(fold, train=True)
            truth = problem.labels_of(fold).truth[rows]
            truth = as_logits(truth, folds.task, problem.objective_of(fold).activation, INVERTED)
            parts = folds.frame["fold"].to_numpy()[rows]
            head = fit_head(
                self.features[:, rows], truth, folds.task, len(folds.outputs), probe.c, parts, rows, self.judging
            )
            if head.poor.any():
                _say_poor(problem, fold, head, classifier_name(self.model))
            self.heads[fold] = head
        return self.heads[fold]


def make_starting_weights(
    problem: Problem,
    folds: list[int],
    *,
    few: Problem | None = None,
    at_first: Callable[[Problem, StartingWeights], None] | None = None,
) -> StartingWeights:
    """Builds the pretrained network once and, for a probe, runs all training rows through it (or finds the cache).

    Args:
        few: the problem with a sample of its rows, whose features are made first where those of all are not there.
        at_first: is given that problem, and the start as these features make it.

    Raises:
        FoldlineError: the weights cannot be reached, do not fit, or saw rows of a fold that they are to start.
    """
    run = problem.run
    refuse_leak(problem, folds)
    torch.manual_seed(run.seed)
    if run.model.weights.name == "run":
        for fold in folds:
            _warm_start(problem, fold)
        model, taken = build(problem.architecture), None
    else:
        model, taken = build_pretrained(problem.architecture, run.model, problem.layout)
    if taken is not None:
        say(f"{'warning: ' if taken.share < 1 else ''}weights: {taken.in_words()}")
    note = licence_note(run.model.name) if run.model.weights.name == "hub" else ""
    if note:
        say(f"note: {note}")
    _require_sizes(problem, model)
    require_adaptable(model, run.model.name, run.predict.views)
    _require_batch(problem, model, folds)
    preprocessing = problem.preprocessing(model)
    digest = state_sha256(model.state_dict())
    probe = run.train.probe
    linear = True
    if probe is not None:
        _require_probe(problem, model, len(probe.views))
        linear = _ends_linear(problem, model) and run.model.entity.name == "none"
    if few is not None and at_first is not None and not _has_features(problem, preprocessing, digest):
        assert few.run.train.probe is not None
        some = _features(few, model, preprocessing, few.run.train.probe, digest)
        at_first(few, StartingWeights(model, preprocessing, digest, some, ends_linear=linear))
    features = None if probe is None else _features(problem, model, preprocessing, probe, digest)
    return StartingWeights(
        model, preprocessing, digest, features, {} if taken is None else {None: taken}, ends_linear=linear
    )


@torch.no_grad()
def _rescale(model: nn.Module, taken: TakenWeights, theirs: str, ours: str) -> None:
    """Makes a head that was learnt with numbers in one scale, and taken over, predict the same numbers in another."""
    if kind_of(theirs) == kind_of(ours) and theirs != ours:
        name = classifier_name(model)
        head = model.get_submodule(name)
        assert isinstance(head, nn.Linear)
        if any(odd.startswith(f"{name}.") for odd in odd_names(taken)):
            return
        (center, spread), (own, by) = (center_and_spread(name, head.out_features) for name in (theirs, ours))
        head.weight.mul_((spread / by)[:, None].to(head.weight))
        head.bias.mul_((spread / by).to(head.bias)).add_(((center - own) / by).to(head.bias))


def _say_poor(problem: Problem, fold: int, head: FittedHead, classifier: str) -> None:
    """That a constant stands in the probe's place; a classifier that is frozen at one lets nothing else learn."""
    names = [name for name, poor in zip(problem.folds.outputs, head.poor, strict=True) if poor]
    what = "" if head.poor.all() else f" for {first_few(names)}"
    kept = problem.run.train.keep_start and not head.joins(problem.folds.task)
    say(
        f"warning: fold {fold}: the probe{what} is no better than a constant on training rows held out of it: "
        f"training starts from the constant{', and the start is not averaged in (train.keep_start)' if kept else ''}"
    )
    frozen = problem.run.train.freeze  # a share never has the classifier
    if head.poor.all() and isinstance(frozen, list) and f"{classifier}.weight".startswith(tuple(frozen)):
        say(f"warning: fold {fold}: the classifier is frozen at the constant, so nothing is learnt: mend train.freeze")


def _require_probe(problem: Problem, model: nn.Module, views: int) -> None:
    """Raises FoldlineError where the loss wants other logits than a probe's, or where fitting one would take hours:
    it is for thousands of rows, not millions."""
    rows, outputs = len(problem.folds.frame), len(problem.folds.outputs)
    if problem.objective.logits != outputs:
        raise FoldlineError(
            f"a probe has a logit for each of {outputs} outputs, and this loss has "
            f"{counted(problem.objective.logits, 'logits')}",
            where="train.probe, loss.name",
            next="leave train.probe out, or take loss.name: auto",
        )
    size = rows * views * classifier(model).in_features
    if size > MOST_FEATURES or size * outputs > MOST_WORK:
        raise FoldlineError(
            f"a probe of {outputs:,} outputs on {counted(rows, 'rows')} in {counted(views, 'views')} would take hours",
            where="train.probe",
            next='leave it out: SET="train.probe=null train.keep_start=false" NAME=no-probe',
        )


def _ends_linear(problem: Problem, model: nn.Module) -> bool:
    """Whether the network's logits are what its classifier makes of its features; says so where they are not.

    Raises:
        FoldlineError: it does not give the features, as a network of the user's own may.
    """
    name = problem.run.model.name
    try:
        linear = ends_linear(model, *random_inputs(model, problem.architecture))
    except _UNFIT as error:
        raise FoldlineError(
            f"'{name}' does not give what its classifier takes: {' '.join(str(error).split())}",
            where="train.probe, model.name",
            next="give forward_head an argument pre_logits (docs/own-code.md), or leave train.probe out",
        ) from error
    if not linear:
        say(
            f"warning: the logits of '{name}' are more than its classifier says of its features: a probe fits less well"
        )
    return linear


@torch.no_grad()
def _require_sizes(problem: Problem, model: nn.Module) -> None:
    """Raises FoldlineError where the network does not take pictures of the run's size, or of the first that grows."""
    run, architecture = problem.run, problem.architecture
    sides = {"data.image_size": run.data.height_width}
    if run.tested_height_width != run.data.height_width:
        sides["predict.image_size"] = run.tested_height_width
    for view in OTHER_SIZES.intersection(run.predict.views):
        height, width = VIEWS[view](torch.zeros(1, 1, *run.tested_height_width)).shape[2:]
        sides[f"predict.views: {view}"] = height, width
    if run.data.grow_from < 1:
        first = side_at(0, run.train.epochs, run.data.grow_from, run.data.height_width)
        sides = {"data.grow_from": first, **sides}
    for setting, side in sides.items():
        try:
            model.eval()(*_black(problem, side, 2))
        except _UNFIT as error:
            ways = {
                "data.grow_from": "leave data.grow_from out, choose a larger one, or another backbone",
                "predict.image_size": "leave predict.image_size out; or let the network take other sizes than it is "
                "trained at, as timm's transformers do with model.options.dynamic_img_size=true",
            }
            raise FoldlineError(
                f"'{architecture.name}' does not take pictures of {side[0]} x {side[1]} px: "
                f"{' '.join(str(error).split())}",
                where=setting,
                next=ways.get(setting, "choose another size, or another backbone"),
            ) from error
    model.train()  # some networks keep what they computed from their weights while they only predict


@torch.no_grad()
def _require_batch(problem: Problem, model: nn.Module, folds: list[int]) -> None:
    """Raises FoldlineError where a batch of one picture leaves a batch-norm one value a channel to take a mean of.

    An epoch's last batch is never smaller than the others: what is over is left out (`images.batches`).
    """
    run = problem.run
    batch = min(usual_batch(run.train.batch_size), *(len(problem.own(fold, train=True)) for fold in folds))
    if batch > 1 or not run.train.epochs or run.model.entity.name != "none":
        return
    side = side_at(0, run.train.epochs, run.data.grow_from, run.data.height_width)
    tried = deepcopy(model).train()
    set_batch_norm(tried, run.train.batch_norm)
    try:
        tried(*_black(problem, side, 1))
    except ValueError as error:  # torch's: "Expected more than 1 value per channel when training"
        raise FoldlineError(
            "the network's batch-norms need more than one value, and a batch has one picture",
            where=f"train.batch_size: {run.train.batch_size}",
            next="raise train.batch_size (optim.accumulate does not help here), or set train.batch_norm: frozen",
        ) from error


def _black(problem: Problem, side: tuple[int, int], pictures: int) -> list[torch.Tensor]:
    """What the network takes, all zeros."""
    architecture = problem.architecture
    inputs = [torch.zeros(pictures, architecture.channels, *side)]
    features = architecture.metadata_features
    return [*inputs, torch.zeros(pictures, features)] if features else inputs


def _warm_start(problem: Problem, fold: int) -> tuple[Path, FoldMeta]:
    """The weights of the same fold of the run that `model.weights` names, and its meta.

    Raises:
        FoldlineError: that fold is not trained, diverged, or is of other folds, so that its network may have seen this
            fold's rows.
    """
    other = problem.run.model.weights.options["run"]
    folder = problem.layout.fold(problem.comp, other, fold)
    meta = fold_of(problem.layout, problem.comp, other, fold, "model.weights")
    require_same(meta, folds=problem.folds.sha256, where="model.weights")
    refuse_diverged(problem.layout, meta, "model.weights")
    if problem.run.train.probe is not None:
        raise FoldlineError("a probe needs one network for all folds", where="train.probe", next="leave it out")
    return folder / "model.safetensors", meta


def _has_features(problem: Problem, preprocessing: Preprocessing, digest: str) -> bool:
    """Whether those of all rows are in the cache, or none are needed."""
    probe, folds = problem.run.train.probe, problem.folds
    return probe is None or features_path(problem, preprocessing, digest, probe.views, folds.sha256).is_file()


def _features(problem: Problem, model: nn.Module, preprocessing: Preprocessing, probe: Probe, digest: str) -> Features:
    """[views, rows, features] float32 of the training rows."""
    images = problem.folds.frame["image"].tolist()
    path = features_path(problem, preprocessing, digest, probe.views, problem.folds.sha256)
    return features_of(problem, model, preprocessing, images, probe.views, path)
