"""Where a run's networks looked in some of its rows, each row by the network that has never seen it.

Reads weights and pictures; keeps the maps in `input/<comp>/.cache/looked-<run>.npz`, which is disposable, so that a
second report of the same networks and rows computes nothing.
"""

import time
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from foldline.core.errors import FoldlineError
from foldline.core.tables import atomic_path, file_stamp, sha256_json
from foldline.core.task import Array
from foldline.report.run.reported_run import HeatMap, Looks, ReportedRun
from foldline.scoring.row_loss import row_loss

VERSION = 1  # of what the maps show: another one computes them anew
SECONDS = 15.0  # after which no further row is begun
SIDE = 48  # places of a kept map along each side
WHAT = (
    "With the box ticked, what is orange speaks for the predicted answer in the eyes of the network that has never "
    "seen the row (Grad-CAM, one view; scaled to its own maximum)."
)

ALONE = " Each picture is looked at as if it were its entity's only one; the answer is of all of them together."


def look_at(run: ReportedRun, rows: Sequence[int], *, seconds: float = SECONDS) -> Looks:
    """The heat maps of rows by their place in `run.oof`, and a sentence that says what they are, or why none are there.

    Args:
        rows: those that matter most first.
        seconds: after which no further row is begun; what was not reached is said.
    """
    folds = {k: run.layout.fold(run.comp, run.run, k) for k in run.metas}
    if not any((folds[k] / meta.weights[0]).is_file() for k, meta in run.metas.items()):
        whose = "an ensemble has no network of its own" if run.cv.members else "its networks are not here"
        return Looks(note=f"Where the networks looked is not shown: {whose}.")
    if run.cv.oof_of:
        return Looks(note="Where the network looked is not shown: it saw all rows in training.")
    if any(meta.metadata for meta in run.metas.values()):
        return Looks(note="Where the networks looked is not shown: they read metadata beside the picture.")
    wanted = {row: _output(run, row) for row in rows if run.images[row]}
    path = run.layout.cache(run.comp) / f"looked-{run.run}.npz"
    keys, kept = {row: _key(run, row, output) for row, output in wanted.items()}, _kept(path)
    heat = {row: kept[key] for row, key in keys.items() if key in kept}
    missing = {row: output for row, output in wanted.items() if row not in heat}
    try:
        heat |= _computed(run, missing, seconds) if missing else {}
    except FoldlineError as error:
        return Looks(note=f"Where the networks looked is not shown: {error.what.rstrip('.')}.")
    if missing and heat:
        _keep(path, {keys[row]: one for row, one in heat.items()})
    left = len(wanted) - len(heat)
    alone = ALONE if any(meta.sees_entities for meta in run.metas.values()) else ""
    note = WHAT + alone + (f" {left} of these rows are without: the next report goes on with them." if left else "")
    return Looks(heat, note if heat else "")


def _output(run: ReportedRun, row: int) -> int:
    """The output that is explained: the predicted class, the label of a set that is most wrong, the worst number."""
    offset, part = 0, run
    if run.task.targets:
        losses = [
            float(row_loss(own.task, own.truth[row : row + 1], own.predicted[row : row + 1]).sum())
            for _, own in run.targets
        ]
        worst = int(np.argmax(losses))
        part, offset = run.targets[worst][1], run.task.blocks[worst].columns.start
    predicted: Array = part.predicted[row]
    if part.task.exclusive:
        return offset + int(predicted.argmax())
    apart = np.abs(predicted - part.truth[row])
    if not part.task.has_classes:
        apart = apart / np.maximum(part.truth.std(axis=0), 1e-12)
    return offset + int(np.argmax(apart))


def _is_class(run: ReportedRun, output: int) -> bool:
    """Whether an output is a class; else it is a number."""
    for block in run.task.blocks:
        if output in range(len(run.outputs))[block.columns]:
            return block.task.has_classes
    raise AssertionError(f"no output {output}")


def _computed(run: ReportedRun, wanted: dict[int, int], seconds: float) -> dict[int, HeatMap]:
    from foldline.app.looking import where_it_looked
    from foldline.engine.finished.model import load
    from foldline.engine.finished.pictures import Source, heat_on_picture
    from foldline.engine.finished.reading import in_chunks

    end = time.monotonic() + seconds
    model = load(run.layout.run(run.comp, run.run), device="cpu")
    member = model.with_networks[0]
    spec, root = member.spec, run.layout.input(run.comp)
    folds = run.oof["fold"].astype(int).tolist()
    heat: dict[int, HeatMap] = {}
    for row, output in wanted.items():
        if time.monotonic() > end or folds[row] not in member.folds:
            continue
        [chunk] = in_chunks([Source.of_row(root, run.images[row])], [spec], 1, "skip")
        if chunk.problems[0]:
            continue
        (fold,) = member.fold_networks([folds[row]])
        trained = replace(fold, networks=fold.networks[:1])  # without the start, where that is kept beside it
        looked = where_it_looked([trained], chunk.pixels[spec][0], output, is_class=_is_class(run, output))
        files = [root / file for file in run.images[row].split("|")]
        heat[row] = _small(heat_on_picture(looked.heat, files, spec))
    return heat


def _small(heat: HeatMap) -> HeatMap:
    import cv2

    small: HeatMap = cv2.resize(heat, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    return small


def _key(run: ReportedRun, row: int, output: int) -> str:
    """What a map depends on: the fold's networks, what is explained, and the picture's files."""
    root, fold = run.layout.input(run.comp), int(run.oof["fold"].iloc[row])
    stamps = [file_stamp(root / file) for file in run.images[row].split("|")]
    weights = run.metas[fold].sha256.weights if fold in run.metas else ""
    return sha256_json([VERSION, weights, output, run.images[row], stamps])


def _kept(path: Path) -> dict[str, HeatMap]:
    """The maps of an earlier report by their keys; none where the file cannot be read."""
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as content:
            maps = content["maps"].astype(np.float32) / 255
            return dict(zip(content["keys"].tolist(), maps, strict=True))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}


def _keep(path: Path, heat: dict[str, HeatMap]) -> None:
    maps = np.stack([(255 * one).round() for one in heat.values()]).astype(np.uint8)
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, keys=np.array(list(heat)), maps=maps)
