"""`make install` says what pip does, also where there is no terminal; `make lock` names no place of this machine."""

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
INSTALL = runpy.run_path(str(ROOT / "benchmarks" / "install.py"))
LOCK = runpy.run_path(str(ROOT / "benchmarks" / "lock.py"))
PIP = [
    "Collecting torch>=2.10",
    "  Downloading torch-2.14.1-cp311-cp311-manylinux_2_28_x86_64.whl.metadata (30 kB)",
    "  Downloading torch-2.14.1-cp311-cp311-manylinux_2_28_x86_64.whl (532.4 MB)",
    "Requirement already satisfied: numpy in ./.venv (2.4)",
    "Installing collected packages: torch, numpy, timm",
    "ERROR: No space left on device",
]


def test_what_is_piped_says_what_comes_and_how_large_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    INSTALL["plain"](PIP, tmp_path)
    said = [line.split(" s  ")[1] for line in capsys.readouterr().out.splitlines()]
    assert said == [
        "fetching torch-2.14.1-cp311-cp311-manylinux_2_28_x86_64.whl (532.4 MB)",
        "installing 3 packages",
        "ERROR: No space left on device",
    ]


def test_it_is_never_silent_for_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(INSTALL["plain"].__globals__, "EVERY_SECONDS", 0.05)
    (tmp_path / "torch-2.14.1.dist-info").mkdir()

    def slow() -> Iterator[str]:
        yield "Installing collected packages: torch, timm"
        INSTALL["time"].sleep(1.3)

    INSTALL["plain"](slow(), tmp_path)
    assert "1 packages are installed" in capsys.readouterr().out


def test_the_sizes_of_packages(tmp_path: Path) -> None:
    for name, size in (
        ("torch/lib/a.so", 50),
        ("cv2.libs/b.so", 30),
        ("cv2/c.so", 5),
        ("six.py", 1),
        ("six-1.dist-info/R", 2),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size)
    assert INSTALL["sizes"](tmp_path) == {"torch": 50, "cv2": 35, "(records)": 2, "six": 1}


def test_a_lock_has_names_and_versions_alone() -> None:
    def one(name: str, version: str) -> dict[str, Any]:
        return {"metadata": {"name": name, "version": version}, "download_info": {"url": "file:///here/x.whl"}}

    report = {"install": [one("torch", "2.14.1+cpu"), one("Jinja2", "3.1.6"), one("foldline", "0.1.0")]}
    assert LOCK["lines"](json.dumps(report))[1:] == ["jinja2==3.1.6", "torch==2.14.1"]


def test_the_lock_that_is_kept_fits_what_foldline_needs() -> None:
    from packaging.requirements import Requirement

    kept = dict(
        line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")
    )
    needed = [line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    for requirement in map(Requirement, filter(None, needed)):
        name = requirement.name.lower().replace("_", "-")
        assert requirement.specifier.contains(kept[name]), requirement
