"""Stage predict-files: pictures that belong to no competition's rows, by a finished run or ensemble.

Reads the run's folder and the pictures; writes a CSV with a line for each picture.
"""

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.progress import result, say, say_table
from foldline.core.tables import write_csv

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 10  # lines on the terminal


def predict_files(
    layout: Layout, comp: str, run: str, files: Sequence[Path], *, out: Path | None = None, folder: Path | None = None,
    metadata: Path | None = None, bad_images: Literal["skip", "stop"] = "skip", device: str = "auto",
) -> dict[str, Any]:  # fmt: skip
    """Predicts the pictures, writes a table of what `Model.predict` says, and gives it with the file.

    Args:
        files: pictures, and folders with pictures.
        out: the CSV; None: `predictions.csv` in the working directory.
        folder: an exported folder, instead of the run of the competition.
        metadata: a CSV of what the networks read beside the picture, with the pictures' `path`.
        bad_images: skip: a picture that cannot be read has an empty line; stop: it is an error.

    Raises:
        FoldlineError: no pictures, or a path that is not there; no finished run.
    """
    missing = [str(file) for file in files if not file.expanduser().exists()]
    if not files or missing:
        raise FoldlineError(
            f"there is no '{missing[0]}'" if missing else "no pictures are named",
            where="FILES",
            next=f'give files and folders: make predict-files COMP={comp} RUN={run} FILES="a.png folder"',
        )
    from foldline.engine.finished.model import load

    model = load(folder or layout.run(comp, run), device=device)
    say(str(model).strip("<>"))
    table = model.predict(files, metadata=metadata, bad_images=bad_images)
    path = (out or Path("predictions.csv")).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(path, table)
    _show(table)
    bad = int((table["problem"] != "").sum())
    result(f"wrote {path}: {counted(len(table), 'pictures')}{f', {bad} of them cannot be read' if bad else ''}")
    return {"file": path, "pictures": len(table), "unreadable": bad, "predictions": table}


def _show(table: "pd.DataFrame") -> None:
    """The first lines on the terminal; of many columns those that fit."""
    columns = [name for name in table.columns if name != "problem"]
    if len(columns) > SHOWN:
        columns = [name for name in columns if not name.startswith("prob_")]
    lines = [[_cell(value) for value in row] for row in table[columns].head(SHOWN).itertuples(index=False)]
    say_table([columns, *lines])
    if len(table) > SHOWN:
        say(f"... and {len(table) - SHOWN} more")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if isnan(value) else f"{value:.4g}"
    return str(value)
