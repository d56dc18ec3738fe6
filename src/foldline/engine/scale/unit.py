"""The unit of work: one fold of a run, or a share of its rows, as a command that can be started anywhere and any number
of times.
"""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar


@dataclass(frozen=True)
class Unit:
    """One fold of a run: its command trains it, goes on where that was interrupted, does nothing where it is finished.

    Attributes:
        comp, run, name, overrides: as `foldline train` takes them.
        device: as `--device` takes it.
    """

    many: ClassVar[str] = "folds"

    comp: str
    run: str
    fold: int
    name: str = ""
    overrides: tuple[str, ...] = ()
    device: str = "auto"

    @property
    def title(self) -> str:
        """What messages call it.

        >>> Unit("elpv", "baseline", 2).title
        'elpv/baseline, fold 2'
        """
        return f"{self.comp}/{self.name or self.run}, fold {self.fold}"

    @property
    def short(self) -> str:
        """The same in a table, such as `baseline/2`."""
        return f"{self.name or self.run}/{self.fold}"

    @property
    def about(self) -> dict[str, Any]:
        """The same for a program."""
        return {"run": self.name or self.run, "fold": self.fold}

    def command(self, root: Path, *further: str) -> list[str]:
        """The command line of a child process.

        Args:
            root: the folder that holds input/, folds/ and oof/, as that process sees it.
            further: arguments of `foldline train` besides.
        """
        return _command("train", self, root, "--fold", str(self.fold), *further)


@dataclass(frozen=True)
class ShardUnit:
    """A share of a run's rows: its command predicts it, and does nothing where that is done.

    Attributes:
        index, of: which one, counted from 0, of how many.
        comp, run, name, overrides: as `foldline predict` takes them.
    """

    many: ClassVar[str] = "shares of the rows"

    comp: str
    run: str
    index: int
    of: int
    name: str = ""
    overrides: tuple[str, ...] = ()
    device: str = "auto"

    @property
    def title(self) -> str:
        """What messages call it.

        >>> ShardUnit("elpv", "baseline", 2, 4).title
        'elpv/baseline, shard 2/4'
        """
        return f"{self.comp}/{self.name or self.run}, shard {self.index}/{self.of}"

    @property
    def short(self) -> str:
        """The same in a table."""
        return f"{self.name or self.run} {self.index}/{self.of}"

    @property
    def about(self) -> dict[str, Any]:
        """The same for a program."""
        return {"run": self.name or self.run, "shard": f"{self.index}/{self.of}"}

    def command(self, root: Path, *further: str) -> list[str]:
        """The command line of a child process, as a `Unit`'s."""
        return _command("predict", self, root, "--shard", f"{self.index}/{self.of}", *further)


Work = Unit | ShardUnit  # whatever can be started anywhere and any number of times


def _command(stage: str, work: Work, root: Path, *further: str) -> list[str]:
    named = ["--name", work.name] if work.name else []
    changed = ["--set", shlex.join(work.overrides)] if work.overrides else []
    return [
        sys.executable, "-m", "foldline", stage, "--root", str(root), "--comp", work.comp, "--run", work.run,
        *named, *changed, "--device", work.device, *further,
    ]  # fmt: skip
