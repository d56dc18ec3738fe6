"""`steps.csv`: the learning rate and loss of each optimizer step, appended while a fold trains."""

import os
from pathlib import Path

from foldline.core.progress import say
from foldline.core.tables import write_text

HEADER = "step,epoch,lr,loss\n"


class StepsLog:
    """Lines are kept in memory until `flush`; a resume cuts the file to the lines that its resume point knows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[str] = []
        self.written = 0

    def add(self, step: int, epoch: int, lr: float, loss: float) -> None:
        """One step; steps count from 0, epochs from 1."""
        self.lines.append(f"{step},{epoch},{lr!r},{loss!r}\n")

    def flush(self) -> int:
        """Appends what was added; returns how many lines the file has, without its header."""
        with self.path.open("a", encoding="utf-8") as handle:
            handle.writelines(self.lines)
            handle.flush()
            os.fsync(handle.fileno())
        self.written += len(self.lines)
        self.lines = []
        return self.written

    def cut(self, lines: int) -> None:
        """Begins the file, or keeps its first `lines` lines: what was written after the resume point is done again."""
        kept = [HEADER]
        if lines and self.path.is_file():
            kept = self.path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)[: lines + 1]
        if len(kept) - 1 < lines:
            say(f"warning: {self.path} lacks {lines + 1 - len(kept)} of the {lines} steps that were done")
        write_text(self.path, "".join(kept))
        self.written, self.lines = len(kept) - 1, []


class NoStepsLog(StepsLog):
    """Writes nothing, since another rank does."""

    def add(self, step: int, epoch: int, lr: float, loss: float) -> None:
        """Nothing."""

    def flush(self) -> int:
        """Nothing."""
        return 0

    def cut(self, lines: int) -> None:
        """Nothing."""
