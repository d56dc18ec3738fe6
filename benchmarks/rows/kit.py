"""What every row of `make bench` is: sides that do the same work, each timed in a process of its own."""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PEER = "fastai"  # the side that needs requirements-bench.txt
FOLDLINE = "foldline"


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        words: what is done.
        unit: of each side's number: "s", or "images/s".
        sides: foldline first, then what it is held against.
        goal: in words; of the seconds, foldline's divided by the other's.
        repeats: of each side, in turn.
    """

    words: str
    unit: str
    sides: tuple[str, ...]
    goal: str = ""
    repeats: int = 3


@dataclass
class Measured:
    """The numbers of each side, or why there are none."""

    name: str
    row: Row
    values: dict[str, list[float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def seconds_ratio(self, other: str) -> float | None:
        """foldline's seconds divided by the other side's; below 1 foldline is faster."""
        if not self.values.get(FOLDLINE) or not self.values.get(other):
            return None
        ours, theirs = (statistics.median(self.values[side]) for side in (FOLDLINE, other))
        return ours / theirs if self.row.unit == "s" else theirs / ours


Side = Callable[[Path, bool], float]  # (the generated project, small) -> the number


def main(sides: dict[str, Side]) -> None:
    """A row's script: does one side, and prints its number as JSON in the last line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=list(sides))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args()
    value = sides[given.side](given.folder, given.small)
    print(json.dumps({"value": value}))


def rate(work: Callable[[], int], blocks: int = 3) -> float:
    """Images/s: the best of some blocks after one that is not counted; others on the machine only ever slow it."""
    work()
    speeds = []
    for _ in range(blocks):
        start = time.perf_counter()
        images = work()
        speeds.append(images / (time.perf_counter() - start))
    return max(speeds)


def shown(values: Sequence[float]) -> str:
    """The median and the range.

    >>> shown([80.0, 88.1, 90.0]), shown([0.5, 0.25, 0.75])
    ('88.1 (80.0 to 90.0)', '0.500 (0.250 to 0.750)')
    """
    form = ".0f" if min(values) >= 200 else ".1f" if min(values) >= 10 else ".3f"
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def say(text: str) -> None:
    """To standard error, which nobody parses."""
    print(text, file=sys.stderr, flush=True)
