"""Training that was killed at any moment ends with the same bits as an undisturbed one."""

import json
import random
import signal
import time
from pathlib import Path

import pytest
import safetensors
from safetensors.torch import load_file, save_file

from tiny import TinyProject

FILES = ("model.safetensors", "best.safetensors", "valid.parquet")
SETTINGS = (
    "train.epochs=8 train.batch_size=4 train.checkpoint_minutes=1e-6 "
    "train.average.name=ema train.average.options.decay=0.9 optim.accumulate=2 augment.strength=0.5"
)


def train(project: TinyProject, name: str) -> list[str]:
    return ["--run", "quick", "--name", name, "--set", SETTINGS, "--fold", "0"]


def results(project: TinyProject, name: str) -> list[bytes]:
    return [(project.fold(0, name) / file).read_bytes() for file in FILES]


@pytest.fixture
def undisturbed(project: TinyProject) -> TinyProject:
    project.prepare()
    assert project.run("train", *train(project, "whole")) == 0
    return project


def test_killed_at_random_moments_ends_with_the_same_bits(undisturbed: TinyProject) -> None:
    project, dice = undisturbed, random.Random(0)
    resume = project.fold(0, "killed") / "resume"
    kills = 0
    for _ in range(3):
        process = project.start("train", *train(project, "killed"))
        before = resume.stat().st_mtime_ns if resume.is_file() else 0
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if resume.is_file() and resume.stat().st_mtime_ns != before:
                time.sleep(dice.uniform(0.0, 0.15))
                break
            time.sleep(0.002)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
    assert kills >= 2, "the training must have been killed while it was running"
    assert not (project.fold(0, "killed") / "meta.json").is_file()
    assert project.run("train", *train(project, "killed")) == 0
    assert results(project, "killed") == results(project, "whole")
    logs = [(project.fold(0, name) / "log.csv").read_text().splitlines() for name in ("whole", "killed")]
    assert len(logs[0]) == len(logs[1]) == 10
    assert not resume.is_file()


def interrupted(project: TinyProject, name: str) -> Path:
    """Trains `name` until a resume point inside an epoch is there, then stops it; returns the resume point."""
    resume = project.fold(0, name) / "resume"
    process = project.start("train", *train(project, name))
    while process.poll() is None:
        if resume.is_file() and position(resume)["batch"] > 0 and position(resume)["epoch"] >= 1:
            process.kill()
            break
    process.communicate()
    assert resume.is_file()
    return resume


def position(resume: Path) -> dict[str, int]:
    """From one reading of the file, which training replaces all the time."""
    content = resume.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    found: dict[str, int] = json.loads(header["__metadata__"]["foldline"])["position"]
    return found


@pytest.mark.parametrize("damage", ["moments", "batch", "ema"])
def test_the_comparison_notices_a_resume_that_forgets(undisturbed: TinyProject, damage: str) -> None:
    """The negative control: a resume point that lacks one thing must not end with the same bits."""
    project = undisturbed
    resume = interrupted(project, "damaged")
    tensors = load_file(resume)
    with safetensors.safe_open(resume, framework="pt") as handle:
        header = json.loads(handle.metadata()["foldline"])
    if damage == "moments":
        tensors = {k: v * 0 if k.endswith("exp_avg") else v for k, v in tensors.items()}
    elif damage == "ema":
        tensors |= {f"ema/{k[6:]}": v for k, v in tensors.items() if k.startswith("model/")}
    else:
        found = header["position"]["batch"]  # 0 when the kill came just after an epoch's end
        header["position"]["batch"] = 2 if found == 0 else 0
    save_file({k: v.clone() for k, v in tensors.items()}, resume, metadata={"foldline": json.dumps(header)})
    assert project.run("train", *train(project, "damaged")) == 0
    assert results(project, "damaged") != results(project, "whole")


def test_a_broken_resume_point_says_what_to_do(undisturbed: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    resume = undisturbed.fold(0, "broken") / "resume"
    resume.parent.mkdir(parents=True)
    resume.write_bytes(b"half a file")
    assert undisturbed.run("train", *train(undisturbed, "broken")) == 2
    assert "delete this file" in capsys.readouterr().err
