"""The HTML templates of all pages. Class names, ids and file names come from strangers: every value is escaped."""

from typing import TYPE_CHECKING

from foldline.report.look import formats

if TYPE_CHECKING:
    from jinja2 import Environment

ROOMS = ("look", "run", "comparison", "live")  # whose *.html are templates


def environment() -> "Environment":
    """The templates of all pages, with every value escaped and the filters of `formats`."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=ChoiceLoader([PackageLoader("foldline", f"report/{room}") for room in ROOMS]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for kind in (
        formats.score,
        formats.spread,
        formats.change,
        formats.count,
        formats.share,
        formats.duration,
        formats.plain,
        formats.printable,
    ):
        templates.filters[kind.__name__] = kind
    return templates
