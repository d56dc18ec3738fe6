"""How often the intervals of `foldline.scoring.intervals` hold the true score: the table of docs/intervals.md.

    PYTHONPATH=src python benchmarks/interval_coverage.py [--repeats 400]

Each cell draws that many competitions of n rows from a known law, whose true score is that of 400,000 rows, and counts
the 95 % intervals that hold it. Groups have four rows each; half of what makes a row easy or hard is its group's.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from foldline.core.task import TASKS, Array
from foldline.scoring.intervals import score_interval
from foldline.scoring.metrics import score

TRUTH_ROWS = 400_000
Draw = Callable[[Callable[[], Array]], tuple[Array, Array]]  # a source of normal numbers -> truth, prediction


@dataclass(frozen=True)
class Case:
    """A law of rows, and the metric whose interval is tried."""

    metric: str
    words: str
    task: str
    draw: Draw


def _two_classes(strength: float, share: float) -> Draw:
    def draw(normal: Callable[[], Array]) -> tuple[Array, Array]:
        truth = (ndtr(normal()) < share).astype(float)
        positive = ndtr(strength * (truth - 0.5) + normal())
        return truth, np.stack([1 - positive, positive], axis=1)

    return draw


def _five_grades(right: float) -> Draw:
    def draw(normal: Callable[[], Array]) -> tuple[Array, Array]:
        truth = np.minimum(5 * ndtr(normal()), 4).astype(int)
        said = np.where(ndtr(normal()) < right, truth, np.clip(truth + np.where(normal() > 0, 1, -1), 0, 4))
        return truth.astype(float), np.eye(5)[said]

    return draw


def _numbers(heavy: float) -> Draw:
    def draw(normal: Callable[[], Array]) -> tuple[Array, Array]:
        truth = normal()
        return truth[:, None], (truth + 0.5 * normal() * np.exp(heavy * normal()))[:, None]

    return draw


CASES = [
    Case("accuracy", "true accuracy 0.80", "binary", _two_classes(1.683, 0.5)),
    Case("accuracy", "0.98", "binary", _two_classes(4.1, 0.5)),
    Case("auc", "0.80", "binary", _two_classes(1.2, 0.3)),
    Case("auc", "0.998", "binary", _two_classes(4.0, 0.3)),
    Case("f1", "0.69", "binary", _two_classes(1.683, 0.3)),
    Case("f1", "0.96", "binary", _two_classes(4.0, 0.3)),
    Case("quadratic_weighted_kappa", "0.92", "ordinal", _five_grades(0.7)),
    Case("quadratic_weighted_kappa", "0.99", "ordinal", _five_grades(0.97)),
    Case("rmse", "normal errors", "regression", _numbers(0.0)),
    Case("rmse", "heavy tails", "regression", _numbers(0.5)),
]


def coverage(case: Case, rows: int, *, group: int, repeats: int, resamples: int, seed: int = 0) -> tuple[float, float]:
    """The share of intervals that hold the true score, and their mean width.

    Args:
        group: rows of each group; 1: none.
    """
    rng = np.random.default_rng(seed)
    task = TASKS[case.task]

    def normal(count: int) -> Callable[[], Array]:
        def numbers() -> Array:
            if group == 1:
                return rng.normal(size=count)
            shared = np.repeat(rng.normal(size=-(-count // group)), group)[:count]
            return np.asarray(np.sqrt(0.5) * (shared + rng.normal(size=count)))

        return numbers

    true = score(case.metric, *case.draw(normal(TRUTH_ROWS)), task=task)
    clusters = None if group == 1 else np.arange(rows) // group
    held, widths = [], []
    for _ in range(repeats):
        low, high, _method = score_interval(
            case.metric, *case.draw(normal(rows)), task=task, clusters=clusters, resamples=resamples
        )
        if np.isfinite(low):
            held.append(low - 1e-12 <= true <= high + 1e-12)
            widths.append(high - low)
    return float(np.mean(held)), float(np.mean(widths))


def table(repeats: int, resamples: int, sizes: Sequence[int]) -> list[str]:
    """The table as Markdown lines."""
    heads = [f"{rows} rows" for rows in sizes] + [f"{rows} in groups" for rows in sizes]
    lines = ["| metric | law | " + " | ".join(heads) + " |", "|---|---|" + "---|" * len(heads)]
    for case in CASES:
        held = [
            coverage(case, rows, group=group, repeats=repeats, resamples=resamples)[0]
            for group in (1, 4)
            for rows in sizes
        ]
        lines.append(f"| {case.metric} | {case.words} | " + " | ".join(f"{100 * share:.1f}" for share in held) + " |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--resamples", type=int, default=500)
    given = parser.parse_args()
    print("\n".join(table(given.repeats, given.resamples, (30, 100, 300, 1000))))


if __name__ == "__main__":
    main()
