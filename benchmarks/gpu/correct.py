"""Whether the numbers are right: the tests marked gpu, the number formats against one another, bits."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from gpu import project
from gpu.kit import Setting

ROOT = Path(__file__).parents[2]
FILES = ("model.safetensors", "valid.parquet")
LEFT_AS_IT_IS = "does not have a deterministic implementation"  # torch's warning


def marked_tests(setting: Setting) -> None:
    """(a) All tests that need a CUDA device, rehearsed on a CPU; the files without any are not even imported."""
    files = sorted(path for path in (ROOT / "tests").rglob("test_*.py") if "mark.gpu" in path.read_text("utf-8"))
    what = "tests marked gpu" if setting.on_gpu else "tests marked gpu, rehearsed on the CPU"
    _tests(setting, what, "all", "-m", "gpu", *map(str, files))


FEW = "augment.engine or train.precision or data.grow_from or train.unfreeze"


def settings(setting: Setting) -> None:
    """(s) Each setting of a run changes the weights that this device trains; a few of them on a CPU."""
    few = ["-k", f"changes_the_weights and ({FEW})"] if setting.small else ["-k", "changes_the_weights"]
    _tests(
        setting, "settings that change what is trained", "all of them do", *few,
        str(ROOT / "tests" / "engine" / "test_settings.py"),
    )  # fmt: skip


def _tests(setting: Setting, what: str, goal: str, *given: str) -> None:
    """Runs tests on the device: one line."""
    report = setting.folder / f"tests-{setting.part}.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-W", "default", f"--junitxml={report}", *given]
    environment = {**project.environment(), "FOLDLINE_GPU": setting.device}
    subprocess.run(command, cwd=ROOT, env=environment, check=False)
    suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    count = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    bad, ran = count["failures"] + count["errors"], count["tests"] - count["skipped"]
    named = [str(case.get("name")) for case in suite.iter("testcase") if case.find("failure") is not None]
    number = f"{ran - bad} of {ran} pass, {count['skipped']} skipped"
    setting.judge(what, number, goal, not bad and ran > 0, ", ".join(named), **count)


# How far a short training's losses may be apart: (of the first step, of the mean over all steps), relative. The body
# computes with 24 (fp32), 11 (fp16, TF32) or 8 (bf16) bits of mantissa; training amplifies what rounding makes of the
# first loss, and in fp16 the first steps are left out while its scale falls. On a CPU bf16 has 0.002 and 0.0004, fp16
# 0.00005 and 0.009.
BOUNDS = {"fp32": (1e-4, 0.01), "tf32": (0.003, 0.015), "bf16": (0.02, 0.03), "fp16": (0.005, 0.05)}
EVEN = "optim.lr=3e-4 train.epochs=2 schedule.name=constant"


def formats(setting: Setting) -> None:
    """(b) The losses of one short training in each number format, against the CPU's in fp32."""
    losses = {"cpu": _losses(setting, "fp32", device="cpu")}
    for precision, (first, whole) in BOUNDS.items():
        if not _has(setting, precision):
            setting.skip(f"{precision} losses against the CPU's fp32", "this device has no such format")
            continue
        losses[precision] = _losses(setting, precision)
        ours, theirs = losses[precision], losses["cpu"]
        apart = (abs(ours[0] / theirs[0] - 1), abs(ours.mean() / theirs.mean() - 1))
        number = f"first {apart[0]:.1e}, mean {apart[1]:.1e} of {len(ours)} steps"
        setting.judge(
            f"{precision} losses against the CPU's fp32", number, f"≤ {first:g}, ≤ {whole:g}",
            apart[0] <= first and apart[1] <= whole and len(ours) == len(theirs), f"mean loss {ours.mean():.4f}",
            first=apart[0], mean=apart[1], losses=[round(float(loss), 5) for loss in ours],
        )  # fmt: skip


def _losses(setting: Setting, precision: str, device: str = "") -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """The loss of each step."""
    from foldline.core.tables import read_csv

    name = f"losses-{precision}-{device or 'here'}"
    project.run_here(project.train(setting, name, f"{EVEN} train.precision={precision}", device=device))
    return read_csv(project.fold_folder(setting, name) / "steps.csv")["loss"].to_numpy(dtype=np.float64)


def _has(setting: Setting, precision: str) -> bool:
    """Whether the device computes in this format itself; a CPU does so in fp16, slowly."""
    import torch

    if precision == "tf32":
        return setting.on_gpu and torch.cuda.get_device_capability(setting.device) >= (8, 0)
    if precision == "bf16" and setting.on_gpu:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return True


RESUMED = "train.epochs=4 train.checkpoint_minutes=1e-6 train.average.name=ema train.average.options.decay=0.9"
POINTS = 5  # resume points that are waited for: the last of them lies inside an epoch


def killed(setting: Setting) -> None:
    """(f) SIGKILL inside an epoch, the same command again: the bytes of an undisturbed run."""
    whole = project.start(project.train(setting, "whole", RESUMED))
    if not setting.on_gpu:  # one after the other where cores are few
        _finish(whole)
    command = project.train(setting, "killed", RESUMED)
    resume = project.fold_folder(setting, "killed") / "resume"
    process, seen = project.start(command), set[int]()
    while process.poll() is None and len(seen) < POINTS:
        if resume.is_file():
            seen.add(resume.stat().st_mtime_ns)
        time.sleep(0.005)
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    _finish(project.start(command))
    if setting.on_gpu:
        _finish(whole)
    same = _same(setting, "whole", "killed")
    setting.judge(
        "SIGKILL and resume", "same bytes" if same else "other bytes", "same bytes", same and alive,
        "" if alive else "the training had ended before it was killed",
    )  # fmt: skip


def twice(setting: Setting) -> None:
    """(g) The same seed twice, as two processes: a CNN and a ViT."""
    small = setting.small
    networks = {"CNN": "test_efficientnet" if small else "efficientnet_lite0", "ViT": "test_vit"}
    runs = {kind: [f"{kind}-{time}" for time in ("once", "again")] for kind in networks}
    commands = [
        project.train(setting, name, f"model.name={networks[kind]} model.drop_rate=0.2 train.epochs=1")
        for kind, names in runs.items()
        for name in names
    ]
    outputs = []
    at_once = len(commands) if setting.on_gpu else 1
    for begin in range(0, len(commands), at_once):
        started = [project.start(command) for command in commands[begin : begin + at_once]]
        outputs += [_finish(process) for process in started]
    for number, (kind, names) in enumerate(runs.items()):
        same = _same(setting, *names)
        warned = LEFT_AS_IT_IS in outputs[2 * number] + outputs[2 * number + 1]
        setting.judge(
            f"the same seed twice, a {kind} ({networks[kind]})", "same bytes" if same else "other bytes", "same bytes",
            same and not warned, "torch warns of an operation that is not deterministic" if warned else "",
        )  # fmt: skip


def _finish(process: "subprocess.Popen[str]") -> str:
    """The output of a stage that ends well.

    Raises:
        RuntimeError: it does not.
    """
    output, _ = process.communicate()
    print(output, flush=True)
    if process.returncode:
        raise RuntimeError(f"foldline ended with {process.returncode}: {' '.join(output.split()[-60:])}")
    return output


def _same(setting: Setting, one: str, other: str) -> bool:
    """Whether two runs' files are the same bytes."""
    pairs = [[(project.fold_folder(setting, name) / file).read_bytes() for name in (one, other)] for file in FILES]
    return all(a == b for a, b in pairs)
