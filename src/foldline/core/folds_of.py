"""What one network on all rows takes from the folds of another run: how long it trains, and what stood in the place of
its own validation rows. Reads their `meta.json` and `log.csv`; writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median_high
from typing import Any

import pandas as pd

from foldline.core.counted import counted
from foldline.core.paths import Layout
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.run import Run
from foldline.core.run_folder import stored_run, wanted_folds
from foldline.core.tables import read_csv


@dataclass(frozen=True)
class FoldsOf:
    """The folds of a run, as a network on all rows needs them.

    Attributes:
        run: its name.
        best: the epoch whose weights each fold kept.
        epochs: that the network is trained: the median of these, of two in the middle the later one; where the folds
            keep their last epoch, that.
        scores, losses: the mean over the folds of the metric and the loss of their validation rows, by epoch, from 1;
            only where they decide something (`train.average: best`, `schedule.name: plateau`).
    """

    run: str
    best: dict[int, int]
    epochs: int
    scores: dict[int, float] = field(default_factory=dict)
    losses: dict[int, float] = field(default_factory=dict)

    def in_words(self, of: int) -> str:
        """Such as `4 of 10 epochs, the median of the best ones of 'a': 3, 4, 6`.

        Args:
            of: epochs of the schedule.
        """
        if self.epochs == of and set(self.best.values()) == {of}:
            return f"{counted(of, 'epochs')}, as the folds of '{self.run}'"
        best = ", ".join(map(str, self.best.values()))
        return f"{self.epochs} of {of} epochs, the median of the best ones of '{self.run}': {best}"

    def taken(self) -> dict[str, Any]:
        """What of it decides about the weights, as a JSON value."""
        return {"epochs": self.epochs, "scores": _listed(self.scores), "losses": _listed(self.losses)}


def folds_of(layout: Layout, comp: str, run: Run, k: int) -> FoldsOf | None:
    """The folds that the run names; None where one of them is not trained, or there is no such run."""
    name = run.train.folds_of
    other = stored_run(layout, comp, name) if name else None
    if other is None or other.on_all_rows:
        return None
    folders = [layout.fold(comp, name, fold) for fold in wanted_folds(other, k)]
    metas = [FoldMeta.read_if_there(folder / "meta.json") for folder in folders]
    best = {meta.fold: meta.selected_epoch for meta in metas if meta is not None}
    if not best or len(best) < len(folders):
        return None
    epochs = run.train.epochs
    if run.train.select == "best":
        epochs = max(median_high(best.values()), 0 if run.train.probe is not None else 1)
    judged, followed = run.train.average.name == "best", run.schedule.name == "plateau"
    return FoldsOf(
        name, best, epochs, scores=_means(folders, "score") if judged else {},
        losses=_means(folders, "valid_loss") if followed else {},
    )  # fmt: skip


def training_losses(layout: Layout, comp: str, run: Run, k: int, epoch: int) -> list[float]:
    """The folds' training losses of an epoch, of those that were trained so long."""
    other = stored_run(layout, comp, run.train.folds_of)
    wanted = [] if other is None else wanted_folds(other, k)
    return _by_epoch([layout.fold(comp, run.train.folds_of, fold) for fold in wanted], "train_loss").get(epoch, [])


def _means(folders: Sequence[Path], column: str) -> dict[int, float]:
    """The mean over the folds of a column of their logs, by epoch."""
    return {epoch: fmean(values) for epoch, values in _by_epoch(folders, column).items()}


def _by_epoch(folders: Sequence[Path], column: str) -> dict[int, list[float]]:
    """A column of the folds' logs, by epoch, of those that have it; the start is left out."""
    found: dict[int, list[float]] = {}
    for folder in folders:
        log = read_csv(folder / "log.csv", required=["epoch", column]).apply(pd.to_numeric, errors="coerce")
        for epoch, value in log.loc[log[column].notna() & (log["epoch"] > 0), ["epoch", column]].to_numpy():
            found.setdefault(int(epoch), []).append(float(value))
    return dict(sorted(found.items()))


def _listed(by_epoch: dict[int, float]) -> list[list[float]]:
    return [[epoch, value] for epoch, value in by_epoch.items()]
