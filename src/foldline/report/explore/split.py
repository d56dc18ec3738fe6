"""What the folds look like: rows, classes and groups of each. Tables in, lines of the page out."""

from typing import Any

import numpy as np

from foldline.core.counted import counted
from foldline.report.explore.explored import Explored
from foldline.report.look import formats
from foldline.splits.checks import class_counts

MOST_CLASSES = 12


def split(explored: Explored) -> dict[str, Any]:
    """Each fold's line; `classes` are the names of its cells, of more than MOST_CLASSES the largest."""
    rows = explored.rows
    if not rows.k:
        return {
            "lines": [],
            "classes": [],
            "left": 0,
            "groups": "",
            "findings": [],
            "where": "",
            "stopped": rows.stopped,
        }
    where = explored.layout.relative(explored.layout.folds(explored.comp))
    counts = class_counts(rows.frame, rows.task, rows.outputs, rows.k, where=where)
    names = rows.task.classes(rows.outputs)
    chosen = np.sort(np.argsort(-counts.sum(axis=0), kind="stable")[:MOST_CLASSES])
    fold = rows.frame["fold"].to_numpy()
    lines = []
    for k in range(rows.k):
        inside = rows.frame[fold == k]
        cells = [(int(counts[k, i]), counts[k, i] / max(len(inside), 1)) for i in chosen]
        groups = int(inside["group"].nunique()) if "group" in inside else None
        lines.append(
            {"fold": k, "rows": len(inside), "groups": groups, "cells": cells, "means": _means(explored, fold == k)}
        )
    return {
        "lines": lines,
        "classes": [formats.printable(names[i], 24) for i in chosen],
        "left": max(0, len(names) - MOST_CLASSES),
        "means": _mean_names(explored),
        "groups": _groups(explored),
        "findings": [formats.printable(line) for line in rows.findings],
        "where": where,
        "splitter": rows.splitter,
        "written": rows.written,
        "stopped": "",
    }


def _mean_names(explored: Explored) -> list[str]:
    """The numbers of the target, of which each fold has a mean."""
    found = []
    for block in explored.rows.task.blocks:
        if not block.task.has_classes:
            found += [
                formats.printable(name or block.name or "target", 24) for name in block.outputs(explored.rows.outputs)
            ]
    return found[:MOST_CLASSES]


def _means(explored: Explored, inside: Any) -> list[float]:
    found: list[float] = []
    for block in explored.rows.task.blocks:
        if not block.task.has_classes:
            found += block.truth(explored.rows.truth)[inside].mean(axis=0).reshape(-1).tolist()
    return found[:MOST_CLASSES]


def _groups(explored: Explored) -> str:
    """How large the groups are, in words; empty where there are none."""
    frame = explored.rows.frame
    if "group" not in frame:
        return ""
    sizes = frame["group"].value_counts()
    low, middle, high = sizes.min(), float(sizes.median()), sizes.max()
    alone = int((sizes == 1).sum())
    return (
        f"{counted(len(sizes), 'groups')} of {low} to {high} rows, median {middle:g}; {formats.count(alone)} have "
        f"one row. The largest, {formats.printable(str(sizes.index[0]), 40)}, has "
        f"{formats.share(high / len(frame))} of the rows."
    )
