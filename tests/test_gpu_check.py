"""`make gpu-check`: parts that fail, crash or hang do not end the others; each line ends in the table."""

import doctest
import json
import os
import subprocess
import sys
from pathlib import Path

from gpu import kit, published, table
from gpu.kit import Line

ROOT = Path(__file__).parents[1]
LINES = [
    Line("d", "the pipeline", "0.99", "≥ 0.98", "pass", 3.2, "synthetic 100 images/s"),
    Line("c", "a | network", "1.00x", "≥ 1.1x", "fail", 1.0, "too slow"),
]
FACTS = {
    "card": "Card 1", "date": "2026-01-01", "commit": "abc", "driver": "1.2", "torch": "2.10", "timm": "1.0",
    "python": "3.12", "cores": 8, "small": False, "minutes": 3.0,
}  # fmt: skip


def test_parts_that_break_do_not_end_the_others(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu_check.py"), "--device", "cpu", "--small"]
    command += ["--out", str(tmp_path), "--only", "l,i,raises,crashes,hangs"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ}, timeout=170)
    assert done.returncode == 1, done.stderr
    content = json.loads((tmp_path / "gpu_check.json").read_text(encoding="utf-8"))
    verdicts = [(line["part"], line["verdict"]) for line in content["lines"]]
    for line in (("raises", "pass"), ("raises", "fail"), ("crashes", "fail"), ("hangs", "fail"), ("l", "n/a")):
        assert line in verdicts
    assert [verdict for part, verdict in verdicts if part == "i"] == ["pass", "n/a"], content
    assert "ended by SIGABRT" in done.stdout
    assert "ended after 3 s" in done.stdout
    assert "RuntimeError: made up" in done.stdout
    assert content["summary"] in done.stdout.splitlines()[-1]


def test_unknown_parts_are_refused() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu_check.py"), "--only", "x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "unknown parts: x; known:" in done.stderr


def test_the_page_keeps_the_sections_of_other_cards(tmp_path: Path) -> None:
    page = tmp_path / "gpu.md"
    page.write_text((ROOT / "docs" / "gpu.md").read_text(encoding="utf-8"), encoding="utf-8")
    for card, date in (("Card 1", "2026-01-01"), ("Card 2", "2026-01-02"), ("Card 1", "2026-01-03")):
        table.write_page(page, table.as_markdown(LINES, {**FACTS, "card": card, "date": date}))
    text = page.read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("### Card")] == [
        "### Card 2, 2026-01-02",
        "### Card 1, 2026-01-03",
    ]
    assert "| c | a \\| network | 1.00x | ≥ 1.1x | fail: too slow | 1 |" in text


def test_the_terminal_shows_why() -> None:
    shown = table.for_terminal(LINES).splitlines()
    assert shown[1].startswith("c ")
    assert shown[2].strip() == "↳ too slow"
    assert table.summary(LINES) == "1 pass, 1 fail, 0 not applicable"


def test_doctests() -> None:
    assert not doctest.testmod(kit).failed
    assert not doctest.testmod(published).failed
