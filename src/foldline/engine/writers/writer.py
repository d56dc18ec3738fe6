"""What a writer is: one curve file, server or page that gets a copy of a fold's numbers while it trains.

foldline's own `steps.csv` and `log.csv` are the truth; a writer holds a copy for the eyes. Its library is imported
where it is opened, and whatever it raises ends itself alone (`engine.writers.mirror`).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

Ended = Literal["finished", "stopped", "failed"]
STEP_LOSS = "step/loss"  # the number that every point of an optimizer step has
EPOCH = "epoch"  # and that of an epoch's end
NONE = -1  # a place behind which no point lies


@dataclass(frozen=True)
class Logged:
    """What is logged: one fold of a run, or the run's cross-validation.

    Attributes:
        part: `fold_<k>` or `cv`.
        id: of this training: one that begins anew has another.
        root: the project's folder; folder: the run's.
        config: every setting by its dotted name, and the facts that a person filters by.
    """

    comp: str
    run: str
    part: str
    id: str
    root: Path
    folder: Path
    config: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What lists of runs call it."""
        return f"{self.run}/{self.part}"

    @property
    def tags(self) -> dict[str, str]:
        """What lists of runs are filtered by."""
        fold = {"fold": self.part.removeprefix("fold_")} if self.part.startswith("fold_") else {}
        return {"comp": self.comp, "run": self.run, **fold}


@dataclass(frozen=True)
class Point:
    """Numbers after so many optimizer steps of the fold; each number of steps has one point, the start's is 0."""

    step: int
    numbers: Mapping[str, float]


class Writer(ABC):
    """One copy of one fold's curves. All its methods are called by one thread, which is not the training's.

    Attributes:
        package: what must be installed; extra: which extra of foldline brings it.
        notes_first: whether what was sent is noted before it is sent. A process that is killed in between loses
            these points then; otherwise it sends them again, which the writer must take.
    """

    package: ClassVar[str]
    extra: ClassVar[str]
    notes_first: ClassVar[bool] = False

    def __init__(self, of: Logged) -> None:
        self.of = of

    @abstractmethod
    def open(self, sent: int) -> int:
        """Begins, or goes on with what an earlier process of this training began.

        Args:
            sent: the step of the last point that was sent by then; `NONE`: a new training.

        Returns:
            The step of the last point that is there to stay, `NONE` where there is none: those behind it are sent.
        """

    @abstractmethod
    def add(self, points: Sequence[Point]) -> None:
        """Writes points, in the order of their steps, so that nothing is lost if the process is killed."""

    @abstractmethod
    def summary(self, numbers: Mapping[str, float]) -> None:
        """Writes the final numbers."""

    @abstractmethod
    def close(self, ended: Ended) -> None:
        """Ends it; a training that was `stopped` may go on later."""

    @property
    @abstractmethod
    def where(self) -> str:
        """Where it is looked at, in a few words."""
