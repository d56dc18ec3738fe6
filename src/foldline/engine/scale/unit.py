"""The unit of work: one fold of a run, as a command that can be started anywhere and any number of times."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Unit:
    """One fold of a run: its command trains it, goes on where that was interrupted, does nothing where it is finished.

    Attributes:
        comp, run, name, overrides: as `foldline train` takes them.
        device: as `--device` takes it.
    """

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

    def command(self, root: Path, *further: str) -> list[str]:
        """The command line of a child process.

        Args:
            root: the folder that holds input/, folds/ and oof/, as that process sees it.
            further: arguments of `foldline train` besides.
        """
        named = ["--name", self.name] if self.name else []
        changed = ["--set", shlex.join(self.overrides)] if self.overrides else []
        return [
            sys.executable, "-m", "foldline", "train", "--root", str(root), "--comp", self.comp, "--run", self.run,
            *named, *changed, "--fold", str(self.fold), "--device", self.device, *further,
        ]  # fmt: skip
