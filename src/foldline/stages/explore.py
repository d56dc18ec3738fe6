"""Stage explore: a page about a competition before anything is trained.

Reads the raw files, the facts, a run's choices and, where they are there, the folds; writes `oof/<comp>/explore.html`,
and frozen features into the cache.
"""

from typing import Any

import pandas as pd

from foldline.core import tables
from foldline.core.competition import load_competition
from foldline.core.errors import FoldlineError
from foldline.core.paths import USUAL_RUN, Layout
from foldline.core.progress import say, unsaid
from foldline.core.run import Run, load_run
from foldline.core.typed import as_typed
from foldline.report.explore.changes import changes
from foldline.report.explore.explored import Forecast, Frozen, explore_rows
from foldline.report.explore.page import as_json, build_page, summary
from foldline.report.explore.rows import Rows, gather_rows


def explore(
    layout: Layout,
    comp: str,
    *,
    run: str = USUAL_RUN,
    overrides: list[str],
    fast: bool = False,
    features: bool = False,
    device: str = "auto",
) -> dict[str, Any]:
    """Looks at rows, files and pictures, and writes the page; says in a few lines what was found, and returns it.

    Args:
        run: whose image size, channels, recipe and network the pictures are seen with.
        fast: smaller samples, and no network.
        features: computes the features of the run's network where training has not kept any yet.

    Raises:
        FoldlineError: nothing is downloaded; the raw files cannot be read as the facts say; no such run.
    """
    facts = load_competition(layout, comp)
    name, choices = _choices(layout, comp, run, overrides)
    rows = gather_rows(layout, comp, facts)
    explored = explore_rows(
        layout, comp, facts, choices, name, rows,
        frozen=lambda *sides: _frozen(layout, comp, choices, rows, sides, device, fast=fast, compute=features),
        forecast=lambda: _forecast(layout, comp, choices, rows, device, fast=fast),
        fast=fast,
    )  # fmt: skip
    found = changes(explored)
    path = layout.explored(comp)
    tables.write_text(path, build_page(explored, found))
    for line in summary(explored, found):
        say(line)
    say(f"open {layout.relative(path)}")
    return as_json(explored, found, str(path))


def _choices(layout: Layout, comp: str, run: str, overrides: list[str]) -> tuple[str, Run]:
    """The run's name and choices; the defaults where nobody has written the usual one yet."""
    if run == USUAL_RUN and not overrides and not layout.run_file(comp, run).is_file():
        return "", Run()
    return run, load_run(layout, comp, run, overrides)


def _frozen(
    layout: Layout,
    comp: str,
    run: Run,
    rows: Rows,
    sides: tuple[pd.DataFrame, ...],
    device: str,
    *,
    fast: bool,
    compute: bool,
) -> Frozen:
    """The features of the run's probe; in place of them a word why there are none."""
    what = "the shift probe by what a frozen network sees"
    if fast:
        return Frozen(said=f"{what}: left out by --fast")
    if run.train.probe is None:
        return Frozen(said=f"{what}: the run has no train.probe")
    if not rows.written:
        return Frozen(said=as_typed(f"{what}: there are no folds yet (make folds COMP={comp})"))
    from foldline.engine.both_sides import frozen_both

    try:
        train, test = (side["image"].tolist() for side in sides)
        features, others = frozen_both(layout, comp, run, train, test, device, compute=compute)
    except FoldlineError as error:
        return Frozen(said=f"{what}: {error.what}{f' ({error.next})' if error.next else ''}")
    return Frozen(features, others)


def _forecast(layout: Layout, comp: str, run: Run, rows: Rows, device: str, *, fast: bool) -> Forecast:
    """What a fold will take on this machine, by a few real steps; in place of it a word why that is not known."""
    if fast:
        return Forecast(said="Not measured: left out by --fast.")
    if not rows.written:
        return Forecast(said=as_typed(f"Not measured: there are no folds yet (make folds COMP={comp})."))
    from foldline.engine.forecast import forecast

    try:
        with unsaid():
            found = forecast(layout, comp, run, device=device)
    except FoldlineError as error:
        return Forecast(said=f"Not measured: {error.what}.")
    said = f"{found.in_words()[:1].upper()}{found.in_words()[1:]}. {found.how[:1].upper()}{found.how[1:]}."
    return Forecast(found.fold_s, found.folds, said)
