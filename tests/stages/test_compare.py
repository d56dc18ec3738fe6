"""The stage `compare`: words on the terminal, and one file."""

from pathlib import Path

import pytest

from foldline.cli import main
from foldline.core.task import TASKS
from foldline.stages.compare import compare
from report.made_rivals import add_rival, make_rivals
from report.made_runs import COMP


def test_says_who_is_better_and_writes_one_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout = make_rivals(tmp_path, TASKS["binary"], {"bad": 3.0, "good": 0.5})
    add_rival(layout, TASKS["binary"], "look", 0.5, folds=[0])
    before = set(tmp_path.rglob("*"))
    compare(layout, COMP)
    said = capsys.readouterr().out
    assert set(tmp_path.rglob("*")) - before == {layout.run(COMP, "compare.html")}
    lines = said.splitlines()
    assert " ".join(lines[0].split()) == "run auc 95 % interval mean ± std fold 0 fold 1 fold 2 rows time"
    assert lines[1].startswith("good ")
    assert any(line.startswith("good is better than bad by ") for line in lines)
    assert "comparison: oof/made/compare.html" in said


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout = make_rivals(tmp_path, TASKS["binary"], {"a": 1.0, "c": 2.0})
    add_rival(layout, TASKS["binary"], "b", 1.0, seed=9)
    assert main(["compare", "--root", str(tmp_path), "--comp", COMP, "--runs", "a b", "--against", "b"]) == 0
    said = capsys.readouterr().out
    assert "no significant difference" in said
    assert " c " not in said
    assert main(["compare", "--root", str(tmp_path), "--comp", COMP, "--runs", "a nothing"]) == 2
    assert "make predict COMP=made RUN=nothing" in capsys.readouterr().err
