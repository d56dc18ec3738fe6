"""Everything that a comparison of runs knows.

Reads `configs/<comp>/competition.yaml`, `folds/<comp>.csv`; of each run `cv.json`, `oof.parquet`, `run.json` and the
`log.csv` of its folds. Writes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foldline.core import tables
from foldline.core.competition import Competition, load_competition
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.folds import Folds, load_folds
from foldline.core.paths import Layout
from foldline.core.prediction_blocks import BLOCK, PredictionBlocks
from foldline.core.progress import Progress
from foldline.core.records.cv import Cv
from foldline.core.records.same import differences, require_same
from foldline.core.row_groups import read_groups
from foldline.core.run_folder import stored_run
from foldline.report.look import formats
from foldline.scoring.cv import cross_validation
from foldline.scoring.metrics import metric_for
from foldline.scoring.paired import Difference, compare_runs

Record = dict[str, Any]
LOG = ["epoch", "train_loss", "valid_loss", "score"]


@dataclass(frozen=True)
class Rival:
    """One run of a comparison.

    Attributes:
        cv: its `cv.json`; the scores are by the metric of the facts as they are now.
        path: its `oof.parquet`, which is read for each pair anew: no more than two are in memory.
        rows: how many it has predicted.
        folds: the folds that it has predicted; `cv.per_fold` has one score for each.
        choices: its settings, defaults included; None for an ensemble.
        logs: the epochs of each fold, with the columns of LOG and, where it was logged, train_score: the metric on
            the training rows.
    """

    name: str
    cv: Cv
    path: Path
    rows: int
    folds: list[int]
    choices: Record | None = None
    logs: dict[int, pd.DataFrame] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """A run against a reference; `difference` is above 0 where the run is the better one."""

    run: str
    reference: str
    difference: Difference
    seed_alone: bool

    def in_words(self) -> str:
        """The finding, as a person would say it."""
        return difference_in_words(self.run, self.reference, self.difference) + (
            ". They differ in the seed alone: this is what chance in training makes" if self.seed_alone else ""
        )


@dataclass(frozen=True)
class Comparison:
    """Runs side by side, the best first; those that cover fewer rows stand after the others.

    Attributes:
        pairs: for each reference (the best run, and the one that was asked for) every other run against it.
        left_out: runs that cannot be compared, and why.
        settings: (key, its value in each run) of every setting that differs.
    """

    comp: str
    facts: Competition
    k: int
    rivals: list[Rival]
    pairs: dict[str, list[Pair]]
    left_out: dict[str, str]
    settings: list[tuple[str, list[str]]]

    @property
    def direction(self) -> str:
        """Whether a higher score is better (max) or a lower one (min)."""
        return metric_for(self.facts.metric, self.facts.task).direction

    @property
    def partial(self) -> list[str]:
        """The runs that have fewer rows than another one."""
        most = max(rival.rows for rival in self.rivals)
        return [rival.name for rival in self.rivals if rival.rows < most]


def read_comparison(layout: Layout, comp: str, runs: Sequence[str] = (), against: str = "") -> Comparison:
    """Reads the runs and compares them.

    Args:
        runs: the runs; empty: all that are predicted on the present folds, the others are named in `left_out`.
        against: a further reference beside the best run.

    Raises:
        FoldlineError: a named run is not predicted, or was made on other folds; there is no run at all.
    """
    facts, folds = load_competition(layout, comp), load_folds(layout, comp)
    names, left_out = (list(dict.fromkeys(runs)), {}) if runs else _all_runs(layout, comp, folds)
    if against and against not in names:
        names.append(against)
    rivals = _in_order([_read_rival(layout, comp, name, facts, folds) for name in names], facts)
    if not rivals:
        raise FoldlineError(
            f"no run of '{comp}' is predicted on the present folds",
            where=layout.relative(layout.runs(comp)),
            next=f"make predict COMP={comp} RUN=<run>",
        )
    references = list(dict.fromkeys([rivals[0].name, *([against] if against else [])]))
    return Comparison(
        comp=comp,
        facts=facts,
        k=folds.k,
        rivals=rivals,
        pairs=_pairs(rivals, references, facts, folds.outputs) if len(rivals) > 1 else {},
        left_out=left_out,
        settings=differing_settings([rival.choices for rival in rivals]),
    )


def _all_runs(layout: Layout, comp: str, folds: Folds) -> tuple[list[str], dict[str, str]]:
    """The predicted runs on the present folds, and the others with a reason."""
    names: list[str] = []
    left_out: dict[str, str] = {}
    for path in sorted(layout.runs(comp).glob("*/cv.json")):
        name = path.parent.name
        try:
            reasons = differences(Cv.read(path), folds=folds.sha256)
            stored_run(layout, comp, name)
        except FoldlineError as error:
            reasons = [error.what]
        if reasons:
            left_out[name] = "; ".join(reasons)
        else:
            names.append(name)
    return names, left_out


def _read_rival(layout: Layout, comp: str, name: str, facts: Competition, folds: Folds) -> Rival:
    folder = layout.run(comp, name)
    cv = Cv.read(folder / "cv.json", next=f"make predict COMP={comp} RUN={name}")
    require_same(cv, folds=folds.sha256, where=layout.relative(folder / "cv.json"))
    cv.require_files(folder)
    path = folder / "oof.parquet"
    blocks = PredictionBlocks(path, facts.task, folds.outputs)
    tables.require_columns(pd.DataFrame(columns=blocks.beside), ["fold"], where=str(path))
    if cv.metric != facts.metric:
        cv = cv.changed(**cross_validation(tables.read_parquet(path), facts, folds.outputs))
    numbers = sorted({int(k) for part in read_groups(path, BLOCK, ["fold"]) for k in part["fold"].unique()})
    stored = None if cv.members else stored_run(layout, comp, name)
    choices = None if stored is None else stored.choices()
    return Rival(name, cv, path, len(blocks), numbers, choices, _logs(layout, comp, name, numbers, facts.metric))


def _logs(layout: Layout, comp: str, name: str, numbers: list[int], metric: str) -> dict[int, pd.DataFrame]:
    """The epochs of each fold as numbers, an empty cell is NaN; the metric on the training rows where it is known."""
    logs = {}
    for k in numbers:
        path = layout.fold(comp, name, k) / "log.csv"
        if path.is_file():
            log = tables.read_csv(path, required=LOG)
            column = f"train_{metric}"  # empty where the training rows' labels are mixed
            names = {column: "train_score"} if column in log.columns and (log[column] != "").any() else {}
            log = log.rename(columns=names)[[*LOG, *names.values()]]
            logs[k] = log.apply(pd.to_numeric, errors="coerce")
    return logs


def _in_order(rivals: list[Rival], facts: Competition) -> list[Rival]:
    """The runs with the most rows first, of these the best first; an undefined score comes last."""
    sign = -1.0 if metric_for(facts.metric, facts.task).direction == "max" else 1.0

    def place(rival: Rival) -> tuple[int, float, str]:
        pooled = rival.cv.pooled
        return -rival.rows, np.inf if pooled is None else sign * pooled, rival.name

    return sorted(rivals, key=place)


def _pairs(rivals: list[Rival], references: list[str], facts: Competition, outputs: list[str]) -> dict[str, list[Pair]]:
    named = {rival.name: rival for rival in rivals}
    wanted = [(run, named[reference]) for reference in references for run in rivals if run.name != reference]
    pairs: dict[str, list[Pair]] = {reference: [] for reference in references}
    known = "", pd.DataFrame()  # the reference that was read last
    with Progress() as progress:
        for run, reference in progress.over(wanted, "comparing", total=len(wanted)):
            fitted = (run.cv.fitted, reference.cv.fitted)
            known = known if known[0] == reference.name else (reference.name, tables.read_parquet(reference.path))
            difference = compare_runs(tables.read_parquet(run.path), known[1], facts, outputs, fitted=fitted)
            pairs[reference.name].append(Pair(run.name, reference.name, difference, _seed_alone(run, reference)))
    return pairs


def _seed_alone(one: Rival, other: Rival) -> bool:
    if one.choices is None or other.choices is None:
        return False
    return [key for key, _ in differing_settings([one.choices, other.choices])] == ["seed"]


def differing_settings(choices: Sequence[Record | None], prefix: str = "") -> list[tuple[str, list[str]]]:
    """The dotted keys in which runs differ, with the value in each run; a dash where a run has no such setting.

    >>> differing_settings([{"optim": {"lr": 0.1}, "seed": 0}, {"optim": {"lr": 0.2}, "seed": 0}, None])
    [('optim.lr', ['0.1', '0.2', '–'])]
    """
    known = [one for one in choices if one is not None]
    rows: list[tuple[str, list[str]]] = []
    for key in sorted({key for one in known for key in one}):
        values = [one.get(key) for one in known]
        nested = [value for value in values if isinstance(value, dict)]
        if nested and all(value is None or isinstance(value, dict) for value in values):
            inner = [None if one is None else one.get(key) for one in choices]
            rows += differing_settings(inner, f"{prefix}{key}.")
        if any(value != values[0] for value in values) and len(nested) < len(values):
            shown = [formats.DASH if one is None else _value(one.get(key)) for one in choices]
            rows.append((prefix + key, shown))
    return rows


def _value(value: Any) -> str:
    return "set" if isinstance(value, dict) else formats.printable(formats.plain(value), 60)


def difference_in_words(run: str, reference: str, difference: Difference) -> str:
    """Which of the two is better, by how much, or that the difference is not significant.

    >>> difference_in_words("a", "b", Difference(0.0042, 0.0011, 0.0075, 5, 0, 5, 100, everything=True))
    'a is better than b by 0.0042 (95 %: 0.0011 to 0.0075, 5 of 5 folds)'
    >>> difference_in_words("a", "b", Difference(0.0002, -0.001, 0.0015, 3, 2, 5, 40, everything=True))
    'a and b: no significant difference (a − b = +0.0002, 95 %: −0.0010 to 0.0015, a wins 3 of 5 folds)'
    """
    if difference.rows == 0:
        return f"{run} and {reference} have no rows in common"
    shared = "" if difference.everything else f", on the {formats.count(difference.rows)} that both have"
    level = f"{100 * difference.level:g} %"
    if difference.verdict == "undefined":
        return f"{run} and {reference}: the score is undefined{shared}"
    if difference.verdict == "same":
        inside = f"{formats.score(difference.low)} to {formats.score(difference.high)}"
        gain = f"{run} {formats.MINUS} {reference} = {formats.change(difference.gain)}"
        return (
            f"{run} and {reference}: no significant difference ({gain}, {level}: {inside}, "
            f"{run} wins {_of_folds(difference.wins, difference)}){shared}"
        )
    better, other, wins = (
        (run, reference, difference.wins) if difference.verdict == "better" else (reference, run, difference.losses)
    )
    ends = sorted([abs(difference.low), abs(difference.high)])
    inside = f"{formats.score(ends[0])} to {formats.score(ends[1])}"
    return (
        f"{better} is better than {other} by {formats.score(abs(difference.gain))} "
        f"({level}: {inside}, {_of_folds(wins, difference)}){shared}"
    )


def _of_folds(wins: int, difference: Difference) -> str:
    return f"{wins} of {counted(difference.folds, 'folds')}"


def level_with_best(comparison: Comparison) -> list[str]:
    """The runs whose score is the first one's, and that one, where there are such: none of them is the best."""
    first, *others = comparison.rivals
    level = [one.name for one in others if one.cv.pooled == first.cv.pooled is not None and one.rows == first.rows]
    return [first.name, *level] if level else []


def caveats(comparison: Comparison) -> list[str]:
    """What a reader must know before believing the order of the runs."""
    lines, level = [], level_with_best(comparison)
    if level:
        lines.append(
            f"{formats.listing(level)} have the same score: none of them is the best; {level[0]} is the first by name, "
            "and the others are compared with it"
        )
    if len(comparison.rivals) > 2:
        lines.append(f"The best of {len(comparison.rivals)} runs is partly luck: its score and its lead are optimistic")
    if len(comparison.rivals) > 1:
        lines.append("The intervals tell how the rows vary; chance in training is not in them: compare several seeds")
    if comparison.partial:
        cover = "covers" if len(comparison.partial) == 1 else "cover"
        lines.append(
            f"{formats.listing(comparison.partial)} {cover} only some of the rows: "
            "such a run's score cannot be compared with the others', its differences are on the rows that both have"
        )
    for rival in comparison.rivals:
        reasons = "; ".join(formats.printable(reason) for reason in rival.cv.optimistic)
        lines += [f"{rival.name}'s score is optimistic: {reasons}"] if reasons else []
        lines += [f"{rival.name}: {rival.cv.remark}, and cannot be compared with that run"] if rival.cv.remark else []
    return [formats.printable(line) for line in lines]
