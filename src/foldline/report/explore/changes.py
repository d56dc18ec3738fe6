"""What should be changed before training: each with its evidence, and the lines to copy.

What duplicates and probes ask for comes from `advice`; here is what rows, files and pixels ask for.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from foldline.core.counted import counted
from foldline.core.paths import USUAL_RUN
from foldline.report.explore.advice import advise, extract_lines, yaml_lines
from foldline.report.explore.explored import WORDS, Explored
from foldline.report.explore.labels import counts_of
from foldline.report.explore.odd import broken_rows
from foldline.report.explore.series import taken_together
from foldline.report.explore.sizes import coloured, resized
from foldline.report.look import formats

FACTS, RUN = "competition.yaml", "run"
FEW_HELD_OUT = 100  # rows: a score of 0.9 on fewer of them is known to within 0.06
FEWEST_FOLDS = 3  # that are proposed: with two, a network learns from half of the rows
MOST_NAMED = 20  # classes that are named one by one in the facts
SIDES = 32  # what image sides are rounded to: the stride of most networks


@dataclass(frozen=True)
class Change:
    """One proposal.

    Attributes:
        name: for links and programs.
        title: what it is, in a line; text: the evidence, and what to think of it.
        yaml: the lines to copy; empty where nothing in a file would mend it.
        file: which file they belong to, as people see it; empty without lines.
    """

    name: str
    title: str
    text: str
    yaml: str = ""
    file: str = ""


def changes(explored: Explored) -> list[Change]:
    """All proposals, the gravest first."""
    facts_file = explored.layout.relative(explored.layout.competition_config(explored.comp))
    shifts = [it.shift for it in explored.shifts]
    probes = advise(explored.frame, explored.test, explored.facts, explored.pairs, explored.leaks, shifts)
    found = [Change(it.name, it.title, it.text, it.yaml, facts_file if it.yaml else "") for it in probes]
    if all(change.name != "group" for change in found):
        found += _series(explored)
    found += _leaks(explored)
    before: list[Check] = [_stopped, _left_out, _broken]
    after: list[Check] = [_rare_classes, _small_holdout, _channels, _shape, _warnings]
    first, last = ([change for check in checks if (change := check(explored))] for checks in (before, after))
    return [*first, *found, *last]


def _series(explored: Explored) -> list[Change]:
    """A group for rows that were taken together, though no two of their pictures are the same."""
    best = taken_together(explored)
    if best is None:
        return []
    told, ratio = best
    name, part = (formats.printable(text, 80) for text in told.example)
    begin = f"whose names begin alike, such as '{part}' of '{name}',"
    whose = f"that share their '{formats.printable(told.column, 60)}'" if told.column else begin
    text = (
        f"Two pictures {whose} are {formats.score(1 / ratio, 1)} times nearer to one another than two of one "
        f"label: they may be of one patient, device or scene. It makes {counted(told.groups, 'groups')}; rows of "
        "one group share a fold."
    )
    lines = yaml_lines({"train": {"group": told.column}}) if told.column else ""
    lines = lines or extract_lines(explored.frame, explored.facts, told)
    what = f"'{formats.printable(told.column, 60)}'" if told.column else "a part of their names"
    return [Change("group", f"Group the rows by {what}", text, lines, _facts(explored) if lines else "")]


def _leaks(explored: Explored) -> list[Change]:
    """What predicts the label beside the pixels: nothing in a file mends that, but one should know. Their order has an
    advice of its own, and all facts of the files together only say again what one of them says."""
    found = [it for it in explored.leaks.suspected if it.name != "order"]
    alone = [it for it in found if it.name != "files"] or found
    if not alone:
        return []
    if len(alone) == 1:
        return [Change("leak", alone[0].title, alone[0].text)]
    listed = [f"{WORDS.get(it.name, it.name)} ({it.metric} {formats.score(it.score, 2)})" for it in alone]
    text = (
        f"Out of fold, and without a look at any picture: {formats.listing(listed)}. Where that is how the data were "
        "collected and not what is seen, a network learns it and fails on other pictures. See the leak probe below."
    )
    return [Change("leak", "What surrounds the pixels predicts the label", text)]


Check = Callable[[Explored], Change | None]


def _facts(explored: Explored) -> str:
    return explored.layout.relative(explored.layout.competition_config(explored.comp))


def _run(explored: Explored) -> str:
    return explored.layout.relative(explored.layout.run_config(explored.comp, explored.run_name or USUAL_RUN))


def _stopped(explored: Explored) -> Change | None:
    stopped = explored.rows.stopped
    return Change("stopped", "make folds would stop", formats.printable(stopped, 600)) if stopped else None


def _left_out(explored: Explored) -> Change | None:
    said = explored.rows.left_out
    if not said:
        return None
    lines = "train:\n  missing_images: drop\n  missing_targets: drop"
    text = f"{formats.printable(said, 600)}. This page shows the rows without these; the lines below do the same."
    return Change("left-out", "make folds would stop: rows lack their picture or label", text, lines, _facts(explored))


def _broken(explored: Explored) -> Change | None:
    train, test = broken_rows(explored)
    if (not train and not test) or explored.run.data.bad_images == "skip":
        return None
    channels = {why for why in [*train.values(), *test.values()] if "set data.channels=" in why}
    seen = len(explored.train_looks.rows) + len(explored.test_looks.rows)
    if len(channels) == 1 and len(train) + len(test) > seen / 2:
        why = channels.pop()
        lines = f"data:\n  channels: {why.rpartition('=')[2]}"
        return Change("channels", "The pictures have other channels than the run reads", why, lines, _run(explored))
    sides = [f"{formats.count(len(rows))} {side}" for rows, side in ((train, "training"), (test, "test")) if rows]
    text = (
        f"{formats.listing(sides)} pictures cannot be decoded, and training stops at the first of them. Fetch them "
        "anew, or leave their rows out: training rows are then not scored, and test rows get the mean answer."
    )
    return Change("broken", "Some pictures are broken", text, "data:\n  bad_images: skip", _run(explored))


def _rare_classes(explored: Explored) -> Change | None:
    """Classes that not every fold can hold."""
    k = explored.facts.folds.k
    rare: list[tuple[str, int]] = []
    for block in explored.rows.task.blocks:
        if block.task.has_classes:
            counts = counts_of(explored, block)
            names = block.outputs(explored.rows.outputs)
            rare += [(names[i], int(counts[i])) for i in np.flatnonzero(counts < k)]
    if not rare:
        return None
    rare.sort(key=lambda it: it[1])
    listed = ", ".join(f"{formats.printable(name, 40)} ({rows})" for name, rows in rare[:8])
    more = f" and {len(rare) - 8} more" if len(rare) > 8 else ""
    title = f"{counted(len(rare), 'classes have')} fewer rows than there are folds"
    text = (
        f"{listed}{more}, with {counted(k, 'folds')}. In some folds nothing is scored on them, and other "
        "networks never see "
        "them. More pictures help most."
    )
    least = min(rows for _, rows in rare)
    lines, does = (f"folds:\n  k: {least}", "make fewer folds") if least >= FEWEST_FOLDS else _without(explored, rare)
    said = f"{text} The lines below {does}." if lines else text
    return Change("rare-classes", title, said, lines, _facts(explored) if lines else "")


def _without(explored: Explored, rare: list[tuple[str, int]]) -> tuple[str, str]:
    """The lines that make one class of the rare ones, or leave them out where together they are too few, too; and what
    they do, in words."""
    target, task = explored.facts.train.target, explored.rows.task
    single = task.single_label and not task.ordered and not task.two_classes
    if not (isinstance(target, str) and single and len(rare) <= MOST_NAMED) or explored.facts.classes:
        return "", ""
    if sum(rows for _, rows in rare) < explored.facts.folds.k:
        listed = ", ".join(_quoted(name) for name, _ in rare)
        return f"train:\n  without:\n    {_quoted(target)}: [{listed}]", "leave their rows out"
    names = "\n".join(f"      {_quoted(name)}: other" for name, _ in rare)
    return f"train:\n  target:\n    column: {_quoted(target)}\n    names:\n{names}", "make one class of them"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _small_holdout(explored: Explored) -> Change | None:
    holdout, rows = explored.facts.holdout, len(explored.rows.test)
    total = rows + len(explored.rows.frame)
    if holdout is None or not rows or rows >= FEW_HELD_OUT:
        return None
    margin = 1.96 * float(np.sqrt(0.9 * 0.1 / rows))
    text = (
        f"Only {rows} of {formats.count(total)} rows are held out: an accuracy of 0.9 on them is known to within "
        f"{margin:.2f}, so it hardly tells two runs apart. The out-of-fold score uses all other rows: trust that one"
    )
    wanted = min(0.5, round(FEW_HELD_OUT / total + 0.005, 2))
    if total < 3 * FEW_HELD_OUT:
        return Change("holdout", "The holdout is small", f"{text}; there are too few rows for a larger one.")
    lines = f"holdout:\n  fraction: {wanted}"
    return Change("holdout", "The holdout is small", f"{text}, or hold out more.", lines, _facts(explored))


def _channels(explored: Explored) -> Change | None:
    share, channels = coloured(explored), explored.run.data.channels
    if share is None or len(explored.train_looks.whole) < 20:
        return None
    seen = formats.count(len(explored.train_looks.whole))
    if channels == 3 and share == 0:
        text = f"None of {seen} decoded pictures has any colour. One channel is the same in a third of the cache."
        return Change(
            "channels", "The pictures are grey, and the run reads colour", text, "data:\n  channels: 1", _run(explored)
        )
    if channels == 1 and share > 0.5:
        text = f"{formats.share(share)} of {seen} decoded pictures have colour, which a run of one channel throws away."
        return Change(
            "channels", "The pictures have colour, and the run reads grey", text, "data:\n  channels: 3", _run(explored)
        )
    return None


def _shape(explored: Explored) -> Change | None:
    """A run's size that squeezes most pictures, where another shape of the same area would not."""
    result, (height, width) = resized(explored), explored.run.data.height_width
    if result.stretched < 0.8 or height != width:
        return None
    side, root = float(np.sqrt(height * width)), float(np.sqrt(result.aspect))
    new = [max(SIDES, round(value / SIDES) * SIDES) for value in (side / root, side * root)]
    if new[0] == new[1]:
        return None
    text = (
        f"{formats.share(result.stretched)} of the pictures change their width / height by more than a quarter; its "
        f"median is {formats.score(result.aspect, 2)}. "
        "This size has about as many pixels, and keeps the shape; data.fit keeps it in a square (docs/runs.md)."
    )
    lines = f"data:\n  image_size: [{new[0]}, {new[1]}] # height, width"
    return Change("image-size", "The run's image size squeezes the pictures", text, lines, _run(explored))


def _warnings(explored: Explored) -> Change | None:
    warned = [line.removeprefix("warning:").strip() for line in explored.rows.findings if line.startswith("warning:")]
    if not warned:
        return None
    return Change("fold-checks", "The checks of the folds warn", formats.printable("; ".join(warned), 1500) + ".")
