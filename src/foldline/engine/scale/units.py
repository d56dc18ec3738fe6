"""What several runs are: their folds, each a unit of work, and which of them are finished."""

from dataclasses import dataclass

from foldline.core.all_rows import require_folds_of
from foldline.core.competition import load_competition
from foldline.core.folds import load_folds
from foldline.core.own_code import locate
from foldline.core.paths import Layout
from foldline.core.provenance import is_finished
from foldline.core.run import Run
from foldline.core.run_folder import asked_folds, resolve_run
from foldline.engine.scale.unit import Unit
from foldline.scoring.cv import metric_names


@dataclass(frozen=True)
class Part:
    """A unit, with what stands behind it.

    Attributes:
        name: the run's folder; choices: the run's.
        finished: before anything was started.
    """

    unit: Unit
    name: str
    choices: Run
    finished: bool


def parts_of(
    layout: Layout, comp: str, runs: list[str], *, fold: int | None, name: str = "", overrides: list[str], device: str
) -> list[Part]:
    """The folds of the runs, in an order in which the first runs are whole first.

    Args:
        fold: this one alone; None: all that make each run complete.
        name, overrides: as `run_folder.resolve_run` takes them, of each run.

    Raises:
        FoldlineError: bad settings, or a finished fold is of other choices, folds or inputs, in any of the runs.
    """
    folds, facts, parts = load_folds(layout, comp), load_competition(layout, comp), []
    for run in dict.fromkeys(runs):
        found, choices = resolve_run(layout, comp, run, name, overrides)
        metric_names(facts, [locate(layout, comp, metric) for metric in choices.metrics])
        for k in asked_folds(choices, fold, folds.k):
            unit = Unit(comp, run, k, name, tuple(overrides), device)
            finished = is_finished(layout, comp, found, k, choices, folds.sha256)
            if not finished:
                require_folds_of(layout, comp, choices, folds.k, folds.sha256)
            parts.append(Part(unit, found, choices, finished))
    return parts
