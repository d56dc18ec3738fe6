"""Stage check: runs the gate alone on any CSV. Reads the file and the sample submission; writes nothing."""

from pathlib import Path
from typing import Any

from foldline.core.competition import load_competition
from foldline.core.counted import counted
from foldline.core.folds import load_folds
from foldline.core.paths import Layout
from foldline.core.progress import result
from foldline.submission.form import open_form


def check(layout: Layout, comp: str, file: Path) -> dict[str, Any]:
    """Says that the grader would accept `file`; raises FoldlineError with the first bad lines where it would not.

    Returns:
        The file, and how many lines it has.
    """
    facts, folds = load_competition(layout, comp), load_folds(layout, comp)
    lines = open_form(layout, comp, facts, folds.outputs).check_file(file, str(file))
    result(f"{file}: {counted(lines, 'lines')}, accepted by the gate")
    return {"file": file, "lines": lines, "accepted": True}
