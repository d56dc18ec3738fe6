"""Parts that fail on purpose, for the test of the runner; only asked for by name."""

import os
import time

from gpu.kit import Setting


def raises(setting: Setting) -> None:
    """Writes a line, then raises."""
    setting.judge("before the fault", "1", "1", good=True)
    raise RuntimeError("made up")


def crashes(setting: Setting) -> None:
    """Ends the process at once, as a fault in a library does."""
    os.abort()


def hangs(setting: Setting) -> None:
    """Never comes back."""
    time.sleep(600)
