"""Stage compare: runs side by side on the same folds. Reads their run folders; writes `oof/<comp>/compare.html`.

A difference is worth believing where its paired interval does not hold 0; it is said in words.
"""

from collections.abc import Sequence

from foldline.core.paths import Layout
from foldline.core.progress import say, say_table
from foldline.core.tables import write_text
from foldline.report.comparison.page import build_comparison
from foldline.report.comparison.rivals import Comparison, Rival, caveats, read_comparison
from foldline.report.look import formats

MOST_FOLDS = 10  # columns of a terminal's table


def compare(layout: Layout, comp: str, runs: Sequence[str] = (), *, against: str = "") -> Comparison:
    """Compares runs, in words and as a page.

    Args:
        runs: which; empty: all that are predicted on the present folds.
        against: a further run that every other one is compared with, beside the best.

    Raises:
        FoldlineError: a named run is not predicted or was made on other folds; there is no run at all.
    """
    comparison = read_comparison(layout, comp, runs, against)
    say_table(_score_table(comparison))
    for pairs in comparison.pairs.values():
        say("")
        for pair in pairs:
            say(pair.in_words())
    _say_settings(comparison)
    say("")
    for line in caveats(comparison):
        say(f"note: {line}")
    for name, reason in comparison.left_out.items():
        say(f"left out: {name} ({reason})")
    path = layout.run(comp, "compare.html")
    write_text(path, build_comparison(comparison))
    say(f"comparison: {layout.relative(path)}")
    return comparison


def _score_table(comparison: Comparison) -> list[list[str]]:
    folds = range(comparison.k) if comparison.k <= MOST_FOLDS else range(0)
    rows = ["rows"] if comparison.partial else []
    header = [
        "run",
        comparison.facts.metric,
        "95 % interval",
        "mean ± std",
        *(f"fold {k}" for k in folds),
        *rows,
        "time",
    ]
    return [header, *(_score_line(rival, folds, bool(rows)) for rival in comparison.rivals)]


def _score_line(rival: Rival, folds: Sequence[int], rows: bool) -> list[str]:
    cv = rival.cv
    scores = dict(zip(rival.folds, cv.per_fold, strict=True))
    return [
        rival.name,
        formats.score(cv.pooled),
        " to ".join(formats.score(end) for end in cv.interval),
        formats.spread(cv.mean, cv.std),
        *(formats.score(scores.get(k)) for k in folds),
        *([formats.count(rival.rows)] if rows else []),
        formats.duration(rival.cv.seconds.total),
    ]


def _say_settings(comparison: Comparison) -> None:
    if comparison.settings:
        say("\nsettings that differ")
        say_table(
            [
                ["", *(rival.name for rival in comparison.rivals)],
                *([key, *values] for key, values in comparison.settings),
            ]
        )
