"""A run folder becomes one self-contained HTML page: its one script is its own, and nothing is loaded from anywhere.

Reads what `reported_run` and `pictures` read, and the templates beside this file. Writes nothing: the text is returned.
Class names, ids and file names come from strangers; Jinja2 escapes every value.
"""

from typing import Any

from foldline.core.paths import Layout
from foldline.core.tables import sha256_file
from foldline.report.look import formats
from foldline.report.look.templates import environment
from foldline.report.run import facts, remarks
from foldline.report.run.reported_run import ReportedRun, read_run
from foldline.report.run.score_figure import score_strip
from foldline.report.run.sections import SECTIONS


def build_report(layout: Layout, comp: str, run: str) -> str:
    """The report of one run, as HTML.

    Raises:
        FoldlineError: the run has no `cv.json` yet, or one of its files is broken.
    """
    return render(read_run(layout, comp, run))


def render(run: ReportedRun) -> str:
    """The report of a run that is read already, as HTML."""
    return environment().get_template("report.html").render(page(run))


def page(run: ReportedRun) -> dict[str, Any]:
    """What stands at the top of the page, and all sections that have something to show: (name, title, content)."""
    sections = [(name, section.title, section.show(run)) for name, section in SECTIONS.items()]
    return {
        "run": run,
        "cv_sha256": sha256_file(run.layout.run(run.comp, run.run) / "cv.json"),  # by which an older page is known
        "title": formats.printable(run.facts.title or run.comp),
        "lede": facts.lede(run),
        "decision": facts.decision(run),
        "baseline": facts.baseline(run),
        "probe": facts.probe(run),
        "figures": score_strip(run),
        "facts": facts.facts(run),
        "remarks": remarks.remarks(run),
        "units": "groups" if "group" in run.oof.columns else run.unit,
        "sections": [(name, title, content) for name, title, content in sections if content is not None],
    }
