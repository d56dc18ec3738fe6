"""A comparison of runs becomes one self-contained HTML page, in the style of the report. Writes nothing."""

from typing import Any

from foldline import __version__
from foldline.report.comparison import figures
from foldline.report.comparison.rivals import Comparison, Pair, caveats
from foldline.report.look import formats, palette
from foldline.report.look.templates import environment


def build_comparison(found: Comparison) -> str:
    """The page as HTML."""
    return environment().get_template("comparison.html").render(page(found))


def page(found: Comparison) -> dict[str, Any]:
    """Everything that the template shows."""
    from markupsafe import Markup

    return {
        "found": found,
        "metric": formats.metric_title(found.facts.metric),
        "title": formats.printable(found.facts.title or found.comp),
        "lede": lede(found),
        "caveats": caveats(found),
        "dots": figures.score_dots(found),
        "forests": [it for reference, pairs in found.pairs.items() for it in figures.forest(reference, pairs)],
        "curves": figures.run_curves(found),
        "scored_while_training": any("train_score" in log for rival in found.rivals for log in rival.logs.values()),
        "folds": range(found.k) if found.k <= 10 else [],
        "verdict": verdict,
        "version": __version__,
        "palette": Markup(palette.colour_variables()),  # noqa: S704 - our own constants
    }


def lede(found: Comparison) -> str:
    """What is compared, and what came of it, in a few sentences."""
    if len(found.rivals) == 1:
        return "One run so far: with a second one, the two are compared row by row."
    best = found.rivals[0].name
    pairs = found.pairs[best]
    alike = [pair.run for pair in pairs if pair.difference.verdict == "same"]
    behind = [pair for pair in pairs if pair.difference.verdict == "worse"]
    kinds = [f"{best} scores best."]
    if behind:
        kinds.append(
            f"It is better than {len(behind)} of the {len(pairs)} others beyond what the rows leave to chance."
        )
    if alike:
        kinds.append(
            f"These rows cannot tell it from {formats.listing(alike[:5])}{' and more' if len(alike) > 5 else ''}."
        )
    return formats.printable(" ".join(kinds))


def verdict(pair: Pair) -> str:
    """One word or two for a table."""
    names = {"better": "better", "worse": "worse", "same": "no telling apart", "undefined": formats.DASH}
    return names[pair.difference.verdict]
