"""Figures of classification: ROC, reliability, distributions of scores. A run in, embedded pictures out.

Colours mean the same everywhere: the accent is what to look at, warm is the other class or the worst one.
"""

from typing import TYPE_CHECKING

import numpy as np

from foldline.core.task import CLASSES, Array
from foldline.report.look import formats, palette
from foldline.report.look.palette import Picture
from foldline.report.run import analysis
from foldline.report.run.reported_run import Floats, ReportedRun
from foldline.scoring.row_loss import true_class

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CURVES = 10  # more classes than this have a table instead of curves
SIZE = (440, 330)  # px


def draw(run: ReportedRun) -> list[Picture]:
    """All figures of a run whose outputs are the classes of one target."""
    if not run.task.fits(CLASSES):
        return []
    if run.task.two_classes:
        return [*_binary_roc(run), *_reliability_curve(run), *_histograms(run)]
    return [*_class_rocs(run), *_reliability_curve(run), *_quantiles(run)]


def _binary_roc(run: ReportedRun) -> list[Picture]:
    """The pooled curve over each fold's."""
    is_positive, prob = analysis.one_against_rest(run.task, run.truth, 1), run.predicted[:, 1]
    auc, _ = analysis.area(is_positive, prob)
    if np.isnan(auc):
        return []
    with palette.drawing():
        figure, axes = _roc_axes()
        for fold in sorted(run.oof["fold"].unique()):
            part = (run.oof["fold"] == fold).to_numpy()
            if len(np.unique(is_positive[part])) == 2:
                curve = analysis.roc(is_positive[part], prob[part], 120)
                axes.plot(*curve, color=palette.MUTED, linewidth=0.8, alpha=0.6)
        axes.plot(*analysis.roc(is_positive, prob), color=palette.ACCENT, linewidth=2.2, clip_on=False)
        palette.corner(axes, f"AUC {auc:.4f}")
    name = formats.printable(run.outputs[1])
    alt = f"ROC curve of “{name}”, all folds pooled: the area under it is {auc:.4f}."
    legend = [("accent", "all folds pooled"), ("thin", "each fold"), ("dotted", "chance")]
    return [
        palette.picture(figure, "roc", "ROC curve", alt, "The nearer to the upper left corner, the better.", legend)
    ]


def _class_rocs(run: ReportedRun) -> list[Picture]:
    """One curve a class, for at most `MOST_CURVES` classes."""
    if len(run.outputs) > MOST_CURVES:
        return []
    members = [analysis.one_against_rest(run.task, run.truth, i) for i in range(len(run.outputs))]
    areas = [analysis.area(is_class, run.predicted[:, i])[0] for i, is_class in enumerate(members)]
    if np.isnan(areas).all():
        return []
    worst, mean = int(np.nanargmin(areas)), float(np.nanmean(areas))
    with palette.drawing():
        figure, axes = _roc_axes()
        for i in [*(j for j in range(len(areas)) if j != worst and not np.isnan(areas[j])), worst]:
            colour, width = (palette.WARM, 2.2) if i == worst else (palette.ACCENT, 1.1)
            axes.plot(*analysis.roc(members[i], run.predicted[:, i], 150), color=colour, linewidth=width, clip_on=False)
        palette.corner(axes, f"mean AUC {mean:.4f}")
    name = formats.printable(run.outputs[worst])
    lowest = f"the lowest is “{name}” with {areas[worst]:.4f}"
    alt = f"ROC curve of each class against the rest: mean AUC {mean:.4f}, {lowest}."
    legend = [("thin-accent", "each class against the rest"), ("warm", f"the lowest: {formats.printable(name, 24)}")]
    return [palette.picture(figure, "roc", "ROC curves", alt, "", [*legend, ("dotted", "chance")])]


def _roc_axes() -> "tuple[Figure, Axes]":
    figure, axes = palette.canvas(*SIZE)
    axes.plot([0, 1], [0, 1], ":", color=palette.MUTED, linewidth=1)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="false positive rate", ylabel="true positive rate")
    return figure, axes


def _reliability_curve(run: ReportedRun) -> list[Picture]:
    """Predicted probability against what happened, in ten bins with 95 % intervals."""
    if not run.probabilities:
        return []
    curve, about = analysis.calibration(run)
    about = formats.printable(about)
    with palette.drawing():
        figure, axes = palette.canvas(*SIZE)
        axes.plot([0, 1], [0, 1], ":", color=palette.MUTED, linewidth=1)
        axes.vlines(curve.predicted, curve.low, curve.high, color=palette.ACCENT, linewidth=1.2, clip_on=False)
        axes.plot(curve.predicted, curve.observed, color=palette.ACCENT, linewidth=1.2, alpha=0.6)
        sizes = 16 + 150 * np.sqrt(curve.rows / curve.rows.max())
        axes.scatter(
            curve.predicted,
            curve.observed,
            s=sizes,
            color=palette.ACCENT,
            edgecolor=palette.PAPER,
            linewidth=1,
            zorder=3,
            clip_on=False,
        )
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted probability", ylabel="observed frequency")
    bins = f"{len(curve.rows)} bins"
    alt = f"Reliability of the probability {about}: expected calibration error {curve.error:.3f} over {bins}."
    caption = (
        f"The probability {about}. Above the diagonal it is too low, below it too high; "
        f"expected calibration error {curve.error:.3f}."
    )
    legend = [("dot", "a bin, larger with more rows; bar: 95 % interval"), ("dotted", "perfect")]
    return [palette.picture(figure, "reliability", "Reliability", alt, caption, legend)]


def _histograms(run: ReportedRun) -> list[Picture]:
    is_positive, prob = analysis.one_against_rest(run.task, run.truth, 1), run.predicted[:, 1]
    names = [formats.printable(name) for name in run.outputs]
    parts, edges = (prob[~is_positive], prob[is_positive]), np.linspace(0, 1, 26)
    with palette.drawing():
        figure, axes = palette.canvas(*SIZE)
        for part, colour in zip(parts, (palette.ACCENT, palette.WARM), strict=True):
            if len(part):
                heights = 100 * np.histogram(part, edges)[0] / len(part)
                axes.stairs(heights, edges, fill=True, color=colour, alpha=0.18)
                axes.stairs(heights, edges, color=colour, linewidth=1.6)
        axes.axvline(0.5, color=palette.MUTED, linewidth=1, linestyle=":")
        axes.set(xlim=(0, 1), xlabel=f"predicted probability of “{formats.printable(names[1], 28)}”")
        axes.set_ylabel("% of the class's rows")
    medians = [formats.score(float(np.median(part)) if len(part) else None, 2) for part in parts]
    alt = (
        f"Distribution of the predicted probability of “{names[1]}”: median {medians[0]} for rows of “{names[0]}”, "
        f"{medians[1]} for rows of “{names[1]}”."
    )
    keys = zip(("accent", "warm"), names, strict=True)
    legend = [(key, f"true label {formats.printable(name, 28)}") for key, name in keys]
    caption = "The less the two overlap, the better the classes are separated."
    return [palette.picture(figure, "distribution", "Score distribution by true class", alt, caption, legend)]


def _quantiles(run: ReportedRun) -> list[Picture]:
    """Quantiles of the right class's probability, class by class."""
    groups = _groups(run)
    shown = sorted(groups, key=lambda group: float(np.median(group[1])))[:MOST_CURVES]
    if not shown:
        return []
    with palette.drawing():
        figure, axes = palette.canvas(SIZE[0], 96 + 26 * len(shown))
        for y, (_, of_class, rest) in enumerate(reversed(shown)):
            _quantile_line(axes, y + (0.13 if len(rest) else 0), of_class, palette.ACCENT)
            if len(rest):
                _quantile_line(axes, y - 0.19, rest, palette.WARM)
        axes.set_yticks(range(len(shown)), [formats.printable(name, 22) for name, _, _ in reversed(shown)])
        axes.tick_params(axis="y", labelcolor=palette.INK)
        axes.grid(visible=False, axis="y")
        axes.set(xlim=(0, 1), ylim=(-0.7, len(shown) - 0.3), xlabel="predicted probability of the class")
    name, of_class, _ = shown[0]
    lowest = f"the lowest median is {np.median(of_class):.2f} for “{name}”"
    alt = f"Predicted probability of the true class, class by class; {lowest}."
    which = f"The {len(shown)} lowest of {formats.count(len(groups))} classes. " if len(groups) > len(shown) else ""
    caption = f"{which}Dot: median; thick: the middle half of the rows; thin: 90 % of them."
    legend = [("accent", "rows of the class")] + ([("warm", "all other rows")] if run.task.label_sets else [])
    return [palette.picture(figure, "distribution", "Score distribution by class", alt, caption, legend)]


def _groups(run: ReportedRun) -> list[tuple[str, Floats, Floats]]:
    """(class, its probability for rows of the class, for other rows), for classes that have rows."""
    names = [formats.printable(name) for name in run.outputs]
    if run.task.label_sets:
        parts = ((name, run.predicted[:, i], run.truth[:, i] > 0.5) for i, name in enumerate(names))
        return [(name, prob[has], prob[~has]) for name, prob, has in parts if has.any()]
    true = true_class(run.task, run.truth)
    order = np.argsort(true, kind="stable")
    own_prob = run.predicted[order, true[order]]
    classes, starts = np.unique(true[order], return_index=True)
    nothing = own_prob[:0]
    return [(names[c], part, nothing) for c, part in zip(classes, np.split(own_prob, starts[1:]), strict=True)]


def _quantile_line(axes: "Axes", y: float, values: Floats, colour: str) -> None:
    at: Array = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
    axes.hlines(y, at[0], at[4], color=colour, linewidth=1.2, clip_on=False)
    axes.hlines(y, at[1], at[3], color=colour, linewidth=5, alpha=0.45, clip_on=False)
    axes.plot(at[2], y, "o", color=colour, markersize=6, markeredgecolor=palette.PAPER, clip_on=False)
