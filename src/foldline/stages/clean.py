"""Stage clean: labels that a run's out-of-fold predictions contradict, for a person to decide.

Reads the run's folder, its folds and pictures; writes `oof/<comp>/<run>/clean.html`, and `configs/<comp>/labels.csv`,
in which nothing that a person decided is ever changed.
"""

from dataclasses import asdict
from typing import Any

import pandas as pd

from foldline.core import tables
from foldline.core.counted import counted
from foldline.core.errors import first_few
from foldline.core.folds import load_folds
from foldline.core.label_file import FILE, read_labels, read_lines
from foldline.core.paths import Layout
from foldline.core.progress import result, say
from foldline.core.run_folder import predictions_of
from foldline.report.run.cleaning import filled_in, page, touched
from foldline.report.run.reported_run import read_run


def clean(layout: Layout, comp: str, run: str) -> dict[str, Any]:
    """Writes the page and the file of suspected labels.

    Returns:
        The paths, and how many labels are suspected and decided.

    Raises:
        FoldlineError: the run has no out-of-fold score yet; a line of labels.csv is wrong.
    """
    path, folds = layout.competition_config(comp).with_name(FILE), load_folds(layout, comp)
    where = layout.relative(path)
    if path.is_file():
        read_labels(path, folds.frame, folds.task, folds.outputs, where=where)
    with predictions_of(layout, comp, [run], f"the suspected labels of '{run}' are being listed"):
        read = read_run(layout, comp, run)
    before = read_lines(path) if path.is_file() else None
    lines = filled_in(read, before)
    _say_undecided(before, lines, where)
    if before is None or not lines.equals(before.fillna("")):
        tables.write_csv(path, lines)
    html = layout.run(comp, run) / "clean.html"
    tables.write_text(html, page(read, lines, where))
    decided = int((lines["action"].str.strip() != "").sum())
    say(f"{counted(len(read.suspects), f'labels of {len(read.truth)} rows are')} suspected, {decided} decided: {where}")
    result(f"page: {layout.relative(html)}", page=str(html))
    strongest = [asdict(one) | {"row": str(read.oof["row_id"].iloc[one.row])} for one in read.suspects[:50]]
    return {
        "page": layout.relative(html), "file": where, "suspected": len(read.suspects), "decided": decided,
        "undecided": len(lines) - decided,
        "strongest": strongest,
    }  # fmt: skip


def _say_undecided(before: pd.DataFrame | None, lines: pd.DataFrame, where: str) -> None:
    """Lines that a person wrote into and did not decide, and those of before that are suspected no more."""
    open_ = lines.loc[touched(lines), "row_id"].tolist()
    if open_:
        what = "a label or note of yours and no action: kept, changing nothing"
        say(f"warning: {counted(len(open_), f'lines of {where} have')} {what}: {first_few(open_)}")
    if before is not None:
        now = set(zip(lines["row_id"], lines["target"], strict=True))
        gone = sum((row, target) not in now for row, target in zip(before["row_id"], before["target"], strict=True))
        if gone:
            say(f"{counted(gone, 'lines that nobody had decided are')} not suspected by this run: taken out of {where}")
