"""Names of competitions, runs and searches stay in their folders."""

from collections.abc import Callable
from pathlib import Path

import pytest

from foldline.cli import main
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout, checked_name
from tiny import TinyProject

OUTSIDE = ["../../escaped", "..", ".hidden", "a/b", "/tmp/a", "a\\b", "", "a b", "a\n"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    layout = Layout(tmp_path)
    places: list[Callable[[], Path]] = [
        lambda: layout.run("tiny", name),
        lambda: layout.submission("tiny", name),
        lambda: layout.input(name),
        lambda: layout.search_config("tiny", name),
        lambda: layout.run_file("tiny", name),
        lambda: layout.folds(name),
    ]
    for place in places:
        with pytest.raises(FoldlineError, match="cannot be the name") as raised:
            place()
        assert "letters, digits" in raised.value.next


@pytest.mark.parametrize("name", ["a+b", "quick", "search-12", "v1.0", "bengaliai-cv19", "größe_2", "-x"])
def test_other_names_are_taken(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["train", "--run", "quick", "--name", "../../escaped", "--set", "seed=1"], "cannot be the name"),
        (["predict", "--run", "quick", "--name", "../../escaped", "--set", "seed=1"], "cannot be the name"),
        (["report", "--name", "../../escaped"], "cannot be the name"),
        (["search", "--search", "../../escaped"], "cannot be the name"),
        (["train", "--fold", "²"], "'²' is no fold"),
        (["train", "--fold=-1"], "'-1' is no fold"),
    ],
)
def test_the_command_refuses_it_in_words(
    project: TinyProject, capsys: pytest.CaptureFixture[str], given: list[str], words: str
) -> None:
    stage, *rest = given
    before = set(project.root.parent.iterdir())
    assert main([stage, "--root", str(project.root), "--comp", "tiny", *rest]) == 2
    assert words in capsys.readouterr().err
    assert set(project.root.parent.iterdir()) == before
    assert not (project.root / "oof").exists()
