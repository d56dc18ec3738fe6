"""Stage train on a cluster: the folds of one or more runs, each a Ray task that runs `foldline train --fold k`.

Reads folds and facts; the tasks write `oof/<comp>/<run>/fold_<k>/`, here or on their machines, from where the folders
come here. The same command again goes on; a machine that is lost costs at most the time since its last resume point.
"""

from collections.abc import Mapping
from typing import Any

from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.progress import result
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.run_folder import drop_disposable
from foldline.engine.scale.board import Board
from foldline.engine.scale.cluster.crew import crew
from foldline.engine.scale.cluster.drive import drive
from foldline.engine.scale.cluster.trip import FoldTrip
from foldline.engine.scale.units import Part, parts_of

TOLD = ("fold", "metric", "score", "selected_epoch", "epochs", "seconds", "diverged", "rows_train", "rows_valid")


def train_on_ray(
    layout: Layout, comp: str, runs: list[str], *, fold: int | None, name: str = "", overrides: list[str],
    device: str = "auto", cluster: Mapping[str, Any], ranks: int = 1,
) -> list[dict[str, Any]]:  # fmt: skip
    """Trains the folds that are not finished, as many at once as the cluster has room for.

    Args:
        runs: each as `train` takes it; with `name` or `overrides` one alone.
        cluster: which one, and what a task takes there (`engine.scale.cluster.crew.crew`).
        ranks: how many processes of one machine train each fold together.

    Returns:
        Of each fold its run, and what `train` says of it.

    Raises:
        FoldlineError: settings are wrong, before anything begins; there is no such cluster; a fold failed, behind the
            end of all others.
        KeyboardInterrupt: this process was asked to end; so were the tasks, and their resume points are here.
    """
    if name and len(runs) > 1:
        raise FoldlineError("one name for several runs", where="NAME, RUNS", next="leave the name out, or name one run")
    parts = parts_of(layout, comp, runs, fold=fold, name=name, overrides=overrides, device=device)
    left = [part for part in parts if not part.finished]
    for part in parts:
        if part.finished:
            drop_disposable(layout.fold(comp, part.name, part.unit.fold))  # where training was killed at its very end
    if left:
        with (
            crew(layout, comp, **cluster, ranks=ranks) as hands,
            Board([part.unit for part in parts], [part.unit for part in parts if part.finished]) as board,
        ):
            drive(
                hands,
                board,
                [(part.unit, FoldTrip(layout, comp, part.name, part.choices, part.unit.fold)) for part in left],
            )
            board.say_end()
        board.require_done("look at the lines above, then the same command goes on")
    trained = [_told(layout, comp, part) for part in parts]
    result(f"folds trained on a cluster: {len(left)} now, {len(parts) - len(left)} before", folds=trained)
    return trained


def _told(layout: Layout, comp: str, part: Part) -> dict[str, Any]:
    meta = FoldMeta.read(layout.fold(comp, part.name, part.unit.fold) / "meta.json")
    return {"run": part.name, "trained_now": not part.finished} | {key: getattr(meta, key) for key in TOLD}
