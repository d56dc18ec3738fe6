"""Whether the score that foldline prints of a fitted blend is what it scores on new rows: the table of docs/blends.md.

    PYTHONPATH=src python benchmarks/blend_bias.py [--draws 50] [--rows 300 1000]

Each draw makes a competition from a known law: members that see the same signal through errors which they share in
part, some strong, some weak, some useless. A blend is fitted to the OOF rows of five folds; its nested score, with its
interval, and its score on the rows that it was fitted on stand beside its score on 20,000 rows of the same law. What
the plain mean, in which nothing is fitted, is off by in a draw is the luck of its rows: it is taken off the others'.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foldline.core.task import TASKS, Array, Task
from foldline.scoring.blender import Blender, fit_blend
from foldline.scoring.fitted.catalogue import FITTED
from foldline.scoring.fitted.target import Target
from foldline.scoring.intervals import paired_difference, score_interval
from foldline.scoring.metrics import metric_for, score

FRESH = 20_000
SPREADS = (0.8, 0.9, 1.0, 1.2, 1.6, 2.5)  # of each member's own errors, in units of the signal's
SHARED = 0.7  # of the errors that all have
USELESS = 2
RESAMPLES = 300
BEST = "the best of all"  # chosen by its own nested score
PROPOSED = "as make blend proposes"  # the best of those that are surely better than the mean


@dataclass(frozen=True)
class Case:
    """A task, and the metric."""

    task: str
    metric: str
    outputs: int

    @property
    def known(self) -> Task:
        """The task, its outputs known."""
        task = TASKS[self.task]
        return task.of([f"c{i}" for i in range(self.outputs)] if task.has_classes else [""])


CASES = [
    Case("binary", "auc", 2), Case("multiclass", "log_loss", 4), Case("binary", "f1", 2), Case("regression", "rmse", 1),
]  # fmt: skip


def draw(case: Case, rows: int, rng: np.random.Generator) -> tuple[dict[str, Array], Array]:
    """The members' predictions [rows, outputs] by their names, and the truth."""
    task, shape = case.known, (rows, case.outputs)
    signal = 1.5 * rng.normal(size=shape)
    truth = (signal + rng.gumbel(size=shape)).argmax(axis=1).astype(np.float64) if task.has_classes else signal
    seen = signal + SHARED * rng.normal(size=shape)
    logits = [seen + 1.5 * spread * rng.normal(size=shape) for spread in SPREADS]
    logits += [1.5 * rng.normal(size=shape) for _ in range(USELESS)]
    return {f"m{i}": _said(own, task) for i, own in enumerate(logits)}, truth


def _said(logits: Array, task: Task) -> Array:
    if not task.has_classes:
        return logits
    prob = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(prob / prob.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Drawn:
    """One blend of one draw; above 0: the score is too good."""

    nested: float
    fitted: float
    mean_gain: float
    inside: bool


def trials(case: Case, rows: int, ways: Sequence[str], seed: int, *, choose: bool = False) -> dict[str, Drawn]:
    """What each way's scores are off by in one draw.

    Args:
        choose: also of the way with the best nested score, and of the one that `make blend` proposes.
    """
    rng = np.random.default_rng(seed)
    metric, task = metric_for(case.metric, case.known), case.known
    values, truth = draw(case, rows, rng)
    fresh, fresh_truth = draw(case, FRESH, rng)
    target = Target(task, metric, truth, np.arange(rows) % 5)
    sign = 1 if metric.direction == "max" else -1
    plain = score(metric, fresh_truth, Blender("mean", task)(fresh), task=task)
    found: dict[str, Drawn] = {}
    nested_scores: dict[str, float] = {}
    said: dict[str, Array] = {}
    for name in ("mean", *ways):
        blender = Blender(name, task) if name == "mean" else fit_blend(name, values, target)
        nested, fitted = blender(values, target.folds), blender(values)
        low, high, _ = score_interval(metric, truth, nested, task=task, resamples=RESAMPLES)
        scores = [score(metric, truth, prob, task=task) for prob in (nested, fitted)]
        right = score(metric, fresh_truth, blender(fresh), task=task)
        nested_scores[name], said[name] = sign * scores[0], nested
        found[name] = Drawn(
            sign * (scores[0] - right), sign * (scores[1] - right), sign * (right - plain), low <= right <= high
        )
    if choose:
        found[BEST] = found[max(nested_scores, key=lambda name: nested_scores[name])]
        found[PROPOSED] = found[_proposed(target, said, nested_scores)]
    return found


def _proposed(target: Target, said: dict[str, Array], scores: dict[str, float]) -> str:
    """As `Study.best`, of predictions that are there."""
    assert target.metric is not None

    def surely_better(name: str, than: str) -> bool:
        both = said[name], said[than]
        _, *ends = paired_difference(target.metric or "", target.truth, *both, task=target.task, resamples=RESAMPLES)
        return ends[0] > 0 if target.metric and target.metric.direction == "max" else ends[1] < 0

    for name in sorted(said, key=lambda name: -scores[name]):
        plainer = ["mean"] if name != "class_weights" else ["mean", "weights"]
        if name != "mean" and all(surely_better(name, than) for than in plainer):
            return name
    return "mean"


def table(case: Case, rows: int, ways: Sequence[str], draws: int) -> list[str]:
    """The lines of a case, as Markdown."""
    start = time.monotonic()
    drawn = [trials(case, rows, ways, seed, choose=True) for seed in range(draws)]
    lines = []
    for name in drawn[0]:
        own = [one[name] for one in drawn]
        luck = np.array([one["mean"].nested if name != "mean" else 0.0 for one in drawn])
        nested, fitted = (np.array([getattr(one, key) for one in own]) - luck for key in ("nested", "fitted"))
        gain = np.array([one.mean_gain for one in own])
        held = 100 * np.mean([one.inside for one in own])
        lines.append(
            f"| {case.metric} | {rows:,} | {name} | {nested.mean():+.4f} ± {_error(nested):.4f} | "
            f"{fitted.mean():+.4f} ± {_error(fitted):.4f} | {held:.0f} | {gain.mean():+.4f} ± {_error(gain):.4f} |"
        )
    print("\n".join([*lines, f"{case.metric} {rows}: {time.monotonic() - start:.0f} s"]), flush=True)
    return lines


def _error(values: Array) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--rows", type=int, nargs="+", default=[300, 1000])
    parser.add_argument("--metrics", nargs="+", default=[case.metric for case in CASES])
    parser.add_argument("--ways", nargs="+", default=[name for name in FITTED if name != "stack_lightgbm"])
    asked = parser.parse_args()
    lines = [
        line
        for case in CASES if case.metric in asked.metrics
        for rows in asked.rows
        for line in table(case, rows, asked.ways, asked.draws)
    ]  # fmt: skip
    head = ["metric", "rows", "blend", "nested is too good by", "as fitted, too good by", "intervals that hold, %",
            "better than the mean by"]  # fmt: skip
    print("\n".join(["| " + " | ".join(head) + " |", "|---" * len(head) + "|", *lines]))


if __name__ == "__main__":
    main()
