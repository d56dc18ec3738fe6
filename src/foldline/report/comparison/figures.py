"""The figures of a comparison of runs: scores, paired differences, learning curves. Embedded pictures out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from foldline.core.counted import counted
from foldline.report.comparison.rivals import Comparison, Pair, Rival
from foldline.report.look import curves, formats, palette
from foldline.report.look.palette import Picture
from foldline.scoring.metrics.for_task import reach

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, LANE, FRAME = 480, 26, 58  # px: a picture's width, the height of a run's lane, and of all that is not lanes
NAME = 26  # letters of a run's name beside its lane


def score_dots(comparison: Comparison) -> list[Picture]:
    """Each run's pooled score with its interval, and its folds' scores; the best run at the top."""
    shown = [(rival, rival.cv.pooled) for rival in comparison.rivals if rival.cv.pooled is not None]
    if not shown:
        return []
    metric = formats.metric_title(comparison.facts.metric)
    with palette.drawing():
        figure, axes = palette.canvas(WIDTH, FRAME + LANE * len(shown))
        for lane, (rival, pooled) in enumerate(shown):
            folds = [value for value in rival.cv.per_fold if value is not None]
            axes.plot(
                folds,
                [lane + 0.3] * len(folds),
                "o",
                markersize=3.8,
                color=palette.PAPER,
                markeredgecolor=palette.MUTED,
            )
            _dot(axes, lane, pooled, rival.cv.interval, rival.name in comparison.partial)
        _lanes(axes, [rival.name for rival, _ in shown])
        curves.end_at(axes, _reach(comparison))
        axes.set_xlabel(metric)
    alt = "; ".join(f"{rival.name} {formats.score(pooled)}" for rival, pooled in shown)
    better = "Further right is better." if comparison.direction == "max" else "Further left is better."
    hollow = " A hollow dot: a run on only some of the rows." if comparison.partial else ""
    legend = [("dot", "pooled score"), ("accent", "95 % interval"), ("number", "one fold")]
    title = f"{metric}, out of fold"
    return [palette.picture(figure, "scores", title, f"{metric}: {alt}.", better + hollow, legend)]


def forest(reference: str, pairs: Sequence[Pair]) -> list[Picture]:
    """The difference of each run to the reference with its interval; 0 is the reference."""
    shown = [pair for pair in pairs if pair.difference.verdict != "undefined"]
    if not shown:
        return []
    with palette.drawing():
        figure, axes = palette.canvas(WIDTH, FRAME + LANE * len(shown))
        axes.axvline(0, color=palette.MUTED, linewidth=1.2)
        for lane, pair in enumerate(shown):
            difference = pair.difference
            colour = (
                palette.MUTED
                if difference.verdict == "same"
                else palette.ACCENT
                if difference.verdict == "better"
                else palette.WARM
            )
            _dot(axes, lane, difference.gain, (difference.low, difference.high), not difference.everything, colour)
        _lanes(axes, [pair.run for pair in shown])
        axes.set_xlabel(f"better than {formats.printable(reference, NAME)} by")
    alt = "; ".join(pair.in_words() for pair in shown)
    caption = "Right of the line is better. Gray: the interval holds 0: no significant difference."
    legend = [("accent", "better"), ("warm", "worse"), ("gray", "no significant difference")]
    title = f"Against {formats.printable(reference, 40)}"
    return [palette.picture(figure, "differences", title, f"{alt}.", caption, legend)]


def _dot(
    axes: "Axes",
    lane: int,
    middle: float,
    ends: "Sequence[float | None] | None",
    hollow: bool,
    colour: str = palette.ACCENT,
) -> None:
    low, high = ends or (None, None)
    if low is not None and high is not None:
        axes.plot([low, high], [lane, lane], color=colour, linewidth=2)
    face = palette.PAPER if hollow else colour
    axes.plot(middle, lane, "o", markersize=8, color=face, markeredgecolor=colour, markeredgewidth=1.6)


def _lanes(axes: "Axes", names: list[str]) -> None:
    axes.set(ylim=(len(names) - 0.4, -0.6), yticks=range(len(names)))
    axes.set_yticklabels([formats.printable(name, NAME) for name in names], color=palette.INK)
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.06)
    axes.locator_params(axis="x", nbins=5)


def run_curves(comparison: Comparison) -> list[Picture]:
    """One small picture a run: losses above, the metric below, both sets, over epochs; one scale for all runs."""
    trained = [rival for rival in comparison.rivals if any(len(log) > 1 for log in rival.logs.values())]
    logs = [log for rival in trained for log in rival.logs.values()]
    losses = curves.limits(log[name] for log in logs for name in ("train_loss", "valid_loss"))
    scores = curves.limits(
        (log[name] for log in logs for name in ("train_score", "score") if name in log), reach=_reach(comparison)
    )
    return [_curve(comparison, rival, losses, scores) for rival in trained]


def _reach(comparison: Comparison) -> tuple[float, float]:
    """The smallest and the largest score that the metric can give."""
    return reach(comparison.facts.metric, comparison.facts.task)


def _curve(
    comparison: Comparison, rival: Rival, losses: tuple[float, float] | None, scores: tuple[float, float] | None
) -> Picture:
    logs = list(rival.logs.values())
    with palette.drawing():
        figure = palette.blank(250, 250)
        above, below = figure.subplots(2, 1, sharex=True)
        for axes, train, valid, colour, limits in (
            (above, "train_loss", "valid_loss", palette.WARM, losses),
            (below, "train_score", "score", palette.ACCENT, scores),
        ):
            curves.folds_and_mean(axes, curves.values_of(logs, train), palette.MUTED, "--")
            curves.folds_and_mean(axes, curves.values_of(logs, valid), colour)
            axes.set_ylim(limits)
            axes.locator_params(axis="y", nbins=4)
        curves.whole_epochs(below, max(float(log["epoch"].max()) for log in logs))
    title, alt = formats.printable(rival.name, 40), _curve_words(comparison, rival)
    return palette.picture(figure, "curves", title, alt, _settings_apart(comparison, rival))


def _curve_words(comparison: Comparison, rival: Rival) -> str:
    last = [log.iloc[-1] for log in rival.logs.values()]
    ends = {name: float(np.mean([row[name] for row in last])) for name in ("train_loss", "valid_loss", "score")}
    fewest, most = (int(edge(row["epoch"] for row in last)) for edge in (min, max))
    epochs = counted(most, "epochs") if fewest == most else f"{fewest} to {most} epochs"
    return (
        f"{rival.name} after {epochs}, mean of {counted(len(last), 'folds')}: training loss "
        f"{formats.score(ends['train_loss'])}, validation loss {formats.score(ends['valid_loss'])}, "
        f"{formats.metric_title(comparison.facts.metric)} {formats.score(ends['score'])}."
    )


def _settings_apart(comparison: Comparison, rival: Rival, most: int = 5) -> str:
    """What sets the run apart: its values of the settings that differ, without those that most runs share."""
    place, runs = comparison.rivals.index(rival), len(comparison.rivals)
    parts = [f"{key} {values[place]}" for key, values in comparison.settings if 2 * values.count(values[place]) <= runs]
    return ", ".join(parts[:most]) + (f" and {len(parts) - most} more" if len(parts) > most else "")
