"""A finished run as a folder of its own: weights, metas, score; in half precision where the score holds.

Reads a run's folder, and the competition's pictures where a score is measured anew; writes a folder.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foldline.core.competition import Competition
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.records.cv import Cv
from foldline.core.run_folder import stored_run
from foldline.engine.finished.copies import LARGEST_LOSS, copy_heads, of_weights, write_run
from foldline.engine.finished.folder import FinishedRun, read_finished
from foldline.engine.finished.networks import FoldNetworks
from foldline.engine.finished.oof import oof_part
from foldline.engine.machine.device import pick_device, prepare_device
from foldline.engine.problem import open_problem
from foldline.scoring.choose import in_digits
from foldline.scoring.cv import cross_validation
from foldline.scoring.metrics import metric_for


def copy_run(run: FinishedRun, target: Path, *, half: bool) -> FinishedRun:
    """Writes a run with its folds, or an ensemble with its members inside its folder; what stands there then."""
    for own in run.trained:
        place = target / own.name if run.members else target
        if own.heads is not None and own.cv is not None:
            copy_heads(own.folder, own.heads, own.cv, place)
            continue
        metas = write_run(place, dict(own.folds), half=half)
        if own.cv is not None:
            of_weights(own.cv, metas).write(place / "cv.json")
    for ensemble in _ensembles(run):
        assert ensemble.cv is not None
        place = target if ensemble is run else target / ensemble.name
        ensemble.cv.changed(files={}).write(place / "cv.json")
    return read_finished(target, heads=True)


def _ensembles(run: FinishedRun) -> list[FinishedRun]:
    inner = [found for member in run.members for found in _ensembles(member)]
    return list({found.name: found for found in [*inner, run] if found.members}.values())


def score_again(layout: Layout, comp: str, facts: Competition, run: FinishedRun, device: str) -> FinishedRun:
    """Predicts the validation rows with what was written, and writes the scores of that into its `cv.json`.

    Args:
        run: as `copy_run` gave it.

    Raises:
        FoldlineError: the score is worse than that of the run by more than a twentieth of its interval's width.
    """
    oof = {own.name: _oof(layout, comp, own, device) for own in run.trained}
    for own in {part.name: part for part in [*run.trained, *_ensembles(run)]}.values():
        if own.cv is None:
            continue
        asked = (own.cv.decision or {}).get("asked")
        scores = cross_validation(
            _combined(own, oof), facts, own.cv.outputs, metrics=list(own.cv.metrics), decide=asked
        )
        if own is run:
            _require_holds(own.cv, scores)
        own.cv.changed(**scores).write(own.folder / "cv.json")
    return read_finished(run.folder)


def _oof(layout: Layout, comp: str, run: FinishedRun, device_name: str) -> pd.DataFrame:
    choices = stored_run(layout, comp, run.name)
    if choices is None:
        raise FoldlineError(
            f"the choices of run '{run.name}' are not there",
            where=layout.relative(layout.run(comp, run.name) / "run.json"),
            next="export it without --half, which is scored anew by them",
        )
    device = pick_device(device_name)
    prepare_device(device)
    problem = open_problem(layout, comp, choices, device)
    folds = (FoldNetworks.load(folder, meta, device) for folder, meta in run.folds)
    return pd.concat([oof_part(problem, fold) for fold in folds], ignore_index=True)


def _combined(run: FinishedRun, oof: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The OOF table of a run or an ensemble."""
    first, columns = oof[run.trained[0].name], run.task.prediction_columns(run.first.outputs)
    values = {
        own.name: oof[own.name].set_index("row_id").loc[first["row_id"], columns].to_numpy(np.float64)
        for own in run.trained
    }
    table = first.copy()
    table[columns] = run.combine(values, first["fold"].to_numpy()).astype(np.float32)
    return table


def _require_holds(before: Cv, scores: dict[str, Any]) -> None:
    was, now, (low, high) = before.pooled, scores["pooled"], before.interval
    if was is None or now is None or low is None or high is None:
        return
    worse = (was - now) * (1 if metric_for(before.metric, before.task.of(before.outputs)).direction == "max" else -1)
    if worse > LARGEST_LOSS * (high - low):
        raise FoldlineError(
            f"in half precision the score is {in_digits(now)}, and it was {in_digits(was)}",
            where=f"{before.metric}, out of fold",
            next="export it without --half",
        )
