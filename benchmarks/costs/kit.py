"""What every row of `benchmarks/scale.py` is: a stage on generated files, at several sizes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log

GIB = 2**30
AT_MOST = 2 * GIB


@dataclass(frozen=True)
class Cost:
    """One stage; its module has `run(folder, rows)`, and `prepare(folder, rows)` that makes files and is not measured.

    Attributes:
        words: what is done, and what is left out of it.
        sizes: numbers of rows, ascending.
        most_bytes: of peak memory, imports included; None: of no goal.
        most_seconds: at the greatest size; None: of no goal.
    """

    words: str
    sizes: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    most_bytes: int | None = AT_MOST
    most_seconds: float | None = None


@dataclass
class Measured:
    """Seconds and peak memory in bytes, by the number of rows; or why there are none."""

    name: str
    cost: Cost
    seconds: dict[int, list[float]] = field(default_factory=dict)
    peak: dict[int, list[int]] = field(default_factory=dict)
    missing: dict[int, str] = field(default_factory=dict)


def growth(small: float, large: float, times: float) -> float:
    """The exponent by which seconds grow with rows: 1 is linear.

    >>> growth(1.0, 10.0, 10), round(growth(2.0, 200.0, 10), 6)
    (1.0, 2.0)
    """
    return log(max(large, 1e-9) / max(small, 1e-9)) / log(times)


def seconds_shown(values: Sequence[float]) -> str:
    """The median; the range where there are several.

    >>> seconds_shown([1.234]), seconds_shown([3.0, 1.0, 2.0])
    ('1.2', '2.0 (1.0 to 3.0)')
    """
    ordered = sorted(values)
    middle = f"{ordered[len(ordered) // 2]:.1f}"
    return middle if len(ordered) == 1 else f"{middle} ({ordered[0]:.1f} to {ordered[-1]:.1f})"
