"""The door for code of the user's own: found, loaded once, checked, kept in a fold's folder."""

from pathlib import Path

import pytest

from foldline.core import own_code
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout

CODE = """
from dataclasses import dataclass
from pathlib import Path

counter = Path(__file__).with_suffix(".count")
counter.write_text(counter.read_text() + "x" if counter.exists() else "x")


@dataclass
class Kept:
    size: "int" = 1


def double(number, times=2):
    return number * times


def fails(number):
    raise KeyError(number)


def none():
    return 0
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    own_code.forget()
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    return path


def test_a_file_is_run_once_a_command(file: Path) -> None:
    for _ in range(3):
        assert own_code.load(f"{file}:double", ("number",))(4) == 8
    assert file.with_suffix(".count").read_text() == "x"
    own_code.forget()
    own_code.load(f"{file}:double")
    assert file.with_suffix(".count").read_text() == "xx"


def test_a_path_as_seen_from_another_folder_is_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text(f"def f(): return {name!r}")
        monkeypatch.chdir(tmp_path / name)
        assert own_code.load("mine.py:f")() == name


def test_the_facts_folder_comes_before_the_project(tmp_path: Path) -> None:
    layout, beside = Layout(tmp_path), tmp_path / "configs" / "toy"
    (tmp_path / "mine.py").write_text("def f(): return 'project'")
    assert own_code.load(own_code.locate(layout, "toy", "mine.py:f"))() == "project"
    beside.mkdir(parents=True)
    (beside / "mine.py").write_text("def f(): return 'facts'")
    assert own_code.load(own_code.locate(layout, "toy", "mine.py:f"))() == "facts"
    assert own_code.locate(layout, "toy", "resnet18") == "resnet18"
    assert own_code.locate(layout, "toy", "json:dumps") == "json:dumps"
    with pytest.raises(FoldlineError, match=r"no Python file 'other\.py'"):
        own_code.locate(layout, "toy", "other.py:f")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{file}:nothing", r"no function 'nothing'(.|\n)*it has: double, fails, none"),
        ("{file}:counter", "no function 'counter'"),
        ("{file}:none", r"takes \(\), not \(number\)"),
        ("{file}:", "names no function"),
        ("nowhere.py:f", r"no Python file 'nowhere\.py'"),
        ("no_such_module.part:f", "no Python module 'no_such_module'"),
    ],
)
def test_names_that_lead_nowhere(name: str, message: str, file: Path) -> None:
    with pytest.raises(FoldlineError, match=message):
        own_code.load(name.replace("{file}", str(file)), ("number",))


@pytest.mark.parametrize(
    ("code", "message", "line"),
    [
        ("x = 1\nraise OSError('no such sea')\n", "OSError: no such sea", 2),
        ("def f(:\n    pass\n", "SyntaxError", 1),
        ("\n\nimport no_such_module\n", "ModuleNotFoundError", 3),
    ],
)
def test_code_that_cannot_be_loaded_says_the_line(code: str, message: str, line: int, file: Path) -> None:
    file.write_text(code)
    with pytest.raises(FoldlineError, match=message) as caught:
        own_code.load(f"{file}:f")
    assert caught.value.where == f"{file}, line {line}"


def test_what_a_call_raises_says_the_line(file: Path) -> None:
    name = f"{file}:fails"
    function = own_code.load(name)
    with pytest.raises(FoldlineError, match="fails' fails: KeyError: 3") as caught:
        own_code.attempt(name, lambda: function(3))
    assert caught.value.where == f"{file}, line {CODE.splitlines().index('    raise KeyError(number)') + 1}"
    with pytest.raises(FoldlineError, match="mine"):
        own_code.attempt(name, lambda: (_ for _ in ()).throw(FoldlineError("mine")))


def test_what_is_kept_is_loaded_without_the_file(file: Path, tmp_path: Path) -> None:
    digest = own_code.sha256(f"{file}:double")
    file.unlink()  # a training takes hours: what ran is kept
    hashes = own_code.keep(tmp_path / "fold_0", [f"{file}:double", "resnet18", "json:dumps"])
    assert hashes == {"mine.py": digest}
    own_code.forget()
    assert own_code.load(own_code.kept(tmp_path / "fold_0", "mine.py:double", hashes))(4) == 8
    assert own_code.kept(tmp_path / "fold_0", "resnet18", hashes) == "resnet18"
    copy = tmp_path / "fold_0" / "code" / "mine.py"
    copy.write_text(CODE.replace("times=2", "times=3"))
    own_code.forget()
    with pytest.raises(FoldlineError, match=r"code/mine\.py is not there, or is not the code"):
        own_code.kept(tmp_path / "fold_0", "mine.py:double", hashes)
    copy.unlink()
    own_code.forget()
    with pytest.raises(FoldlineError, match=r"code/mine\.py is not there"):
        own_code.kept(tmp_path / "fold_0", "mine.py:double", hashes)


def test_two_files_of_one_name_cannot_both_be_kept(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "mine.py"
    other.parent.mkdir()
    other.write_text("def f(): pass")
    with pytest.raises(FoldlineError, match=r"two files of code are called mine\.py"):
        own_code.keep(tmp_path / "fold_0", [f"{file}:double", f"{other}:f"])


def test_the_hash_is_of_the_source_that_runs(file: Path) -> None:
    before = own_code.sha256(f"{file}:double")
    file.write_text("")
    assert own_code.sha256(f"{file}:double") == before, "what this command has read is what it runs"
    own_code.forget()
    assert own_code.sha256(f"{file}:double") != before
    assert own_code.sha256("nowhere.py:f") == own_code.sha256("json:dumps") == own_code.sha256("resnet18") == ""
