"""The stage `report`: reads a run folder and its folds; writes `report.html` and `suspects.csv` into that folder."""

from dataclasses import replace
from pathlib import Path

from foldline.app.looked_rows import look_at
from foldline.core import tables
from foldline.core.paths import Layout
from foldline.core.progress import result
from foldline.core.run_folder import predictions_of
from foldline.report.run import pictures, suspects
from foldline.report.run.page import render
from foldline.report.run.reported_run import read_run


def report(layout: Layout, comp: str, run: str) -> Path:
    """Writes the report of one run and the list of its suspected labels, each whole or not at all.

    Returns:
        The path of the report.

    Raises:
        FoldlineError: the run has no out-of-fold score yet, or one of its files is broken.
    """
    with predictions_of(layout, comp, [run], f"the report of '{run}' is being written"):
        return _write(layout, comp, run)


def _write(layout: Layout, comp: str, run: str) -> Path:
    folder, read = layout.run(comp, run), read_run(layout, comp, run)
    if len(read.truth):
        read = replace(read, looks=look_at(read, pictures.worst_rows(read)))
    tables.write_csv(folder / suspects.FILE, suspects.table(read))
    path, page = folder / "report.html", render(read)
    tables.write_text(path, page)
    size = len(page.encode())
    result(f"report: {path} ({size / 1e6:.1f} MB)", report=str(path), bytes=size)
    return path
