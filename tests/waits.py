"""A rank that waits for SIGTERM: `python -m waits FOLDER` says there when it is ready, and when it was asked to end."""

import os
import signal
import sys
import time
from pathlib import Path


def end(*_: object) -> None:
    """As a training does, behind its resume point."""
    (folder / f"asked-{number}").touch()
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    folder, number = Path(sys.argv[1]), os.environ["RANK"]
    signal.signal(signal.SIGTERM, end)
    (folder / f"ready-{number}").touch()
    time.sleep(60)
