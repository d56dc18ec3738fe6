"""The sections of a report, in order: one dictionary line, one function here, one macro in `sections.html` each.

A run in, what the macro of the same name shows out; None leaves the section out.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from foldline.core.git import commit_of
from foldline.core.records.fold_meta import MeasuredPrecision
from foldline.report.look import formats
from foldline.report.run import (
    class_figures,
    class_tables,
    confusion,
    learning_figures,
    pictures,
    remarks,
    score_tables,
    settings,
    suspects,
    thresholds,
    value_figures,
)
from foldline.report.run.reported_run import ReportedRun

Shown = dict[str, Any] | None


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        show: gives what the macro shows by name; None where the run has nothing of the kind.
    """

    title: str
    show: Callable[[ReportedRun], Shown]


def folds(run: ReportedRun) -> Shown:
    """The scores: fold by fold, of every metric, and of the submissions."""
    lines = score_tables.fold_lines(run)
    return {
        "folds": lines,
        "timed": any(line["speed"] is not None for line in lines),
        "device": formats.printable(run.cv.device),
        "trained": any(line["seconds"] for line in lines),
        "probed": any(line["probe"] is not None for line in lines),
        "metrics": score_tables.metric_lines(run),
        "findings": remarks.findings(run)[1],
    }


def members(run: ReportedRun) -> Shown:
    """The members of an ensemble, each alone."""
    return {"members": score_tables.member_lines(run)} if run.members else None


def learning(run: ReportedRun) -> Shown:
    """Losses, metrics and learning rates over epochs."""
    curves = learning_figures.curves_over_epochs(run)
    if not curves:
        return None
    return {
        "curves": curves,
        "legend": learning_figures.legend(run),
        "parts": learning_figures.loss_in_parts(run),
        "classes": learning_figures.class_curves(run),
        "probed": bool(learning_figures.known_probes(run)),
        "mixed": run.choices is not None and run.choices["augment"]["mix"]["name"] != "none",
    }


def predictions(run: ReportedRun) -> Shown:
    """The predictions against the labels, target by target: (name, what is shown, the run of this target)."""
    return {"targets": [(formats.printable(name), _of_target(name, part), part) for name, part in run.targets]}


def _of_target(name: str, run: ReportedRun) -> dict[str, Any]:
    figures = class_figures.draw(run) if run.task.has_classes else value_figures.draw(run)
    cells = confusion.cells(run)
    wide = confusion.picture(run)
    return {
        "confusion": cells,
        "large": len(cells) > 5,
        "wide": replace(wide, name=f"{wide.name}-{name}" if name else wide.name) if wide else None,
        "pairs": confusion.pairs(run),
        "thresholds": thresholds.shown(run),
        "classes": class_tables.class_table(run),
        "errors": score_tables.error_lines(run),
        "figures": [replace(figure, name=f"{figure.name}-{name}" if name else figure.name) for figure in figures],
    }


def rows(run: ReportedRun) -> Shown:
    """The rows that a person should look at."""
    galleries = pictures.galleries(run)
    return {"galleries": galleries} if galleries else None


def labels(run: ReportedRun) -> Shown:
    """The labels that are probably wrong."""
    return suspects.shown(run)


def choices(run: ReportedRun) -> Shown:
    """The settings: what differs from the defaults, and the rest."""
    known = run.choices or run.head
    return {"table": settings.setting_table(known)} if known else None


def origin(run: ReportedRun) -> Shown:
    """Time, hardware, versions, hashes, and the commands that make the run again."""
    return {"facts": _facts(run), "hashes": _hashes(run), "commands": settings.commands(run), **_commit(run)}


SECTIONS: dict[str, Section] = {
    "folds": Section("Folds and metrics", folds),
    "members": Section("Members", members),
    "learning": Section("Learning", learning),
    "predictions": Section("Predictions", predictions),
    "rows": Section("Rows to look at", rows),
    "labels": Section("Labels to check", labels),
    "settings": Section("Settings", choices),
    "origin": Section("Origin", origin),
}


def _facts(run: ReportedRun) -> list[tuple[str, str]]:
    facts = [
        ("Training and validation", formats.duration(run.cv.seconds.train)),
        ("Prediction", formats.duration(run.cv.seconds.predict)),
        ("Device", run.cv.device),
    ]
    if run.metas:
        meta = next(iter(run.metas.values()))
        facts += [("Precision", _precision(meta.precision)), ("Seed", str(meta.seed))]
        facts += [("Versions", ", ".join(f"{name} {version}" for name, version in meta.versions.items()))]
    return [(name, formats.printable(value)) for name, value in facts]


def _precision(precision: MeasuredPrecision) -> str:
    timed = ", ".join(f"{name} {speed:.0f}" for name, speed in precision.images_per_second.items())
    return f"{precision.choice} (images a second while training: {timed})" if timed else precision.choice


def _commit(run: ReportedRun) -> dict[str, Any]:
    """The commit to make the run again from, and whether it is that of the training."""
    trained = sorted({meta.commit for meta in run.metas.values() if meta.commit})
    commits = trained or [commit for commit in (commit_of(run.layout.root),) if commit]
    return {
        "checkouts": [commit.partition(" ")[0] for commit in commits],
        "dirty": any(commit.endswith(" dirty") for commit in commits),
        "trained": bool(trained),
    }


def _hashes(run: ReportedRun) -> list[tuple[str, str]]:
    """The sha256 of everything that the score depends on: (name, hash)."""
    hashes = [("Folds", run.cv.sha256.folds), ("Settings", run.cv.sha256.run)]
    hashes += [(f"Weights, fold {k}", meta.sha256.weights) for k, meta in run.metas.items()]
    hashes += [(f"Member {name}", value) for name, value in run.cv.sha256.members.items()]
    return [(formats.printable(name), str(value)) for name, value in hashes if value]
