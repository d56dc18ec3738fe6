"""Commands are said as they can be typed: make's in the clone, foldline's elsewhere; the table knows all of them."""

import ast
import re
from pathlib import Path

import pytest

from foldline.arguments import ARGUMENTS
from foldline.commands import COMMANDS
from foldline.core.errors import FoldlineError
from foldline.core.progress import say
from foldline.core.typed import BY_MAKE, FLAGS, OPTIONS, TARGETS, as_typed, is_clone

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
    monkeypatch.setenv(BY_MAKE, "1")
    assert 'make train COMP="my pics" FOLD=2, or SET=' in str(error)
    monkeypatch.delenv(BY_MAKE)
    assert 'foldline train --comp "my pics" --fold 2, or --set' in str(error), (
        "in the clone, too, where make was not typed"
    )
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
    assert not [text for text in said if re.search(r"\bmake\b", as_typed(text, make=False))]


def test_our_makefile_says_that_make_was_typed() -> None:
    assert f"export {BY_MAKE} := 1" in (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("make", [False, True])
def test_an_error_names_what_was_typed_whoever_wrote_it(make: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be it written as make's variable or as an option: where it is, what it is about, and what to do."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv(BY_MAKE, "1" if make else "")
    errors = [
        FoldlineError("no fold 9", where="FOLD", next='RUNS="a b" names two'),
        FoldlineError("no fold 9", where="--fold", next='--runs "a b" names two'),
    ]
    said = [str(error) for error in errors]
    wanted = ("FOLD", 'RUNS="a b"') if make else ("--fold", '--runs "a b"')
    assert said == [f"no fold 9\n  where: {wanted[0]}\n  next:  {wanted[1]} names two"] * 2
    other = FoldlineError("x", where="--each", next="`zip --out a.zip`; foldline train --fold 1")
    assert str(other).endswith("--each\n  next:  `zip --out a.zip`; foldline train --fold 1")


def test_no_message_names_a_variable_that_stands_alone() -> None:
    """`name them in RUNS` cannot be turned into an option; `RUNS="a b"` is. What `where` says of one is turned."""
    alone = re.compile(r"(?<![\w.=-])(RUNS|BLEND|FOLD|ACTION|PRIOR|JOBS|SHARDS|RANKS|WITH_DIVERGED)(?![\w=\]])")
    found = []
    for path in (ROOT / "src" / "foldline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("FoldlineError", "say", "result"):
                told = [*node.args, *(word.value for word in node.keywords if word.arg == "next")]
                texts = [part.value for one in told for part in ast.walk(one) if isinstance(part, ast.Constant)]
                found += [(path.name, text) for text in texts if alone.search(str(text))]
    assert found == []
