"""Opens the writers of a run for one of its folds, or for its cross-validation. Writes `logs.json` beside it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from foldline import __version__
from foldline.core.paths import Layout
from foldline.core.records.cv import Cv
from foldline.core.run import Run
from foldline.core.tables import sha256_json
from foldline.engine.writers.catalogue import wanted_writers
from foldline.engine.writers.mirror import Book, Mirror, Worker
from foldline.engine.writers.writer import Ended, Logged


@contextmanager
def mirrored(
    layout: Layout, comp: str, name: str, run: Run, part: str, made_from: Any, facts: Mapping[str, Any]
) -> Iterator[Mirror]:
    """The mirror to the writers of `train.log_to`; it is closed with the block, in words of how that ended.

    Args:
        part: `fold_<k>` or `cv`.
        made_from: a JSON value: another one is another training, whose curves begin anew.
        facts: what is kept with the settings.
    """
    writers, folder = wanted_writers(run.train.log_to), layout.run(comp, name)
    if not writers:
        yield Mirror()
        return
    book = Book((folder if part == "cv" else folder / part) / "logs.json", sha256_json(made_from))
    config = {"comp": comp, "run": name, "foldline": __version__, **facts, **flat(run.choices())}
    of = Logged(comp, name, part, book.logs.id, layout.root, folder, config)
    mirror = Mirror([Worker(title, writer(of), book) for title, writer in writers.items()])
    ended: Ended = "failed"
    try:
        yield mirror
        ended = "finished"
    except KeyboardInterrupt:
        ended = "stopped"
        raise
    finally:
        mirror.close(ended)


def log_cv(layout: Layout, comp: str, name: str, run: Run, cv: Cv) -> None:
    """Sends the scores of a run's cross-validation: pooled, mean and deviation, the interval, each fold's."""
    low, high = cv.interval
    numbers = {"pooled": cv.pooled, "mean": cv.mean, "std": cv.std, "low": low, "high": high}
    numbers |= {f"score_{place}": score for place, score in enumerate(cv.per_fold)}
    numbers |= {f"pooled_{metric}": scores.pooled for metric, scores in cv.metrics.items()}
    facts = {"metric": cv.metric, "direction": cv.direction, "rows": cv.rows}
    with mirrored(layout, comp, name, run, "cv", cv.sha256.model_dump(mode="json"), facts) as mirror:
        mirror.begin()
        mirror.summary({f"cv/{key}": value for key, value in numbers.items()})


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names.

    >>> flat({"optim": {"lr": 1, "options": {}}, "seed": 0})
    {'optim.lr': 1, 'seed': 0}
    """
    found: dict[str, Any] = {}
    for key, value in content.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found
