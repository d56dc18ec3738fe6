"""Figures of regression: predicted against true, and residuals. A run in, embedded pictures out."""

import numpy as np
from numpy.typing import NDArray

from foldline.core.task import Array
from foldline.report.look import formats, palette
from foldline.report.look.palette import Picture
from foldline.report.run import analysis
from foldline.report.run.reported_run import ReportedRun

SIZE = (440, 330)  # px
MOST_OUTPUTS = 4
MOST_POINTS = 1500  # each point is ~100 bytes of the page


def draw(run: ReportedRun) -> list[Picture]:
    """Predicted against true, and the distribution of predicted - true, one picture each for an output."""
    return [drawn(run, output) for drawn in (_scatter, _residuals) for output in _worst_outputs(run)]


def _worst_outputs(run: ReportedRun) -> list[int]:
    """The outputs that get figures: the `MOST_OUTPUTS` with the lowest R², in the order of `outputs`."""
    r2 = [row["r2"] for row in analysis.regression_errors(run.truth, run.predicted)]
    return sorted(np.argsort(np.nan_to_num(r2, nan=-np.inf), kind="stable")[:MOST_OUTPUTS].tolist())


def _of(run: ReportedRun, output: int) -> str:
    """How a title names an output; nothing where there is only one."""
    return f": {formats.printable(run.outputs[output], 30)}" if len(run.outputs) > 1 else ""


def _some_rows(rows: int) -> NDArray[np.intp]:
    """At most `MOST_POINTS` row numbers, the same ones every time."""
    if rows <= MOST_POINTS:
        return np.arange(rows)
    return np.sort(np.random.default_rng(0).choice(rows, MOST_POINTS, replace=False))


def _scatter(run: ReportedRun, output: int) -> Picture:
    error = analysis.regression_errors(run.truth, run.predicted)[output]
    some = _some_rows(len(run.truth))
    true, value = run.truth[some, output], run.predicted[some, output]
    ends = [min(true.min(), value.min()), max(true.max(), value.max())]
    with palette.drawing():
        figure, axes = palette.canvas(*SIZE)
        axes.plot(ends, ends, ":", color=palette.MUTED, linewidth=1)
        axes.plot(true, value, "o", color=palette.ACCENT, markersize=3.4, alpha=0.45, markeredgewidth=0)
        axes.set(xlabel="true", ylabel="predicted")
        axes.locator_params(nbins=6)
        palette.corner(axes, f"R² {formats.score(error['r2'])}")
    errors = f"R² {formats.score(error['r2'])}, RMSE {formats.score(error['rmse'])}"
    alt = f"Predicted against true values{_of(run, output)}: {errors}."
    drawn = (
        f"{formats.count(len(some))} of {formats.count(len(run.truth))} rows, drawn at random. "
        if len(some) < len(run.truth)
        else ""
    )
    caption = f"{drawn}Points on the dotted line are right."
    return palette.picture(figure, "scatter", f"Predicted against true{_of(run, output)}", alt, caption)


def _residuals(run: ReportedRun, output: int) -> Picture:
    error: Array = run.predicted[:, output] - run.truth[:, output]
    low, high = np.quantile(error, [0.025, 0.975])
    with palette.drawing():
        figure, axes = palette.canvas(*SIZE)
        heights, edges = np.histogram(error, 40)
        axes.stairs(100 * heights / len(error), edges, fill=True, color=palette.ACCENT, alpha=0.18)
        axes.stairs(100 * heights / len(error), edges, color=palette.ACCENT, linewidth=1.6)
        axes.axvline(0, color=palette.MUTED, linewidth=1, linestyle=":")
        axes.axvline(float(error.mean()), color=palette.WARM, linewidth=1.6)
        axes.set(xlabel="error (predicted minus true)", ylabel="% of rows")
        axes.locator_params(nbins=6)
    mean, ends = formats.score(float(error.mean())), f"{formats.score(low)} to {formats.score(high)}"
    alt = f"Residuals{_of(run, output)}: mean {mean}, 95 % of them from {ends}."
    caption = f"95 % of the rows lie from {ends}."
    legend = [("warm", f"mean {mean}"), ("dotted", "no error")]
    return palette.picture(figure, "residuals", f"Residuals{_of(run, output)}", alt, caption, legend)
