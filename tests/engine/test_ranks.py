"""One fold by several processes: what one process would have learnt, and no end without words."""

import json
import os
import shutil
import signal
import sys
import threading
import time
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from foldline.core.errors import FoldlineError
from foldline.core.rank import Rank
from foldline.core.stopping import signals
from foldline.core.tables import read_csv, read_json, read_parquet
from foldline.engine.machine.ranks import Ranks as Told
from foldline.engine.machine.ranks import device_of
from foldline.engine.scale import launch as launching
from foldline.images.batches import Share
from tiny import FACTS, RUN, TinyProject
from together import Ranks

FILES = ("model.safetensors", "last.safetensors", "valid.parquet")
# 48 rows in batches of 7, so ranks have 3 and 4 rows, or 4 and 3 where pairs are mixed; steps of 4 and of 2 batches
SETTINGS = (
    "train.epochs=6 train.batch_size=7 optim.accumulate=4 optim.lr=1e-3 augment.mix.name=both train.unfreeze=0.5 "
    "augment.mix.options.probability=0.8 train.average.name=ema train.average.options.decay=0.8 optim.clip.name=norm "
    "train.select=best train.checkpoint_minutes=1e-6"
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """Of a network without batch-norms, which also sees no dropout: what it learns depends on no rank."""
    made = TinyProject(tmp_path_factory.mktemp("ranks"))
    made.write_yaml("competition", {**FACTS, "metrics": ["accuracy"]})
    made.write_yaml("quick", {**RUN, "model": {"name": "test_vit", "weights": "none"}})
    made.prepare()
    return made


def words(name: str, settings: str = SETTINGS) -> list[str]:
    return ["--run", "quick", "--name", name, "--set", settings, "--fold", "0"]


def results(project: TinyProject, name: str) -> list[bytes]:
    return [(project.fold(0, name) / file).read_bytes() for file in FILES]


def require_alike(project: TinyProject, one: str, other: str) -> None:
    """Two trainings that differ by rounding alone."""
    logs = [read_csv(project.fold(0, name) / "log.csv") for name in (one, other)]
    assert len(logs[0]) == len(logs[1])
    for column in ("lr", "train_loss", "valid_loss"):
        values = [log[column][1:].astype(float) for log in logs]
        assert values[0].to_numpy() == pytest.approx(values[1].to_numpy(), rel=2e-4), column
    steps = [(project.fold(0, name) / "steps.csv").read_text().count("\n") for name in (one, other)]
    assert steps[0] == steps[1]
    states = [load_file(project.fold(0, name) / "model.safetensors") for name in (one, other)]
    for key, tensor in states[0].items():
        assert torch.allclose(tensor, states[1][key], atol=2e-4), key
    tables = [read_parquet(project.fold(0, name) / "valid.parquet") for name in (one, other)]
    assert tables[0]["row_id"].tolist() == tables[1]["row_id"].tolist()
    assert tables[0]["row_id"].is_unique
    assert np.abs(tables[0]["prob_bright"] - tables[1]["prob_bright"]).max() < 1e-4


@pytest.fixture(scope="module")
def undisturbed(project: TinyProject) -> list[str]:
    """`two`, trained by two ranks; what they said."""
    ranks = Ranks(project, *words("two"))
    assert ranks.ended() == [0, 0], ranks.said()
    return ranks.said()


def test_two_ranks_learn_what_one_process_learns(project: TinyProject, undisturbed: list[str]) -> None:
    assert project.run("train", *words("one")) == 0
    require_alike(project, "one", "two")
    metas = [read_json(project.fold(0, name) / "meta.json") for name in ("one", "two")]
    assert [meta["ranks"] for meta in metas] == [1, 2]
    for key in ("rows_train", "rows_valid", "batch_size", "epochs", "selected_epoch"):
        assert metas[0][key] == metas[1][key]
    assert metas[0]["sha256"]["run"] == metas[1]["sha256"]["run"]
    logs = [read_csv(project.fold(0, name) / "log.csv") for name in ("one", "two")]
    assert logs[0]["score"].tolist() == pytest.approx(logs[1]["score"].tolist())
    assert "2 ranks together" in undisturbed[0]
    assert undisturbed[1] == "", "rank 0 alone speaks"


def wait_for(resume: Path, ranks: Ranks, points: int) -> None:
    """Until so many further resume points were written."""
    seen: set[int] = set()
    while len(seen) < points and all(process.is_alive() for process in ranks.processes):
        if resume.is_file():
            seen.add(resume.stat().st_mtime_ns)
        time.sleep(0.002)
    assert len(seen) == points, ranks.said()


def test_stopped_and_killed_they_go_on_with_as_many_ranks_or_another_number(
    project: TinyProject, undisturbed: list[str]
) -> None:
    assert undisturbed
    resume = project.fold(0, "ended") / "resume"
    ranks = Ranks(project, *words("ended"))
    wait_for(resume, ranks, 2)
    os.kill(ranks.processes[1].pid, signal.SIGTERM)  # one of them: both stop at the same step
    assert ranks.ended() == [130, 143]
    assert "the same command goes on" in ranks.said()[0]
    ranks = Ranks(project, *words("ended"))
    wait_for(resume, ranks, 2)
    ranks.processes[1].kill()
    killed = time.monotonic()
    assert ranks.ended() == [2, -signal.SIGKILL]
    assert time.monotonic() - killed < 20
    assert "goes on in epoch" in ranks.said()[0]
    assert "error: another rank of this training has ended" in ranks.said()[0]
    shutil.copytree(project.layout.run("tiny", "ended"), project.layout.run("tiny", "alone"))
    ranks = Ranks(project, *words("ended"))
    assert ranks.ended() == [0, 0], ranks.said()
    assert results(project, "ended") == results(project, "two")
    assert project.run("train", *words("alone")) == 0
    require_alike(project, "alone", "two")


def test_a_rank_whose_memory_is_full_ends_all_and_they_go_on_in_parts(project: TinyProject) -> None:
    settings = "train.epochs=4 train.batch_size=1000 model.checkpointing=true"  # one batch of all 48 rows
    ranks = Ranks(project, *words("full", settings), full=True)
    assert ranks.ended() == [2, 2]
    assert "rank 1 of 2: out of memory: from here on every rank takes its rows of a batch in 2 parts" in ranks.said()[1]
    ranks = Ranks(project, *words("full", settings), full=True)
    assert ranks.ended() == [0, 0], ranks.said()
    assert read_json(project.fold(0, "full") / "meta.json")["parts"] == 2
    assert project.run("train", *words("whole", settings)) == 0
    require_alike(project, "full", "whole")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("model.name=test_efficientnet", "batch-norms train"),
        ("train.batch_size=2 augment.mix.name=mixup", "a batch of 2 pictures has not two for each of 2 ranks"),
    ],
)
def test_what_ranks_cannot_do_is_said_before_anything_takes_time(
    project: TinyProject, settings: str, said: str
) -> None:
    ranks = Ranks(project, *words(settings[:12].replace("=", "-"), settings), slurm=True)
    assert ranks.ended() == [2, 2]
    assert said in ranks.said()[0]
    assert "next: " in ranks.said()[0]


def test_the_launcher_says_which_rank_was_killed(project: TinyProject) -> None:
    settings = SETTINGS.replace("epochs=6", "epochs=60")
    process = project.start("train", *words("launched", settings), "--device", "cpu", "--ranks", "2")
    resume = project.fold(0, "launched") / "resume"
    while process.poll() is None and not resume.is_file():
        time.sleep(0.005)
    assert process.poll() is None, process.communicate()
    owner = (project.fold(0, "launched") / ".lock").read_text().partition(" ")[0]
    os.kill(int(owner.split(".")[1]), signal.SIGKILL)
    killed = time.monotonic()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "error: rank 0 of 2 was ended by SIGKILL" in out
    assert time.monotonic() - killed < 40
    assert out.count("error:") == 1
    assert "Warning" not in out


def test_the_launcher_asks_all_ranks_to_end_and_waits_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))

    def stop() -> None:
        while len(list(tmp_path.glob("ready-*"))) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    with signals() as asked:
        threading.Thread(target=stop, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            launching.launch([sys.executable, "-m", "waits", str(tmp_path)], 2)
    assert asked.exit_code == 143
    assert {path.name for path in tmp_path.glob("asked-*")} == {"asked-0", "asked-1"}


def test_the_launcher_starts_ranks_again_that_need_more_parts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {"what": "rank 1 of 2: out of memory", "where": "", "next": "", "kind": "MorePartsError"}
    lost = {"what": "another rank has ended", "where": "", "next": "", "kind": "LostRankError"}
    ends = iter([[{"rank": 0, "exit_code": 2, "told": lost}, {"rank": 1, "exit_code": 2, "told": told}], []])
    monkeypatch.setattr(launching, "_once", lambda *_: next(ends))
    launching.launch([sys.executable, "-m", "foldline"], 2)
    assert "out of memory; they are started again" in capsys.readouterr().out
    ends = iter([[{"rank": 0, "exit_code": 2, "told": lost}]])
    with pytest.raises(FoldlineError, match="another rank has ended"):
        launching.launch([sys.executable, "-m", "foldline"], 2)


def test_more_ranks_than_cores_are_refused_before_any_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "_once", None)
    monkeypatch.setattr(launching, "usable_cores", lambda: 4)
    with pytest.raises(FoldlineError, match="100 ranks, and 4 cores"):
        launching.launch([sys.executable, "-m", "foldline"], 100)


@pytest.mark.parametrize("pairs", [False, True])
def test_shares_of_a_batch_have_each_row_once(pairs: bool) -> None:
    for rows, count in product(range(1, 24), (1, 2, 3, 5)):
        shares = [Share(number, count, pairs).of(rows) for number in range(count)]
        assert sorted(np.concatenate(shares).tolist()) == list(range(rows))
        if pairs:
            assert all(set(share.tolist()) == {rows - 1 - place for place in share.tolist()} for share in shares)
        assert Share(0, count, pairs).least(rows) == min(map(len, shares))


def test_parts_of_the_validation_rows_have_each_row_once() -> None:
    for rows in (0, 1, 2, 7, 24):
        parts = [range(rows)[Told(Rank(number, 3)).part(rows)] for number in range(3)]
        assert [row for part in parts for row in part] == list(range(rows))


def test_a_rank_takes_the_gpu_with_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def gpus(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    gpus(2)
    assert device_of(Rank(3, 4, local=1, beside=2), "auto") == "cuda:1"
    assert device_of(Rank(3, 4, local=1, beside=2), "cpu") == "cpu"
    with pytest.raises(FoldlineError, match="cannot share"):
        device_of(Rank(1, 2, 1, 2), "cuda:1")
    with pytest.raises(FoldlineError, match="3 ranks on this machine, and 2 GPUs"):
        device_of(Rank(1, 3, 1, 3), "auto")
    gpus(1)
    for name, value in {"STEP_ID": "0", "PROCID": "1", "NTASKS": "2", "LOCALID": "1"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert device_of(Rank(1, 2, 1, 2), "auto") == "cuda:0", "Slurm shows each task its own"


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="no two CUDA devices on this machine")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_two_gpus_learn_what_one_learns(project: TinyProject, precision: str) -> None:
    """With batch-norms, whose statistics are of the whole batch, and steps that fp16 leaves out in both."""
    settings = f"{SETTINGS} model.name=test_efficientnet train.precision={precision} train.batch_size=8"
    names = [f"gpus-{precision}-{ranks}" for ranks in (1, 2)]
    for name, ranks in zip(names, ("1", "2"), strict=True):
        assert project.run("train", *words(name, settings), "--device", "auto", "--ranks", ranks) == 0
    logs = [read_csv(project.fold(0, name) / "log.csv") for name in names]
    values = [log["train_loss"][1:].astype(float).to_numpy() for log in logs]
    assert values[0] == pytest.approx(values[1], rel=1e-3 if precision == "fp32" else 3e-2)
    assert json.dumps(read_json(project.fold(0, names[1]) / "meta.json")["ranks"]) == "2"


def test_ranks_climb_together_and_compare_whole_copies(project: TinyProject) -> None:
    """Sharpness-aware steps of several batches, and copies of a row, which stay in one rank."""
    settings = (
        "train.epochs=2 train.batch_size=9 optim.lr=1e-3 optim.accumulate=2 optim.sam=0.05 "
        "augment.copies.name=consistent augment.copies.options.count=3"
    )
    ranks = Ranks(project, *words("climb-two", settings))
    assert ranks.ended() == [0, 0], ranks.said()
    assert project.run("train", *words("climb-one", settings)) == 0
    require_alike(project, "climb-one", "climb-two")
