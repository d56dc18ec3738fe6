"""Trials side by side: a made-up cluster trains them, in any order, and the book holds what came out."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from foldline.core import disks
from foldline.core.paths import Layout
from foldline.core.stopping import signals
from foldline.core.tables import write_csv, write_json
from foldline.core.task import TASKS
from foldline.engine.scale.cluster.crew import Event
from foldline.engine.scale.cluster.trip import Trip
from foldline.engine.scale.unit import Unit
from foldline.stages.search import search
from old_records import old
from report.made_runs import COMP, make_run
from stages.test_search import BASE, FakeTraining, _hasty_sqlite, trials, write, write_search  # noqa: F401


class FakeHands:
    """Trains each unit by an epoch a turn; those of odd trials every other turn, so that they end in another order."""

    def __init__(self, layout: Layout, room: int = 3) -> None:
        self.layout, self.places = layout, room
        self.score = FakeTraining().score
        self.jobs: dict[Unit, tuple[Trip, int]] = {}
        self.most = self.turns = 0
        self.stopped: list[Unit] = []
        self.trained: list[Unit] = []
        self.at_turn: dict[int, Any] = {}

    def room(self) -> int:
        return self.places

    def submit(self, unit: Unit, trip: Trip) -> None:
        assert trip.name == unit.name
        self.jobs[unit] = trip, -1
        self.most = max(self.most, len(self.jobs))

    def stop(self, unit: Unit | None = None) -> None:
        self.stopped += [one for one in self.jobs if unit in (None, one)]

    def turn(self) -> Iterator[Event]:
        self.turns += 1
        self.at_turn.pop(self.turns, lambda: None)()
        for unit, (trip, epoch) in list(self.jobs.items()):
            if unit in self.stopped:
                del self.jobs[unit]
                yield Event(unit, "stopped")
            elif int(unit.name.rpartition("-")[2]) % 2 == 0 or self.turns % 2:
                yield from self.train(unit, trip, epoch + 1)

    def train(self, unit: Unit, trip: Trip, epoch: int) -> Iterator[Event]:
        self.jobs[unit] = trip, epoch
        trip.folder.mkdir(parents=True, exist_ok=True)
        score, epochs = self.score(trip.choices), trip.choices.train.epochs
        log = [{"epoch": k, "score": score * k / epochs} for k in range(epoch + 1)]
        write_csv(trip.folder / "log.csv", pd.DataFrame(log))
        if epoch == epochs:
            (trip.folder / "model.safetensors").write_bytes(b"weights")
            write_json(trip.folder / "meta.json", old("meta", score=score))
            del self.jobs[unit]
            self.trained.append(unit)
            yield Event(unit, "done")


@pytest.fixture
def hands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHands:
    """A cluster of three machines, to which `on="ray"` leads."""
    layout = make_run(tmp_path, TASKS["binary"])
    write(layout, "base", BASE)
    made = FakeHands(layout)

    @contextmanager
    def crew(*_: Any, **__: Any) -> Iterator[FakeHands]:
        yield made

    monkeypatch.setattr("foldline.engine.scale.cluster.crew.crew", crew)
    return made


def test_the_book_holds_the_scores_of_all_that_were_trained_at_once(hands: FakeHands) -> None:
    layout = hands.layout
    write_search(layout, trials=12)
    search(layout, COMP, "tune", on="ray")
    found = trials(layout)
    assert hands.most == 3
    assert len(found) == 12 == len(hands.trained)
    assert found["optim.lr"].nunique() == 12  # those beside each other are not drawn alike
    scores = {}
    for row in found.to_dict("records"):
        unit = next(unit for unit in hands.trained if unit.name == row["run"])
        assert f"optim.lr={row['optim.lr']}" in unit.overrides
        away = (math.log10(float(row["optim.lr"])) + 2) ** 2 + 4 * (float(row["model.drop_rate"]) - 0.2) ** 2
        scores[row["run"]] = 1 - 0.1 * away - (0.2 if row["model.name"] == "resnet18" else 0.0)
        assert float(row["score"]) == pytest.approx(scores[row["run"]])
    best = max(scores, key=lambda run: scores[run])
    assert [path.parts[-3] for path in layout.runs(COMP).glob("tune-*/fold_0/model.safetensors")] == [best]


def test_what_falls_behind_is_asked_to_end(hands: FakeHands) -> None:
    write_search(hands.layout, trials=12, prune={"method": "median", "after_trials": 3, "warmup": 1})
    search(hands.layout, COMP, "tune", on="ray")
    states = trials(hands.layout)["state"]
    assert len(states) == 12
    assert set(states) == {"complete", "given up"}
    assert hands.stopped
    assert len(hands.stopped) == sum(states == "given up")


def test_a_signal_ends_all_and_the_next_command_tries_them_again(hands: FakeHands) -> None:
    write_search(hands.layout, trials=6)
    with signals() as stop:
        hands.at_turn[9] = lambda: setattr(stop, "number", 15)
        with pytest.raises(KeyboardInterrupt):
            search(hands.layout, COMP, "tune", on="ray")
    assert len(hands.stopped) == 3
    assert not hands.jobs
    again = {tuple(unit.overrides) for unit in hands.stopped}
    search(hands.layout, COMP, "tune", on="ray")
    assert again <= {tuple(unit.overrides) for unit in hands.trained}
    assert sum(trials(hands.layout)["state"] == "complete") == 6


def test_on_a_network_disk_the_book_is_a_journal(hands: FakeHands, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = hands.layout.root / "mounts"
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/x {hands.layout.root} nfs4 rw 0 0\n")
    monkeypatch.setattr(disks, "MOUNTS", mounts)
    write_search(hands.layout, trials=4)
    search(hands.layout, COMP, "tune", on="ray")
    folder = hands.layout.run(COMP, "tune")
    assert (folder / "search.journal").is_file()
    assert not (folder / "search.db").exists()
    assert len(trials(hands.layout)) == 4
    search(hands.layout, COMP, "tune", on="ray")  # nothing is left
    assert len(hands.trained) == 4
