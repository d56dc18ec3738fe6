"""A fitted blend and what it is worth: nested, as fitted, beside the plain mean. OOF predictions in, numbers out."""

from dataclasses import dataclass

import numpy as np

from foldline.scoring.blender import Blender, fit_blend
from foldline.scoring.choose import in_digits
from foldline.scoring.fitted.catalogue import FITTED
from foldline.scoring.fitted.runs import OofRuns

PLAINER = {"class_weights": "weights"}  # what is used instead, where the nested score is no better
MOST_TOLD = 12  # weights in a line


@dataclass(frozen=True)
class FittedBlend:
    """A blend with its scores by the competition's metric, labels by the default decision; None: undefined.

    Attributes:
        scores: `nested`: rows blended by what was fitted without their fold; `fitted`: by what was fitted on them;
            `mean`: of the plain mean.
        sample: how many of how many rows the scores are of.
        instead: the blend that was asked for, where a plainer one is used.
    """

    blender: Blender
    scores: dict[str, float | None]
    sample: tuple[int, int]
    instead: str = ""


def chosen_fit(name: str, oof: OofRuns) -> FittedBlend:
    """The blend fitted to the runs; the plainer one of `PLAINER` where its own nested score is no better."""
    found = _fit(name, oof)
    if name not in PLAINER:
        return found
    plainer, metric = _fit(PLAINER[name], oof), oof.target.metric
    assert metric is not None
    own, other = (np.nan if one.scores["nested"] is None else one.scores["nested"] for one in (found, plainer))
    if metric.better(own, other):
        return found
    return FittedBlend(plainer.blender, plainer.scores, plainer.sample, instead=name)


def _fit(name: str, oof: OofRuns) -> FittedBlend:
    blender, folds = fit_blend(name, oof.values, oof.target, of_rows=oof.of_rows), oof.target.folds
    said = {
        "nested": blender(oof.values, folds),
        "fitted": blender(oof.values),
        "mean": Blender("mean", oof.target.task)(oof.values),
    }
    sign = 1 if oof.target.metric is not None and oof.target.metric.direction == "max" else -1
    values = {key: sign * oof.target.value(prob) for key, prob in said.items()}
    scores = {key: float(value) if np.isfinite(value) else None for key, value in values.items()}
    return FittedBlend(blender, scores, (len(oof.target), oof.of_rows))


def fit_in_words(found: FittedBlend, metric: str) -> list[str]:
    """What was fitted and what it is worth, in lines."""
    blender, scores, fit = found.blender, found.scores, found.blender.fit
    assert fit is not None
    lines = []
    if found.instead:
        lines.append(f"{found.instead}: no better than {blender.name}, each row blended without its fold: not used")
    own = [part["temperature"] for part in fit.whole if "temperature" in part]
    if own:
        lines.append("temperature: " + ", ".join(f"{value:.3f}" for value in own) + "; above 1 is less sure")
    weights = blender.weights()
    if weights and all(len(own) == 1 for own in weights.values()):
        told = sorted(weights.items(), key=lambda item: -item[1][0])
        shown = ", ".join(f"{run} {own[0]:.3f}" for run, own in told[:MOST_TOLD])
        lines.append(f"{blender.name}: {shown}{f' ... ({len(told)})' if len(told) > MOST_TOLD else ''}")
    idle = [run for run, own in weights.items() if not any(own)]
    if idle:
        lines.append(f"note: without weight, the same ensemble without them: {', '.join(idle)}")
    some = f" on {fit.rows[0]:,} of {fit.rows[1]:,} rows" if fit.rows[0] < fit.rows[1] else ""
    of = f" of {found.sample[0]:,} rows" if found.sample[0] < found.sample[1] else ""
    lines.append(
        f"{FITTED[blender.name].words}, fitted by {fit.to}{some}: OOF {metric}{of} {in_digits(scores['nested'])} "
        f"nested (each row by a fit without its fold), {in_digits(scores['fitted'])} on the rows it was fitted on, "
        f"{in_digits(scores['mean'])} by the plain mean"
    )
    return lines
