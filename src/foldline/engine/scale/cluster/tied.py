"""A command that ends with whoever started it: `python -m foldline.engine.scale.cluster.tied PARENT COMMAND ...`

A worker that is killed (its machine's memory is full, the cluster takes it back) says nothing to its child any more,
and a child that trains on would write beside the one that is started elsewhere.
"""

import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def tied_command(command: Sequence[str]) -> list[str]:
    """The command line that starts `command` so that it ends with this process."""
    return [sys.executable, "-m", __name__, str(os.getpid()), *command]


def main(arguments: Sequence[str]) -> None:
    """Becomes the command; where the system has no such tie (macOS, Windows), without it."""
    parent, *command = arguments
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):  # it died before
            sys.exit(1)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())  # Ray blocks Ctrl-C in its workers
    os.execv(command[0], list(command))  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
