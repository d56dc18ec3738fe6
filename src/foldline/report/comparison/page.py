"""A comparison of runs becomes one self-contained HTML page, in the style of the report. Writes nothing."""

from typing import Any

from foldline.report.comparison import figures
from foldline.report.comparison.rivals import Comparison, Pair, caveats, level_with_best
from foldline.report.look import formats
from foldline.report.look.templates import environment


def build_comparison(comparison: Comparison) -> str:
    """The page as HTML."""
    return environment().get_template("comparison.html").render(page(comparison))


def page(comparison: Comparison) -> dict[str, Any]:
    """Everything that the template shows."""
    return {
        "comparison": comparison,
        "metric": formats.metric_title(comparison.facts.metric),
        "title": formats.printable(comparison.facts.title or comparison.comp),
        "lede": lede(comparison),
        "caveats": caveats(comparison),
        "dots": figures.score_dots(comparison),
        "forests": [it for reference, pairs in comparison.pairs.items() for it in figures.forest(reference, pairs)],
        "curves": figures.run_curves(comparison),
        "scored_while_training": any(
            "train_score" in log for rival in comparison.rivals for log in rival.logs.values()
        ),
        "folds": range(comparison.k) if comparison.k <= 10 else [],
        "verdict": verdict,
    }


def lede(comparison: Comparison) -> str:
    """What is compared, and what came of it, in a few sentences."""
    if len(comparison.rivals) == 1:
        return "One run so far: with a second one, the two are compared row by row."
    best = comparison.rivals[0].name
    pairs = comparison.pairs[best]
    alike = [pair.run for pair in pairs if pair.difference.verdict == "same"]
    behind = [pair for pair in pairs if pair.difference.verdict == "worse"]
    level = level_with_best(comparison)
    sentences = [f"{formats.listing(level)} score best, all the same." if level else f"{best} scores best."]
    if behind:
        sentences.append(
            f"{best if level else 'It'} is significantly better than {len(behind)} of the {len(pairs)} others."
        )
    if alike:
        sentences.append(
            f"No significant difference from {formats.listing(alike[:5])}{' and more' if len(alike) > 5 else ''}."
        )
    return formats.printable(" ".join(sentences))


def verdict(pair: Pair) -> str:
    """One word or two for a table."""
    names = {"better": "better", "worse": "worse", "same": "no significant difference", "undefined": formats.DASH}
    return names[pair.difference.verdict]
