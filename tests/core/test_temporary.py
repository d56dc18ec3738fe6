"""No test leaves anything in the folder of temporary files, not even a process that was killed."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path


def test_a_killed_process_leaves_nothing_where_nobody_looks(tmp_path: Path) -> None:
    """Its folder lies in that of the tests, which goes when they end."""
    dies = "import os, signal, tempfile; print(tempfile.mkdtemp(), flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    found = subprocess.run([sys.executable, "-c", dies], capture_output=True, text=True, check=False)
    folder = Path(found.stdout.strip())
    assert found.returncode < 0
    assert folder.is_dir()
    assert folder.parent == Path(tempfile.gettempdir()) == Path(os.environ["TMPDIR"])
    assert folder.parent.name.startswith("foldline-tests-")
    assert not tmp_path.is_relative_to(folder.parent), "what a test made can be looked at afterwards"
