"""What a bundle's budget says to a person, and what it would leave out. Reads predictions; writes nothing."""

import numpy as np
import pandas as pd

from foldline.core.competition import Competition
from foldline.core.counted import counted
from foldline.core.folds import Folds
from foldline.core.paths import Layout
from foldline.core.predictions import read_predictions
from foldline.core.progress import say, say_table
from foldline.core.records.kernel import Budget
from foldline.engine.bundle.budget import MARGIN, Drop, Plan, drops, fitting, in_hours
from foldline.engine.bundle.built import Built
from foldline.engine.bundle.members import Chosen, HeadsMember
from foldline.engine.bundle.worth import Worth

ESTIMATE = (
    "an estimate, by the published speed of a ResNet-50 there beside its speed here: half or twice as long may be"
)


def say_budget(plan: Plan, budget: Budget) -> None:
    """The forecast in one line for each member, and in all."""
    limit = in_hours(budget.limit_seconds)
    where = "on CPUs as here, measured" if budget.gpu == "none" else f"on one {budget.gpu.upper()}, {ESTIMATE}"
    for load in plan.loads:
        say(
            f"{load.run}: {load.words} x {counted(plan.rows, 'pictures')} at "
            f"{load.images_per_second:,.0f}/s: {in_hours(load.seconds(plan.rows))}"
        )
    say(f"in all with reading: {in_hours(plan.seconds)} of {limit} ({where}); pictures: {budget.rows_from}")


def say_proposal(plan: Plan, limit_seconds: float, worth: Worth, comp: str, name: str) -> list[Drop]:
    """What to leave out of a notebook that would be cut off: what it costs, and the command that does it.

    Args:
        plan: does not fit.
        name: of the run or ensemble.
    """
    limit = limit_seconds * (1 - MARGIN)
    say("warning: over the limit, where the notebook leaves out the last views, then members. What costs least:")
    known = [
        [drop.what, in_hours(drop.seconds), *_costs(drop, worth.interval(plan, drop.plan))]
        for drop in drops(plan, worth)
    ]
    say_table([["left out", "saves", f"{worth.facts.metric} lost", "95 % interval", "a minute"], *known])
    say(
        f"members by {len(worth.oof)} OOF rows, views by {len(worth.tried)} of them, "
        "folds by their disagreement on the test rows (an estimate, rather too high)"
    )
    chosen = fitting(plan, limit, worth)
    left = chosen[-1].plan if chosen else plan
    fits = "fits" if left.seconds <= limit else "does not fit even so"
    say(f"proposal, {in_hours(left.seconds)}, which {fits}: {_command(plan, left, comp, name)}")
    return chosen


def _costs(drop: Drop, interval: tuple[float, float] | None) -> list[str]:
    """The table's cells: what is lost, how sure that is, and what that is a minute."""
    if drop.costs is None:
        return ["not known", "", ""]
    sure = "" if interval is None else f"{interval[0]:+.5f} to {interval[1]:+.5f}"
    return [f"{drop.costs:+.5f}", sure, f"{drop.price[1]:+.1e}"]


def _command(before: Plan, after: Plan, comp: str, name: str) -> str:
    """How to build the smaller bundle."""
    runs, views = [load.run for load in after.loads], after.loads[0].views
    of = f"RUN={name}"
    if len(runs) < len(before.loads):
        of = f"RUN={runs[0]}" if len(runs) == 1 else f'RUNS="{" ".join(runs)}"'
    parts = ["make kernel", f"COMP={comp}", of]
    if views != before.loads[0].views:
        parts.append(f'VIEWS="{" ".join(views)}"')
    if after.most_folds < before.most_folds:
        folds = max((load.folds for load in after.loads), key=len)
        parts.append(f'FOLDS="{" ".join(map(str, folds))}"')
    return " ".join(parts)


def worth_of(
    layout: Layout, facts: Competition, folds: Folds, chosen: Chosen, built: list[Built], oof: pd.DataFrame
) -> Worth:
    """What is known of the worth of members, views and folds.

    Args:
        oof: the ensemble's OOF predictions.
    """
    comp, columns = chosen.cv.comp, folds.task.prediction_columns(folds.outputs)
    members, tests = {}, {}
    for one in built:
        own = one.member
        ids = oof["row_id"]
        table = read_predictions(layout.run(comp, own.run) / "oof.parquet", folds.task, folds.outputs, ids=ids)
        members[own.run] = table[columns].to_numpy(dtype=np.float64)
        folders = [layout.run(comp, own.run)] if isinstance(own, HeadsMember) else list(own.folds)
        of_folds = [
            read_predictions(folder / "test.parquet", folds.task, folds.outputs, ids=folds.test["row_id"])
            for folder in folders
        ]
        tests[own.run] = np.stack([table[columns].to_numpy(dtype=np.float64) for table in of_folds])
    trials = {one.member.run: one.trial for one in built}
    return Worth(facts, folds.outputs, chosen.blender, oof, members, built[0].tried, trials, tests)
