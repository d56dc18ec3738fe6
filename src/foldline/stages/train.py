"""Stage train: one model per fold. Reads folds and images; writes `oof/<comp>/<run>/fold_<k>/`.

A fold that is finished is left alone, one that was interrupted goes on from its resume point. `meta.json`
is written last: a fold is finished when it is there.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from foldline.core.all_rows import require_folds_of
from foldline.core.competition import load_competition
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.folds import Folds, load_folds
from foldline.core.own_code import locate
from foldline.core.paths import Layout
from foldline.core.progress import say
from foldline.core.provenance import is_finished
from foldline.core.rank import Rank, is_launched, rank_here, speaking_as
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.run import Run
from foldline.core.run_folder import asked_folds, drop_disposable, resolve_run
from foldline.engine.scale.pooled import pooled_now
from foldline.engine.scale.side_by_side import Pool, needs_a_trial, places_for
from foldline.engine.scale.unit import Unit
from foldline.scoring.cv import metric_names


def train(
    layout: Layout, comp: str, run: str, *, fold: int | None, name: str = "", overrides: list[str],
    device: str = "auto", ranks: int = 1, jobs: int | str = 1,
) -> dict[str, Any]:  # fmt: skip
    """Trains one fold, or all (of `train.folds`, where that is set) that are not finished when `fold` is None.

    Args:
        ranks: how many processes train each fold together; they are started here unless torchrun or Slurm has.
        jobs: how many folds at once, each in a process of its own; auto: one a GPU.

    Returns:
        The run, its folder, and of each fold that was asked for its score, epochs and seconds.

    Raises:
        FoldlineError: bad settings, images or labels, found before training begins.
    """
    if ranks > 1 and jobs != 1:
        raise FoldlineError(
            "several GPUs train one fold, or several folds are trained at once", where="--ranks, --jobs",
            next="leave one of them out",
        )  # fmt: skip
    rank = rank_here()
    if rank.count > 1 and ranks not in (1, rank.count):
        raise FoldlineError(
            f"{counted(rank.count, 'ranks were')} started from outside, and --ranks says {ranks}", where="--ranks",
            next="leave it out under torchrun or srun",
        )  # fmt: skip
    with speaking_as(rank):
        return _train(layout, Unit(comp, run, 0, name, tuple(overrides), device), fold, ranks, jobs, rank)


def _train(layout: Layout, asked: Unit, fold: int | None, ranks: int, jobs: int | str, rank: Rank) -> dict[str, Any]:
    comp, run, name, overrides, device = asked.comp, asked.run, asked.name, list(asked.overrides), asked.device
    name, choices = resolve_run(layout, comp, run, name, overrides)
    folds = load_folds(layout, comp)
    metric_names(load_competition(layout, comp), [locate(layout, comp, metric) for metric in choices.metrics])
    wanted = asked_folds(choices, fold, folds.k)
    left = [k for k in wanted if not is_finished(layout, comp, name, k, choices, folds.sha256)]
    if left:
        require_folds_of(layout, comp, choices, folds.k, folds.sha256)
    for k in sorted(set(wanted) - set(left)):
        if rank.number == 0:
            drop_disposable(layout.fold(comp, name, k))  # where training was killed at its very end
        if not is_launched():
            say(f"fold {k}: finished already, {layout.relative(layout.fold(comp, name, k))}")
    if left and ranks > 1 and rank.count == 1:
        from foldline.engine.scale.launch import launch

        unit = replace(asked, fold=left[0])
        launch(unit.command(layout.root, *([] if fold is not None else ["--fold", "all"])), ranks)
    elif left or rank.count > 1:
        units = [replace(asked, fold=k) for k in left]
        alone = rank.count > 1 or not _side_by_side(layout, units, name, choices, jobs, folds)
        if alone:
            from foldline.engine.train_run import train_folds

            train_folds(layout, comp, name, choices, left, device, rank=rank)
    if rank.number:
        return {}
    metas = [FoldMeta.read(layout.fold(comp, name, k) / "meta.json") for k in wanted]
    told = ("fold", "metric", "score", "selected_epoch", "epochs", "seconds", "diverged", "rows_train", "rows_valid")
    trained = [{key: getattr(meta, key) for key in told} | {"trained_now": meta.fold in left} for meta in metas]
    return {"comp": comp, "run": name, "folder": layout.relative(layout.run(comp, name)), "folds": trained}


def _side_by_side(
    layout: Layout, units: list[Unit], name: str, choices: Run, jobs: int | str, folds: Folds
) -> bool:  # fmt: skip
    """Trains folds side by side, where more than one is wanted at once and there is room; gives whether it did."""
    places, trial = places_for(jobs, units[0].device, len(units))
    if len(places) < 2:
        if jobs not in (1, "auto"):
            say(f"one fold is left: it is trained in this process (JOBS={jobs})")
        return False
    on_gpu = bool(places[0])
    alone = needs_a_trial(layout, units[0].comp, name, choices, on_gpu=on_gpu)
    units = [replace(unit, device="cuda") for unit in units] if on_gpu else units
    pooled = partial(pooled_now, layout, units[0].comp, name, folds)
    Pool(layout, units, places, alone=alone, trial=trial, pooled=pooled).train()
    return True
