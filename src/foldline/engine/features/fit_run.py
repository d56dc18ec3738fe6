"""Fits the heads of a run of frozen features, fold by fold, and predicts with them.

Reads the folds, what `parts` and `networks` read; writes `oof.parquet` and `test.parquet` of the run's folder, and what
`keep` keeps.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.competition import load_competition
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.features_run import FeaturesRun
from foldline.core.folds import Folds, as_scored
from foldline.core.paths import Layout
from foldline.core.prediction_blocks import PredictionWriter, Values
from foldline.core.progress import doing, say
from foldline.core.tables import scratch_folder
from foldline.core.task import Block
from foldline.engine.features.keep import Keeper, moved
from foldline.engine.features.networks import seen_by
from foldline.engine.features.parts import Part, metadata_part, run_part
from foldline.engine.machine.device import describe, pick_device
from foldline.models.fitted.catalogue import HEADS
from foldline.models.fitted.nested import Fitted, Question, Rows, Seen, fit_fold
from foldline.models.fitted.spec import HeadSpec
from foldline.splits.splitters import ToSplit, split
from foldline.splits.strata import make_strata

FEWEST_FOLDS = 4  # of fewer, what is left without two of them is too little to choose options on
INNER_PARTS = 5


@dataclass(frozen=True)
class FeaturesFitted:
    """What there is to say of the fitted heads.

    Attributes:
        chosen: the options of each fold and target, and their loss on the rows that chose them.
        left_out: pictures that cannot be read.
        files: that were written, by their names below the run's folder.
        seconds: of features and columns; fit_seconds: of the heads.
    """

    chosen: list[dict[str, Any]]
    left_out: list[str]
    optimistic: list[str]
    device: str
    files: list[str]
    seconds: float
    fit_seconds: float


def fit_features(
    layout: Layout, comp: str, name: str, run: FeaturesRun, folds: Folds, device_name: str, new_class: str = ""
) -> FeaturesFitted:
    """Writes the predictions of every training row, by the head of its fold, and of the test rows, by all heads.

    Args:
        new_class: the class of what no training row shows; empty: there is none.

    Raises:
        FoldlineError: a source that cannot be read, too many rows for the head, or a task that it is not for.
    """
    start = time.monotonic()
    spec = HEADS[run.head.name]
    _require_fits(spec, run, folds)
    if run.head.options.get("threshold") and not new_class:
        raise FoldlineError(
            "a threshold says from where on `folds.new_class` is likelier, and the facts name no such class",
            where="head.options.threshold",
            next="name it in the facts (folds.new_class) and make the folds anew; or leave the threshold out",
        )
    parts = _parts(layout, comp, run, folds, device_name)
    usable = _usable(folds, parts)
    features_seconds = time.monotonic() - start
    own = np.zeros((len(folds.frame), len(folds.outputs)), dtype=np.float32)
    test = np.zeros((len(folds.test), len(folds.outputs)), dtype=np.float64)
    chosen: list[dict[str, Any]] = []
    with scratch_folder(layout.run(comp, name), "heads") as scratch:
        keeper = Keeper(scratch, comp, name, run, folds)
        for target, block in enumerate(folds.task.blocks):
            for fold, fitted in _fitted(spec, run, folds, block, parts, usable, new_class):
                rows = np.flatnonzero((folds.frame["fold"].to_numpy() == fold) & usable)
                own[rows, block.columns] = fitted.own
                test[:, block.columns] += fitted.test
                told = {"target": block.name} if block.name else {}
                loss = fitted.loss if np.isfinite(fitted.loss) else None
                chosen.append({"fold": fold, **told, **fitted.settings, "loss": loss})
                keeper.add(fold, target, fitted.head)
        keeper.close(parts, load_competition(layout, comp).metric)
        scored = as_scored(folds.frame, new_class)
        files = _write(layout, comp, name, folds, scored, own, (test / folds.k).astype(np.float32), usable, scratch)
    return FeaturesFitted(
        chosen, sorted({image for part in parts for image in part.bad}),
        sorted({reason for part in parts for reason in part.optimistic}),
        describe(pick_device(device_name)), files, features_seconds, time.monotonic() - start - features_seconds,
    )  # fmt: skip


def _require_fits(spec: HeadSpec, run: FeaturesRun, folds: Folds) -> None:
    odd = [str(part) for part in folds.task.parts if not part.fits(spec.kinds)]
    if odd:
        raise FoldlineError(f"the head '{run.head.name}' is not for {odd[0]}", where="head.name", next="take linear")
    if spec.most_rows and len(folds.frame) > spec.most_rows:
        raise FoldlineError(
            f"the head '{run.head.name}' takes up to {counted(spec.most_rows, 'rows')}, and these are "
            f"{len(folds.frame):,}",
            where="head.name",
            next="take linear, or lightgbm",
        )
    if folds.k < 3 and any(source.run for source in run.features):
        raise FoldlineError(
            "features of another run's networks need 3 folds or more: one is left out to score, one to choose by",
            where="features.run",
        )


def _parts(layout: Layout, comp: str, run: FeaturesRun, folds: Folds, device_name: str) -> list[Part]:
    found = [seen_by(layout, comp, source, run.seed, device_name, place) for place, source in enumerate(run.features)]
    if run.columns.metadata:
        found.append(metadata_part(folds, run.columns.metadata))
    return [*found, *(run_part(layout, comp, other, folds) for other in run.columns.runs)]


def _usable(folds: Folds, parts: list[Part]) -> NDArray[np.bool_]:
    """[training rows] whether every part knows the row."""
    lacking = {row for part in parts for row in part.lacking}
    usable = ~folds.frame["row_id"].isin(lacking).to_numpy(dtype=bool)
    if not usable.all():
        say(f"{counted(int((~usable).sum()), 'training rows are')} left out: their pictures cannot be read")
    return usable


def _fitted(
    spec: HeadSpec,
    run: FeaturesRun,
    folds: Folds,
    block: Block,
    parts: list[Part],
    usable: NDArray[np.bool_],
    new_class: str,
) -> Iterator[tuple[int, Fitted]]:
    """The heads of one target, fold by fold."""
    truth = block.truth(folds.task.truth(folds.frame, folds.outputs, where="folds"))
    options = run.head.options
    shared = all(part.shared for part in parts)
    inner = partial(_inner, folds, run.seed) if shared and folds.k < FEWEST_FOLDS else None
    question = Question(
        lambda fold: Seen([part.own(fold) for part in parts], [part.test(fold) for part in parts]), shared, truth,
        folds.frame["fold"].to_numpy(), usable, block.task, len(range(len(folds.outputs))[block.columns]),
        {key: value for key, value in options.items() if key not in spec.grid}, run.seed, inner,
        folds.outputs.index(new_class) if new_class else None,
    )  # fmt: skip
    rows = _fewest(folds, usable)
    grid = spec.settings(options, rows, new=bool(new_class))
    if options.get("k", 0) > rows:
        say(f"k is {rows} and not {options['k']}: the smallest fit has no more rows")
    for fold in range(folds.k):
        with doing(f"fold {fold}: {run.head.name} head, {counted(len(grid), 'settings')}"):
            found = fit_fold(spec, question, fold, grid)
        said = ", ".join(f"{key} {value:g}" for key, value in found.settings.items())
        say(f"fold {fold}: {f'{block.name}: ' if block.name else ''}{said}")
        yield fold, found


def _fewest(folds: Folds, usable: NDArray[np.bool_]) -> int:
    """The rows of the smallest fit: without the two largest folds."""
    sizes = np.sort(np.bincount(folds.frame["fold"].to_numpy()[usable], minlength=folds.k))
    return max(1, int(sizes[: max(1, folds.k - 2)].sum() if folds.k > 2 else sizes[0] * 0.8))


def _inner(folds: Folds, seed: int, fold: int) -> Rows:
    """[training rows] the part of each row of the other folds: groups stay whole, classes are shared out."""
    rows = np.flatnonzero(folds.frame["fold"].to_numpy() != fold)
    frame = folds.frame.iloc[rows]
    groups = frame["group"].tolist() if "group" in frame.columns else None
    strata = make_strata(frame, folds.task, folds.outputs, ["target"])
    asked = ToSplit(frame["row_id"].tolist(), strata, groups)
    parts = min(INNER_PARTS, len(set(groups)) if groups else len(rows))
    found = np.full(len(folds.frame), -1, dtype=np.int64)
    found[rows] = split(asked, "auto", parts, seed)
    return found


def _write(
    layout: Layout, comp: str, name: str, folds: Folds, scored: pd.DataFrame, own: Values, test: Values,
    usable: NDArray[np.bool_], scratch: Path,
) -> list[str]:  # fmt: skip
    """Both files, and what was kept; all of their names.

    Args:
        scored: the training rows with the labels that they are scored by.
        scratch: the folder of what is kept of the heads.
    """
    folder, frame = layout.run(comp, name), scored[usable]
    (folder / "cv.json").unlink(missing_ok=True)  # it must never stand beside predictions that it is not of
    files = moved(scratch, folder)
    keep = [column for column in ("fold", "group", "entity") if column in frame.columns]
    keep += folds.task.target_columns(folds.outputs)
    for file, rows, values, kept in (
        ("oof.parquet", frame, own[usable], keep),
        ("test.parquet", folds.test, test, [c for c in ("entity",) if c in folds.test.columns]),
    ):
        with PredictionWriter.open(folder / file, folds.task, folds.outputs, ids=rows["row_id"]) as writer:
            writer.write(rows, values, keep=kept)
        files.append(file)
    return files
