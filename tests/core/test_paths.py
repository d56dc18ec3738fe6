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


def test_arguments_of_odd_forms_are_refused_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = [
        (["train", "--fold", "\u0663"], "is no fold"),
        (["train", "--fold", "9" * 5000], "is no text in UTF-8 of up to 4000 letters"),
        (["train", "--fold", "9" * 500], "is no fold"),
        (["train", "--fold", ""], "is no fold"),
        (["train", "--comp", "\0"], "is no text in UTF-8"),
        (["train", "--comp", "\ud800"], "is no text in UTF-8"),
        (["train", "--comp", "x" * 300], "at most 150 bytes"),
        (["train", "--comp", "\u00e9" * 100], "at most 150 bytes"),
        (["train", "--run", "x" * 300], "at most 150 bytes"),
        (["train", "--root", "\0"], "is no text in UTF-8"),
        (["train", "--root", "\ud800"], "is no text in UTF-8"),
        (["train", "--run", "quick", "--name", "n", "--set", "'seed=1"], "No closing quotation"),
        (["train", "--run", "quick", "--name", "n", "--set", "=1"], "is not key=value"),
        (["train", "--run", "quick", "--name", "n", "--set", "seed"], "is not key=value"),
        (["train", "--run", "quick", "--name", "n", "--set", "..=1"], "unknown setting"),
        (["train", "--run", "quick", "--name", "n", "--set", "seed=[1"], "not valid YAML"),
        (["train", "--run", "quick", "--name", "n", "--set", "seed.x=1"], "seed"),
        (["train", "--run", "quick", "--name", "n", "--set", "\ud800=1"], "is no text in UTF-8"),
        (["watch", "--run", "quick", "--port", "65536"], "is no port"),
        (["watch", "--run", "quick", "--port=-1"], "is no port"),
        (["watch", "--run", "quick", "--port", "x"], "is no port"),
        (["kernel", "--run", "quick", "--folds", "0,1"], "'0,1' is no fold"),
        (["ensemble", "--run", "quick", "--blend", "\ud800"], "is no text in UTF-8"),
        (["submit", "--run", "quick", "--message", "\udcff"], "is no text in UTF-8"),
        (["check", "\0"], "is no text in UTF-8"),
    ]
    config = Layout(tmp_path).run_config("tiny", "quick")
    config.parent.mkdir(parents=True)
    config.write_text("")
    for (stage, *rest), words in cases:
        root = [] if "--root" in rest else ["--root", str(tmp_path)]
        assert main([stage, *root, *([] if "--comp" in rest else ["--comp", "tiny"]), *rest]) == 2
        assert words in capsys.readouterr().err, rest
    assert [path.name for path in tmp_path.iterdir()] == ["configs"]


@pytest.mark.parametrize(
    ("name", "words"), [("rubbish", "unknown"), ("cuda:x", "unknown"), ("cuda:99", "device 99 is")]
)
def test_a_device_that_is_not_there(name: str, words: str) -> None:
    from foldline.engine.machine.device import pick_device

    with pytest.raises(FoldlineError, match=words):
        pick_device(name)


@pytest.mark.parametrize(("name", "index"), [("cuda", 0), ("auto", 0), ("cuda:1", 1)])
def test_a_cuda_device_has_a_number(monkeypatch: pytest.MonkeyPatch, name: str, index: int) -> None:
    """`torch.cuda.set_device` takes none without."""
    import torch

    from foldline.engine.machine.device import pick_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device(name) == torch.device("cuda", index)
