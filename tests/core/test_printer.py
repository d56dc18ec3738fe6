"""What is said: never a long silence, lines that a program can read, and little where little is wanted."""

import json
from collections.abc import Iterator

import pytest

from foldline.cli import main
from foldline.core import printer as module
from foldline.core.printer import Printer, printing
from foldline.core.progress import Progress, doing, result, say, unsaid, waiting


class Clock:
    """Seconds that a test moves on."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock for the printer in use; nothing beats but what the test beats."""
    found = Clock()
    monkeypatch.setattr(module, "_in_use", [Printer(now=found)])
    return found


def times(clock: Clock, capsys: pytest.CaptureFixture[str], seconds: float) -> list[float]:
    """When something was said, while so much time passes second by second, and a thread beats as it would."""
    said = []
    for _ in range(int(seconds)):
        clock.seconds += 1.0
        module.printer().beat()
        if capsys.readouterr().out:
            said.append(clock.seconds)
    return said


def gaps(said: list[float], start: float, end: float) -> list[float]:
    return [after - before for before, after in zip([start, *said], [*said, end], strict=True)]


def test_never_a_silence_of_more_than_half_a_minute(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    start = clock.seconds
    with doing("a long fit of numpy"):
        said = times(clock, capsys, 200)
    said += times(clock, capsys, 100)  # nobody said what is being done
    assert max(gaps(said, start, clock.seconds)) <= 30
    assert len(said) <= 10, "a flood"


def test_a_bar_without_a_terminal_says_how_far_it_is_and_what_is_left(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    def items() -> Iterator[int]:
        for number in range(8):
            clock.seconds += 15.0
            yield number

    with Progress() as progress:
        assert list(progress.over(items(), "decoding", total=10, done=2)) == list(range(8))
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["  decoding: 4/10, 1.5 min left", "  decoding: 6/10, 60 s left", "  decoding: 8/10, 30 s left",
                     "  decoding: 10/10, 0 s left"]  # fmt: skip


def test_a_line_that_was_said_needs_no_other_one(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with doing("training"):
        for _ in range(10):
            clock.seconds += 20.0
            say("epoch")
            module.printer().beat()
    assert set(capsys.readouterr().out.splitlines()) == {"epoch"}


def test_whoever_waits_for_a_person_is_silent(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with waiting():
        assert not times(clock, capsys, 100)
        with doing("features of the training pictures"):
            assert times(clock, capsys, 100)
    assert gaps(times(clock, capsys, 60), clock.seconds - 60, clock.seconds)[0] == 29


def test_quiet_shows_warnings_and_the_last_result(capsys: pytest.CaptureFixture[str]) -> None:
    with printing(quiet=True):
        say("training")
        result("a score")
        say("  warning: a fold diverged")
        result("the report")
        say("next")
    assert capsys.readouterr().out.splitlines() == ["  warning: a fold diverged", "the report"]


def test_json_is_one_object_a_line(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = Printer(as_json=True, now=clock, facts=lambda: {"fold": 2, "seconds_left": 7.0})
    monkeypatch.setattr(module, "_in_use", [one])
    say('a "line" \u2013 \n of two')
    say("warning: odd")
    result("auc 0.9", score=0.9, folds=[0, 1])
    with Progress() as progress:
        for _ in progress.over(range(4), "validating", total=4):
            clock.seconds += 3.0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in found] == ["line", "warning", "result", "progress", "progress"]
    assert all(event["time"] and "text" in event for event in found)
    assert found[2]["score"] == 0.9
    assert (found[3]["done"], found[3]["total"], found[3]["seconds_left"], found[3]["job"]["fold"]) == (2, 4, 6.0, 2)


def test_an_error_is_json_too(capsys: pytest.CaptureFixture[str], tmp_path: object) -> None:
    assert main(["train", "--root", str(tmp_path), "--comp", "none", "--log", "json"]) == 2
    (line,) = capsys.readouterr().out.splitlines()
    event = json.loads(line)
    assert event["event"] == "error"
    assert event["what"]
    assert main(["train", "--root", str(tmp_path), "--comp", "none", "--quiet"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_what_is_said_again_in_earnest_is_not_said_before(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with unsaid(), doing("a trial"):
        say("fold 0: masks are learnt")
        say("warning: so it is")
        assert capsys.readouterr().out == ""
        assert times(clock, capsys, 40), "that something is done is said all the same"
    say("fold 0: masks are learnt")
    assert capsys.readouterr().out == "fold 0: masks are learnt\n"
