"""The HTML templates of all pages. Class names, ids and file names come from strangers: every value is escaped."""

import base64
import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING

from foldline import __version__
from foldline.core.typed import as_typed
from foldline.report.look import formats, palette

if TYPE_CHECKING:
    from jinja2 import Environment

ROOMS = tuple(
    f"report/{wing}" for wing in ("look", "run", "comparison", "live", "explore")
)  # whose *.html are templates


def environment(*further: str) -> "Environment":
    """The templates of all pages, with every value escaped, the filters of `formats`, the palette and the version.

    Args:
        further: rooms that have templates of their own.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    templates = Environment(
        loader=ChoiceLoader([PackageLoader("foldline", room) for room in (*ROOMS, *further)]),
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
        formats.megabytes,
        formats.plain,
        formats.printable,
    ):
        templates.filters[kind.__name__] = kind
    templates.filters["typed"] = as_typed
    colours = Markup(palette.colour_variables())  # noqa: S704 - our own constants
    script = files("foldline").joinpath("report/look/page.js").read_text(encoding="utf-8")
    templates.globals |= {"palette": colours, "version": __version__}
    templates.globals |= {"script": Markup(script), "script_sha256": sha256_for_policy(script)}  # noqa: S704 - our own
    return templates


def sha256_for_policy(script: str) -> str:
    """What a page's content security policy says of the one script that it may run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}"
