"""Stage blend: which way of blending some runs is the best, and which run adds nothing.

Reads the runs' `oof.parquet` and `cv.json`; writes `oof/<comp>/blend.json`. Each way is scored on rows that it was not
fitted on (nested by the folds); it makes no ensemble, but says the command that does.
"""

import shlex
from collections.abc import Sequence

import numpy as np

from foldline.core.competition import Competition, load_competition
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.folds import Folds, load_folds
from foldline.core.paths import Layout
from foldline.core.prediction_blocks import PredictionBlocks
from foldline.core.progress import doing, result, say, say_table
from foldline.core.provenance import current_cv, refuse_diverged_runs, require_told_apart, require_unlearnt
from foldline.core.records.blend import BlendStudy, BlendWay, Ends, WithoutRun
from foldline.core.records.cv import Cv
from foldline.core.run_folder import predictions_of
from foldline.scoring.choose import in_digits
from foldline.scoring.fitted.runs import read_oof
from foldline.scoring.fitted.study import RESAMPLES, Study
from foldline.scoring.metrics import metric_for
from foldline.submission.form import open_form

LONGEST = 24  # letters of a run's name in a table
MOST_RUNS = 12  # columns of a terminal's table
ALIKE = 0.99999  # correlation of errors from which on two runs are the same


def blend(layout: Layout, comp: str, runs: Sequence[str] = (), *, with_diverged: bool = False) -> BlendStudy:
    """Compares all ways to blend the runs.

    Args:
        runs: which; empty: all trained runs that are predicted on these folds, and no ensembles.
        with_diverged: takes runs of which a fold diverged, too.

    Raises:
        FoldlineError: fewer than two runs; a named one is not predicted, or on other folds or rows; a single fold.
    """
    if len(set(runs)) != len(runs):
        raise FoldlineError(f"a run is named twice: {' '.join(runs)}", where="RUNS")
    facts, folds = load_competition(layout, comp), load_folds(layout, comp)
    chosen = list(runs) or _all_runs(layout, comp, folds, with_diverged=with_diverged)
    if len(chosen) < 2:
        raise FoldlineError(
            f"a blend is of two runs or more, and there is {chosen[0] if chosen else 'none'}",
            where=layout.relative(layout.runs(comp)),
            next=f"make predict COMP={comp} RUN=<another run>",
        )
    records = {run: current_cv(layout, comp, run, folds.sha256) for run in chosen}
    if not with_diverged:
        refuse_diverged_runs(comp, records)
    require_told_apart(records)
    with predictions_of(layout, comp, chosen, "blends of these runs are being compared"):
        study = _study(layout, comp, records, facts, folds)
    path = layout.run(comp, "blend.json")
    study.write(path)
    _say(study)
    result(f"blend: {layout.relative(path)}; next: {study.command}", best=study.best, command=study.command)
    return study


def _all_runs(layout: Layout, comp: str, folds: Folds, *, with_diverged: bool) -> list[str]:
    """The trained runs that can be blended; says which others there are, and why they cannot."""
    found: dict[str, int] = {}
    left_out: dict[str, str] = {}
    records: dict[str, Cv] = {}
    for path in sorted(layout.runs(comp).glob("*/cv.json")):
        name = path.parent.name
        try:
            cv = current_cv(layout, comp, name, folds.sha256)
        except FoldlineError as error:
            left_out[name] = f"{error.what}; {error.next}" if error.next else error.what
            continue
        if cv.members:
            left_out[name] = "an ensemble of " + ", ".join(cv.members)
        elif cv.diverged and not with_diverged:
            left_out[name] = "it diverged"
        else:
            records[name] = cv
            found[name] = len(PredictionBlocks(path.with_name("oof.parquet"), folds.task, folds.outputs))
    most = max(found.values(), default=0)
    left_out |= {name: f"{rows:,} of {most:,} rows predicted" for name, rows in found.items() if rows < most}
    kept = [name for name, rows in found.items() if rows == most]
    left_out |= _on_all_rows({name: records[name] for name in kept})
    for name, why in left_out.items():
        say(f"left out: {name} ({why})")
    return [name for name in kept if name not in left_out]


def _on_all_rows(records: dict[str, Cv]) -> dict[str, str]:
    """The networks on all rows whose OOF predictions stand in another run's place already, and why they are left out:
    by these rows nothing tells the two apart."""
    first: dict[str, str] = {}
    for name, cv in sorted(records.items(), key=lambda item: bool(item[1].oof_of)):
        first.setdefault(cv.whose_oof, name)
    return {
        name: f"its OOF is that of {first[cv.whose_oof]}, in whose place it may be named"
        for name, cv in records.items()
        if first[cv.whose_oof] != name
    }


def _study(layout: Layout, comp: str, records: dict[str, Cv], facts: Competition, folds: Folds) -> BlendStudy:
    runs, learnt = list(records), ""
    try:
        require_unlearnt(layout, comp, records, "RUNS")
    except FoldlineError as error:
        learnt = error.what
    labels = open_form(layout, comp, facts, folds.outputs).holds_labels
    study = Study(
        read_oof({run: layout.run(comp, run) for run in runs}, facts, folds.outputs), decide=labels, learnt=learnt
    )
    if len(np.unique(study.target.folds)) < 2:
        raise FoldlineError(
            "these runs have predicted a single fold: nothing can be fitted without it",
            where=layout.relative(layout.runs(comp)),
            next=f'train more folds, or blend by mean: make ensemble COMP={comp} RUNS="{" ".join(runs)}"',
        )
    with doing("every way to blend these runs"):
        ways, alone = study.ways(), study.alone()
        best = study.best(ways)
        without = study.without(best)
    reads = metric_for(facts.metric, folds.task.of(folds.outputs)).input == "label"
    decided = "fitted on the other folds" if study.fits_labels else "by the default decision" if reads else ""
    drop = _to_drop(without, next(way for way in ways if way.name == best))
    kept = [run for run in runs if run != drop]
    return BlendStudy(
        comp=comp, metric=facts.metric, runs=alone, rows=len(study.target), of_rows=study.oof.of_rows,
        scored=len(study.scored), resamples=RESAMPLES, decided=decided, ways=ways, left_out=study.left_out,
        errors=[[float(x) if np.isfinite(x) else None for x in row] for row in study.errors()], without=without,
        best=best, drop=drop, command=_command(comp, kept, best),
    )  # fmt: skip


def _to_drop(without: Sequence[WithoutRun], way: BlendWay) -> str:
    """The run without which the blend is clearly better, or the same because it has no weight."""
    for one in without:
        low, idle = one.gain_interval[0], way.weights and not any(way.weights[one.run])
        if (low is not None and low > 0) or idle:
            return one.run
    return ""


def _command(comp: str, runs: Sequence[str], best: str) -> str:
    names = " ".join(runs)
    if len(runs) == 1:
        return f"make ensemble COMP={shlex.quote(comp)} RUN={shlex.quote(names)}"
    how = "" if best == "mean" else f" BLEND={best}"
    return f'make ensemble COMP={shlex.quote(comp)} RUNS="{names}"{how}'


def _say(study: BlendStudy) -> None:
    """The tables, and what follows from them."""
    some = f" (of {study.of_rows:,}: the rows are too many, and these are evenly spaced)"
    rows = counted(study.rows, "rows") + (some if study.rows < study.of_rows else "")
    say(f"{rows}, labels {study.decided}" if study.decided else rows)
    say_table([
        ["blend", f"{study.metric} nested", "95 % interval", "as fitted", "better than the mean by", "95 % interval"],
        *([way.name, in_digits(way.nested), _ends(way.interval), "" if way.fitted is None else in_digits(way.fitted),
           _signed(way.gain), _ends(way.gain_interval, sign=True)] for way in study.ways),
        *([run[:LONGEST], in_digits(value), "", "", "", ""] for run, value in study.runs.items()),
    ])  # fmt: skip
    for name, why in study.left_out.items():
        say(f"left out: {name} ({why})")
    _say_errors(study)
    if study.without:
        say(f"\nthe {study.best} without")
        say_table([["run", "better by", "95 % interval"],
                   *([one.run, _signed(one.gain), _ends(one.gain_interval, sign=True)]
                     for one in study.without)])  # fmt: skip
        say(_drop_words(study))
    say("note: a way is proposed that beats the mean in its whole interval; the best of so many is a little too good")


def _drop_words(study: BlendStudy) -> str:
    gains = {one.run: one.gain for one in study.without if one.gain is not None}
    if study.drop:
        equal = [run for run, gain in gains.items() if run != study.drop and gain == gains.get(study.drop)]
        others = f" (as true of each of: {first_few(equal)}; leave out one, and look again)" if equal else ""
        return f"leave out {study.drop}: the ensemble is no worse without it{others}"
    idle = [run for run, gain in gains.items() if gain >= 0]
    if len(idle) > 1:
        return (
            f"each of {first_few(idle)} adds nothing beside the others that these rows can tell: where time counts "
            "leave out one, and look again"
        )
    if idle:
        return f"{idle[0]} adds nothing that these rows can tell: leave it out where time counts"
    return "each run adds something"


def _say_errors(study: BlendStudy) -> None:
    """How alike the runs err, as a table; of many runs only the most and the least alike pair."""
    runs = list(study.runs)
    _say_equal(study)
    if len(runs) <= MOST_RUNS:
        say("\ncorrelation of errors: the lower, the more two runs add to each other")
        say_table([["", *(run[:LONGEST] for run in runs)],
                   *([run[:LONGEST], *("" if value is None else f"{value:.3f}" for value in row)]
                     for run, row in zip(runs, study.errors, strict=True))])  # fmt: skip
        return
    pairs = [
        (value, runs[i], runs[j])
        for i, row in enumerate(study.errors)
        for j, value in enumerate(row)
        if i < j and value is not None
    ]
    if pairs:
        for words, (value, one, other) in (("most", max(pairs)), ("least", min(pairs))):
            say(f"errors are {words} alike of {one} and {other}: correlation {value:.3f}")


def _say_equal(study: BlendStudy) -> None:
    """Runs that err in the same way, of which one is enough: a run that was trained, or predicted, twice."""
    runs = list(study.runs)
    for i, row in enumerate(study.errors):
        same = [runs[j] for j, value in enumerate(row) if j > i and value is not None and value > ALIKE]
        if same:
            say(f"note: {runs[i]} says what {', '.join(same)} says: the mean counts it {len(same) + 1} times")


def _ends(ends: Ends, *, sign: bool = False) -> str:
    if None in ends:
        return ""
    return " to ".join(_signed(end) if sign else in_digits(end) for end in ends)


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.4f}"
