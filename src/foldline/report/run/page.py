"""A run folder becomes one self-contained HTML page: no scripts, nothing loaded from anywhere.

Reads what `run_folder` and `pictures` read, and the templates beside this file. Writes nothing: the text is returned.
Class names, ids and file names come from strangers; Jinja2 escapes every value.
"""

from typing import TYPE_CHECKING, Any

from foldline import __version__
from foldline.core.paths import Layout
from foldline.report.look import formats, palette
from foldline.report.look.templates import environment
from foldline.report.run import (
    class_tables,
    facts,
    figures,
    learning_figures,
    pictures,
    remarks,
    score_tables,
    settings,
)
from foldline.report.run.reported_run import RunFolder, read_run

if TYPE_CHECKING:
    pass


def build_report(layout: Layout, comp: str, run: str) -> str:
    """The report of one run, as HTML.

    Raises:
        FoldlineError: the run has no `cv.json` yet, or one of its files is broken.
    """
    return environment().get_template("report.html").render(page(read_run(layout, comp, run)))


def page(run: RunFolder) -> dict[str, Any]:
    """Everything that the template shows."""
    from markupsafe import Markup

    return {
        "run": run,
        "cv": run.cv,
        "metric": formats.metric_title(run.cv["metric"]),
        "title": formats.printable(run.facts.title or run.comp),
        "lede": facts.lede(run),
        "decision": facts.decision(run),
        "fitted": (run.cv.get("decision") or {}).get("used") == "fitted",
        "facts": facts.facts(run),
        "remarks": remarks.remarks(run),
        "figures": {section: figures.draw_section(run, section) for section in figures.SECTIONS},
        "learning_legend": learning_figures.legend(run),
        "mixed": any((run.choices or {}).get("augment", {}).get(name) for name in ("mixup", "cutmix")),
        "findings": remarks.findings(run)[1],
        "units": "groups" if "group" in run.oof.columns else run.unit,
        "folds": score_tables.fold_lines(run),
        "metrics": score_tables.metric_lines(run),
        "members": score_tables.member_lines(run),
        "values": score_tables.value_lines(run),
        "confusion": class_tables.confusion_cells(run),
        "mixed_up": class_tables.mixed_up_lines(run),
        "classes": class_tables.class_table(run),
        "galleries": pictures.galleries(run),
        "settings": settings.setting_table(run.choices) if run.choices else None,
        "commands": settings.commands(run),
        "origin": origin(run),
        "hashes": hashes(run),
        "version": __version__,
        "palette": Markup(palette.colour_variables()),  # noqa: S704 - our own constants
    }


def origin(run: RunFolder) -> list[tuple[str, str]]:
    """Time, hardware and versions: (name, value)."""
    seconds = run.cv["seconds"] or {}
    found = [
        ("Training", formats.duration(seconds.get("train"))),
        ("Prediction", formats.duration(seconds.get("predict"))),
        ("Device", str(run.cv["device"] or formats.DASH)),
    ]
    if run.metas:
        meta = next(iter(run.metas.values()))
        found += [("Precision", _precision(meta["precision"])), ("Seed", str(meta["seed"]))]
        found += [("Versions", ", ".join(f"{name} {version}" for name, version in meta["versions"].items()))]
    return [(name, formats.printable(value)) for name, value in found]


def _precision(precision: dict[str, Any]) -> str:
    speeds = precision.get("images_per_second") or {}
    timed = ", ".join(f"{name} {speed:.0f}" for name, speed in speeds.items())
    return f"{precision['choice']} (images a second while training: {timed})" if timed else str(precision["choice"])


def hashes(run: RunFolder) -> list[tuple[str, str]]:
    """The sha256 of everything that the score depends on: (name, hash)."""
    found = [("Folds", run.cv["sha256"]["folds"]), ("Settings", run.cv["sha256"]["run"])]
    found += [(f"Weights, fold {k}", meta["sha256"]["weights"]) for k, meta in run.metas.items()]
    found += [(f"Member {name}", value) for name, value in (run.cv["sha256"].get("members") or {}).items()]
    return [(formats.printable(name), str(value)) for name, value in found if value]
