"""How pictures come to the network changes nothing of what it learns."""

import multiprocessing.util
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from foldline.core.errors import FoldlineError
from foldline.core.run import Run
from foldline.core.run_folder import run_sha256
from foldline.core.tables import read_json, sha256_file
from foldline.engine.lr_find import sweep_fold
from foldline.images import cache
from foldline.images.workers import LONGEST_SOCKET, WorkerPool, require_short_paths
from tiny import RUN, TinyProject

AVERAGED = "train.average.name=swa train.average.options.epochs=2 augment.erasing=0.3"


def weights(project: TinyProject, run: str, folds: tuple[int, ...] = (0, 1)) -> list[str]:
    return [sha256_file(project.fold(fold, run) / "model.safetensors") for fold in folds]


def trained(project: TinyProject, name: str, settings: str, *more: str, folds: tuple[int, ...] = (0, 1)) -> list[str]:
    given = f"train.folds=[0,1] {AVERAGED} {settings}"
    assert project.run("train", "--name", name, "--set", given, *more) == 0
    return weights(project, name, folds)


def test_workers_and_the_place_of_pictures_change_no_weights(
    project: TinyProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.prepare()
    pools: list[Any] = []
    plain = WorkerPool.__init__

    def counted(self: WorkerPool, *args: Any) -> None:
        pools.append(self)
        plain(self, *args)

    monkeypatch.setattr(WorkerPool, "__init__", counted)
    expected = trained(project, "alone", "")
    assert pools == [], "a CPU needs its cores for the network"
    assert trained(project, "helped", "data.workers=2") == expected
    assert len(pools) == 1, "for two folds, their epochs and the batch-norm statistics of the averaged weights"
    assert not multiprocessing.active_children()
    assert trained(project, "loaded", "data.cache=memory data.workers=0") == expected
    shutil.rmtree(project.layout.cache("tiny"))
    monkeypatch.setattr(cache, "SHARD_BYTES", 20_000)
    assert trained(project, "in-shards", "data.workers=2") == expected
    assert len(list(project.layout.cache("tiny").glob("images-*/*.npy"))) > 2
    metas = [read_json(project.fold(1, name) / "meta.json") for name in ("alone", "helped")]
    assert [meta["workers"] for meta in metas] == [0, 2]
    assert metas[0]["sha256"]["run"] == metas[1]["sha256"]["run"]


def test_workers_that_have_nothing_to_do_are_said(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    project.prepare()
    trained(project, "odd", "augment.engine=torch data.workers=2")
    assert "note: data.workers: 2 have nothing to do" in capsys.readouterr().out


def test_where_pictures_lie_and_who_makes_them_is_no_part_of_a_run() -> None:
    plain = run_sha256(Run())
    for data in ({"workers": 0}, {"workers": 7}, {"cache": "memory"}, {"cache": "gpu"}):
        assert run_sha256(Run.parse({"data": data}, where="")) == plain
    assert run_sha256(Run.parse({"data": {"cache_format": "jpeg"}}, where="")) != plain, "its pictures are others"
    assert run_sha256(Run.parse({"augment": {"engine": "torch"}}, where="")) != plain, "its pictures are others"


def test_a_training_with_workers_that_is_stopped_inside_an_epoch_ends_with_the_same_bits(project: TinyProject) -> None:
    project.prepare()
    settings = f"{AVERAGED} train.epochs=6 data.workers=1"
    expected = trained(project, "whole", "train.epochs=6")
    process = project.start("train", "--run", "quick", "--name", "cut", "--set", f"train.folds=[0,1] {settings}")
    until = time.monotonic() + 120
    while not (project.fold(0, "cut") / "steps.csv").is_file() and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    assert trained(project, "cut", "train.epochs=6 data.workers=1") == expected


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="asks Linux for a process's children")
def test_a_worker_that_is_killed_at_any_moment_ends_the_training_in_words(project: TinyProject) -> None:
    project.prepare()
    settings = f"{AVERAGED} train.epochs=12 train.batch_size=4 train.checkpoint_minutes=1e-6"
    expected = trained(project, "whole", f"{settings} train.folds=[0]", folds=(0,))
    resume = project.fold(0, "cut") / "resume"
    given = ["--run", "quick", "--name", "cut", "--set", f"{settings} train.folds=[0] data.workers=2"]
    for pause in (0.0, 0.2):
        process = project.start("train", *given)
        before = resume.stat().st_mtime_ns if resume.is_file() else 0
        until = time.monotonic() + 120
        while time.monotonic() < until and not (resume.is_file() and resume.stat().st_mtime_ns != before):
            time.sleep(0.01)
        time.sleep(pause)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 2, said
        assert "a worker that makes pictures ended or hangs" in said
    assert trained(project, "cut", f"{settings} train.folds=[0] data.workers=1", folds=(0,)) == expected


def test_temporary_files_too_deep_for_a_socket_are_refused_before_a_worker_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a worker waited for ten minutes, and so did the training."""
    folder = tmp_path / ("x" * 100)
    monkeypatch.setattr(multiprocessing.util, "get_temp_dir", lambda: str(folder))
    with pytest.raises(FoldlineError, match=r"too long for a socket[^$]*TMPDIR"):
        require_short_paths()
    monkeypatch.setattr(multiprocessing.util, "get_temp_dir", lambda: "/" + "x" * (LONGEST_SOCKET - 19))
    require_short_paths()


def test_a_sweep_of_rates_has_the_same_losses_with_workers(project: TinyProject) -> None:
    project.prepare()
    runs = [Run.parse({**RUN, "data": {**RUN["data"], "workers": workers}}, where="") for workers in (0, 2)]
    curves = [sweep_fold(project.layout, "tiny", run, 0, "cpu", low=1e-5, high=1e-2, steps=20) for run in runs]
    assert len(curves[0]) == 20, "more than an epoch"
    assert curves[0] == curves[1]
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("data.cache=gpu", "there is no GPU that could hold the pictures"),
        ("augment.engine=torch augment.recipe=heavy", "RandomResizedCrop"),
    ],
)
def test_what_cannot_be_is_refused_before_training(
    project: TinyProject, capsys: pytest.CaptureFixture[str], settings: str, message: str
) -> None:
    project.prepare()
    assert project.run("train", "--name", "new", "--set", settings) == 2
    assert message in capsys.readouterr().err
    assert not Path(project.layout.run("tiny", "new")).exists()


def test_pictures_are_augmented_where_the_network_is(project: TinyProject) -> None:
    project.prepare()
    first = trained(project, "first", "augment.engine=torch data.workers=2")
    assert first == trained(project, "again", "augment.engine=torch")
    assert first != trained(project, "other", "")


def test_predicting_needs_no_augmentation(project: TinyProject, monkeypatch: pytest.MonkeyPatch) -> None:
    project.prepare()
    assert project.run("train", "--set", "") == 0
    monkeypatch.setattr("foldline.engine.problem.Augmenter", None)
    assert project.run("predict") == 0


@pytest.mark.gpu
@pytest.mark.parametrize("settings", ["augment.recipe=none", "augment.engine=torch", "augment.recipe=light"])
def test_on_a_gpu_workers_and_the_place_of_pictures_change_no_weights(project: TinyProject, settings: str) -> None:
    project.prepare()
    expected = trained(project, "disk", f"{settings} data.cache=disk data.workers=0", "--device", "cuda")
    for name, given in (("there", "data.cache=gpu"), ("auto", ""), ("helped", "data.cache=disk data.workers=3")):
        assert trained(project, name, f"{settings} {given}", "--device", "cuda") == expected
