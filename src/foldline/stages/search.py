"""Stage search: trains a run again and again with other settings, and keeps the best.

Reads `configs/<comp>/<name>.search.yaml` and its base run; writes `oof/<comp>/<name>/search.db` (all trials, SQLite)
and `search.csv` (the same to read), a run folder `oof/<comp>/<name>-<number>/` for each trial, and at the end the
winner as a run file, `configs/<comp>/<name>.yaml`. The same command again goes on. Of all trials only the best one's
weights are kept; the others keep their logs.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from foldline.core.competition import Competition, load_competition
from foldline.core.errors import FoldlineError
from foldline.core.folds import Folds, load_folds
from foldline.core.paths import Layout
from foldline.core.processes import lock
from foldline.core.progress import say, say_table
from foldline.core.run import Run, load_run
from foldline.core.search import Search, load_search, override
from foldline.core.tables import write_text
from foldline.core.typed import as_typed
from foldline.core.yaml_models import apply_overrides, load_yaml
from foldline.scoring.metrics import metric_for
from foldline.stages.search_book import Book, open_book
from foldline.stages.search_trials import TrainFolds, Trials, TrialsHere, score_of, state_of

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

HEAD = "# Found by `make search SEARCH="
SHOWN = 5  # trials in the last table


def search(
    layout: Layout, comp: str, name: str, *, device: str = "auto", train: TrainFolds | None = None, on: str = "here",
    cluster: Mapping[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Runs the trials that are left, then writes the winner's run file, and gives its path.

    Args:
        train: trains the folds of one trial; default: `engine.train_run.train_folds`.
        on: `here`, one trial after the other, or `ray`: as many at once as a cluster has room for.
        cluster: which one, and what a task takes there (`engine.scale.cluster.crew.crew`).

    Raises:
        FoldlineError: a range or the base is wrong (before anything is trained); the search was begun with other
            settings; three trainings in a row fail; no trial was trained to its end.
    """
    wanted, facts, folds = load_search(layout, comp, name), load_competition(layout, comp), load_folds(layout, comp)
    base = load_run(layout, comp, wanted.base, [])
    _require_room(layout, comp, name, wanted, folds)
    _require_folds(base, layout.relative(layout.search_config(comp, name)))
    made_from = {
        "search": wanted.identity(),
        "base": base.model_dump(mode="json", exclude_defaults=True, exclude={"predict"}),
        "folds": folds.sha256,
        "metric": facts.metric,
    }
    direction = metric_for(facts.metric, facts.task).direction
    path = layout.run(comp, name) / "search.db"
    busy, most = f"the search '{name}' is being run", _most_epochs(wanted, base)
    with lock(path.with_name(".lock"), busy), open_book(path, name, wanted, direction, made_from, most) as book:
        if on == "ray":
            from foldline.engine.scale.cluster.crew import crew
            from foldline.stages.search_on_ray import TrialsOnRay

            with crew(layout, comp, **(cluster or {})) as hands:
                _run(TrialsOnRay(layout, comp, name, wanted, book, device, hands), base, facts)
        else:
            _run(TrialsHere(layout, comp, name, wanted, book, device, train or _train_folds()), base, facts)
        _say_best(book, facts)
        return _write_winner(layout, comp, name, wanted, book, facts)


def _require_folds(base: Run, where: str) -> None:
    """Raises FoldlineError where no row is left to score a trial."""
    if base.on_all_rows:
        raise FoldlineError(
            "the base is one network on all rows: no row is left to score a trial on", where=f"{where}: base",
            next=f"name {base.train.folds_of}, and train on all rows when the search is done",
        )  # fmt: skip


def _run(trials: Trials, base: Run, facts: Competition) -> None:
    trials.go_on_or_start(base)
    trials.run_all(facts.metric)


def _train_folds() -> TrainFolds:
    from foldline.engine.train_run import train_folds

    return train_folds


def _require_room(layout: Layout, comp: str, name: str, wanted: Search, folds: Folds) -> None:
    """Raises FoldlineError for folds that do not exist, and where the winner would overwrite a file of a person."""
    odd = [str(k) for k in wanted.folds if not 0 <= k < folds.k]
    if odd or len(set(wanted.folds)) < len(wanted.folds):
        where = f"{layout.relative(layout.search_config(comp, name))}: folds"
        raise FoldlineError(f"no such folds: {wanted.folds}", where=where, next=f"the folds are 0 to {folds.k - 1}")
    path = layout.run_config(comp, name)
    if name == wanted.base or (path.is_file() and not path.read_text(encoding="utf-8").startswith(HEAD)):
        raise FoldlineError(
            "the winner would overwrite this run file, which no search has written",
            where=layout.relative(path),
            next="give the search file another name, or the run",
        )


def _most_epochs(wanted: Search, base: Run) -> int:
    epochs = wanted.ranges.get("train.epochs")
    return int(max(epochs.ends())) if epochs else base.train.epochs


def _say_best(book: Book, facts: Competition) -> None:
    keys = list(book.search.ranges)
    lines = [[str(trial.number), f"{trial.value:.4f}", *_cells(book, trial, keys)] for trial in book.ranked()[:SHOWN]]
    say_table([["trial", facts.metric, *keys], *lines])


def _cells(book: Book, trial: "FrozenTrial", keys: Sequence[str]) -> list[str]:
    values = book.values(trial)
    return [str(values.get(key, "")) for key in keys]


def _write_winner(layout: Layout, comp: str, name: str, wanted: Search, book: Book, facts: Competition) -> Path:
    best = book.best()
    if best is None:
        raise FoldlineError(
            "no trial was trained to its end",
            where=layout.relative(layout.run(comp, name) / "search.csv"),
            next="look into this file, then raise `trials`",
        )
    overrides = [override(key, value) for key, value in book.values(best).items()]
    content = apply_overrides(load_yaml(layout.run_file(comp, wanted.base)), overrides)
    text = _head(comp, name, wanted, book, best, facts) + yaml.safe_dump(content, sort_keys=False)
    path = layout.run_config(comp, name)
    write_text(path, text)
    say(f"the winner: {layout.relative(path)}; make train-all COMP={comp} RUN={name}")
    return path


def _head(comp: str, name: str, wanted: Search, book: Book, best: "FrozenTrial", facts: Competition) -> str:
    """What a reader of the run file must know."""
    done = book.done()
    given_up, failed = (sum(state_of(trial).startswith(word) for trial in done) for word in ("given up", "failed"))
    own = next((trial for trial in done if trial.user_attrs.get("base") and score_of(trial) is not None), None)
    beside = "" if own is None else f"; with {wanted.base}'s own settings {own.value:.4f}"
    folds = ", ".join(map(str, wanted.folds))
    where = f"fold {folds}" if len(wanted.folds) == 1 else f"the mean of folds {folds}"
    return (
        f"{HEAD}{name}` from {wanted.base}.yaml: trial {best.number}, the best of {len(done)} "
        f"({given_up} given up early, {failed} failed).\n"
        f"# {facts.metric} {best.value:.4f} on {where}{beside}.\n"
        "# This score is optimistic: the run was chosen by it, and so is the run's own score on these rows. Train all\n"
        "# folds, then see what it is worth: " + as_typed(f'make compare COMP={comp} RUNS="{wanted.base} {name}"\n')
    )
