"""Commands are said as they can be typed: make's in the clone, foldline's elsewhere; the table knows all of them."""

import re
from pathlib import Path

import pytest

from foldline.arguments import ARGUMENTS
from foldline.commands import COMMANDS
from foldline.core.errors import FoldlineError
from foldline.core.progress import say
from foldline.core.typed import FLAGS, OPTIONS, TARGETS, as_typed, is_clone

ROOT = Path(__file__).parents[2]


def test_the_clone_is_known_by_its_makefile(tmp_path: Path) -> None:
    assert is_clone(ROOT)
    (tmp_path / "Makefile").write_text("all:\n\techo a project of somebody else\n")
    assert not is_clone(tmp_path)


def test_errors_and_lines_say_what_can_be_typed_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = FoldlineError("no weights", next='make train COMP="my pics" FOLD=2, or SET="optim.lr=1" with NAME=<new>')
    monkeypatch.chdir(ROOT)
    assert 'make train COMP="my pics" FOLD=2, or SET=' in str(error)
    monkeypatch.chdir(tmp_path)
    assert str(error).endswith('foldline train --comp "my pics" --fold 2, or --set "optim.lr=1" with --name <new>')
    say("make predict-files COMP=a FILES='b.png c'; make room, then make export FORMAT=onnx HALF=1")
    assert capsys.readouterr().out == (
        "foldline predict-files --comp a b.png c; make room, then foldline export onnx --half\n"
    )


def test_every_command_and_option_that_is_said_exists() -> None:
    coming = {"explore", "doctor"}
    assert set(TARGETS) - {"train-all", "clean-labels", *COMMANDS} <= coming
    assert {option for option in [*OPTIONS.values(), *FLAGS.values()] if option not in ARGUMENTS} == set()


def test_no_sentence_keeps_a_command_of_make(tmp_path: Path) -> None:
    """Whatever make command stands in the code: outside the clone nothing of it is left."""
    said, targets = set[str](), "|".join(TARGETS)
    for path in (ROOT / "src" / "foldline").rglob("*.py"):
        said |= set(re.findall(rf"make (?:{targets})(?: [A-Z]+=\S+)*", path.read_text(encoding="utf-8")))
    assert len(said) > 30
    assert not [text for text in said if re.search(r"\bmake\b", as_typed(text, clone=False))]
