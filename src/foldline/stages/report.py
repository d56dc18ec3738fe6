"""The stage `report`: reads a run folder and its folds, writes `oof/<comp>/<run>/report.html`."""

from pathlib import Path

from foldline.core import tables
from foldline.core.paths import Layout
from foldline.core.progress import result
from foldline.report.run.page import build_report


def report(layout: Layout, comp: str, run: str) -> Path:
    """Writes the report of one run, whole or not at all, and gives its path.

    Raises:
        FoldlineError: the run has no out-of-fold score yet, or one of its files is broken.
    """
    path = layout.run(comp, run) / "report.html"
    tables.write_text(path, build_report(layout, comp, run))
    result(f"report: {path}", report=str(path))
    return path
