"""`oof/<comp>/<run>/progress.json`: where a training stands just now, for whoever watches it. Disposable.

One process at a time writes it; others that train folds of the same run write `fold_<k>/progress.json`, and the one
adds what they say. Where it ends first, another one goes on.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Literal, Self

from foldline.core.errors import FoldlineError
from foldline.core.processes import is_gone, owner
from foldline.core.records.record import Part, Record
from foldline.core.tables import temporary_name

State = Literal["preparing", "training", "validating", "paused", "finished", "failed", "stopped", "interrupted"]
AT_WORK = ("preparing", "training", "validating", "paused")


class RunningFold(Part):
    """One of several folds that are trained at once; the fields are those of `RunProgress`."""

    fold: int | None
    state: State
    what: str = ""
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    seconds_left: float | None = None
    best: float | None = None


class RunProgress(Record):
    """The clock of one training process, or of all that train folds of a run at once.

    Attributes:
        process: whose it is (`core.processes.owner`).
        state: `stopped`: by Ctrl-C or a signal; `interrupted`: never written, its process is gone.
        what: in words, what is done or what went wrong.
        fold: that is trained now; folds: all that this process trains; folds_done: of these.
        epoch: of the fold, from 1, 0 is the start; epochs: of each fold.
        step: of the epoch's `steps` batches.
        seconds_done, seconds_left: of the whole job.
        best: the pooled score of the validation rows so far.
        metric: its name.
        running: the folds that several processes train at once; empty where there is one.
        started, updated, ends: ISO times in UTC.
    """

    made_by: ClassVar[str] = "delete this file: the training that runs writes it anew"

    process: str
    state: State
    what: str = ""
    fold: int | None = None
    folds: list[int] = []
    folds_done: list[int] = []
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    seconds_done: float = 0.0
    seconds_left: float | None = None
    best: float | None = None
    metric: str = ""
    started: str = ""
    updated: str = ""
    ends: str | None = None
    running: list[RunningFold] = []

    def show(self, path: Path) -> None:
        """Writes the file whole, but does not wait for the disk: it is made anew every two seconds. A disk that is
        full is the next resume point's matter."""
        content = {"schema": self.schema_version} | self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        temporary = temporary_name(path)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(content), encoding="utf-8")
            temporary.replace(path)

    @classmethod
    def now(cls, path: Path) -> Self | None:
        """What stands there, `interrupted` where the process at work is gone; None: no file, or a broken one."""
        try:
            found = cls.read_if_there(path)
        except FoldlineError:
            return None
        if found is None or found.state not in AT_WORK or not is_gone(path, found.process):
            return found
        others = at_work(path.parent)  # the process that wrote for all is gone, and one of them will write in a moment
        if others:
            return cls.model_validate(others[0].with_others(others[1:]).model_dump(by_alias=True, exclude_unset=True))
        return found.changed(state="interrupted")

    def with_others(self, others: list["RunProgress"]) -> "RunProgress":
        """Where all stand together: the job ends with the last one, and a score is each fold's own."""
        if not others:
            return self
        own = [self] if self.fold is not None or len(self.folds) == 1 else []  # else it only starts the others
        parts = [
            RunningFold(
                **one.model_dump(include=RunningFold.model_fields.keys() - {"fold"}),
                fold=one.folds[0] if one.fold is None and one.folds else one.fold,
            )
            for one in [*own, *others]
        ]
        left = [one.seconds_left for one in [self, *others] if one.seconds_left is not None]
        ends = [one.ends for one in [self, *others] if one.ends is not None]
        return self.changed(
            folds=sorted({fold for one in [self, *others] for fold in one.folds}),
            folds_done=sorted({fold for one in [self, *others] for fold in one.folds_done}),
            seconds_left=max(left) if left else None, ends=max(ends) if ends else None,
            running=[part.model_dump() for part in sorted(parts, key=lambda part: part.fold or 0)],
        )  # fmt: skip


def at_work(folder: Path) -> list[RunProgress]:
    """What processes that train one fold say in a run's folder, by fold, as long as they do so."""
    found = [RunProgress.now(path) for path in sorted(folder.glob("fold_*/progress.json"))]
    return [one for one in found if one is not None and one.state in AT_WORK]


def tell(folder: Path, mine: RunProgress, place: Path | None) -> None:
    """Writes where this process stands: for all that are at work on the run, unless another one does so already.

    Args:
        folder: the run's.
        place: of this process's fold, for its own word where another one writes for all.
    """
    path, me = folder / "progress.json", owner()
    shown = RunProgress.now(path)
    if shown is not None and shown.state in AT_WORK and shown.process != me and place is not None:
        mine.show(place / "progress.json")
        return
    mine.with_others([one for one in at_work(folder) if one.process != me]).show(path)
    if place is not None:
        forget(place)


def forget(place: Path) -> None:
    """Removes what this process said in a fold's folder."""
    path = place / "progress.json"
    with suppress(OSError, FoldlineError):
        known = RunProgress.read_if_there(path)
        if known is not None and known.process == owner():
            path.unlink(missing_ok=True)
