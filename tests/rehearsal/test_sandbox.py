"""A rehearsed script has no network, cannot write to its inputs, and is ended at its limits, in words."""

import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from foldline.core.errors import FoldlineError
from foldline.rehearsal import guard, sandbox
from foldline.rehearsal.environment import fresh_environment
from foldline.rehearsal.notebook import script_of
from foldline.rehearsal.sandbox import Limits, Outcome, run_script
from foldline.rehearsal.tree import set_modes, stamp

CONNECT = "import socket; socket.create_connection(('127.0.0.1', 9))"


def run(root: Path, text: str, *, seconds: float = 60, memory_bytes: float = 4e9) -> tuple[Outcome, str]:
    """What comes of a script, and what it said."""
    for name in ("inputs", "working"):
        (root / name).mkdir(exist_ok=True)
    (root / "inputs" / "a.csv").write_text("id\n")
    (root / "script.py").write_text(text)
    outcome = run_script(
        Path(sys.executable),
        root / "script.py",
        inputs=root / "inputs",
        folder=root / "working",
        log=root / "log",
        limits=Limits(seconds, memory_bytes),
        variables={"GIVEN": "yes"},
    )
    return outcome, (root / "log").read_text()


def test_a_script_runs_in_its_folder_with_its_variables(tmp_path: Path) -> None:
    outcome, said = run(tmp_path, "import os; open('out.txt', 'w').write(os.environ['GIVEN']); print('done')")
    assert (outcome.code, outcome.ended, said) == (0, "", "done\n")
    assert (tmp_path / "working" / "out.txt").read_text() == "yes"


@pytest.mark.parametrize("namespaces", [True, False])
def test_a_connection_fails_in_words(namespaces: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not namespaces:
        monkeypatch.setattr(sandbox, "_allowed", lambda *_: False)
    outcome, said = run(tmp_path, CONNECT)
    assert outcome.code != 0
    assert "no network in a rehearsal" in said
    assert ("guard" in outcome.isolation) >= (not namespaces)


def test_the_guard_is_in_the_program_alone() -> None:
    assert guard.__name__ == "foldline.rehearsal.guard"
    assert socket.socket.__module__ == "socket"


def test_a_program_that_is_no_python_has_no_network_either(tmp_path: Path) -> None:
    if "network" not in sandbox.isolated(tmp_path)[1] or not sandbox.isolated(tmp_path)[0]:
        pytest.skip("this system allows no namespaces")
    command = [sys.executable, "-S", "-I", "-c", CONNECT]  # without the guard
    outcome, said = run(tmp_path, f"import subprocess; subprocess.run({command!r}, check=True)")
    assert outcome.code != 0
    assert "unreachable" in said


def test_inputs_cannot_be_written_to(tmp_path: Path) -> None:
    if "read-only" not in sandbox.isolated(tmp_path)[1]:
        pytest.skip("this system allows no mounts")
    outcome, said = run(tmp_path, f"open({str(tmp_path / 'inputs' / 'new')!r}, 'w')")
    assert outcome.code != 0
    assert "Read-only file system" in said


def test_a_change_of_the_inputs_is_seen_and_their_modes_can_be_given_back(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.csv").write_text("1")
    before = stamp(tmp_path)
    set_modes(tmp_path, writable=False)
    assert stamp(tmp_path) == before
    assert (tmp_path / "a" / "b.csv").stat().st_mode & 0o222 == 0
    set_modes(tmp_path, writable=True)
    (tmp_path / "a" / "c.csv").write_text("")
    assert stamp(tmp_path) != before


def test_a_script_is_ended_at_its_limits(tmp_path: Path) -> None:
    outcome, _ = run(tmp_path, "import time; time.sleep(60)", seconds=0.5)
    assert "did not end within" in outcome.ended
    assert outcome.seconds < 10
    outcome, _ = run(tmp_path, "import time; held = b'x' * 400_000_000; time.sleep(60)", memory_bytes=2e8)
    assert "0.2 GB are allowed" in outcome.ended
    assert outcome.peak_bytes > 2e8


def test_a_fresh_environment_has_this_ones_packages_without_those_that_come_along(tmp_path: Path) -> None:
    python = fresh_environment(tmp_path / "venv", [Path("rich-1.0-py3-none-any.whl")])

    def imports(name: str) -> bool:
        done = subprocess.run([str(python), "-I", "-c", f"import {name}"], capture_output=True, check=False)
        return done.returncode == 0

    assert [imports(name) for name in ("yaml", "pip", "foldline", "rich")] == [True, True, False, False]


def test_a_notebook_is_its_code_cells(tmp_path: Path) -> None:
    def cell(text: str, *tags: str, kind: str = "code") -> dict[str, object]:
        return {"cell_type": kind, "source": text.splitlines(keepends=True), "metadata": {"tags": list(tags)}}

    path = tmp_path / "kernel" / "notebook.ipynb"
    path.parent.mkdir()
    cells = [cell("# Words", kind="markdown"), cell("a = 1\nb = 2"), cell("import pip", "install"), cell("c = 3")]
    path.write_text(json.dumps({"cells": cells}))
    assert "import pip" in script_of(tmp_path, install=True)
    assert script_of(tmp_path, install=False) == "# cell 1\na = 1\nb = 2\n\n# cell 2\nc = 3\n"
    path.write_text(json.dumps({"cells": [cell("!pip install x")]}))
    with pytest.raises(FoldlineError, match="code cell 1 is no Python"):
        script_of(tmp_path, install=True)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="this system has no setpriv")
def test_a_killed_rehearsal_leaves_nothing_running(tmp_path: Path) -> None:
    """What it ran would go on to its limit, watched by nobody."""
    alive = tmp_path / "alive"
    script = f"import pathlib, time\nwhile True: pathlib.Path({str(alive)!r}).write_text(''); time.sleep(0.05)"
    command = f"import pathlib, test_sandbox; test_sandbox.run(pathlib.Path({str(tmp_path)!r}), {script!r})"
    process = subprocess.Popen([sys.executable, "-c", command], cwd=Path(__file__).parent)
    while not alive.exists() and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.wait()
    alive.unlink()
    time.sleep(0.3)
    assert not alive.exists()
