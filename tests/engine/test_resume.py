"""Training that was killed at any moment ends with the same bits as an undisturbed one."""

import json
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
from safetensors.torch import load_file, save_file

from foldline.engine.loop import checkpoint, fit
from foldline.engine.loop.checkpoint import save_resume
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


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    project = TinyProject(tmp_path_factory.mktemp("resume"))
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
    name = f"forgets-{damage}"
    resume = interrupted(project, name)
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
    assert project.run("train", *train(project, name)) == 0
    assert results(project, name) != results(project, "whole")


def flip_weight(path: Path) -> None:
    """Turns one bit of the network's first weight."""
    content = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    content[start + json.loads(content[8:start])["model/conv_stem.weight"]["data_offsets"][0] + 2] ^= 16
    path.write_bytes(content)


def move_position(path: Path) -> None:
    """`goes on in epoch 8`."""
    content = path.read_bytes()
    place = content.index(b'epoch\\": ') + len(b'epoch\\": ')
    path.write_bytes(content[:place] + b"7" + content[place + 1 :])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_weight_of_both(path: Path) -> None:
    flip_weight(path)
    flip_weight(path.with_name("resume.before"))


DAMAGE: dict[Callable[[Path], object], str] = {
    flip_weight: "goes on from the one before",
    move_position: "goes on from the one before",
    cut: "goes on from the one before",
    lambda path: path.write_bytes(b""): "goes on from the one before",
    Path.unlink: "goes on in epoch",  # killed between two renames
    flip_weight_of_both: "it starts anew",
}


def stopped(project: TinyProject, name: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Trains until some resume points are written; returns the run's folder."""
    count = iter(range(5))

    def save(*given: Any) -> None:
        save_resume(*given)
        if next(count) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fit, "save_resume", save)
        assert project.run("train", *train(project, name)) == 130
    return project.layout.run("tiny", name)


def test_damaged_resume_points_end_with_the_same_bits(
    undisturbed: TinyProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = undisturbed
    folder = stopped(project, "stopped", monkeypatch)
    for number, (damage, words) in enumerate(DAMAGE.items()):
        name = f"damaged-{number}"
        shutil.copytree(folder, folder.with_name(name))
        damage(project.fold(0, name) / "resume")
        capsys.readouterr()
        assert project.run("train", *train(project, name)) == 0
        assert words in capsys.readouterr().out
        assert results(project, name) == results(project, "whole"), words
        steps = [(project.fold(0, one) / "steps.csv").read_bytes() for one in (name, "whole")]
        assert steps[0] == steps[1]
        assert not [path for path in project.fold(0, name).iterdir() if path.name.startswith(("resume", "."))]


def test_without_the_hash_a_flipped_bit_would_be_taken(
    undisturbed: TinyProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the test above."""
    monkeypatch.setattr(checkpoint, "state_sha256", lambda _: "")
    flip_weight(stopped(undisturbed, "unhashed", monkeypatch) / "fold_0" / "resume")
    assert undisturbed.run("train", *train(undisturbed, "unhashed")) == 0
    assert results(undisturbed, "unhashed") != results(undisturbed, "whole")
