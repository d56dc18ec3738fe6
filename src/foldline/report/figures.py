"""The figures that every kind of task shares, and the dictionary of all figures. A run in, embedded pictures out.

A new figure is one function `RunFolder -> list[Picture]` and one line in `FIGURES`; the list is empty where
the run has nothing to draw.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from foldline.core.competition import Task
from foldline.report import class_figures, ink, value_figures, words
from foldline.report.ink import Picture
from foldline.report.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def score_strip(run: RunFolder) -> list[Picture]:
    """Each fold's score, the pooled score and its interval on one axis."""
    scores = [(k, value) for k, value in enumerate(run.cv["per_fold"]) if value is not None]
    pooled, (low, high) = run.cv["pooled"], run.cv["interval"] or (None, None)
    if pooled is None or not scores:
        return []
    with ink.drawing():
        lanes = _lanes([value for _, value in scores], low, high)
        figure, axes = ink.canvas(440, 84 + 22 * max(lanes))
        if low is not None and high is not None:
            axes.axvspan(low, high, color=ink.ACCENT, alpha=0.16, linewidth=0)
        axes.axvline(pooled, color=ink.ACCENT, linewidth=2)
        for (k, value), lane in zip(scores, lanes, strict=True):
            axes.plot(value, lane, "o", markersize=13, color=ink.PAPER, markeredgecolor=ink.INK, markeredgewidth=1)
            axes.text(value, lane, str(k), ha="center", va="center_baseline", fontsize=8, color=ink.INK)
        axes.set(ylim=(-0.9, max(lanes) + 0.9), yticks=[], xlabel=words.metric_title(run.cv["metric"]))
        axes.margins(x=0.08)
        axes.locator_params(axis="x", nbins=6)
        uri = ink.svg_uri(figure)
    each = ", ".join(f"fold {k} {words.score(value)}" for k, value in scores)
    band = f", its interval from {words.score(low)} to {words.score(high)}" if low is not None else ""
    alt = f"The pooled score {words.score(pooled)}{band}; {each}."
    legend = [("accent", "pooled"), ("band", _level(run)), ("number", "each fold")]
    return [Picture("score", "", uri, 440, 84 + 22 * max(lanes), alt, legend=legend)]


def _level(run: RunFolder) -> str:
    return f"{100 * run.cv['level']:g} % interval"


def _lanes(values: list[float], low: float | None, high: float | None) -> list[int]:
    """The height of each dot, so that equal scores do not hide one another."""
    everything = [*values, *(edge for edge in (low, high) if edge is not None)]
    apart = 0.055 * (max(everything) - min(everything)) or 1.0
    lanes = [0] * len(values)
    for i in range(len(values)):
        taken = {lanes[j] for j in range(i) if abs(values[j] - values[i]) < apart}
        lanes[i] = next(lane for lane in range(len(values)) if lane not in taken)
    return lanes


def learning_curves(run: RunFolder) -> list[Picture]:
    """One small picture a fold: losses above, the metric below, over epochs; epoch 0 is the start before training."""
    logs = {k: log for k, log in run.logs.items() if len(log) > 1}
    if not logs:
        return []
    losses = _range([log[name] for log in logs.values() for name in ("train_loss", "valid_loss")])
    scores = _range([log["score"] for log in logs.values()])
    return [_learning_curve(run, k, log, losses, scores) for k, log in logs.items()]


def _range(columns: "list[pd.Series[float]]") -> tuple[float, float] | None:
    """The common range of all folds with a little air, so that they can be compared by eye."""
    values = np.concatenate([np.asarray(column, dtype=np.float64) for column in columns])
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    air = 0.08 * (values.max() - values.min()) or 0.01
    return float(values.min() - air), float(values.max() + air)


def _learning_curve(
    run: RunFolder,
    k: int,
    log: pd.DataFrame,
    losses: tuple[float, float] | None,
    scores: tuple[float, float] | None,
) -> Picture:
    meta = run.metas.get(k, {})
    epochs, probe = log["epoch"], meta.get("probe_score")
    with ink.drawing():
        figure = ink.blank(210, 230)
        above, below = figure.subplots(2, 1, sharex=True)
        above.plot(epochs, log["train_loss"], "--", color=ink.MUTED, linewidth=1.4)
        above.plot(epochs, log["valid_loss"], color=ink.WARM)
        if probe is not None:
            below.axhline(probe, color=ink.MUTED, linewidth=1, linestyle=":")
        below.plot(epochs, log["score"], color=ink.ACCENT)
        chosen = log[epochs == meta.get("selected_epoch")]
        below.plot(chosen["epoch"], chosen["score"], "o", color=ink.ACCENT, markersize=5.5)
        for axes, limits in ((above, losses), (below, scores)):
            axes.set_ylim(limits)
            axes.locator_params(axis="y", nbins=4)
        _whole_epochs(below, epochs)
        uri = ink.svg_uri(figure)
    return Picture("learning", f"Fold {k}", uri, 210, 230, _learning_words(run, k, log))


def _whole_epochs(axes: "Axes", epochs: "pd.Series[float]") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
    axes.set_xlim(float(epochs.min()) - 0.25, float(epochs.max()) + 0.25)


def _learning_words(run: RunFolder, k: int, log: pd.DataFrame) -> str:
    metric = words.metric_title(run.cv["metric"])
    first, last = log.iloc[0], log.iloc[-1]
    return (
        f"Fold {k}, epoch {first['epoch']:.0f} to {last['epoch']:.0f}: {metric} from {words.score(first['score'])} to "
        f"{words.score(last['score'])}, validation loss from {words.score(first['valid_loss'])} to "
        f"{words.score(last['valid_loss'])}."
    )


@dataclass(frozen=True)
class FigureKind:
    """One kind of figure: the tasks that it suits, the section of the page that it belongs to, and how it is drawn."""

    draw: Callable[[RunFolder], list[Picture]]
    section: str
    tasks: tuple[Task, ...]


ALL: tuple[Task, ...] = ("binary", "multiclass", "multilabel", "ordinal", "regression", "soft")
CLASSES: tuple[Task, ...] = ("binary", "multiclass", "multilabel", "ordinal", "soft")

FIGURES: dict[str, FigureKind] = {
    "score": FigureKind(score_strip, "headline", ALL),
    "learning": FigureKind(learning_curves, "learning", ALL),
    "roc": FigureKind(class_figures.roc_curves, "quality", CLASSES),
    "reliability": FigureKind(class_figures.reliability_curve, "quality", CLASSES),
    "distribution": FigureKind(class_figures.distributions, "quality", CLASSES),
    "scatter": FigureKind(value_figures.scatter, "quality", ("regression",)),
    "residuals": FigureKind(value_figures.residuals, "quality", ("regression",)),
}


def draw_section(run: RunFolder, section: str) -> list[Picture]:
    """All pictures of one section of the page, in the dictionary's order."""
    kinds = [kind for kind in FIGURES.values() if kind.section == section and run.task in kind.tasks]
    return [picture for kind in kinds for picture in kind.draw(run)]
