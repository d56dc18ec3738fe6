"""The clock of a whole training: what is planned, what is done, and what is left. Reads and writes nothing."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FoldPlan:
    """What training one fold takes, in seconds.

    Attributes:
        start_s: before the first step; end_s: after the last epoch.
        steps: batches an epoch; step_s: of one of them, its pictures made ready.
        epoch_end_s: of validation and the resume point behind each epoch.
    """

    start_s: float
    epochs: int
    steps: int
    step_s: float
    epoch_end_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        """Of the whole fold."""
        return self.start_s + self.epochs * (self.steps * self.step_s + self.epoch_end_s) + self.end_s


def in_minutes(seconds: float) -> str:
    """A stretch of time as a person says it.

    >>> in_minutes(4.2), in_minutes(41), in_minutes(95), in_minutes(840), in_minutes(9000)
    ('4 s', '41 s', '1.6 min', '14 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    if minutes < 9.95:
        return f"{minutes:.1f} min"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
