"""The figure beside the score. A run in, embedded pictures out."""

from foldline.report.look import curves, formats, palette
from foldline.report.look.palette import Picture
from foldline.report.run.reported_run import ReportedRun


def score_strip(run: ReportedRun) -> list[Picture]:
    """Each fold's score, the pooled score and its interval on one axis."""
    scores = [(k, value) for k, value in zip(run.fold_numbers, run.cv.per_fold, strict=True) if value is not None]
    pooled, (low, high) = run.cv.pooled, run.cv.interval
    if pooled is None or not scores:
        return []
    with palette.drawing():
        lanes = _lanes([value for _, value in scores], low, high)
        figure, axes = palette.canvas(440, 84 + 22 * max(lanes))
        if low is not None and high is not None:
            axes.axvspan(low, high, color=palette.ACCENT, alpha=0.16, linewidth=0)
        axes.axvline(pooled, color=palette.ACCENT, linewidth=2)
        for (k, value), lane in zip(scores, lanes, strict=True):
            axes.plot(
                value, lane, "o", markersize=13, color=palette.PAPER, markeredgecolor=palette.INK, markeredgewidth=1
            )
            axes.text(value, lane, str(k), ha="center", va="center_baseline", fontsize=8, color=palette.INK)
        axes.set(ylim=(-0.9, max(lanes) + 0.9), yticks=[], xlabel=run.metric)
        axes.margins(x=0.08)
        axes.locator_params(axis="x", nbins=6)
        curves.end_at(axes, run.reach)
    each = ", ".join(f"fold {k} {formats.score(value)}" for k, value in scores)
    band = f", its interval from {formats.score(low)} to {formats.score(high)}" if low is not None else ""
    alt = f"The pooled score {formats.score(pooled)}{band}; {each}."
    legend = [("accent", "pooled"), ("band", f"{100 * run.cv.level:g} % interval"), ("number", "each fold")]
    return [palette.picture(figure, "score", "", alt, legend=legend)]


def _lanes(values: list[float], low: float | None, high: float | None) -> list[int]:
    """The height of each dot, so that equal scores do not hide one another."""
    everything = [*values, *(edge for edge in (low, high) if edge is not None)]
    apart = 0.055 * (max(everything) - min(everything)) or 1.0
    lanes = [0] * len(values)
    for i in range(len(values)):
        taken = {lanes[j] for j in range(i) if abs(values[j] - values[i]) < apart}
        lanes[i] = next(lane for lane in range(len(values)) if lane not in taken)
    return lanes
