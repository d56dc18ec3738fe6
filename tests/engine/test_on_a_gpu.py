"""Training and prediction on a CUDA device; `FOLDLINE_GPU=cpu` rehearses these tests without one."""

import signal
import time

import numpy as np
import pytest

from foldline.core.tables import read_csv, read_json, read_parquet
from tiny import FACTS, TinyProject

pytestmark = pytest.mark.gpu
FILES = ("model.safetensors", "valid.parquet")
HUGE = """
from torch.nn import functional


def huge(logits, target):
    return 100 * functional.cross_entropy(logits, target)
"""


def train(project: TinyProject, gpu: str, name: str, settings: str) -> list[bytes]:
    """Trains fold 0 on the device; what it wrote."""
    assert project.run("train", "--name", name, "--set", settings, "--fold", "0", "--device", gpu) == 0
    return written(project, name)


def written(project: TinyProject, name: str) -> list[bytes]:
    return [(project.fold(0, name) / file).read_bytes() for file in FILES]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("network", ["test_vit", "test_convnext", "test_efficientnet"])
def test_the_same_seed_gives_the_same_bytes(project: TinyProject, gpu: str, network: str, precision: str) -> None:
    """Of attention, too, whose backward pass is the first to lose it."""
    project.prepare()
    settings = f"model.name={network} train.precision={precision} augment.mix.name=cutmix"
    assert train(project, gpu, "one", settings) == train(project, gpu, "two", settings)


def test_pictures_on_the_device_give_the_same_bytes(project: TinyProject, gpu: str) -> None:
    project.prepare()
    there = "gpu" if gpu.startswith("cuda") else "memory"
    for recipe in ("none", "flips"):
        found = [
            train(project, gpu, f"{recipe}-{where}", f"augment.recipe={recipe} data.cache={where} data.workers=0")
            for where in ("disk", there)
        ]
        assert found[0] == found[1]


def test_augmented_on_the_device_the_same_seed_gives_the_same_bytes(project: TinyProject, gpu: str) -> None:
    project.prepare()
    settings = "augment.engine=torch augment.recipe=light augment.erasing=0.3"
    assert train(project, gpu, "one", settings) == train(project, gpu, "two", settings)


@pytest.mark.parametrize("loss", ["corn", "cumulative"])
def test_losses_of_ordered_classes_are_deterministic(project: TinyProject, gpu: str, loss: str) -> None:
    project.write_yaml("competition", {**FACTS, "task": "ordinal", "metric": "quadratic_weighted_kappa", "metrics": []})
    project.prepare()
    assert train(project, gpu, "one", f"loss.name={loss}") == train(project, gpu, "two", f"loss.name={loss}")


def test_killed_and_resumed_it_ends_with_the_same_bytes(project: TinyProject, gpu: str) -> None:
    """In fp16, whose scale is a part of the state."""
    project.prepare()
    settings = (
        "train.precision=fp16 train.epochs=6 train.batch_size=4 train.checkpoint_minutes=1e-6 data.workers=1 "
        "train.average.name=ema train.average.options.decay=0.9 optim.accumulate=2"
    )
    whole = train(project, gpu, "whole", settings)
    given = ["--run", "quick", "--name", "killed", "--set", settings, "--fold", "0", "--device", gpu]
    process, resume, seen = project.start("train", *given), project.fold(0, "killed") / "resume", set[int]()
    while process.poll() is None and len(seen) < 12:  # in the second epoch or later
        if resume.is_file():
            seen.add(resume.stat().st_mtime_ns)
        time.sleep(0.002)
    assert process.poll() is None, "it must have been killed while it was running"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert train(project, gpu, "killed", settings) == whole


def test_steps_that_fp16_leaves_out_are_counted_and_end_no_training(project: TinyProject, gpu: str) -> None:
    """A loss a hundred times as large: its scaled gradients are infinite in fp16 until the scale has fallen."""
    project.prepare()
    (project.root / "configs" / "tiny" / "loss.py").write_text(HUGE)
    settings = "loss.name=loss.py:huge train.precision=fp16 optim.clip.name=norm"
    train(project, gpu, "huge", settings)
    log = read_csv(project.fold(0, "huge") / "log.csv")
    assert 0 < int(log["skipped_steps"].iloc[-1]) < len(read_csv(project.fold(0, "huge") / "steps.csv"))
    assert np.isfinite(log["valid_loss"].astype(float)).all()


@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-4), ("bf16", 3e-2), ("fp16", 5e-3)])
def test_a_cpu_predicts_the_same(project: TinyProject, gpu: str, precision: str, bound: float) -> None:
    """What a GPU has trained, another machine may use."""
    project.prepare()
    settings = f"train.precision={precision}"
    train(project, gpu, "made", settings)
    for fold in ("1", "2"):
        given = ("--name", "made", "--set", settings, "--fold", fold, "--device", gpu)
        assert project.run("train", *given) == 0
    found = []
    for device in (gpu, "cpu"):
        assert project.run("predict", "--run", "made", "--device", device) == 0
        found.append(read_parquet(project.layout.run("tiny", "made") / "test.parquet")["prob_bright"].to_numpy())
    assert np.abs(found[0] - found[1]).max() <= bound
    assert read_json(project.fold(0, "made") / "meta.json")["device"]
