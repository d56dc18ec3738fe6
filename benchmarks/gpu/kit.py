"""What every part uses: where it runs, the lines that it writes, and a clock that waits for the device."""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PASS, FAIL, NOT_APPLICABLE = "pass", "fail", "n/a"


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        number: what was measured, in words; empty where nothing was.
        goal: what it is held against.
        note: why it does not apply or failed, or what else there is to know.
        seconds: since the line before it.
        values: the numbers themselves, for the JSON file.
    """

    part: str
    what: str
    number: str
    goal: str
    verdict: str
    seconds: float = 0.0
    note: str = ""
    values: dict[str, Any] = field(default_factory=dict)


@dataclass
class Setting:
    """Where a part runs, and where its lines go.

    Attributes:
        device: cpu, cuda or cuda:1.
        small: the rehearsal's size: tiny networks, few steps, and no speed is judged.
        folder: the generated project, which all parts read and train in.
        file: one JSON object a line of the table; what a part that dies has written stays.
    """

    device: str
    small: bool
    folder: Path
    file: Path
    part: str
    last: float = field(default_factory=time.monotonic)

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a CUDA device."""
        return self.device.startswith("cuda")

    def judge(self, what: str, number: str, goal: str, good: bool, note: str = "", **values: Any) -> None:
        """A line that passes or fails."""
        self._write(what, number, goal, PASS if good else FAIL, note, values)

    def speed(self, what: str, number: str, goal: str, good: bool, note: str = "", **values: Any) -> None:
        """A line about speed or memory: judged on a GPU at full size alone."""
        if self.on_gpu and not self.small:
            self.judge(what, number, goal, good, note, **values)
        else:
            why = "speed is judged on a GPU at full size"
            self._write(what, number, goal, NOT_APPLICABLE, f"{note}; {why}" if note else why, values)

    def skip(self, what: str, why: str, number: str = "", **values: Any) -> None:
        """A line that does not apply here."""
        self._write(what, number, "", NOT_APPLICABLE, why, values)

    def _write(self, what: str, number: str, goal: str, verdict: str, note: str, values: dict[str, Any]) -> None:
        now = time.monotonic()
        line = Line(self.part, what, number, goal, verdict, round(now - self.last, 1), note, values)
        self.last = now
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(line)) + "\n")
        print(f"({self.part}) {what}: {number} {verdict} {note}", flush=True)


def read_lines(file: Path) -> list[Line]:
    """The lines that a part has written; a last one that is cut off is left out."""
    found = []
    for text in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        try:
            found.append(Line(**json.loads(text)))
        except ValueError:
            continue
    return found


def wait(device: str) -> None:
    """Until the device has done everything."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], object], device: str) -> float:
    """The seconds of one call, the device's work included."""
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - start


def step_seconds(step: Callable[[], object], device: str, *, warm: int, steps: int, repeats: int = 3) -> list[float]:
    """Seconds a step: one number for each of `repeats` blocks of `steps`, after `warm` steps that are not timed."""

    def block() -> None:
        for _ in range(steps):
            step()

    for _ in range(warm):
        step()
    return [seconds_of(block, device) / steps for _ in range(repeats)]


def spread(values: list[float], form: str = ".0f") -> str:
    """The median and the range in words.

    >>> spread([3.0, 1.0, 2.0])
    '2 (1 to 3)'
    """
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def median(values: list[float]) -> float:
    """The median."""
    return float(statistics.median(values))
