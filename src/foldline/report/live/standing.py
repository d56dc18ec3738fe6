"""Where a run stands, in words: waiting, training, paused, finished, failed, or without a process.

Reads `progress.json`, `first_score.json`, `cv.json` and the folds' locks; writes only the file that pauses a training.
"""

from dataclasses import dataclass
from typing import Any

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.processes import is_held
from foldline.core.records.cv import Cv
from foldline.core.records.first_score import FirstScore
from foldline.core.records.progress import RunProgress
from foldline.core.run import Run
from foldline.core.run_folder import stored_run, wanted_folds
from foldline.core.typed import as_typed
from foldline.report.look.formats import listing


@dataclass(frozen=True)
class Standing:
    """Where a run stands.

    Attributes:
        kind: waiting, preparing, training, validating, paused, finished, failed, stopped, gone (its process), idle.
        words: one or two sentences.
    """

    kind: str
    words: str

    @property
    def can_pause(self) -> bool:
        """Whether a process is there that would heed it."""
        return self.kind in ("preparing", "training", "validating", "paused")


def standing(layout: Layout, comp: str, run: str, done: list[int], wanted: list[int], begun: bool) -> Standing:
    """Where the run stands.

    Args:
        done: the folds that are finished; wanted: all that make the run complete.
        begun: whether a fold has a log.
    """
    now = RunProgress.now(layout.progress(comp, run))
    again = as_typed(f"make train-all COMP={comp} RUN={run}")
    gone = Standing("gone", f"Was it killed? It goes on from its resume point with: {again}")
    if wanted and not set(wanted) - set(done):
        return Standing(
            "finished",
            f"All {counted(len(wanted), 'folds are')} finished." if len(wanted) > 1 else "The fold is finished.",
        )
    if now is not None and now.state in ("failed", "stopped", "interrupted"):
        return {
            "failed": Standing("failed", _sentence(now.what) or "Its own terminal says why."),
            "stopped": Standing("stopped", f"Stopped by a person or the system. It goes on with: {again}"),
            "interrupted": gone,
        }[now.state]
    if now is not None and now.state != "finished":
        return Standing(now.state, _at_work(now, begun))
    locks = [path for fold in wanted if (path := layout.fold(comp, run, fold) / ".lock").is_file()]
    if locks:
        return Standing("training", "Training.") if any(map(is_held, locks)) else gone
    if done or begun:
        left = [fold for fold in wanted if fold not in done]
        finished = f"Finished: {_folds(done)}. " if done else ""
        return Standing("idle", f"{finished}Nothing trains {_folds(left)} now.")
    return Standing("waiting", f"Waiting for a training to begin: {again}")


def _at_work(now: RunProgress, begun: bool) -> str:
    if now.state == "paused":
        return "Paused: the training waits, and keeps its memory, until it goes on."
    if now.state == "preparing":
        return _sentence(now.what) or "Pictures and weights are made ready."
    waits = "" if begun else " Waiting for the first epoch."
    return ("Validating." if now.state == "validating" else "Training.") + waits


def _sentence(words: str) -> str:
    """The words with a capital letter and a full stop.

    >>> _sentence("pictures are decoded"), _sentence("")
    ('Pictures are decoded.', '')
    """
    return f"{words[:1].upper()}{words[1:].rstrip('.')}." if words else ""


def _folds(folds: list[int]) -> str:
    return f"fold{'s' if len(folds) > 1 else ''} {listing([str(fold) for fold in folds])}"


def clock(layout: Layout, comp: str, run: str) -> dict[str, Any] | None:
    """What the training says of its progress, as a JSON value; None where it says nothing."""
    now = RunProgress.now(layout.progress(comp, run))
    return None if now is None else now.model_dump(mode="json", exclude={"process", "schema_version"})


def first_score(layout: Layout, comp: str, run: str) -> dict[str, Any] | None:
    """The probe's score before fine-tuning, as a JSON value; None where there is none."""
    try:
        first = FirstScore.read_if_there(layout.first_score(comp, run))
    except FoldlineError:  # it is being replaced, or of a later version
        return None
    return None if first is None else first.model_dump(mode="json", exclude={"schema_version"})


def final_score(layout: Layout, comp: str, run: str) -> dict[str, Any] | None:
    """The pooled score of the finished run with its interval; None before `make predict`."""
    try:
        cv = Cv.read_if_there(layout.run(comp, run) / "cv.json")
    except FoldlineError:
        return None
    return None if cv is None else {"pooled": cv.pooled, "interval": cv.interval, "level": cv.level, "rows": cv.rows}


def plan(layout: Layout, comp: str, run: str, k: int) -> tuple[list[int], int]:
    """The folds that make the run complete, and the epochs of each, 0 where nothing says it yet."""
    choices: Run | None = stored_run(layout, comp, run)
    return (list(range(k)), 0) if choices is None else (wanted_folds(choices, k), choices.train.epochs)


def set_pause(layout: Layout, comp: str, run: str, paused: bool) -> None:
    """Asks the training to wait, or to go on."""
    path = layout.pause(comp, run)
    if paused:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    else:
        path.unlink(missing_ok=True)
