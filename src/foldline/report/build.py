"""A run folder becomes one self-contained HTML page: no scripts, nothing loaded from anywhere.

Reads what `run_folder` and `pictures` read, and the templates beside this file. Writes nothing: the text is returned.
Class names, ids and file names come from strangers; Jinja2 escapes every value.
"""

from typing import TYPE_CHECKING, Any

from foldline import __version__
from foldline.core.paths import Layout
from foldline.report import class_tables, figures, ink, pictures, remarks, score_tables, settings, words
from foldline.report.run_folder import RunFolder, read_run
from foldline.scoring.choose import decision_in_words

if TYPE_CHECKING:
    from jinja2 import Environment


def build_report(layout: Layout, comp: str, run: str) -> str:
    """The report of one run, as HTML.

    Raises:
        FoldlineError: the run has no `cv.json` yet, or one of its files is broken.
    """
    return environment().get_template("report.html").render(page(read_run(layout, comp, run)))


def environment() -> "Environment":
    """The templates beside this file, with every value escaped and the filters of `words`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=PackageLoader("foldline", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for kind in (
        words.score,
        words.spread,
        words.change,
        words.count,
        words.share,
        words.duration,
        words.plain,
        words.printable,
    ):
        found.filters[kind.__name__] = kind
    return found


def page(run: RunFolder) -> dict[str, Any]:
    """Everything that the template shows."""
    from markupsafe import Markup

    return {
        "run": run,
        "cv": run.cv,
        "metric": words.metric_title(run.cv["metric"]),
        "title": words.printable(run.facts.title or run.comp),
        "lede": lede(run),
        "decision": decision(run),
        "facts": facts(run),
        "remarks": remarks.remarks(run),
        "figures": {name: figures.draw_section(run, name) for name in ("headline", "learning", "quality")},
        "findings": remarks.findings(run)[1],
        "units": "groups" if "group" in run.oof.columns else run.unit,
        "columns": min(run.k, 5),
        "folds": score_tables.fold_lines(run),
        "metrics": score_tables.metric_lines(run),
        "members": score_tables.member_lines(run),
        "values": score_tables.value_lines(run),
        "confusion": class_tables.confusion_cells(run),
        "mixed_up": class_tables.mixed_up_lines(run),
        "classes": class_tables.class_table(run),
        "galleries": pictures.galleries(run),
        "settings": settings.setting_groups(run.choices) if run.choices else {},
        "commands": settings.commands(run),
        "origin": origin(run),
        "hashes": hashes(run),
        "version": __version__,
        "palette": Markup(ink.colour_variables()),  # noqa: S704 - our own constants
    }


def lede(run: RunFolder) -> str:
    """What was done, in one or two sentences."""
    rows, k = words.count(len(run.oof)), run.k
    together = (
        f" The rows make {words.count(run.cv['rows'])} entities, and those are scored."
        if run.unit == "entities"
        else ""
    )
    views = len(run.cv["views"])
    averaged = f", averaged over {views} views of its picture" if views > 1 else ""
    if run.cv["members"]:
        how = {"mean": "mean", "gmean": "geometric mean", "rank_mean": "mean of the ranks"}.get(
            run.cv["blend"], run.cv["blend"] or "blend"
        )
        return f"The {how} of {len(run.cv['members'])} runs, scored on {rows} rows in the same {k} folds.{together}"
    name = words.printable(_model(run))
    return (
        f"{k} models ({name}), one a fold. Each of the {rows} training rows is predicted by the one model that has "
        f"never seen it{averaged}; the score is that of all these predictions together.{together}"
    )


def decision(run: RunFolder) -> str:
    """How the submission's labels were decided and what that is worth; empty where nothing was fitted."""
    found = run.cv.get("decision")
    line = decision_in_words(found, words.metric_title(run.cv["metric"])) if found else ""
    return f"{line[:1].upper()}{line[1:]}." if line else ""


def _model(run: RunFolder) -> str:
    metas = list(run.metas.values())
    if metas:
        return str(metas[0]["model"])
    return str((run.choices or {}).get("model", {}).get("name", "unknown model"))


def facts(run: RunFolder) -> list[tuple[str, str]]:
    """The line of facts below the headline: (name, value)."""
    found = [("Task", run.task), ("Rows", words.count(len(run.oof))), ("Folds", str(run.k))]
    if run.task not in ("binary", "regression"):
        found.insert(1, ("Classes", words.count(len(run.outputs))))
    if run.cv["members"]:
        found += [("Members", str(len(run.cv["members"])))]
    else:
        found += [("Model", words.printable(_model(run)))]
    if run.metas:
        height, width = next(iter(run.metas.values()))["height_width"]
        found += [("Image", f"{height} x {width} px")]
    found += [("Views", words.printable(", ".join(run.cv["views"])) or "none")]
    seconds = [value for value in (run.cv["seconds"] or {}).values() if value is not None]
    return [*found, ("Time", words.duration(sum(seconds) if seconds else None))]


def origin(run: RunFolder) -> list[tuple[str, str]]:
    """Time, hardware and versions: (name, value)."""
    seconds = run.cv["seconds"] or {}
    found = [
        ("Training", words.duration(seconds.get("train"))),
        ("Prediction", words.duration(seconds.get("predict"))),
        ("Device", str(run.cv["device"] or words.DASH)),
    ]
    if run.metas:
        meta = next(iter(run.metas.values()))
        found += [("Precision", _precision(meta["precision"])), ("Seed", str(meta["seed"]))]
        found += [("Versions", ", ".join(f"{name} {version}" for name, version in meta["versions"].items()))]
    return [(name, words.printable(value)) for name, value in found]


def _precision(precision: dict[str, Any]) -> str:
    speeds = precision.get("images_per_second") or {}
    timed = ", ".join(f"{name} {speed:.0f}" for name, speed in speeds.items())
    return f"{precision['choice']} (images a second while training: {timed})" if timed else str(precision["choice"])


def hashes(run: RunFolder) -> list[tuple[str, str]]:
    """The sha256 of everything that the score depends on: (name, hash)."""
    found = [("Folds", run.cv["sha256"]["folds"]), ("Settings", run.cv["sha256"]["run"])]
    found += [(f"Weights, fold {k}", meta["sha256"]["weights"]) for k, meta in run.metas.items()]
    found += [(f"Member {name}", value) for name, value in (run.cv["sha256"].get("members") or {}).items()]
    return [(words.printable(name), str(value)) for name, value in found if value]
