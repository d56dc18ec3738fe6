"""The command line: every command explains itself, what is mistyped is named, a result is one JSON value."""

import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from foldline import cli
from foldline.arguments import ARGUMENTS, COMMON
from foldline.cli import main
from foldline.command import EXIT_CODES, GROUPS
from foldline.commands import COMMANDS
from foldline.core.rank import OURS
from foldline.helping import page, parser_of, read
from tiny import FACTS, TinyProject, seconds_of_children

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def usual_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(list(words)) == code
    return capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    stage = COMMANDS[name]
    text = said(capsys, name, "--help")
    assert text == said(capsys, "help", name)
    assert max(map(len, text.splitlines())) <= 80
    assert stage.group in GROUPS
    assert "examples:" in text
    assert "reads " in text or not stage.reads
    for word in stage.arguments.split():
        assert f"  {word}" in text
        assert ARGUMENTS[word]["help"].split()[0] in text
    module, _, function = stage.function.partition(":")
    home = "foldline" if module.startswith(".") else "foldline.stages."
    assert callable(getattr(import_module(home + module), function))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_are_commands(name: str) -> None:
    import shlex

    for command, _ in COMMANDS[name].examples:
        given = read(shlex.split(command))
        assert not isinstance(given, str)
        assert given.stage == name


def test_the_top_help_lists_all_commands_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--help")
    assert max(map(len, text.splitlines())) <= 80
    assert all(f"\n  {name} " in text for name in COMMANDS)
    assert all(f"\n  {code} " in text for code in EXIT_CODES)
    assert len(text.splitlines()) < 70


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["trian"], "unknown command 'trian'\n  next:  did you mean 'train'?"),
        (["train", "--rnu", "a"], "did you mean '--run'?"),
        (["train", "--set=seed=1", "--epochs"], "unknown option '--epochs'"),
        (["kernel", "--gpu", "T4"], "did you mean 't4'? known: l4, none, t4"),
        (["export", "onxn"], "did you mean 'onnx'?"),
        (["search"], "required: --search"),
        (["report", "baseline"], "too many words: 'baseline'"),
        (["train", "--fold"], "expected one argument"),
        (["train", "--jobs", "1000"], "next:  give one from 1 to 999, or auto"),
        (["folds", "--comp", "tyni"], "unknown competition 'tyni'"),
        (["status", "--comp", "tyni"], "did you mean 'tiny'?"),
        (["watch", "--json"], "unknown option '--json'"),
    ],
)
def test_what_is_mistyped_is_named(
    project: TinyProject, capsys: pytest.CaptureFixture[str], words: list[str], found: str
) -> None:
    at = ["--root", str(project.root)] if words[0] in COMMANDS else []
    assert main([words[0], *at, *words[1:]]) == 2
    told = capsys.readouterr().err
    assert found in told
    assert told.startswith("error: ")
    assert len(told) < 700, "short"


def test_a_rank_that_foldline_started_is_silent_from_the_start(
    project: TinyProject, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1", OURS: "2"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    said = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert project.run("status") == 0
        said.append(capsys.readouterr().out)
    assert said[0]
    assert not said[1], "rank 0 says that all are at work"


def test_a_result_is_one_json_value_and_all_else_is_on_standard_error(
    project: TinyProject, capfd: pytest.CaptureFixture[str]
) -> None:
    project.prepare()
    capfd.readouterr()
    assert project.run("folds", "--json") == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["k"] == 3
    assert "up to date" in err
    assert project.run("status", "--json") == 0
    state = json.loads(capfd.readouterr().out)["competitions"][0]
    assert (state["comp"], state["rows"], state["runs"]) == ("tiny", 72, [])
    assert state["next"] == ["foldline train --comp tiny --run baseline"]
    assert project.run("score", "--json") == 2
    out, err = capfd.readouterr()
    assert json.loads(out)["error"]["exit_code"] == 2
    assert "make ensemble" in json.loads(out)["error"]["next"]
    assert err.startswith("error: ")
    assert main(["trian", "--json"]) == 2
    assert json.loads(capfd.readouterr().out)["error"]["what"] == "unknown command 'trian'"


def test_large_tensors_lie_in_large_pages_unless_the_environment_says_no(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for given, then in ((None, "1"), ("0", "0")):
        monkeypatch.setenv(cli.HUGE_PAGES, "0")
        if given is None:
            monkeypatch.delenv(cli.HUGE_PAGES)
        said(capsys, "--version")
        assert os.environ[cli.HUGE_PAGES] == then


def test_what_a_child_process_prints_is_no_part_of_the_result(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom foldline.core.results import print_result, result_alone\n"
        "with result_alone() as out:\n"
        "    print('words'); os.system('echo child'); os.write(1, b'raw\\n')\n"
        "    print_result({'a': float('nan'), 'file': b'\\xff'.decode('utf-8', 'surrogateescape')}, out)\n"
        "print('after')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    value, after = done.stdout.rsplit("\n", 2)[:2]
    assert json.loads(value) == {"a": None, "file": "\udcff"}
    assert after == "after"
    assert sorted(done.stderr.split()) == ["child", "raw", "words"]


def test_alone_it_says_what_is_done_and_what_is_next(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    root = ["--root", str(project.root)]
    assert "1 competitions have facts, and no files here: tiny" in said(capsys, *root)
    project.write_yaml("baseline", {})
    project.prepare()
    text = said(capsys, *root)
    assert "72 rows in 3 folds, 24 test rows" in text
    assert "next      foldline train --comp tiny --run baseline" in text
    (project.fold(1, "baseline") / "x").parent.mkdir(parents=True)
    assert "baseline: 0 of 3 folds, fold 1 begun" in said(capsys, *root)
    (project.layout.run("tiny", "baseline") / "cv.json").write_text("{")
    assert "cannot be read: cv.json" in said(capsys, *root)


def test_alone_it_is_fast(project: TinyProject) -> None:
    project.prepare()
    code = (
        "import sys, foldline.cli as c\nc.main(['--root', sys.argv[1]])\n"
        "print([name for name in ('torch', 'pandas', 'timm') if name in sys.modules])"
    )
    start = seconds_of_children()
    done = subprocess.run([sys.executable, "-c", code, str(project.root)], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")
    assert seconds_of_children() - start < 3, "0.4 s on an idle machine"


def test_arguments_are_all_used_and_have_help() -> None:
    used = {word for stage in COMMANDS.values() for word in stage.arguments.split()}
    assert ARGUMENTS.keys() - used == {"--comp", "--json", *COMMON.split()}
    for name in COMMANDS:
        parser_of(name).format_help()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"metric": "acuracy"}, "unknown metric 'acuracy'|did you mean 'accuracy'?|metric in configs/tiny"),
        ({"metrics": ["auc", "qwk"]}, "did you mean 'quadratic_weighted_kappa'?|metrics in configs"),
        ({"metric": "rmse"}, "has no meaning for the task binary"),
        ({"task": "binray"}, "did you mean 'binary'?"),
        ({"train": {**FACTS["train"], "reader": "cvs"}}, "did you mean 'csv'?|train.reader"),
        ({"folds": {"splitter": "stratifed"}}, "did you mean 'stratified'|folds.splitter"),
        ({"submission": {"kind": "probabilty"}}, "did you mean 'probability'"),
        ({"source": {"kind": "kagle", "name": "a"}}, "did you mean 'kaggle'|source.kind"),
    ],
)
def test_what_is_misspelt_in_the_facts_is_found_when_they_are_read(
    project: TinyProject, capsys: pytest.CaptureFixture[str], change: dict[str, object], found: str
) -> None:
    project.write_yaml("competition", {**FACTS, **change})
    assert project.run("download") == 2
    told = capsys.readouterr().err
    assert all(words in told for words in found.split("|")), told
    assert not (project.root / "input").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_completes_commands_options_and_names(
    project: TinyProject, capsys: pytest.CaptureFixture[str], shell: str
) -> None:
    pytest.importorskip("shtab")
    script = said(capsys, "completion", shell, "--root", str(project.root))
    assert all(word in script for word in ("predict-files", "--with-diverged", "tiny", "quick", "rank_mean"))


def test_the_page_of_commands_is_that_of_now() -> None:
    """`python -m foldline.helping` writes it."""
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == page()


def test_what_programs_are_told_holds() -> None:
    """Each command of AGENTS.md can be given so, and the exit codes are those of `--help`."""
    import shlex

    text = (ROOT / "AGENTS.md").read_text(encoding="utf-8")
    block = text.split("```sh")[1].split("```")[0]
    commands = [line.partition("#")[0] for line in block.splitlines() if line]
    assert len(commands) > 8
    for command in commands:
        given = read(shlex.split(command)[1:])
        assert not isinstance(given, str)
        assert given.as_json
    named = set(re.findall(r"`foldline ([a-z-]+)", text))
    assert named <= COMMANDS.keys()
    codes = re.findall(r"^\| ([\d, ]+) \|", text, re.MULTILINE)
    assert {int(code) for cell in codes for code in cell.split(",")} == EXIT_CODES.keys()
    for page_named in re.findall(r"\]\(([\w./-]+)\)", text + (ROOT / "llms.txt").read_text(encoding="utf-8")):
        assert (ROOT / page_named).is_file()


def test_a_word_that_no_common_option_takes_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--log", "yaml"]) == 2
    assert "unknown value 'yaml'" in capsys.readouterr().err
