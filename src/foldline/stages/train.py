"""Stage train: one model per fold. Reads folds and images; writes `oof/<comp>/<run>/fold_<k>/`.

A fold that is finished is left alone, one that was interrupted goes on from its resume point. `meta.json`
is written last: a fold is finished when it is there.
"""

from typing import Any

from foldline.core.competition import load_competition
from foldline.core.folds import load_folds
from foldline.core.own_code import locate
from foldline.core.paths import Layout
from foldline.core.progress import say
from foldline.core.provenance import is_finished
from foldline.core.rank import Rank, is_launched, rank_here, speaking_as
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.run_folder import drop_disposable, known_fold, resolve_run, wanted_folds
from foldline.scoring.cv import metric_names


def train(
    layout: Layout, comp: str, run: str, *, fold: int | None, name: str = "", overrides: list[str],
    device: str = "auto", ranks: int = 1,
) -> dict[str, Any]:  # fmt: skip
    """Trains one fold, or all (of `train.folds`, where that is set) that are not finished when `fold` is None.

    Args:
        ranks: how many processes train each fold together; they are started here unless torchrun or Slurm has.

    Returns:
        The run, its folder, and of each fold that was asked for its score, epochs and seconds.

    Raises:
        FoldlineError: bad settings, images or labels, found before training begins.
    """
    rank = rank_here()
    with speaking_as(rank):
        return _train(layout, comp, run, fold, name, overrides, device, ranks, rank)


def _train(
    layout: Layout, comp: str, run: str, fold: int | None, name: str, overrides: list[str], device: str, ranks: int,
    rank: Rank,
) -> dict[str, Any]:  # fmt: skip
    given = name
    name, choices = resolve_run(layout, comp, run, name, overrides)
    folds = load_folds(layout, comp)
    metric_names(load_competition(layout, comp), [locate(layout, comp, metric) for metric in choices.metrics])
    wanted = wanted_folds(choices, folds.k) if fold is None else [known_fold(fold, folds.k)]
    left = [k for k in wanted if not is_finished(layout, comp, name, k, choices, folds.sha256)]
    for k in sorted(set(wanted) - set(left)):
        drop_disposable(layout.fold(comp, name, k))  # where training was killed at its very end
        if not is_launched():
            say(f"fold {k}: finished already, {layout.relative(layout.fold(comp, name, k))}")
    if left and ranks > 1 and rank.count == 1:
        from foldline.engine.scale.launch import launch
        from foldline.engine.scale.unit import Unit

        unit = Unit(comp, run, left[0], given, tuple(overrides), device)
        launch(unit.command(layout.root, *([] if fold is not None else ["--fold", "all"])), ranks)
    elif left or rank.count > 1:
        from foldline.engine.train_run import train_folds

        train_folds(layout, comp, name, choices, left, device, rank=rank)
    if rank.number:
        return {}
    metas = [FoldMeta.read(layout.fold(comp, name, k) / "meta.json") for k in wanted]
    told = ("fold", "metric", "score", "selected_epoch", "epochs", "seconds", "diverged", "rows_train", "rows_valid")
    trained = [{key: getattr(meta, key) for key in told} | {"trained_now": meta.fold in left} for meta in metas]
    return {"comp": comp, "run": name, "folder": layout.relative(layout.run(comp, name)), "folds": trained}
