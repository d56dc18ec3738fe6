"""A problem as a training of one fold sees it: what it is made of, and what cannot work. Reads other runs' folds."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from foldline.core.all_rows import require_folds_of
from foldline.core.errors import FoldlineError
from foldline.core.folds_of import folds_of
from foldline.core.progress import say
from foldline.core.provenance import inputs_sha256
from foldline.core.run_folder import run_sha256
from foldline.core.run_training import usual_batch
from foldline.engine.auxiliary import NOTHING, Auxiliary, require_auxiliary
from foldline.engine.entities import stacks_of, step_in_words
from foldline.engine.extra_rows import require_pseudo
from foldline.engine.loop.low_rank import changed_layers
from foldline.engine.losses import compared, kind_of
from foldline.engine.machine.layout import settled_layout
from foldline.engine.machine.precision import Precision
from foldline.engine.machine.ranks import Ranks, require_norms
from foldline.engine.masks import WHERE, LearntMasks, opened_masks, require_masks
from foldline.engine.predict_run import load_teacher, teacher_meta
from foldline.engine.problem import FoldJob, Problem
from foldline.engine.row_arrays import RowArrays
from foldline.engine.starting_weights import StartingWeights
from foldline.images.batches import Share
from foldline.images.sampling import row_classes, rows_per_epoch
from foldline.models.backbone import build

LEAST_TOGETHER = 8  # rows of a batch over which a correlation is learnt
WITHOUT_LEVEL = ("pearson", "spearman")  # metrics of numbers that do not ask where these lie


def settled(problem: Problem) -> Problem:
    """The problem with a layout in which its network survives a training step."""
    folder = problem.layout.cache(problem.comp)
    return replace(problem, channels_last=settled_layout(problem.architecture, problem.device, folder).channels_last)


def make_job(
    problem: Problem,
    start: StartingWeights,
    fold: int,
    folder: Path,
    on_epoch: Callable[[int, int, float], None] | None = None,
) -> FoldJob:
    """What fitting the fold needs, in fp32 until the precision is chosen."""
    run, train, words = problem.run, problem.train_rows(fold), problem.labels_of(fold).words
    if words:
        say(f"  fold {fold}: {words} (train.labels: {run.train.labels.name})")
    _remark_losses(problem, fold)
    if run.train.lora is not None and run.model.weights.name == "none":
        say(f"warning: fold {fold}: train.lora changes little of random weights (model.weights: none), which stay so")
    if train.stacks is not None:
        say(f"  fold {fold}: {step_in_words(train.stacks, run, usual_batch(run.train.batch_size))}")
    each = run.model.entity.options.get("per_picture")
    objective = problem.objective_of(fold, train.truth if each else train.truth_of_units)
    made_from = {
        "folds": problem.folds.sha256, "run": run_sha256(run), "rows": len(train),
        "inputs": inputs_sha256(problem.layout, problem.comp, run, fold, problem.left_out),
    }  # fmt: skip
    if objective.activation != kind_of(objective.activation):
        made_from["scale"] = objective.activation  # versions before this one learnt numbers as they are
    taught = bool(run.loss.teacher.name and run.train.epochs)
    return FoldJob(
        fold=fold, run=problem.located, task=problem.folds.task, outputs=problem.folds.outputs, metrics=problem.metrics,
        feed=problem.feed, tested=problem.tested(), train=train,
        valid=problem.valid_rows(fold, problem.encoding_of(fold)),
        valid_frame=problem.scored.iloc[problem.own(fold, train=False)], preprocessing=start.preprocessing,
        objective=objective, device=problem.device, precision=Precision("fp32", "", {}),
        batch_size=usual_batch(run.train.batch_size),
        folder=folder, teacher=partial(load_teacher, problem, fold) if taught else None,
        made_from=made_from, on_epoch=on_epoch, auxiliary=_auxiliary(problem, fold, train),
        folds_of=folds_of(problem.layout, problem.comp, run, problem.folds.k) if run.on_all_rows else None,
        masks=_masks(problem, fold, train),
    )  # fmt: skip


def _auxiliary(problem: Problem, fold: int, train: RowArrays) -> Auxiliary | None:
    """What the fold learns beside its target; test rows with pseudo-labels have nothing of it."""
    weights, frame = problem.run.loss.auxiliary, problem.folds.frame
    if not weights or not problem.run.train.epochs:
        return None
    ids = train.names(np.arange(len(train) - train.pseudo)) + train.pseudo * [""]
    learnt = pd.concat([frame[problem.outside(fold)], problem.extra], ignore_index=True)
    found = Auxiliary.of(weights, frame, learnt, ids)
    words = found.in_words()
    say(f"{'warning: ' if NOTHING in words else '  '}fold {fold}: also learnt: {words}")
    return found


def _masks(problem: Problem, fold: int, train: RowArrays) -> LearntMasks | None:
    """What the fold learns of masks beside its target; extra rows and test rows have none."""
    if problem.masks is None:
        return None
    known = problem.masks.of_picture[train.positions] >= 0
    known[len(problem.own(fold, train=True)) :] = False
    of, valid = (problem.layout, problem.comp, problem.run, problem.folds.frame), problem.masks
    if problem.cut_from is not problem.cache:
        valid = opened_masks(*of, problem.cache, trained=False) or valid
    looked_at = valid.of_picture[problem.cache.rows(_images(problem, fold))] >= 0
    if not known.any():
        raise FoldlineError(
            f"no row that fold {fold} trains on has a mask", where=WHERE, next="leave loss.masks out, or mark more rows"
        )
    counted = f"{int(known.sum())} of {len(known)} training rows, {int(looked_at.sum())} of {len(looked_at)} validation"
    say(f"  fold {fold}: masks of {counted} rows are learnt (loss.masks: {problem.run.loss.masks:g})")
    return LearntMasks(problem.run.loss.masks, known, valid, looked_at)


def _images(problem: Problem, fold: int) -> list[str]:
    images: list[str] = problem.folds.frame["image"].iloc[problem.own(fold, train=False)].tolist()
    return images


def require_trainable(problem: Problem, fold: int, ranks: Ranks | None = None) -> None:
    """Raises FoldlineError for what cannot work, or is not there yet, in any fold, before anything takes time.

    Args:
        ranks: that train the fold together; None: one process does.
    """
    run, folds = problem.located, problem.folds
    require_folds_of(problem.layout, problem.comp, problem.run, folds.k, folds.sha256)
    for train, what in ((True, "to train on"), (False, "of its own"))[: 1 if run.on_all_rows else 2]:
        if not len(problem.own(fold, train=train)):
            raise FoldlineError(
                f"fold {fold} has no rows {what}: their pictures cannot be decoded, or settings leave them out",
                where="data.bad_images: skip, train.without, train.labels",
                next="mend these pictures, leave out fewer rows, or make other folds",
            )
    if run.extra.pseudo.name:
        require_pseudo(problem.layout, problem.comp, folds, run.extra.pseudo, fold)
    if run.loss.teacher.name:
        teacher_meta(problem, fold)
    require_auxiliary(run, 1 if ranks is None else ranks.count)
    require_masks(run, 1 if ranks is None else ranks.count)
    _ = problem.feed  # transforms that cannot work are refused here, and pictures that do not fit where they shall be
    truth = problem.labels_of(fold).truth[problem.own(fold, train=True)]
    stacks = stacks_of(folds.frame.iloc[problem.own(fold, train=True)], run)
    truth = truth if stacks is None else truth[stacks.first_rows]
    rows = rows_per_epoch(row_classes(truth, folds.task, run.sampling), len(truth), run.sampling, folds.outputs)
    _require_whole_batches(problem, min(usual_batch(run.train.batch_size), rows))
    if ranks is not None and ranks.count > 1:
        _require_ranks(problem, min(usual_batch(run.train.batch_size), rows), ranks)


def require_low_rank(problem: Problem) -> None:
    """Raises FoldlineError where `train.lora` has nothing to change in the run's network."""
    if problem.run.train.lora is not None and problem.run.train.epochs:
        changed_layers(build(problem.architecture))


def _require_whole_batches(problem: Problem, batch: int) -> None:
    """Raises FoldlineError where a loss of all rows of a batch has too few of them."""
    if problem.objective.together and problem.run.train.epochs and batch < LEAST_TOGETHER:
        raise FoldlineError(
            f"the loss '{problem.run.loss.name}' is of the rows of a batch together, and {batch} say next to nothing",
            where="loss.name, train.batch_size",
            next=f"give batches of {LEAST_TOGETHER} rows at least, 16 are better; optim.accumulate does not help",
        )


def _remark_losses(problem: Problem, fold: int) -> None:
    """Says what is predicted and means nothing by itself."""
    loss, facts = problem.run.loss, problem.facts
    for name, weight in loss.targets.items():
        if not weight and problem.run.train.epochs:
            say(f"warning: fold {fold}: target '{name}' is not learnt (loss.targets: 0): its predictions mean nothing")
    if loss.name == "pearson" and not facts.task.targets and facts.metric not in WITHOUT_LEVEL:
        say(
            f"warning: fold {fold}: what loss.name: pearson predicts has neither level nor spread, for which the "
            f"metric {facts.metric} asks; concordance or mse learn them"
        )


def _require_ranks(problem: Problem, batch: int, ranks: Ranks) -> None:
    """Raises FoldlineError where a rank would have no row of a batch, batch-norms cannot train on this device, or the
    loss is of a whole batch."""
    run = problem.run
    if problem.objective.together:
        raise FoldlineError(
            f"the loss '{run.loss.name}' is of a whole batch, of which each of {ranks.count} ranks sees some rows",
            where="--ranks, loss.name",
            next="train a fold with one process (make train-all JOBS=... trains several folds at once)",
        )
    pairs = run.augment.mix.name != "none"
    together = compared(run.augment.copies)
    if not Share(0, ranks.count, pairs, together).least(batch):
        each = "two" if pairs else f"{together}" if together > 1 else "one"
        raise FoldlineError(
            f"a batch of {batch} pictures has not {each} for each of {ranks.count} ranks",
            where="--ranks, train.batch_size",
            next=f"give at most {(batch + 1) // 2 if pairs else batch // together} ranks",
        )
    if run.train.epochs:
        require_norms(build(problem.architecture), run.train.batch_norm, problem.device)
