"""Stage predict on a cluster: shares of the rows, each a Ray task that runs `foldline predict --shard i/n`.

Reads a run's folds and pictures; the tasks write `oof/<comp>/<run>/shards/<i>-of-<n>/`, which `predict` joins.
"""

from collections.abc import Mapping
from typing import Any

from foldline.core.paths import Layout
from foldline.core.run_folder import resolve_run
from foldline.engine.scale.board import Board
from foldline.engine.scale.cluster.crew import crew
from foldline.engine.scale.cluster.drive import drive
from foldline.engine.scale.cluster.trip import ShardTrip
from foldline.engine.scale.unit import ShardUnit


def predict_shards(
    layout: Layout, comp: str, run: str, *, name: str = "", overrides: list[str], device: str = "auto",
    cluster: Mapping[str, Any], shards: int | None = None,
) -> None:  # fmt: skip
    """Predicts all rows, share by share; those that are predicted already are left alone.

    Args:
        cluster: which one, and what a task takes there (`engine.scale.cluster.crew.crew`).
        shards: how many shares; None: as many as the cluster can do at once.

    Raises:
        FoldlineError: there is no such cluster; a share failed.
        KeyboardInterrupt: this process was asked to end; what is predicted is kept.
    """
    found, choices = resolve_run(layout, comp, run, name, overrides)
    with crew(layout, comp, **cluster) as hands:
        of = shards or max(hands.room(), 1)
        units = [ShardUnit(comp, run, i, of, name, tuple(overrides), device) for i in range(of)]
        with Board(units) as board:
            drive(hands, board, [(one, ShardTrip(layout, comp, found, choices, one.index, of)) for one in units])
            board.say_end()
    board.require_done("look at the lines above, then the same command goes on")
