"""The learning-rate finder through the command line."""

import pytest

from foldline.core.tables import read_csv
from tiny import TinyProject


def test_it_suggests_a_rate_and_trains_nothing(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    project.prepare()
    assert project.run("lr-find", "--run", "quick", "--set", "optim.name=sgd optim.options.momentum=0.9") == 0
    folder = project.layout.run("tiny", "quick")
    curve = read_csv(folder / "lr_find.csv").astype(float)
    assert curve["lr"].is_monotonic_increasing
    assert curve["lr"].iloc[0] == pytest.approx(1e-6)
    assert (folder / "lr_find.svg").read_text().startswith("<svg")
    said = capsys.readouterr().out
    rate = float(said.split("falls fastest at ")[1].split(":")[0])
    assert curve["lr"].iloc[0] < rate < curve["lr"].iloc[-1]
    assert not project.fold(0).exists()
    assert not (folder / "run.json").exists()


def test_wrong_folds_are_refused(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    project.prepare()
    assert project.run("lr-find", "--run", "quick", "--fold", "9") == 2
    assert "0 to 2" in capsys.readouterr().err
