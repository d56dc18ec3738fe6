"""The choice of the two final submissions, as a person reads it: a table, why, how sure; and as a JSON value."""

from dataclasses import asdict
from typing import Any

import numpy as np

from foldline.core.counted import counted
from foldline.report.comparison.finals import Finals, Known
from foldline.report.look import formats
from foldline.scoring.final_two import LEVEL, Against
from foldline.scoring.metrics import metric_for

LIKELY = 0.8  # a chance of being the better one, from which on it is called so
HEADER = ["submission", "CV", "95 % interval", "public", "agrees with 1", "1 is better", "worth as the second"]


def table(finals: Finals) -> list[list[str]]:
    """A line for each submission that could be proposed, the proposed ones first."""
    chosen = [one.name for one in finals.chosen]
    rest = [one for one in finals.known if not one.left_out and one.name not in chosen]
    ranks = [f"{place}. " for place in range(1, len(chosen) + 1)] + ["   "] * len(rest)
    lines = [_line(rank, one, finals) for rank, one in zip(ranks, [*finals.chosen, *rest], strict=True)]
    return [HEADER, *lines]


def _line(rank: str, one: Known, finals: Finals) -> list[str]:
    against = finals.choice.against.get(one.name)
    public = "-" if one.entry.public is None else formats.score(one.entry.public)
    cells = [rank + one.name, formats.score(one.entry.score.pooled), _interval(one) or "-", public]
    if against is None:
        return [*cells, "", "", ""]
    chance = "-" if against.chance is None else f"{100 * against.chance:.0f} %"
    alike = "-" if against.agreement is None else f"{against.agreement:.3f}"
    return [*cells, alike, chance, "-" if against.worth is None else f"+{against.worth:.5f}"]


def _interval(one: Known) -> str:
    return " to ".join(formats.score(end) for end in one.cv.interval) if one.cv else ""


def reasons(finals: Finals) -> list[str]:
    """Why these two, how sure that is, what the leaderboard says of it, and what to do next."""
    left_out = [f"left out: {one.name} ({one.left_out})" for one in finals.known if one.left_out]
    return [*left_out, *_why_first(finals), *_why_second(finals), *_about_public(finals), *_next(finals)]


def _why_first(finals: Finals) -> list[str]:
    one, against = finals.chosen[0], finals.choice.against
    inside = f" (95 %: {_interval(one)})" if one.cv else ""
    lines = [
        f"1. {one.name}: the best honest CV, {finals.facts.metric} {formats.score(one.entry.score.pooled)}{inside}"
    ]
    rivals = {name: other.chance for name, other in against.items() if other.chance is not None}
    if not against:
        lines.append("   it is the only one: nothing can be compared")
    elif not rivals:
        lines.append("   how sure: nobody can tell, the out-of-fold predictions of the others are gone")
    else:
        nearest = min(rivals, key=lambda name: rivals[name])
        chance = rivals[nearest]
        word = "sure" if chance >= LEVEL else "likely" if chance >= LIKELY else "a toss-up"
        lines.append(f"   how sure: {word}; that it is better than {nearest}, the nearest: {100 * chance:.0f} %")
    if len(finals.good) > 2:
        lines.append(f"   the best of {len(finals.good)} is partly luck: expect a little less than its CV score")
    if one.cv and one.cv.optimistic:
        lines.append(f"   its CV score is optimistic, as all of them are: {'; '.join(one.cv.optimistic)}")
    return lines


def _why_second(finals: Finals) -> list[str]:
    first, second, against = finals.choice.first, finals.choice.second, finals.choice.against
    if second is None:
        others = "the others say the same" if against else "there is no other one"
        return [f"2. none: {others}. Train a run that differs (another backbone, image size) for the second place"]
    found = against[second.name]
    alike = "" if found.agreement is None else f"; what both submit agrees to {found.agreement:.3f}"
    reason = {
        "worth": f"it adds most to the first, +{found.worth or 0:.5f} expected on as many new rows{alike}",
        "public": f"CV and LB contradict each other, so one of them misleads: this one is the best on LB{alike}",
        "cv": f"the next CV; how much it differs from the first on the training rows is not known{alike}",
    }[finals.choice.by or "cv"]
    shared = sorted(first.runs & second.runs)
    further = [f"   both hold {', '.join(shared)}: a run of its own would insure better"] if shared else []
    return [f"2. {second.name}: {reason}", *further]


def _about_public(finals: Finals) -> list[str]:
    found = finals.choice.correlation
    if found.pairs == 0:
        return ["no submission has a public score yet: the choice rests on CV alone"]
    inside = f", 95 %: {found.low:.2f} to {found.high:.2f}" if np.isfinite(found.low) else ""
    value = f"Spearman {found.value:.2f}{inside}; chance makes such an order in {100 * found.chance:.0f} %"
    over = f"over {counted(found.pairs, 'submissions')}"
    words = {
        "too few": f"{found.pairs} with a public score: too few to compare CV with LB",
        "unclear": f"CV and LB {over}: no clear relation ({value})",
        "agree": f"CV and LB agree {over} ({value}): trust CV, it rests on more rows",
        "contradict": f"CV and LB contradict each other {over} ({value}): find out why before you choose. Are the "
        "folds split as the test set was (groups, time, source)?",
    }
    words["unclear"] = words["unclear"] if np.isfinite(found.value) else f"CV and LB {over}: one of them does not vary"
    leaks = [
        f"{name}: its CV is far from its LB, unlike the others': a leak? Look into it" for name in finals.choice.odd
    ]
    return [words[found.verdict], *leaks]


def _next(finals: Finals) -> list[str]:
    lines = []
    for pick, one in zip((finals.choice.first, finals.choice.second), finals.chosen, strict=False):
        if pick is not None and not pick.sent:
            command = f"make submit COMP={finals.comp} NAME={one.entry.name}{' KERNEL=1' if one.entry.notebook else ''}"
            lines.append(f"{one.name} was not sent, and only what was sent can be selected: {command}")
    return [*lines, "select them on the competition's page, under Submissions, before it ends"]


def as_json(finals: Finals) -> dict[str, Any]:
    """The choice as a JSON value; what is not known is null."""
    choice = finals.choice
    found = {key: value if np.isfinite(value) else None for key, value in asdict(choice.correlation).items()}
    return {
        "metric": finals.facts.metric,
        "direction": metric_for(finals.facts.metric, finals.facts.task).direction,
        "proposal": [one.name for one in finals.chosen],
        "second_by": choice.by or None,
        "submissions": [_row(one, choice.against.get(one.name)) for one in finals.known],
        "cv_and_lb": {**found, "verdict": choice.correlation.verdict},
        "odd": choice.odd,
    }


def _row(one: Known, against: Against | None) -> dict[str, Any]:
    entry = one.entry
    row = {"name": one.name, "cv": entry.score.pooled, "interval": list(one.cv.interval) if one.cv else None}
    row |= {"public": entry.public, "left_out": one.left_out or None}
    if against:
        row |= {"agreement": against.agreement, "first_is_better": against.chance, "worth": against.worth}
    return row
