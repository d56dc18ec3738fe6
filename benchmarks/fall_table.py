"""The table of `fine_tuning_fall.py`: each way against the usual one in the same folds and seeds. Reads its lines."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss, roc_auc_score


def by_run(lines: Sequence[dict[str, Any]], value: Callable[[dict[str, Any]], float]) -> pd.DataFrame:
    """A column a way: the value of each (fold, seed)."""
    frame = pd.DataFrame(
        [{**{key: line[key] for key in ("way", "fold", "seed")}, "value": value(line)} for line in lines]
    )
    return frame.pivot_table(index=["fold", "seed"], columns="way", values="value")


def gained_in(measure: str, line: dict[str, Any]) -> float:
    """The end less the start."""
    return float(line["epochs"][-1][measure] - line["epochs"][0][measure])


def table(lines: Sequence[dict[str, Any]], ways: Sequence[str]) -> str:
    """Each way: AUC of the end less that of the start by one view; against the usual way in the same folds and seeds,
    its standard error by folds; what else is known of its end."""
    gained = by_run(lines, partial(gained_in, "auc"))
    lost = by_run(lines, partial(gained_in, "loss"))
    joined = by_run(lines, lambda line: line["joined"]["auc"] - line["views_start"]["auc"])
    joined_loss = by_run(lines, lambda line: line["joined"]["loss"] - line["views_start"]["loss"])
    learnt = by_run(lines, lambda line: line["learnt"]["auc"])
    lowest = by_run(lines, lambda line: min(one["auc"] for one in line["epochs"][1:]) - line["epochs"][0]["auc"])
    seconds = by_run(lines, lambda line: line["seconds"])
    head = (
        "| way | runs | AUC less its start, by fold | mean | against usual | log loss less its start | against usual "
    )
    rows = [
        head + "| lowest epoch | mean with the start: AUC, log loss | AUC of training rows | s |",
        "|---" * 11 + "|",
    ]
    for way in [name for name in ways if name in gained]:
        own = gained[way].dropna()
        folds = own.groupby("fold").mean()
        by_fold = ", ".join(f"{fold}: {value:+.3f}" for fold, value in folds.items())
        cells = [
            way, f"{len(folds)} x {len(own) / len(folds):g}", by_fold, f"{folds.mean():+.4f}", against(gained, way),
            f"{lost[way].mean():+.4f}", against(lost, way), f"{lowest[way].mean():+.3f}",
            f"{joined[way].mean():+.4f}, {joined_loss[way].mean():+.4f}", f"{learnt[way].mean():.3f}",
            f"{seconds[way].median():.0f}",
        ]  # fmt: skip
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join([*rows, "", *wobble(lines)])


def against(values: pd.DataFrame, way: str) -> str:
    """The mean difference from the usual way over runs of both, and its standard error by folds."""
    if way == "usual":
        return ""
    folds = (values[way] - values["usual"]).dropna().groupby("fold").mean()
    return f"{folds.mean():+.4f} ± {folds.std() / np.sqrt(len(folds)):.4f}"


def wobble(lines: Sequence[dict[str, Any]]) -> list[str]:
    """How far the usual way's end less its start goes by seeds alone, and by which rows validate (paired bootstrap)."""
    usual = [line for line in lines if line["way"] == "usual"]
    told = []
    for measure, by_rows in zip(("auc", "loss"), np.mean([other_rows(line) for line in usual], axis=0), strict=True):
        ends = by_run(usual, partial(gained_in, measure))["usual"]
        seeds, folds = np.sqrt(ends.groupby("fold").var().mean()), ends.groupby("fold").mean().std()
        told.append(
            f"{measure}, end less start of the usual way: std of seeds within folds {seeds:.4f}, of other rows within "
            f"folds {by_rows:.4f}, of the folds' means {folds:.4f} ({len(ends)} runs)"
        )
    return told


def other_rows(line: dict[str, Any], draws: int = 500) -> tuple[float, float]:
    """The standard deviations of AUC and log loss, end less start, over bootstrap draws of the validation rows."""
    rng, truth = np.random.default_rng(0), np.array(line["truth"])
    end, start = np.array(line["prob"]), np.array(line["prob_start"])
    found = []
    for _ in range(draws):
        some = rng.integers(0, len(truth), len(truth))
        aucs = [roc_auc_score(truth[some], prob[some]) for prob in (end, start)]
        losses = [log_loss(truth[some], prob[some]) for prob in (end, start)]
        found.append((aucs[0] - aucs[1], losses[0] - losses[1]))
    return tuple(np.std(found, axis=0).tolist())
