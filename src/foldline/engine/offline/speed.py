"""What a picture takes, as measured so far, and what the rest will take. Reads and writes nothing."""

from collections import defaultdict
from dataclasses import dataclass, field

from foldline.engine.offline.levels import Level


@dataclass
class Speed:
    """Seconds that were spent, and what for.

    Attributes:
        overlapped: whether pictures are decoded while networks predict, on other hardware: then the slower one counts.
        picture_seconds: of decoding one picture, by all threads together.
    """

    overlapped: bool
    picture_seconds: float = 0.0
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
        """Seconds of a row in a level, by forecast."""
        predicting = sum(share.passes * self.of_pass(share.run) for share in level)
        both = (self.picture_seconds, predicting)
        return max(both) if self.overlapped else sum(both)
