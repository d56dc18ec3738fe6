"""Stage soup: the mean of several networks' weights within each fold becomes a run of its own, with one network a fold.

Reads the runs' fold folders; writes `oof/<comp>/<name>/fold_<k>/` and `run.json`, from which stage predict goes on.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foldline.core.competition import load_competition
from foldline.core.errors import FoldlineError
from foldline.core.folds import load_folds
from foldline.core.paths import Layout
from foldline.core.predictions import read_predictions
from foldline.core.progress import say
from foldline.core.records.cv import Cv
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.records.same import require_same
from foldline.core.run import Run
from foldline.core.run_folder import predictions_of, stored_run
from foldline.core.run_kinds import no_networks
from foldline.core.tables import read_parquet
from foldline.scoring.blend import blend
from foldline.scoring.choose import in_digits
from foldline.scoring.cv import pooled_score
from foldline.scoring.metrics import metric_for


def soup(
    layout: Layout, comp: str, runs: Sequence[str], *, name: str = "", device: str = "auto", greedy: bool = False
) -> str:  # fmt: skip
    """Writes the soup's folds, unless they are there.

    Args:
        runs: whose networks are averaged, those of a fold with one another; of one run its network and its start
            (`train.keep_start`).
        name: of the new run; default: `<runs>-soup`.
        greedy: of each fold those runs alone that make the other folds' scores better, one after the other.

    Returns:
        The name.

    Raises:
        FoldlineError: there is nothing to average, the networks do not share a start, or another run has the name.
    """
    name = name or f"{'+'.join(runs)}-soup"
    if name in runs or len(set(runs)) < len(runs):
        raise FoldlineError("a soup cannot have its part's name, nor a part twice", where="RUNS, NAME")
    folds, metas = load_folds(layout, comp), {run: _metas(layout, comp, run) for run in runs}
    for own in metas.values():
        for meta in own:
            require_same(meta, folds=folds.sha256, where=layout.relative(layout.fold(comp, meta.run, meta.fold)))
    _require_parts(metas)
    if greedy and len(runs) < 2:
        raise FoldlineError("a greedy soup chooses among runs", where="--greedy", next='name several: RUNS="a b"')
    choices = [_choices(layout, comp, run) for run in runs]
    if _is_current(layout, comp, name, metas, greedy=greedy):
        say(f"the soup {comp}/{name} is up to date")
        return name
    from foldline.engine.finished.folder import read_finished
    from foldline.engine.finished.greedy import chosen_parts
    from foldline.engine.finished.soup import cook, require_one_start
    from foldline.engine.machine.device import pick_device, prepare_device
    from foldline.engine.problem import open_problem

    finished = [read_finished(layout.run(comp, run)) for run in runs]
    require_one_start(finished, choices)
    chosen = pick_device(device)
    prepare_device(chosen)
    layout.run(comp, name).mkdir(parents=True, exist_ok=True)
    with predictions_of(layout, comp, [name], f"the soup '{name}' is being made"):
        if not _is_current(layout, comp, name, metas, greedy=greedy):
            problem = open_problem(layout, comp, choices[0], chosen)
            parts = chosen_parts(problem, finished, choices[0]) if greedy else []
            cook(problem, name, finished, choices[0], parts)
    return name


def beside(layout: Layout, comp: str, runs: Sequence[str], name: str) -> None:
    """Says what the soup scores, and what the ensemble of its parts does: both out of fold."""
    facts, folds = load_competition(layout, comp), load_folds(layout, comp)
    ids = read_parquet(layout.run(comp, name) / "oof.parquet")["row_id"]
    columns = folds.task.prediction_columns(folds.outputs)
    tables = [
        read_predictions(layout.run(comp, run) / "oof.parquet", folds.task, folds.outputs, ids=ids)
        for run in (name, *runs)
    ]
    values = [table[columns].to_numpy(dtype=np.float64) for table in tables]
    ours, parts = tables[0], [pooled_score(table, facts, folds.outputs) for table in tables[1:]]
    blended = ours.copy()
    blended[columns] = blend("mean", values[1:], folds.task).astype(np.float32)
    soup_score, whole = pooled_score(ours, facts, folds.outputs), pooled_score(blended, facts, folds.outputs)
    networks = sum(len(_metas(layout, comp, run)[0].weights) for run in runs)
    say(
        f"soup {name}: OOF {facts.metric} {in_digits(soup_score)} with one network a fold; the ensemble of its parts "
        f"{in_digits(whole)} with {networks}; the runs {', '.join(map(in_digits, parts))}"
    )
    if all(metric_for(facts.metric, folds.task).better(part, soup_score) for part in parts):
        say("warning: the soup is worse than each of its parts: their weights have no common valley; blend predictions")


def _metas(layout: Layout, comp: str, run: str) -> list[FoldMeta]:
    folder = layout.run(comp, run)
    metas = [FoldMeta.read(path) for path in folder.glob("fold_*/meta.json")]
    if not metas:
        cv = Cv.read_if_there(folder / "cv.json")
        if cv and cv.head:
            raise no_networks(layout.relative(folder))
        members = f'; of its members: RUNS="{" ".join(cv.members)}"' if cv and cv.members else ""
        raise FoldlineError(
            f"run '{run}' has no networks of its own",
            where=layout.relative(folder),
            next=f"make train-all COMP={comp} RUN={run}{members}",
        )
    return sorted(metas, key=lambda meta: meta.fold)


def _require_parts(metas: dict[str, list[FoldMeta]]) -> None:
    whole = next((own[0] for own in metas.values() if own[0].on_all_rows), None)
    if whole is not None:
        raise FoldlineError(
            f"{whole.title} has no validation rows: a soup with it could not be scored",
            where="RUNS",
            next=f"name runs of folds, such as {whole.folds_of}; then train.folds: all with train.folds_of: that",
        )
    first, *others = metas.values()
    for own in others:
        if [meta.fold for meta in own] != [meta.fold for meta in first]:
            raise FoldlineError(
                f"'{own[0].run}' and '{first[0].run}' have not the same folds", where="RUNS", next="train all of them"
            )
    alone = next((meta for meta in first if len(meta.weights) == 1), None)
    if not others and alone is not None:
        raise FoldlineError(
            f"{alone.title} keeps one network: within the fold there is nothing to average",
            where="RUN",
            next='name several runs, RUNS="a b", or train with train.keep_start; a mean of epochs is made while '
            "training (train.average: swa). The mean over all folds would have seen every row: no honest score of it",
        )


def _choices(layout: Layout, comp: str, run: str) -> Run:
    choices = stored_run(layout, comp, run)
    if choices is None:
        raise FoldlineError(f"run '{run}' has no run.json", where=layout.relative(layout.run(comp, run)))
    return choices


def _is_current(layout: Layout, comp: str, name: str, parts: dict[str, list[FoldMeta]], *, greedy: bool) -> bool:
    """Whether the soup is there and of these networks; raises FoldlineError where something else has its name."""
    folder = layout.run(comp, name)
    if not folder.exists():
        return False
    current, prefix = True, "greedy soup: " if greedy else "soup: "
    ours = 0
    for place, meta in enumerate(next(iter(parts.values()))):
        there = FoldMeta.read_if_there(folder / f"fold_{meta.fold}" / "meta.json")
        wanted = {f"{prefix}{run}": metas[place].sha256.weights for run, metas in parts.items()}
        made = {} if there is None else {k: v for k, v in there.sha256.inputs.items() if k.startswith(prefix)}
        if there is not None and not greedy and any(k.startswith("greedy soup: ") for k in there.sha256.inputs):
            made = {}
        if made.keys() != wanted.keys() and there is not None:
            raise _something_else(layout, folder)
        ours, current = ours + (there is not None), current and made == wanted
    if not ours and any((folder / file).is_file() for file in ("cv.json", "run.json")):
        raise _something_else(layout, folder)  # an ensemble, or a training whose folds are not there yet
    return current and (folder / "run.json").is_file()


def _something_else(layout: Layout, folder: Path) -> FoldlineError:
    return FoldlineError(
        f"the run '{folder.name}' is something else", where=layout.relative(folder), next="add NAME=<new name>"
    )
