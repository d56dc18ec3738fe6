"""What is done in this folder, and what is next: `foldline` without a command.

Reads the names of files, and the records of folds, runs and submissions; writes nothing. No pandas: it answers at once.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few, unknown
from foldline.core.paths import Layout
from foldline.core.progress import say
from foldline.core.records.cv import Cv
from foldline.core.records.entry import Entry
from foldline.core.records.folds_meta import FoldsMeta

ROOMS = ("input", "oof", "submissions")  # where a competition has a folder of its own, once something is done
SHOWN = 6  # runs, and submissions


@dataclass
class RunState:
    """How far a run has come: folds that are finished, folds that can go on, and its score where it is predicted."""

    name: str
    finished: list[int] = field(default_factory=list)
    begun: list[int] = field(default_factory=list)
    metric: str = ""
    score: float | None = None
    interval: tuple[float | None, float | None] | None = None
    predicted: bool = False
    members: list[str] = field(default_factory=list)
    oof_of: str = ""


@dataclass
class State:
    """How far a competition has come.

    Attributes:
        broken: what of its records cannot be read.
        next: commands, the likeliest first.
    """

    comp: str
    facts: bool
    downloaded: bool
    k: int = 0
    rows: int = 0
    test_rows: int = 0
    solution: bool = False
    runs: list[RunState] = field(default_factory=list)
    submissions: list[dict[str, Any]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    next: list[str] = field(default_factory=list)


def status(layout: Layout, comp: str | None) -> dict[str, Any]:
    """Shows what is done here, for each competition of which files are here, or for one; and what is next.

    Raises:
        FoldlineError: nothing here has the name `comp`.
    """
    facts = layout.known_comps()
    begun = {path.name for room in ROOMS for path in (layout.root / room).glob("*/") if path.name[:1] != "."}
    begun |= {path.stem for path in (layout.root / "folds").glob("*.json")}
    if comp is not None and comp not in {*facts, *begun}:
        raise unknown("competition", comp, {*facts, *begun}, more=f"foldline download --comp {comp} looks at Kaggle")
    names = [comp] if comp is not None else sorted(begun)
    states = [_state(layout, name) for name in names]
    untouched = [name for name in facts if name not in begun and comp is None]
    say("the line: download > folds > train > predict > ensemble > score or submit")
    for state in states:
        _say(state)
    first = _without_any(untouched) if not states else []
    if untouched:
        say(f"\n{len(untouched)} competitions have facts, and no files here: {first_few(untouched, 3)}")
    for line in first:
        say(f"  next: {line}")
    return {"competitions": states, "facts_only": untouched, "next": first}


def _without_any(untouched: list[str]) -> list[str]:
    """What to do in a folder in which nothing is done."""
    known = [name for name in ("elpv",) if name in untouched] or untouched[:1]
    own = ["foldline run PICTURES", "foldline download --comp SLUG", "foldline --help"]
    return [*(f"foldline download --comp {name}" for name in known), *own]


def _state(layout: Layout, comp: str) -> State:
    facts, manifest = layout.competition_config(comp).is_file(), layout.manifest(comp).is_file()
    state = State(comp, facts, manifest, solution=layout.holdout_solution(comp).is_file())
    if (meta := _read(state, FoldsMeta, layout.folds_meta(comp))) and layout.folds(comp).is_file():
        state.k, state.rows, state.test_rows = meta.k, meta.rows, meta.test_rows
    for folder in sorted(layout.runs(comp).glob("*/")):
        found = sorted(path for path in folder.glob("fold_*/") if path.name.removeprefix("fold_").isdigit())
        if found or (folder / "cv.json").is_file():
            state.runs.append(_run(state, folder, found))
    for path in sorted(layout.submission(comp, "a").parent.glob("*.json")):
        if (entry := _read(state, Entry, path)) and (entry.notebook or path.with_suffix(".csv").is_file()):
            told = {"name": entry.name, "file": entry.file, "metric": entry.metric, "cv": entry.score.pooled}
            sent = entry.kaggle.status if entry.kaggle else None
            state.submissions.append({**told, "public": entry.public, "private": entry.private, "kaggle": sent})
    state.next = _next(state)
    return state


def _run(state: State, folder: Path, folds: list[Path]) -> RunState:
    numbers = {int(path.name.removeprefix("fold_")): path for path in folds}
    done = sorted(k for k, path in numbers.items() if (path / "meta.json").is_file())
    run = RunState(folder.name, done, sorted(numbers.keys() - set(done)))
    if cv := _read(state, Cv, folder / "cv.json"):
        run.metric, run.score, run.interval, run.predicted = cv.metric, cv.pooled, cv.interval, True
        run.members, run.oof_of = cv.members, cv.oof_of
    return run


def _read(state: State, record: Any, path: Path) -> Any:
    """A record, None where there is none or it cannot be read: the stage that needs it says what to do."""
    try:
        return record.read_if_there(path)
    except FoldlineError as error:
        state.broken.append(f"{path.name}: {error.what}")
        return None


def _next(state: State) -> list[str]:
    """The commands that come next, the likeliest first."""
    comp = f"--comp {state.comp}"
    if not state.downloaded:
        return [f"foldline download {comp}"]
    if not state.k:
        return [f"foldline folds {comp}"]
    trained = [run for run in state.runs if not run.members]
    for run in trained:
        if not run.predicted:
            left = run.begun or (len(run.finished) < state.k and state.k not in run.finished)
            return [f"foldline {'train' if left else 'predict'} {comp} --run {run.name}"]
    if not trained:
        return [f"foldline train {comp} --run baseline"]
    sent = {entry["name"] for entry in state.submissions}
    missing = [f"foldline ensemble {comp} --run {run.name}" for run in state.runs if run.name not in sent]
    if not sent:
        return missing[:1]
    name = state.submissions[-1]["name"]
    graded = f"foldline {'score' if state.solution else 'submit'} {comp} --name {name}"
    several = [f"foldline compare {comp}"] if len(state.runs) > 1 else []
    return [*missing[:1], *([graded] if state.submissions[-1]["private"] is None else []), *several,
            f"foldline predict-files --run {name} {comp} FILES"][:3]  # fmt: skip


def _say(state: State) -> None:
    """A competition as a person reads it."""
    say(f"\n{state.comp}" + ("" if state.facts else f"  (no facts: configs/{state.comp}/competition.yaml)"))
    say(f"  download  {'input/' + state.comp + '/' if state.downloaded else '-'}")
    split = f"{counted(state.rows, 'rows')} in {counted(state.k, 'folds')}, {counted(state.test_rows, 'test rows')}"
    say(f"  folds     {split if state.k else '-'}")
    trained = [run for run in state.runs if run.finished or run.begun]
    predicted = [run for run in state.runs if run.predicted]
    _say_lines("train", [_training(run, state.k) for run in trained])
    _say_lines("predict", [_scored(run) for run in predicted])
    _say_lines("ensemble", [_handed(state.comp, one) for one in state.submissions])
    for line in state.broken:
        say(f"  cannot be read: {line}")
    for line in state.next[:1]:
        say(f"  next      {line}")
    for line in state.next[1:]:
        say(f"            {line}")


def _say_lines(stage: str, lines: list[str]) -> None:
    shown = lines[:SHOWN] or ["-"]
    for place, line in enumerate(shown):
        say(f"  {stage if place == 0 else '':<9} {line}")
    if len(lines) > SHOWN:
        say(f"            and {len(lines) - SHOWN} more")


def _training(run: RunState, k: int) -> str:
    if k and k in (*run.finished, *run.begun):
        return f"{run.name}: on all rows, {'trained' if run.finished else 'begun'}"
    begun = f", fold {', '.join(map(str, run.begun))} begun" if run.begun else ""
    return f"{run.name}: {len(run.finished)} of {k or '?'} folds{begun}"


def _scored(run: RunState) -> str:
    ends = [end for end in run.interval or () if end is not None]
    interval = f" (95 % {ends[0]:.4f} to {ends[1]:.4f})" if len(ends) == 2 else ""
    whose = f", by the folds of {run.oof_of}" if run.oof_of else ""
    return f"{run.name}: OOF {run.metric} {'undefined' if run.score is None else f'{run.score:.4f}'}{interval}{whose}"


def _handed(comp: str, one: dict[str, Any]) -> str:
    scores = [f"{key} {one[key]:.4f}" for key in ("public", "private") if one[key] is not None]
    return ", ".join([f"submissions/{comp}/{one['file']}", *scores, *([one["kaggle"]] if one["kaggle"] else [])])
