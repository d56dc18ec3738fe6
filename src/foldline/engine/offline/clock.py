"""The time that is left to a notebook, and an alarm where something takes longer. Reads and writes nothing."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

WRITING_SHARE, WRITING_SECONDS = 0.05, 300.0  # of the limit, at most so long: kept for blending and writing
AGAIN_SECONDS = 5.0  # an alarm that a destructor swallowed comes again


class TimeIsUp(BaseException):
    """The alarm. No `except Exception` of a library may take it for an error of its own."""


@dataclass(frozen=True)
class Clock:
    """What may be spent.

    Attributes:
        limit_seconds: from `started` on.
        started: of the notebook, as `now` tells it.
        now: seconds that only grow.
    """

    limit_seconds: float
    started: float
    now: Callable[[], float] = time.monotonic

    @property
    def spent(self) -> float:
        """Seconds since the notebook started."""
        return self.now() - self.started

    @property
    def left(self) -> float:
        """Seconds until the file must be written; below 0 where it is late."""
        return self.limit_seconds - min(WRITING_SHARE * self.limit_seconds, WRITING_SECONDS) - self.spent


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raises TimeIsUp inside the block after so many seconds, whatever is going on there; at once where none are left.

    Elsewhere than in the main thread, or on a system without such alarms, only a block that begins too late is ended.
    """
    if seconds <= 0:
        raise TimeIsUp
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _ring(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise TimeIsUp
