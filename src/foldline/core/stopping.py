"""A polite end: SIGTERM (a cluster takes its machine back), a closed terminal and Ctrl-C end any stage in words.

The first signal raises KeyboardInterrupt at once, or, where something is to be finished and saved first, in `later`
a flag. The second one ends the process without a word: files are whole at any moment.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

TIED = "FOLDLINE_TIED"  # in the environment of a process that is to end where its parent does
_NAMES = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stop:
    """Whether the process was asked to end.

    Attributes:
        number: the signal's, 0 where there was none.
        waits: whether a part of the program asks `number` by itself.
    """

    def __init__(self) -> None:
        self.number = 0
        self.waits = False

    @property
    def asked(self) -> bool:
        """Whether a signal came."""
        return self.number > 0

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal ended."""
        return 128 + (self.number or signal.SIGINT)

    def ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """A signal's handler."""
        self.number = number
        for one in (getattr(signal, name) for name in _NAMES):
            if signal.getsignal(one) is not signal.SIG_IGN:  # `nohup`
                signal.signal(one, signal.SIG_DFL)
        if not self.waits:
            raise KeyboardInterrupt


_stop = Stop()


def is_asked() -> bool:
    """Whether the process was asked to end, and has not ended yet."""
    return _stop.asked


@contextmanager
def signals() -> Iterator[Stop]:
    """Handles the signals while the block runs; elsewhere than in the main thread they stay as they are.

    A signal that is ignored (`nohup`) stays so, but for those that a person sends by hand.
    """
    global _stop  # noqa: PLW0603 - signals belong to the process
    before = _stop
    _stop = stop = Stop()
    numbers = [getattr(signal, name) for name in _NAMES]
    numbers = [n for n in numbers if signal.getsignal(n) is not signal.SIG_IGN or n in (signal.SIGINT, signal.SIGTERM)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    handlers = {number: signal.signal(number, stop.ask) for number in numbers}
    try:
        yield stop
    finally:
        _stop = before
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def later() -> Iterator[Stop]:
    """Lets the block finish what it does: a signal is a flag there, which the block asks for at times."""
    before, _stop.waits = _stop.waits, True
    try:
        yield _stop
    finally:
        _stop.waits = before


@contextmanager
def undivided() -> Iterator[None]:
    """A moment's work that a signal does not divide: what it would raise is raised behind the block."""
    number = _stop.number
    with later() as stop:
        yield
    if stop.number != number and not stop.waits:
        raise KeyboardInterrupt


@contextmanager
def undisturbed() -> Iterator[None]:
    """A thread that is started here gets no signals: they come to the main thread at once, as without it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """Where a parent said so: ends this process as a signal does when its standard input ends, which the parent holds.

    However the parent ends: a pipe is closed for it, on any system.
    """
    if not os.environ.pop(TIED, ""):
        return

    def watch() -> None:
        while os.read(0, 1000):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    with undisturbed():
        threading.Thread(target=watch, name="foldline-parent", daemon=True).start()
