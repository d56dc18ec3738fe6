"""What was done, in words: the sentences and the line of facts at the top of a page. A run in, text out."""

from math import isfinite

import numpy as np

from foldline.core.counted import counted
from foldline.report.look import formats
from foldline.report.run.reported_run import ReportedRun
from foldline.scoring.choose import decision_in_words
from foldline.scoring.fitted.catalogue import FITTED
from foldline.scoring.metrics import metric_for

BLENDS = {
    "mean": "mean", "gmean": "geometric mean", "rank_mean": "mean of the ranks",
    **{name: way.words for name, way in FITTED.items()},
}  # fmt: skip


def lede(run: ReportedRun) -> str:
    """What was done, in one or two sentences."""
    entities = f" The rows make {counted(run.cv.rows, 'entities')}, and those are scored."
    together = entities if run.unit == "entities" else ""
    if run.cv.members:
        how = BLENDS.get(run.cv.blend or "", run.cv.blend or "blend")
        same = f"the same {counted(run.k, 'folds')}" if run.k == run.all_k else f"{folds(run)} folds"
        runs = counted(len(run.cv.members), "runs")
        return f"The {how} of {runs}, scored on {counted(len(run.oof), 'rows')} in {same}.{_fitted(run)}{together}"
    if run.cv.head:
        return f"{_heads(run)}{together}"
    return f"{_models(run)}{together}"


def _fitted(run: ReportedRun) -> str:
    """That a fitted blend's score is nested, and what it would be on the rows that it was fitted on."""
    shift = (
        " Test predictions are corrected for the shares of classes that they show; the score is of rows as in training."
        if run.cv.prior_shift is not None
        else ""
    )
    if run.cv.blend_fit is None:
        return shift
    fitted, mean = (formats.score(run.cv.blend_scores.get(key)) for key in ("fitted", "mean"))
    return (
        f" Each row is blended by what was fitted without its fold; on the rows that it was fitted on the blend scores "
        f"{fitted}, the plain mean {mean}.{shift}"
    )


def _models(run: ReportedRun) -> str:
    views, rows, name = len(run.cv.views), formats.count(len(run.oof)), formats.printable(model(run))
    averaged = f", averaged over {counted(views, 'views')} of its picture (test-time augmentation)" if views > 1 else ""
    if run.cv.oof_of:
        return (
            f"One model ({name}), trained on all rows: it predicts the test rows alone. The score is that of the folds "
            f"of {formats.printable(run.cv.oof_of)}, each of the {rows} rows predicted by the one of their models that "
            f"has never seen it{averaged}."
        )
    if run.k == 1 < run.all_k:
        return (
            f"One model ({name}), for 1 of {run.all_k} folds. Each of the {rows} rows of fold {run.fold_numbers[0]}, "
            f"which it has never seen, is predicted by it{averaged}; the score is of these rows alone."
        )
    whole = run.k == run.all_k
    return (
        f"{counted(run.k, 'models')} ({name}), {'one a fold' if whole else f'for {folds(run)} folds'}. Each of "
        f"the {rows} "
        f"{'training rows' if whole else 'rows of these folds'} is predicted by the one model that has never seen "
        f"it{averaged}; the score is {'that of all these predictions together' if whole else 'of these rows alone'}."
    )


def _heads(run: ReportedRun) -> str:
    views, rows, name = len(run.cv.views), formats.count(len(run.oof)), formats.printable(run.cv.head)
    averaged = f" The features are the mean over {counted(views, 'views')} of a picture." if views > 1 else ""
    return (
        f"No network was trained: {run.k} heads ({name}), one a fold, and their options, were fitted on frozen "
        f"features. Each of the {rows} training rows is predicted by the one head that has never seen it; the score is "
        f"that of all these predictions together.{averaged}"
    )


def head_options(run: ReportedRun) -> str:
    """The options of the heads, fold by fold, as they were chosen: "c 10, 30, 10"."""
    names = dict.fromkeys(name for one in run.cv.chosen for name in one if name not in ("fold", "target", "loss"))
    words = [f"{name} {', '.join(f'{one[name]:g}' for one in run.cv.chosen if name in one)}" for name in names]
    return formats.printable("; ".join(words))


def folds(run: ReportedRun) -> str:
    """How many folds are scored.

    "5", or "2 of 5" where `train.folds` names only some.
    """
    return str(run.k) if run.k == run.all_k else f"{run.k} of {run.all_k}"


def decision(run: ReportedRun) -> str:
    """How the submission's labels were decided and what that is worth; empty where nothing was fitted."""
    decision = run.cv.decision
    line = decision_in_words(decision, run.metric) if decision else ""
    return f"{line[:1].upper()}{line[1:]}." if line else ""


def baseline(run: ReportedRun) -> str:
    """What an answer is worth that never looks at a picture, and how far the run is from it; empty where undefined."""
    found = run.baseline
    if not isfinite(found.score):
        return ""
    words = f"Without looking at a picture {formats.score(found.score, run.decimals)}: {_constant(run)}."
    if not isfinite(found.share):
        return words
    best = run.reach[1 if run.cv.direction == "max" else 0]
    if found.share <= 0:
        return f"{words} The run is no better than that."
    return f"{words} The run goes {formats.share(found.share)} of the way from there to {best:g}, the best there is."


def probe(run: ReportedRun) -> str:
    """What the linear probe on frozen features scored before anything was fine-tuned; empty where it was not scored."""
    first = run.first_score
    if first is None or first.score is None or first.metric != run.cv.metric:
        return ""
    low, high = (formats.score(end, run.decimals) for end in first.interval)
    ends = f" (from {low} to {high})" if first.interval[0] is not None else ""
    some = "" if first.rows == first.of_rows else f", on {formats.count(first.rows)} of them"
    words = f"A linear probe on frozen features alone, on the validation rows{some}: "
    return f"{words}{formats.score(first.score, run.decimals)}{ends}."


def _constant(run: ReportedRun) -> str:
    """The constant answer in words."""
    metric = metric_for(run.cv.metric, run.task)
    if run.task.targets:
        return "the most frequent class or the mean of each target, for every row"
    if not run.task.has_classes:
        return "the mean of the labels, for every row"
    if metric.input == "label" and run.task.single_label:
        counts = np.bincount(run.truth.astype(np.intp), minlength=len(run.outputs))
        name = formats.printable(run.outputs[int(counts.argmax())], 40)
        return f"always “{name}”, the most frequent class ({formats.share(counts.max() / counts.sum())} of the rows)"
    if metric.input == "rank":
        return "the same answer for every row, which puts no row before another"
    return "how often each class occurs, as the answer for every row"


def model(run: ReportedRun) -> str:
    """The network's name."""
    for meta in run.metas.values():
        return meta.model
    return str((run.choices or {}).get("model", {}).get("name", "unknown model"))


def facts(run: ReportedRun) -> list[tuple[str, str]]:
    """The line of facts below the headline: (name, value)."""
    line = [("Task", formats.printable(str(run.task))), ("Rows", formats.count(len(run.oof))), ("Folds", folds(run))]
    if run.task.has_classes and not run.task.two_classes:
        line.insert(1, ("Classes", formats.count(len(run.task.classes(run.outputs)))))
    if run.task.targets:
        line.insert(1, ("Metric", formats.printable(run.cv.metric)))
    if run.cv.members:
        line += [("Members", str(len(run.cv.members)))]
    elif run.cv.head:
        line += [("Head", formats.printable(run.cv.head)), ("Fold by fold", head_options(run))]
    else:
        line += [("Model", formats.printable(model(run)))]
    if run.metas:
        height, width = next(iter(run.metas.values())).height_width
        line += [("Image", f"{height} x {width} px"), ("Computed in", formats.printable(computed_in(run)))]
    line += trained_on(run)
    line += [("TTA views", formats.printable(", ".join(run.cv.views)) or "none")]
    return [*line, ("Time", formats.duration(run.cv.seconds.total))]


def computed_in(run: ReportedRun) -> str:
    """The number formats of the folds, and what the device's memory or fp16 made of the training."""
    metas = run.metas.values()
    words = [", ".join(sorted({meta.precision.choice for meta in metas}))]
    parts, skipped = max(meta.parts for meta in metas), sum(meta.skipped_steps for meta in metas)
    words += [f"batches in {counted(parts, 'parts')}, by its memory"] if parts > 1 else []
    words += [f"{counted(skipped, 'steps')} left out by fp16"] if skipped else []
    return "; ".join(words)


def trained_on(run: ReportedRun) -> list[tuple[str, str]]:
    """What training saw beside the folds' pictures and pretrained weights: (name, value)."""
    if run.choices is None:
        return []
    weights, extra = run.choices["model"]["weights"], run.choices["extra"]
    pseudo = extra["pseudo"]["name"]
    parts = {
        "Started from": f"the run {weights['options']['run']}" if weights["name"] == "run" else "",
        "Extra training rows": ", ".join(extra["rows"]),
        "Pseudo-labels": f"test rows, by the run {pseudo}" if pseudo else "",
        "Teacher": run.choices["loss"]["teacher"]["name"],
        "Beside the picture": ", ".join(run.choices["model"]["metadata"]),
        "Masks": masks(run),
    }
    return [(name, formats.printable(value)) for name, value in parts.items() if value]


def masks(run: ReportedRun) -> str:
    """What became of masks that were learnt beside the label; empty: none were."""
    logs = [log["mask_dice"].dropna() for log in run.logs.values() if "mask_dice" in log]
    last = [float(found.iloc[-1]) for found in logs if len(found)]
    mean = f", {formats.score(sum(last) / len(last))}, mean of {counted(len(last), 'folds')}" if last else " undefined"
    return f"learnt beside the label; Dice of validation rows that have one, last epoch{mean}" if logs else ""
