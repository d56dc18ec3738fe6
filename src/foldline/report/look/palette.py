"""The look of every figure and of the page: one palette, one way from a matplotlib figure to an embedded picture.

Figures are drawn in stand-in colours, one for each role. In the SVG they become CSS variables with a light and
a dark value, so the same picture reads on white paper and on a dark screen. Reads and writes nothing.
"""

import base64
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Blue and orange stay apart for every common kind of colour blindness (Okabe and Ito 2008); all text colours have a
# contrast of at least 4.5 to their paper (WCAG 2.2, 1.4.3).
LIGHT = {
    "paper": "#ffffff",
    "ink": "#1b1f24",
    "muted": "#5d6670",
    "line": "#dfe3e8",
    "accent": "#1a62ab",
    "warm": "#b5500b",
}
DARK = {
    "paper": "#13161a",
    "ink": "#e7e9ec",
    "muted": "#9ca5af",
    "line": "#2e353d",
    "accent": "#78b4f2",
    "warm": "#f0a25c",
}
STAND_IN = {role: f"#0102{i:02x}" for i, role in enumerate(LIGHT, 3)}
PAPER, INK, MUTED, LINE, ACCENT, WARM = STAND_IN.values()

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
PX = 1 / 96  # inches

STYLE: Any = {
    "font.size": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "text.parse_math": False,  # a class may be called "$x$"
    "svg.fonttype": "none",  # text stays text: sharp, small, in the page's font
    "svg.hashsalt": "foldline",  # equal input, equal bytes
}


@dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Attributes:
        name: which figure it is, for links and tests.
        title: one line above it.
        uri: the picture itself, as a data URI.
        width, height: its natural size in px.
        alt: what it shows, in words, with its numbers.
        caption: what to look for, below it.
        legend: (key, label) pairs; a key is a style of the page: accent, warm, muted, dashed, ring ...
    """

    name: str
    title: str
    uri: str
    width: int
    height: int
    alt: str
    caption: str = ""
    legend: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def drawing() -> Iterator[None]:
    """Our style; and no complaint about letters that the measuring font lacks, since the browser has its own fonts."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        yield


def canvas(width: int, height: int) -> "tuple[Figure, Axes]":
    """A figure of `width` x `height` px with one pair of axes; call it inside `drawing`."""
    figure = blank(width, height)
    return figure, figure.subplots()


def blank(width: int, height: int) -> "Figure":
    """A figure without axes."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width * PX, height * PX), dpi=96, layout="constrained")


def corner(axes: "Axes", text: str) -> None:
    """A number in the lower right corner."""
    axes.text(0.97, 0.06, text, ha="right", color=INK, fontsize=11, transform=axes.transAxes)


def picture(
    figure: "Figure",
    name: str,
    title: str,
    alt: str,
    caption: str = "",
    legend: Sequence[tuple[str, str]] = (),
) -> Picture:
    """The figure for a page, embedded as `data:image/svg+xml;base64,...`; see `Picture`."""
    uri = _embedded(svg(figure))
    width, height = (round(inches / PX) for inches in figure.get_size_inches())
    return Picture(name, title, uri, width, height, alt, caption, list(legend))


def uri_of(drawing: str) -> str:
    """An SVG that was written by hand for a page, embedded; its colours are the variables of `colour_variables`."""
    return _embedded(_styled(drawing))


def _embedded(text: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(text.encode()).decode("ascii")


def _styled(text: str) -> str:
    """An SVG with the palette and the page's font."""
    style = f"{colour_variables()}text{{font-family:{FONT}!important;font-variant-numeric:tabular-nums}}"
    return re.sub(r"(<svg[^>]*>)", lambda match: f"{match[1]}<style>{style}</style>", text, count=1)


def svg(figure: "Figure") -> str:
    """The figure as SVG, transparent, in colours that follow the reader's colour scheme."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with drawing():
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]  # without the document type, which names a network address
    for role, colour in STAND_IN.items():
        text = text.replace(colour, f"var(--{role})")
    text = re.sub(r' d="[^"]*"', lambda match: re.sub(r"(\.\d\d)\d+", r"\1", match[0]), text)  # 1/100 px is enough
    return _styled(text)


def colour_variables() -> str:
    """The palette as CSS: light, dark where the reader prefers it, light again on paper."""
    light, dark = (";".join(f"--{role}:{value}" for role, value in colours.items()) for colours in (LIGHT, DARK))
    screen = f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    return f":root{{{light}}}{screen}@media print{{:root{{{light}}}}}"
