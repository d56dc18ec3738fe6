"""The first score of a run: what the probe on frozen features says of rows that it has not seen, before anything is
fine-tuned. Reads nothing; writes `first_score.json`.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from foldline.core.clock import in_minutes
from foldline.core.progress import doing, result, say
from foldline.core.records.first_score import FirstScore
from foldline.core.tables import sha256_json
from foldline.core.task import Array
from foldline.engine.finished.oof import oof_table, validation_rows
from foldline.engine.losses import activate
from foldline.engine.problem import Problem
from foldline.engine.starting_weights import StartingWeights
from foldline.models.probe import FIT_SECONDS, Features
from foldline.scoring.choose import in_digits
from foldline.scoring.cv import cross_validation
from foldline.scoring.metrics import brief

MOST_SECONDS = 40.0  # of frozen features, before which nothing need be known
SAMPLE_SECONDS, FEWEST_ROWS = 10.0, 200
PATIENCE_SECONDS = 60.0  # that heads of folds which are not trained now may take, by estimate


def first_score(
    problem: Problem, start: StartingWeights, name: str, folds: list[int], started: float, *, of_rows: int = 0
) -> None:
    """Scores the probe of every fold on the rows that it has not seen, pooled, says so and writes it down.

    Where the heads of all folds would take long, those of the folds that are trained now are scored alone. Nothing
    without a probe.

    Args:
        name: of the run.
        folds: that are trained now.
        started: when the command did, by `time.monotonic`.
        of_rows: how many there are, where `problem` has a sample of them.
    """
    if start.features is None or problem.run.train.probe is None:
        return
    if not start.valid_logits(problem, folds[0]):
        say("no first score: the network's logits are more than its classifier says of the frozen features")
        return
    k = problem.folds.k
    own = bool(problem.run.train.labels.options.get("run", ""))  # labels of each fold, maybe not of one not asked for
    seconds = k * _fit_seconds(start.features, len(problem.folds.outputs))
    scored = range(k) if not own and seconds <= PATIENCE_SECONDS else folds
    scored = [fold for fold in scored if len(problem.own(fold, train=True)) and len(problem.own(fold, train=False))]
    with doing("the first score: a linear head for each fold, and the interval"):
        table = probe_oof(problem, start, scored)
        found = cross_validation(table, problem.facts, problem.folds.outputs)
    low, high = found["interval"]
    record = FirstScore(
        metric=found["metric"], score=found["pooled"], interval=(low, high), level=found["level"], rows=len(table),
        of_rows=of_rows or len(problem.folds.frame), folds=len(scored), views=list(problem.run.train.probe.views),
        seconds=round(time.monotonic() - started, 1), how="out of fold, frozen features + linear probe",
    )  # fmt: skip
    record.write(problem.layout.first_score(problem.comp, name))
    result(
        in_words(record, goes_on=problem.run.train.epochs > 0 and not of_rows),
        **record.model_dump(exclude={"schema_version"}),
    )


def sampled(problem: Problem, view_s: float) -> Problem | None:
    """The problem with so few of its rows that their frozen features take `SAMPLE_SECONDS`, in one view; None where
    those of all rows take hardly longer.

    The rows lie evenly among all, and keep their folds.

    Args:
        view_s: seconds of a picture in a view, as `engine.forecast` measures it.
    """
    probe, rows = problem.run.train.probe, len(problem.folds.frame)
    if probe is None or rows * len(probe.views) * view_s <= MOST_SECONDS:
        return None
    count = max(int(SAMPLE_SECONDS / view_s), FEWEST_ROWS)
    if count >= rows:
        return None
    chosen = np.linspace(0, rows - 1, count).astype(np.int64)
    frame = problem.folds.frame.iloc[chosen].reset_index(drop=True)
    train = problem.run.train.model_copy(update={"probe": probe.model_copy(update={"views": probe.views[:1]})})
    return replace(
        problem,
        folds=replace(problem.folds, frame=frame, sha256=sha256_json([problem.folds.sha256, count])),
        truth=problem.truth[chosen],
        sample_of=(problem, chosen),
        run=problem.run.model_copy(update={"train": train}),
    )


def probe_oof(problem: Problem, start: StartingWeights, folds: Sequence[int]) -> pd.DataFrame:
    """The OOF table of the probe: each fold's rows by the head that has not seen them, the mean over its views."""
    return pd.concat([_oof_part(problem, start, fold) for fold in folds], ignore_index=True)


def _oof_part(problem: Problem, start: StartingWeights, fold: int) -> pd.DataFrame:
    logits = start.valid_logits(problem, fold)
    activation = problem.objective_of(fold).activation
    parts: list[Array] = [activate(torch.from_numpy(own), activation).numpy() for own in logits.values()]
    return oof_table(problem, validation_rows(problem, fold), np.mean(parts, axis=0).astype(np.float32))


def _fit_seconds(features: Features, outputs: int) -> float:
    """Of a fold's head, roughly."""
    return float(features.size) * max(outputs - 1, 1) * FIT_SECONDS


def in_words(record: FirstScore, *, goes_on: bool = False) -> str:
    """The line that a person reads."""
    (low, high), rows = record.interval, f"{record.rows:,}"
    of = rows if record.rows == record.of_rows else f"{rows} of {record.of_rows:,}"
    after = "; fine-tuning goes on" if goes_on else ""
    return (
        f"first score: {brief(record.metric)} {in_digits(record.score)} "
        f"({100 * record.level:.0f} % interval {in_digits(low)} to {in_digits(high)}), {record.how}, {of} rows, "
        f"{in_minutes(record.seconds)} after the start{after}"
    )
