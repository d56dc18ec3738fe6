"""Figures of learning: losses, metrics and rates over epochs. A run in, embedded pictures out.

One small picture each, so that a page shows them side by side. Colours mean the same in all of them: the accent is the
validation rows, dashed gray the training rows; each fold is thin, the mean of the folds thick.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from foldline.core.task import Array
from foldline.report.look import curves, formats, palette
from foldline.report.look.palette import Picture
from foldline.report.run.reported_run import ReportedRun
from foldline.scoring.metrics.for_task import reach
from foldline.scoring.row_loss import true_class

SIZE = (250, 200)  # px
CLASS_SIZE = (210, 150)
PARTS = 5
LEAST_EPOCHS = 25  # fewer fit one picture
MOST_CLASSES = 20
MOST_STEPS = 300  # points of the rate's curve
VALID_ACCURACY = "counted_accuracy"  # a column that the report makes


@dataclass(frozen=True)
class Panel:
    """One picture: its title, its columns of the log, of the training and of the validation rows, and what its
    numbers can be."""

    title: str
    train: str
    valid: str
    reach: tuple[float, float] = (-np.inf, np.inf)


def curves_over_epochs(run: ReportedRun) -> list[Picture]:
    """Loss, the competition's metric, each further metric, accuracy where it was counted, and the learning rate."""
    logs = epochs_of(run)
    return [_picture(run, logs, panel) for panel in panels(run, logs)] + _rates(run) if logs else []


def epochs_of(run: ReportedRun) -> dict[int, pd.DataFrame]:
    """The logs of the folds that learnt for an epoch at least."""
    return {k: _with_accuracy(run, k, log) for k, log in run.logs.items() if len(log) > 1}


def panels(run: ReportedRun, logs: dict[int, pd.DataFrame]) -> list[Panel]:
    """What is drawn over epochs, the loss first."""
    metric = logged_metric(run)
    columns = [str(column) for log in logs.values() for column in log]
    logged = [column.removeprefix("valid_") for column in columns if column.startswith("valid_")]
    further = [name for name in dict.fromkeys([*run.cv.metrics, *logged]) if name in logged and name != "loss"]
    every = [Panel("Loss", "train_loss", "valid_loss"), _panel(run, metric, "score")]
    every += [_panel(run, name, f"valid_{name}") for name in further if name != metric]
    if "accuracy" not in (metric, *further):
        every.append(Panel("Accuracy", "train_accuracy", VALID_ACCURACY, (0.0, 1.0)))
    every.append(Panel("Dice of masks", "", "mask_dice", (0.0, 1.0)))
    return [panel for panel in every if curves.values_of(logs.values(), panel.valid) or panel.title == "Loss"]


def _panel(run: ReportedRun, metric: str, valid: str) -> Panel:
    return Panel(formats.metric_title(metric), f"train_{metric}", valid, reach(metric, run.task))


def logged_metric(run: ReportedRun) -> str:
    """What `score` in the logs is; the competition's metric may have been changed since."""
    return next((meta.metric for meta in run.metas.values()), run.cv.metric)


def _with_accuracy(run: ReportedRun, k: int, log: pd.DataFrame) -> pd.DataFrame:
    """With the accuracy of the validation rows over all classes, where that of the training rows was counted."""
    names = [f"accuracy_{name}" for name in run.outputs]
    counted = "train_accuracy" in log and bool(log["train_accuracy"].notna().any())
    if not counted or not run.task.single_label or any(name not in log for name in names):
        return log
    truth = true_class(run.task, run.truth[(run.oof["fold"] == k).to_numpy()])
    rows = np.bincount(truth, minlength=len(names))
    right = log[names].to_numpy(dtype=np.float64)[:, rows > 0] @ rows[rows > 0]
    return log.assign(**{VALID_ACCURACY: right / rows.sum()})


def _picture(run: ReportedRun, logs: dict[int, pd.DataFrame], panel: Panel) -> Picture:
    train, valid = (curves.values_of(logs.values(), column) for column in (panel.train, panel.valid))
    with palette.drawing():
        figure, axes = palette.canvas(*SIZE)
        if panel.valid == "score":
            probes = known_probes(run)
            if probes:
                axes.axhline(float(np.mean(probes)), color=palette.MUTED, linewidth=1, linestyle=":")
            for epoch, score in chosen_epochs(run, logs):
                axes.plot(epoch, score, "o", color=palette.ACCENT, markersize=4.5)
        curves.folds_and_mean(axes, train, palette.MUTED, "--")
        curves.folds_and_mean(axes, valid, palette.ACCENT)
        axes.set_ylim(curves.limits([*train, *valid], panel.reach))
        curves.plain_numbers(axes, ticks=5)
        curves.whole_epochs(axes, _last_epoch(logs.values()))
    return palette.picture(figure, "learning", panel.title, _in_words(panel, max(len(train), len(valid)), train, valid))


def known_probes(run: ReportedRun) -> list[float]:
    """The scores of the folds' probes, where there were some."""
    return [meta.probe_score for meta in run.metas.values() if meta.probe_score is not None]


def chosen_epochs(run: ReportedRun, logs: dict[int, pd.DataFrame]) -> list[tuple[int, float]]:
    """(epoch used, its score) of each fold, where the epoch was picked; empty where it is the last one of all."""
    if all(meta.select == "last" for meta in run.metas.values()):
        return []
    rows = [log[log["epoch"] == run.metas[k].selected_epoch] for k, log in logs.items() if k in run.metas]
    return [(int(row["epoch"].iloc[0]), float(row["score"].iloc[0])) for row in rows if len(row)]


def _last_epoch(logs: Iterable[pd.DataFrame]) -> float:
    return max(float(log["epoch"].max()) for log in logs)


def _in_words(panel: Panel, folds: int, train: "list[pd.Series[float]]", valid: "list[pd.Series[float]]") -> str:
    sentences = []
    for name, folds_of in (("of the training rows", train), ("of the validation rows", valid)):
        mean = curves.mean_curve(folds_of)
        if len(mean):
            first, last = formats.score(mean.iloc[0]), formats.score(mean.iloc[-1])
            sentences.append(
                f"{name} from {first} in epoch {mean.index[0]:.0f} to {last} in epoch {mean.index[-1]:.0f}"
            )
    of = f", mean of {folds} folds" if folds > 1 else ""
    return f"{panel.title}{of}: {'; '.join(sentences) or 'no number'}."


def _rates(run: ReportedRun) -> list[Picture]:
    """The learning rate after each step, thinned; one line where it is the same in all folds."""
    folds = {k: rate_curve(steps) for k, steps in run.steps.items() if len(steps)}
    if not folds:
        return []
    first = next(iter(folds.values()))
    same = all(np.shape(other) == np.shape(first) and np.allclose(other, first) for other in folds.values())
    with palette.drawing():
        figure, axes = palette.canvas(*SIZE)
        for place, rate in [first] if same else folds.values():
            axes.plot(place, rate, color=palette.ACCENT, linewidth=1.8 if same else 1.0)
        axes.set_ylim(bottom=0)
        curves.plain_numbers(axes, ticks=5)
        curves.whole_epochs(axes, max(float(place[-1]) for place, _ in folds.values()))
    rates = [run.steps[k]["lr"] for k in folds]
    fewest, most = min(map(len, rates)), max(map(len, rates))
    counted = formats.count(most) if fewest == most else f"{formats.count(fewest)} to {formats.count(most)}"
    highest, last = max(rate.max() for rate in rates), max(rate.iloc[-1] for rate in rates)
    alt = (
        f"Learning rate over {counted} steps: from {rates[0].iloc[0]:.2g} to at most {highest:.2g}, "
        f"{'' if fewest == most else 'at most '}{last:.2g} at the end."
    )
    return [palette.picture(figure, "learning", "Learning rate", alt)]


def rate_curve(steps: pd.DataFrame) -> tuple[Array, Array]:
    """(epochs that have passed after each step, its rate), at most `MOST_STEPS` of them.

    >>> place, rate = rate_curve(pd.DataFrame({"step": [0, 1, 2], "epoch": [1, 1, 2], "lr": [0.1, 0.2, 0.0]}))
    >>> place.tolist(), rate.tolist()
    ([0.5, 1.0, 2.0], [0.1, 0.2, 0.0])
    """
    epochs = steps.groupby("epoch")["step"]
    place = steps["epoch"] - 1 + (epochs.cumcount() + 1) / epochs.transform("size")
    keep = np.unique(np.linspace(0, len(steps) - 1, MOST_STEPS).astype(int))
    return place.to_numpy(dtype=np.float64)[keep], steps["lr"].to_numpy(dtype=np.float64)[keep]


def loss_in_parts(run: ReportedRun) -> list[Picture]:
    """The epochs in `PARTS` equal stretches, each loss with a scale of its own: small changes late can be read."""
    logs = epochs_of(run).values()
    train, valid = (curves.mean_curve(curves.values_of(logs, name)) for name in ("train_loss", "valid_loss"))
    last = int(train.index.max()) if len(train) else 0  # the last epoch that all folds have
    if last < LEAST_EPOCHS:
        return []
    edges = np.linspace(0, last, PARTS + 1).round().astype(int)
    return [_part(train, valid, max(int(a), 1), int(b)) for a, b in pairwise(edges)]


def _part(train: "pd.Series[float]", valid: "pd.Series[float]", first: int, last: int) -> Picture:
    parts = [curves.stretch(curve, first, last) for curve in (train, valid)]
    with palette.drawing():
        figure = palette.blank(210, 240)
        above, below = figure.subplots(2, 1, sharex=True)
        for axes, part, colour, line in (
            (above, parts[0], palette.MUTED, "--"),
            (below, parts[1], palette.ACCENT, "-"),
        ):
            axes.plot(part.index, part, line, color=colour, linewidth=1.8)
            axes.margins(y=0.12)
            curves.plain_numbers(axes)
            if not len(part):
                axes.set_yticks([])
        curves.whole_epochs(below, last, first)
    alt = _in_words(Panel(f"Loss in the epochs {first} to {last}", "", ""), 1, *([part] for part in parts))
    return palette.picture(figure, "learning-parts", f"Epochs {first} to {last}", alt)


def class_curves(run: ReportedRun) -> list[Picture]:
    """The accuracy of each class over epochs, on one scale; nothing where there are more than `MOST_CLASSES`."""
    logs = epochs_of(run)
    names = [name for name in run.outputs if curves.values_of(logs.values(), f"accuracy_{name}")]
    if not names or len(run.outputs) > MOST_CLASSES:
        return []
    accuracies = {name: curves.values_of(logs.values(), f"accuracy_{name}") for name in names}
    scale = curves.limits((curve for parts in accuracies.values() for curve in parts), reach=(0.0, 1.0))
    last = _last_epoch(logs.values())
    return [_class_curve(name, parts, scale, last) for name, parts in accuracies.items()]


def _class_curve(name: str, parts: "list[pd.Series[float]]", scale: tuple[float, float] | None, last: float) -> Picture:
    with palette.drawing():
        figure, axes = palette.canvas(*CLASS_SIZE)
        curves.folds_and_mean(axes, parts, palette.ACCENT)
        axes.set_ylim(scale)
        curves.plain_numbers(axes)
        curves.whole_epochs(axes, last)
    title = formats.printable(name, 26)
    alt = _in_words(Panel(f"Accuracy of “{formats.printable(name)}”", "", ""), len(parts), [], parts)
    return palette.picture(figure, "learning-classes", title, alt)


def legend(run: ReportedRun) -> list[tuple[str, str]]:
    """The keys of the pictures over epochs."""
    logs = epochs_of(run)
    keys = [("accent", "validation rows"), ("dashed", "training rows")]
    if len(logs) > 1:
        keys.append(("thin-accent", "thin: each fold; thick: their mean"))
    if known_probes(run):
        keys.append(("dotted", "linear probe"))
    return keys + ([("dot", "epoch used")] if chosen_epochs(run, logs) else [])
