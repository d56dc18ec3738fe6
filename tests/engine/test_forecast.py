"""What a run will take, said before it is trained."""

import time
from pathlib import Path

import pytest

from foldline.core.clock import FoldPlan
from foldline.core.run import load_run
from foldline.engine.forecast import Forecast, forecast
from tiny import TinyProject


def test_a_forecast_needs_no_cache_and_writes_none(tmp_path: Path) -> None:
    project = TinyProject(tmp_path)
    project.prepare()
    before = sorted(tmp_path.rglob("*"))
    start = time.monotonic()
    found = forecast(project.layout, "tiny", load_run(project.layout, "tiny", "quick", ["train.probe.c=0.1"]))
    assert time.monotonic() - start < 20, "it is to be bounded on any machine"
    assert sorted(tmp_path.rglob("*")) == before
    assert found.decode_s > 0
    assert found.probe_s > 0
    assert found.folds == 3
    assert (found.fold.epochs, found.fold.steps) == (2, 48 // 8), "72 training rows in 3 folds, 8 a batch"
    assert found.train_s > 3 * found.fold_s


def test_twice_the_epochs_and_folds_that_are_named_count(tmp_path: Path) -> None:
    project = TinyProject(tmp_path)
    project.prepare()
    run = load_run(project.layout, "tiny", "quick", ["train.epochs=7"])
    found = forecast(project.layout, "tiny", run, folds=[1])
    assert (found.fold.epochs, found.folds, found.probe_s) == (7, 1, 0.0)


@pytest.mark.parametrize(
    ("folds", "probe", "words"),
    [
        (5, 25.0, "about 6.8 min: 5 folds x 60 s, frozen features 25 s, prediction 72 s"),
        (1, 0.2, "about 2.4 min: 1 fold, 60 s, prediction 72 s"),
    ],
)
def test_a_forecast_in_words(folds: int, probe: float, words: str) -> None:
    plan = FoldPlan(start_s=1.0, epochs=3, steps=10, step_s=1.5, epoch_end_s=4.0, end_s=2.0)
    assert plan.seconds == 60.0
    assert Forecast(0.0, probe, plan, folds, 72.0, "").in_words() == words
