"""The tests of `compiling.py`, in a process of their own: torch's compiler does not read code that slipcover measures,
and starts threads after which a process that is forked cannot train."""

import os
import subprocess
import sys
from pathlib import Path


def test_compiling() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-n0", str(Path(__file__).with_name("compiling.py"))]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
