"""Where tasks and their driver leave letters for each other: an actor, which lives as long as the driver.

A task cannot be asked anything while it works, and a driver outside the cluster has no disk there: so tasks post what
they have to say, and are answered what to do; the driver comes by.
"""

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["began", "line", "files"]


@dataclass(frozen=True)
class Letter:
    """What a task says.

    Attributes:
        key: of the task, one for each try.
        kind: `began`: on which machine, and whether it sees the driver's files (content: a `Place`); `line`: a line
            of its command, an event of `--log json`; `files`: pieces that changed (a list of `parcel.Piece`).
    """

    key: str
    kind: Kind
    content: Any


@dataclass(frozen=True)
class Place:
    """Where a task runs.

    Attributes:
        machine: its name.
        root: the project folder there.
        shared: whether that is the driver's own.
    """

    machine: str
    root: str
    shared: bool


@dataclass(frozen=True)
class Answer:
    """What the driver says to a task.

    Attributes:
        stop: it is to end, politely.
        pieces: the files that it starts with; None: not known yet.
    """

    stop: bool = False
    pieces: Any = None


class Desk:
    """The letters that nobody has taken yet."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.pieces: dict[str, Any] = {}
        self.stopped: set[str] = set()

    def post(self, key: str, letters: list[Letter]) -> Answer:
        """A task leaves letters, which may be none, and takes its answer."""
        self.letters += letters
        return Answer(key in self.stopped, self.pieces.pop(key, None))

    def take(self) -> list[Letter]:
        """The driver takes all letters."""
        taken, self.letters = self.letters, []
        return taken

    def hand(self, key: str, pieces: Any) -> None:
        """The driver leaves the files that a task starts with."""
        self.pieces[key] = pieces

    def stop(self, keys: list[str]) -> None:
        """The driver wants these tasks to end."""
        self.stopped |= set(keys)
