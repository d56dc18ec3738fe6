"""Trains the folds of a run one after the other, and writes each fold's folder.

Reads folds and images; writes `oof/<comp>/<run>/fold_<k>/`: weights, validation predictions, log, and last
`meta.json`, which holds everything that inference needs and marks the fold as finished.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from math import isfinite

import numpy as np

from foldline.core import own_code
from foldline.core.advice import ways_out
from foldline.core.clock import FoldPlan, JobClock, in_day, in_steps
from foldline.core.counted import counted
from foldline.core.folds_of import training_losses
from foldline.core.git import commit_of
from foldline.core.paths import Layout
from foldline.core.predictions import predictions_table
from foldline.core.processes import lock
from foldline.core.progress import doing, say, unsaid
from foldline.core.rank import ONE, Rank
from foldline.core.records.fold_meta import FoldHashes, FoldMeta, MeasuredPrecision
from foldline.core.records.framing import AS_USUAL
from foldline.core.run import Run
from foldline.core.run_folder import drop_disposable, is_whole, run_sha256, wanted_folds, write_run
from foldline.core.tables import read_parquet, sha256_files, write_parquet
from foldline.core.untrained import unread_in_words
from foldline.engine.evaluate import nothing_loss, start_predictions
from foldline.engine.finished.networks import ready, weights_sha256
from foldline.engine.first_score import first_score, sampled
from foldline.engine.fold_job import make_job, require_low_rank, require_trainable, settled
from foldline.engine.forecast import Forecast, NoForecastError, forecast_before, is_worth_it, of_problem
from foldline.engine.infer import Predictions, predict
from foldline.engine.loop.checkpoint import State, cpu_copy, load_state, save_weights
from foldline.engine.loop.fit import Fitted, fit_fold
from foldline.engine.loop.log import write_log
from foldline.engine.loop.settle import settle
from foldline.engine.machine.device import describe, pick_device, prepare_device, versions
from foldline.engine.machine.ranks import Ranks, device_of, joined
from foldline.engine.problem import FoldJob, Problem, open_problem
from foldline.engine.row_parts import own_part, put_together
from foldline.engine.starting_weights import StartingWeights, make_starting_weights
from foldline.engine.teller import Teller
from foldline.engine.writers.catalogue import wanted_writers
from foldline.engine.writers.logged import mirrored
from foldline.engine.writers.mirror import Mirror
from foldline.images.views import of_pictures
from foldline.models.backbone import build
from foldline.models.framing import framing_of
from foldline.scoring.diverged import left_the_folds, ran_away
from foldline.scoring.metrics import metric_for


def train_folds(
    layout: Layout,
    comp: str,
    name: str,
    run: Run,
    folds: list[int],
    device_name: str,
    on_epoch: Callable[[int, int, float], None] | None = None,
    rank: Rank = ONE,
) -> None:
    """Trains the named folds; what all of them need (images, labels, weights, features) is prepared once.

    Args:
        on_epoch: called with (fold, epoch, score) after each epoch was logged; what it raises ends the training.
        rank: this process among those that train each fold together; rank 0 says which folds, and writes.
    """
    wanted_writers(run.train.log_to)  # a name that there is not is refused before anything takes time
    started = time.monotonic()
    device = pick_device(device_of(rank, device_name))
    prepare_device(device, deterministic=run.train.deterministic)
    with joined(rank, device) as ranks:
        folds = ranks.told(lambda: folds)
        if not folds:
            return
        together = f", {counted(ranks.count, 'ranks')} together" if ranks.count > 1 else ""
        which = "on all rows" if run.on_all_rows else f"folds {', '.join(map(str, folds))}"
        say(f"training {comp}/{name}, {which}, on {describe(device)}{together}")
        if ranks.count > 1 and device.type == "cpu" and device_name != "cpu":
            say("warning: there is no GPU here: the ranks share the CPU, which one process uses faster")
        if unheard := unread_in_words(run):
            say(f"note: {unheard}")
        with ranks.machine_by_machine():
            problem = settled(open_problem(layout, comp, run, device))
        require_low_rank(problem)
        for fold in folds:
            require_trainable(problem, fold, ranks)
        _train_all(problem, name, folds, started, on_epoch, ranks)


def _train_all(
    problem: Problem, name: str, folds: list[int], started: float,
    on_epoch: Callable[[int, int, float], None] | None, ranks: Ranks,
) -> None:  # fmt: skip
    layout, comp, run = problem.layout, problem.comp, problem.run
    planned = _planned(problem, folds, ranks)
    plan = None if planned is None else planned.fold
    few = None if planned is None or run.on_all_rows else sampled(problem, planned.view_s)
    teller = _teller(problem, name, folds, plan) if ranks.first else Teller()
    teller.forget_pause()
    with problem.feed, teller, ranks.watched():
        teller.prepare("starting weights" if run.train.probe is None else "frozen features of all pictures")
        with ranks.machine_by_machine():
            start = make_starting_weights(
                problem, folds, few=few,
                at_first=lambda some, begun: first_score(
                    some, begun, name, folds, started, of_rows=len(problem.folds.frame)
                ),
            )  # fmt: skip
        if ranks.first:
            write_run(layout, comp, name, run)
            if not run.on_all_rows:  # its first score would be that of the folds
                first_score(problem, start, name, folds, started)
        for fold in folds:
            with _held(problem, name, fold, ranks) as finished:
                if finished:
                    say(f"fold {fold}: another process has finished it meanwhile")
                else:
                    _train_fold(problem, start, name, fold, on_epoch, teller, plan, ranks)
                teller.finish(fold, elsewhere=finished)
                if ranks.first:
                    _know(teller, problem, name, fold)
                    teller.say_left(fold)
        if ranks.first:
            teller.say_end(comp, name)


@contextmanager
def _held(problem: Problem, name: str, fold: int, ranks: Ranks) -> Iterator[bool]:
    """Holds the fold's lock while the block runs, in rank 0; whether another process has finished it meanwhile."""
    folder = problem.layout.fold(problem.comp, name, fold)
    busy = f"fold {fold} of run '{name}' is being trained"
    with lock(folder / ".lock", busy) if ranks.first else nullcontext():
        yield ranks.told(lambda: is_whole(folder))


def _planned(problem: Problem, folds: list[int], ranks: Ranks) -> Forecast | None:
    """What the training will take, said and measured, where the training is long enough for that."""
    if not ranks.first or not is_worth_it(problem, folds):
        return None
    said = forecast_before(problem, folds)
    if said is not None:
        return said
    _ = problem.tested()  # what opening them says is said here
    with doing("measuring how long this will take: a few steps of a throw-away network"), unsaid():
        try:
            found = of_problem(problem, folds).shared(ranks.count)
        except NoForecastError:  # what fits is tried later, and what cannot work is said in words
            return None
    ends = in_day(datetime.now() + timedelta(seconds=found.train_s))
    say(f"expected: {found.in_words()}; training is done about {ends} ({found.how})")
    return found


def _teller(problem: Problem, name: str, folds: list[int], plan: FoldPlan | None) -> Teller:
    """Where this job stands; folds that were finished before count in the best score, not in the time."""
    task = problem.folds.task
    clock = JobClock(folds, plan or in_steps(problem.run.train.epochs, 1), measured=plan is not None)
    teller = Teller(clock, problem.layout.run(problem.comp, name), problem.metrics[0], task)
    for fold in sorted(set(range(problem.folds.k)) - set(folds)):
        _know(teller, problem, name, fold)
    return teller


def _know(teller: Teller, problem: Problem, name: str, fold: int) -> None:
    """Tells what a finished fold says of its validation rows."""
    path = problem.layout.fold(problem.comp, name, fold) / "valid.parquet"
    if not (path.is_file() and path.with_name("meta.json").is_file()):
        return
    columns = problem.folds.task.prediction_columns(problem.folds.outputs)
    table = read_parquet(path, required=("row_id", *columns)).set_index("row_id")
    rows = problem.own(fold, train=False)
    ids = problem.folds.frame["row_id"].to_numpy()[rows]
    if set(ids) <= set(table.index):  # else it was trained when other pictures could be read
        teller.known(fold, problem.scored_truth[rows], table.loc[ids, columns].to_numpy(dtype=np.float64))


def _train_fold(
    problem: Problem, start: StartingWeights, name: str, fold: int,
    on_epoch: Callable[[int, int, float], None] | None, teller: Teller, plan: FoldPlan | None, ranks: Ranks,
) -> None:  # fmt: skip
    folder = problem.layout.fold(problem.comp, name, fold)
    job = make_job(problem, start, fold, folder, on_epoch)
    if job.folds_of is not None:
        say(f"fold {fold}: all {counted(len(job.train), 'rows')}, {job.folds_of.in_words(of=problem.run.train.epochs)}")
    job = settle(
        job,
        lambda: start.for_fold(problem, fold),
        folder.parent / "precision.json",
        len(wanted_folds(problem.run, problem.folds.k)),
        ranks,
    )
    job = replace(job, start_logits=start.valid_logits(problem, fold), teller=teller, plan=plan, ranks=ranks)
    facts = {"fold": fold, "metric": job.metrics[0], "rows_train": len(job.train), "rows_valid": len(job.valid)}
    writers = mirrored(problem.layout, problem.comp, name, problem.run, folder.name, job.made_from, facts)
    with writers if ranks.first else nullcontext(Mirror()) as mirror:
        job = replace(job, mirror=mirror)
        fitted = fit_fold(job, lambda: start.for_fold(problem, fold))
        meta = _write_fold(problem, start, name, job, fitted)
        if meta is not None:
            mirror.summary(
                {"final/score": meta.score, "final/loss": meta.loss, "final/selected_epoch": meta.selected_epoch}
            )


def _write_fold(problem: Problem, start: StartingWeights, name: str, job: FoldJob, fitted: Fitted) -> FoldMeta | None:
    """Weights, validation predictions, log, then meta; the resume point goes last. Rank 0 writes; None elsewhere."""
    last = job.run.train.select == "last" or job.folds_of is not None
    chosen, other = (fitted.last, fitted.best) if last else (fitted.best, fitted.last)
    members = {"model.safetensors": chosen}
    if start.joins(problem, job.fold):
        members["start.safetensors"] = cpu_copy(start.for_fold(problem, job.fold).state_dict())
    if job.ranks.first:
        for file, weights in members.items():
            save_weights(job.folder / file, weights)
        if job.folds_of is None:
            save_weights(job.folder / ("best.safetensors" if last else "last.safetensors"), other)
    if job.folds_of is None:
        _write_valid(problem, job, list(members.values()))
    if not job.ranks.first:
        return None
    write_log(job.folder / "log.csv", fitted.log)
    code = own_code.keep(job.folder, [*own_code.named_by(job.run).values(), *job.metrics])
    meta = _meta(problem, start, name, job, fitted, members, code)
    meta.write(job.folder / "meta.json")
    drop_disposable(job.folder)
    return meta


def _write_valid(problem: Problem, job: FoldJob, members: list[State]) -> None:
    """What the kept weights predict of the validation rows, in all views: this fold's part of the OOF. Each rank
    predicts some of them.

    Args:
        members: the trained network's, and the start's where that is kept.
    """
    start = start_predictions(job) if len(members) > 1 else None
    models = []
    for weights in members[: len(members) if start is None else 1]:
        model = build(problem.architecture).to(job.device)
        load_state(model, weights)
        models.append(ready(model, problem.architecture, job.precision))
    rows = own_part(job.valid, job.ranks)
    prob: Predictions = np.empty((0, len(job.outputs)), dtype=np.float32)
    if len(rows):
        (prob,) = predict(
            [models], job.tested, rows, job.preprocessing, job.device, job.precision,
            views=of_pictures(job.run.predict.views), activation=job.objective.activation,
            batch_size=job.run.predict.batch_size,
        )  # fmt: skip
    prob = put_together(job.valid, job.ranks, prob)
    if not job.ranks.first:
        return
    mean = prob if start is None else (prob + start) / 2
    write_parquet(job.folder / "valid.parquet", predictions_table(job.valid_frame, mean, job.task, job.outputs))


def _meta(
    problem: Problem, start: StartingWeights, name: str, job: FoldJob, fitted: Fitted, members: dict[str, State],
    code: dict[str, str],
) -> FoldMeta:  # fmt: skip
    run, encoding = problem.run, problem.encoding_of(job.fold)
    last_epoch = len(fitted.log) - 1
    select = "last" if job.folds_of is not None else run.train.select
    selected = last_epoch if select == "last" else fitted.best_epoch
    score, probe_score = fitted.log[selected]["score"], fitted.log[0]["score"] if run.train.probe else None
    taken = start.taken.get(job.fold, start.taken.get(None))
    loss = fitted.log[selected]["valid_loss"]
    nothing = nothing_loss(job) if job.folds_of is None else float("nan")
    excluded, relabelled = problem.labels_of(job.fold).counts(problem.folds.frame, problem.outside(job.fold))
    hashes = FoldHashes(
        folds=problem.folds.sha256, run=run_sha256(run), pretrained=start.sha256, weights=weights_sha256(members),
        inputs=job.made_from["inputs"], code=code,
    )  # fmt: skip
    return FoldMeta(
        comp=problem.comp, run=name, fold=job.fold, task=job.task, outputs=job.outputs,
        activation=job.objective.activation, model=run.model.name,
        architecture=asdict(problem.architecture) | {"name": run.model.name},
        height_width=run.tested_height_width, channels=problem.architecture.channels,
        **asdict(start.preprocessing), intensity=run.data.intensity,
        **({} if framing_of(run) == AS_USUAL else {"framing": framing_of(run)}),
        metadata=None if encoding is None else encoding.as_json(), sha256=hashes, weights=list(members),
        files=sha256_files(job.folder, [] if job.folds_of else ["valid.parquet"]), seed=run.seed,
        versions=versions(), device=job.precision.device, commit=commit_of(problem.layout.root),
        precision=MeasuredPrecision(
            choice=job.precision.choice, images_per_second=job.precision.images_per_second
        ),
        batch_size=job.batch_size, parts=fitted.parts, compile=job.compile, skipped_steps=fitted.skipped,
        workers=job.feed.workers or 0, ranks=job.ranks.count,
        seconds=round(fitted.seconds, 2), epochs=last_epoch, selected_epoch=selected,
        views=of_pictures(run.predict.views), select=select, metric=job.metrics[0], score=score,
        probe_score=probe_score, below_probe=_below_probe(job, score, probe_score),
        loss=_finite(loss), nothing_loss=_finite(nothing), diverged=_diverged(problem, job, fitted, selected, nothing),
        rows_train=len(job.train), rows_valid=len(job.valid), rows_excluded=excluded, rows_relabelled=relabelled,
        neighbours=run.data.neighbours,
        **({} if taken is None else {"taken": taken}),
        **({} if job.folds_of is None else {"folds_of": job.folds_of.run}),
    )  # fmt: skip


def _diverged(problem: Problem, job: FoldJob, fitted: Fitted, selected: int, nothing: float) -> str:
    """Why the fold's training is not to be trusted; says so, since everything after it would go on."""
    if job.folds_of is None:
        reason = ran_away([row["valid_loss"] for row in fitted.log], selected, nothing)
    else:
        folds = training_losses(problem.layout, problem.comp, problem.run, problem.folds.k, job.epochs)
        reason = left_the_folds(fitted.log[-1]["train_loss"], folds)
    if reason:
        say(
            f"warning: fold {job.fold} diverged: {reason}; lower optim.lr, or clip the gradients (optim.clip=norm). "
            "make ensemble refuses it"
        )
    return reason


def _finite(loss: float | None) -> float | None:
    """The loss; None, which JSON has, for one that is not finite."""
    return loss if loss is not None and isfinite(loss) else None


def _below_probe(job: FoldJob, score: float | None, probe_score: float | None) -> bool:
    """Whether fine-tuning made the network worse than its own start; says so, since that is easily overlooked."""
    if score is None or probe_score is None:
        return False
    below = metric_for(job.metrics[0], job.task).better(probe_score, score)
    if below:
        say(
            f"warning: fold {job.fold}: the fine-tuned weights score {score:.4f}, worse than their own probe's "
            f"{probe_score:.4f}; {ways_out(job.run)}"
        )
    return below
