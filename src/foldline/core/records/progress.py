"""`oof/<comp>/<run>/progress.json`: where a training stands just now, for whoever watches it. Disposable."""

import json
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Literal, Self

from foldline.core.errors import FoldlineError
from foldline.core.processes import is_gone
from foldline.core.records.record import Record
from foldline.core.tables import temporary_name

State = Literal["preparing", "training", "validating", "paused", "finished", "failed", "stopped", "interrupted"]
AT_WORK = ("preparing", "training", "validating", "paused")


class RunProgress(Record):
    """The clock of one training process.

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
        if found is not None and found.state in AT_WORK and is_gone(path, found.process):
            return found.changed(state="interrupted")
        return found
