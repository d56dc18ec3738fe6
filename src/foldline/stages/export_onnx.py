"""`foldline export onnx`: a finished run or ensemble as one ONNX file, or as one a fold.

Reads the run's folder, and pictures of the competition on which the file is compared with torch; writes
`exports/<comp>/<run>.onnx` once it says the same.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foldline import __version__
from foldline.core.competition import load_competition
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.folds import load_folds
from foldline.core.paths import Layout
from foldline.core.progress import say
from foldline.core.run_folder import stored_run
from foldline.core.tables import atomic_path

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from foldline.core.records.framing import Framing
    from foldline.engine.finished.folder import FinishedRun
    from foldline.models.metadata import Column

PICTURES = 32  # on which the file is compared with torch


@dataclass(frozen=True)
class _Checked:
    """Rows on which a file is compared: their pixels [rows, height, width, channels] and their metadata as text."""

    pixels: "NDArray[np.uint8]"
    table: "pd.DataFrame"


def export_onnx(
    layout: Layout, comp: str, name: str, *, out: Path | None = None, half: bool = False, each: bool = False,
    views: Sequence[str] = (),
) -> list[Path]:  # fmt: skip
    """Writes all folds, averaged, as one ONNX file that takes uint8 pictures of the run's size.

    Args:
        name: the run or ensemble.
        out: the file; None: `exports/<comp>/<run>.onnx`.
        half: store the weights in half precision; computed is in float32.
        each: a file a fold instead, `<run>.fold_<k>.onnx`.
        views: over which predictions are averaged, inside the graph; empty: the run's own.

    Returns:
        The files.

    Raises:
        FoldlineError: there is nothing to export, ONNX or torch's exporter cannot express it, pictures to compare it on
            are not there, or it differs from torch by more than `engine.onnx.parity.TOLERANCE`.
    """
    from foldline.engine.finished.folder import read_finished
    from foldline.engine.onnx.graph import require_one_input
    from foldline.engine.onnx.write import require_packages

    require_packages()
    run = read_finished(layout.run(comp, name))
    path = out or layout.exports(comp) / f"{name}.onnx"
    if path.suffix != ".onnx" or path.is_dir():
        raise FoldlineError(
            "an ONNX file's name ends in .onnx", where=f"--out {path}", next="give a file, not a folder"
        )
    require_one_input(run, views)
    for reason in [] if run.cv is None else run.cv.diverged:
        say(f"warning: {run.name}: {reason}")
    rows = _rows(layout, comp, run)
    files = []
    for part, file in _parts(run, path, each=each):
        _export(layout, comp, part, file, rows, list(views), half=half)
        files.append(file)
    return files


def _parts(run: "FinishedRun", path: Path, *, each: bool) -> "list[tuple[FinishedRun, Path]]":
    """What goes into which file."""
    from foldline.engine.finished.folder import FinishedRun

    if not each:
        return [(run, path)]
    if run.members:
        raise FoldlineError(
            f"'{run.name}' is an ensemble, which has no folds of its own",
            where="--each",
            next="leave --each out, or export its members",
        )
    return [
        (FinishedRun(run.folder, run.name, None, (fold,)), path.with_name(f"{path.stem}.fold_{fold[1].fold}.onnx"))
        for fold in run.folds
    ]


def _rows(layout: Layout, comp: str, run: "FinishedRun") -> _Checked:
    """Some training rows, spread evenly, whose pictures can be read."""
    import numpy as np

    from foldline.engine.finished.networks import spec_of
    from foldline.engine.finished.pictures import Source
    from foldline.engine.finished.reading import in_chunks

    frame = load_folds(layout, comp).frame
    some = frame.iloc[np.unique(np.linspace(0, len(frame) - 1, PICTURES).astype(int))].reset_index(drop=True)
    folder = layout.input(comp)
    sources = [Source.of_row(folder, name) for name in some["image"]]
    spec = spec_of(*run.trained[0].folds[0])
    chunks = list(in_chunks(sources, [spec], len(sources), "skip"))
    problems = [problem for chunk in chunks for problem in chunk.problems]
    good = [place for place, problem in enumerate(problems) if not problem]
    if len(good) < 2:
        raise FoldlineError(
            f"of {len(sources)} pictures that the file would be compared on, {len(good)} can be read: {problems[0]}",
            where=layout.relative(folder),
            next=f"make download COMP={comp}",
        )
    if len(good) < len(sources):
        say(f"note: {len(sources) - len(good)} of {len(sources)} pictures cannot be read: compared on the others")
    pixels = np.concatenate([chunk.pixels[spec] for chunk in chunks])[good]
    return _Checked(pixels, some.iloc[good].reset_index(drop=True))


def _export(
    layout: Layout, comp: str, run: "FinishedRun", path: Path, rows: _Checked, views: list[str], *, half: bool
) -> None:
    """Writes one file, or nothing."""
    from foldline.engine.onnx.export import export, float32_folds
    from foldline.engine.onnx.parity import TOLERANCE
    from foldline.images.views import require_views

    for own in run.trained:
        require_views(views or own.views, run.first.height_width, where="--views" if views else f"run '{own.name}'")
    made = export(
        run,
        float32_folds(run),
        rows.pixels,
        rows.table,
        views=views,
        half=half,
        properties=_properties(layout, comp, run, views),
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(made.content)
    height, width = run.first.height_width
    say(
        f"wrote {layout.relative(path)}: {len(made.content) / 1e6:.1f} MB, opset {made.opset}, uint8 pictures "
        f"[batch, {height}, {width}, {run.first.channels}]; it differs from torch by at most {made.difference:.1e} on "
        f"{counted(len(rows.pixels), 'pictures')} ({TOLERANCE[half]:.0e} is allowed)"
    )
    formats = {meta.precision.choice for own in run.trained for _, meta in own.folds} - {"fp32", "tf32"}
    if formats:
        say(f"note: the run was trained and scored in {', '.join(sorted(formats))}; the file computes in float32")


def _properties(layout: Layout, comp: str, run: "FinishedRun", views: list[str]) -> dict[str, str]:
    """What the file says of itself: all that whoever has it alone must know."""
    from foldline.engine.finished.card import starting_licence
    from foldline.engine.onnx.graph import metadata_columns

    facts, first, cv = load_competition(layout, comp), run.first, run.cv
    metas = [meta for own in run.trained for _, meta in own.folds]
    alone = run.folds[0][1] if len(run.folds) == 1 else None
    score = cv.pooled if cv is not None else alone.score if alone is not None else None
    interval = None if cv is None else cv.interval
    if views and any(views != own.views for own in run.trained):
        score = interval = None  # it is of the run's own views
        say("note: the file carries no score, since the run's is of other views")
    said: dict[str, Any] = {
        "made_by": f"foldline {__version__}",
        "competition": facts.title or comp,
        "run": run.name,
        "folds": {own.name: [meta.fold for _, meta in own.folds] for own in run.trained},
        "model": sorted({meta.model for meta in metas}),
        "task": first.task.as_json(),
        "outputs": first.outputs,
        "columns": run.task.prediction_columns(first.outputs),
        "height": first.height_width[0],
        "width": first.height_width[1],
        "channels": {1: "gray", 3: "RGB"}.get(first.channels, first.channels),
        "resize": _resizing(first.framing),
        "intensity": first.intensity,
        "views": {own.name: views or own.views for own in run.trained},
        "metric": first.metric,
        "score": score,
        "interval": interval,
        "decision": None if cv is None else cv.decision,
        "metadata": [_input_of(column) for column in metadata_columns(run)],
        "licence_of_pretrained_weights": {
            own.name: starting_licence(own.folds[0][1].model, stored_run(layout, comp, own.name)) for own in run.trained
        },
        "licence_of_data": facts.licence,
    }
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in said.items()}


def _resizing(framing: "Framing") -> str:
    """How a picture becomes one of the graph's."""
    usual = "OpenCV's INTER_AREA where the picture shrinks, INTER_CUBIC where it grows"
    how = framing.in_words()
    return f"before the graph: {usual if framing.interpolation == 'auto' else ''}{'; ' if how else ''}{how}"


def _input_of(column: "Column") -> dict[str, Any]:
    """How a column's cell becomes the number that the graph takes."""
    if column.kind == "number":
        return {"name": column.name, "value": "the number, nan where it is missing"}
    return {"name": column.name, "value": "the place of the word in `words` from 0, else -1", "words": column.words}
