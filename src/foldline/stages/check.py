"""Stage check: runs the gate alone on any CSV. Reads the file and the sample submission; writes nothing."""

from pathlib import Path

from foldline.core.competition import load_competition
from foldline.core.folds import load_folds
from foldline.core.paths import Layout
from foldline.core.progress import say
from foldline.core.tables import read_csv
from foldline.readers import class_names, read_sample
from foldline.submission.gate import check_submission


def check(layout: Layout, comp: str, file: Path) -> None:
    """Says that the grader would accept `file`; raises FoldlineError with the first bad lines where it would not."""
    facts, folds = load_competition(layout, comp), load_folds(layout, comp)
    frame, root = read_csv(file), layout.input(comp)
    sample, lines = read_sample(layout.sample(comp, facts), root, facts)
    names = class_names(root, facts)
    check_submission(frame, sample, facts, folds.outputs, where=str(file), names=names, lines=lines)
    say(f"{file}: {len(frame)} lines, accepted by the gate")
