"""The names in a competition's facts that a dictionary must hold, looked up when the facts are read.

A misspelt metric or reader is found by the first command, not after a download or a night of training.
"""

from foldline.core.competition import load_competition
from foldline.core.errors import unknown
from foldline.core.own_code import is_own
from foldline.core.paths import Layout


def require_known(layout: Layout, comp: str) -> None:
    """Does nothing where there are no facts yet.

    Raises:
        FoldlineError: a source, reader, splitter, kind of submission or metric that nobody knows, with the nearest
            known one; a metric that has no meaning for the task.
    """
    path = layout.competition_config(comp)
    if not path.is_file():
        return
    from foldline.readers import READERS
    from foldline.scoring.metrics import metric_for
    from foldline.sources import PLACED, SOURCES
    from foldline.submission.kinds import KINDS

    facts, file = load_competition(layout, comp), layout.relative(path)
    wanted = [("source", one.kind, "source.kind", [*SOURCES, PLACED]) for one in facts.source.alternatives()]
    wanted += [
        ("reader", rows.reader, f"{key}.reader", list(READERS))
        for key, rows in (("train", facts.train), ("test", facts.test))
        if rows is not None
    ]
    wanted.append(("submission kind", facts.submission.kind, "submission.kind", ["auto", *KINDS]))
    if facts.folds.splitter != "auto":
        from foldline.splits.splitters import SPLITTERS  # imports scipy

        wanted.append(("splitter", facts.folds.splitter, "folds.splitter", ["auto", *SPLITTERS]))
    for what, name, setting, known in wanted:
        if name not in known:
            raise unknown(what, name, known, where=f"{setting} in {file}")
    for key, metric in [("metric", facts.metric), *(("metrics", name) for name in facts.metrics)]:
        if not is_own(metric):
            metric_for(metric, facts.task, where=f"{key} in {file}")
