"""What a picture takes, as measured so far, and what the rest will take. Reads and writes nothing."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from foldline.engine.offline.levels import Level


@dataclass
class Speed:
    """Seconds that were spent, and what for.

    Attributes:
        picture_seconds: says what decoding a picture takes, by all threads together.
    """

    picture_seconds: Callable[[], float] = lambda: 0.0
    _seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _passes: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, run: str, passes: int, seconds: float) -> None:
        """A member's networks saw pictures so often, in that time."""
        self._seconds[run] += seconds
        self._passes[run] += passes

    def forget(self) -> None:
        """Drops what was measured on the first batch, which is slower than the others."""
        self._seconds.clear()
        self._passes.clear()

    def of_pass(self, run: str) -> float:
        """Seconds of one picture through one network of a run."""
        return self._seconds[run] / max(self._passes[run], 1)

    def of_row(self, level: Level) -> float:
        """Seconds of a row in a level, by forecast: pictures are decoded ahead, so the slower of the two counts.

        What decoding takes from networks on the same cores is in what was measured.
        """
        return max(self.picture_seconds(), sum(share.passes * self.of_pass(share.run) for share in level))
