"""A small project with generated pictures, and foldline's command line in it."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from gpu.kit import Setting

COMP, RUN = "made", "quick"
SRC = Path(__file__).parents[2] / "src"


def write(folder: Path, *, small: bool, on_gpu: bool) -> None:
    """Raw pictures of two classes, the facts, and the run `quick`; nothing of foldline is needed.

    On a CPU the run names its precision: there `auto` is timed, and two equal trainings may choose differently.
    """
    rows, side = (160, 40) if small else (2048, 240)
    raw = folder / "raw"
    raw.mkdir(parents=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        labels = list(pool.map(lambda row: _picture(raw, row, side), range(rows)))
    lines = ["id,label", *(f"p{row:04d},{['dark', 'bright'][label]}" for row, label in enumerate(labels))]
    (raw / "train.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    configs = folder / "configs" / COMP
    configs.mkdir(parents=True)
    (configs / "competition.yaml").write_text(yaml.safe_dump(_facts(raw)), encoding="utf-8")
    (configs / f"{RUN}.yaml").write_text(yaml.safe_dump(_run(small, on_gpu)), encoding="utf-8")


def _picture(raw: Path, row: int, side: int) -> int:
    """Coarse noise with a bright or dark middle; its class."""
    rng = np.random.default_rng(row)
    label = int(rng.random() < 0.5)
    coarse = rng.normal(110, 40, (side // 8, side // 8, 3))
    coarse[side // 32 : -(side // 32), side // 32 : -(side // 32)] += 25 if label else -25
    picture = cv2.resize(np.clip(coarse, 0, 255).astype(np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(raw / f"p{row:04d}.jpg"), picture)
    return label


def _facts(raw: Path) -> dict[str, Any]:
    return {
        "title": "bright or dark",
        "source": {"kind": "folder", "name": str(raw)},
        "task": "binary",
        "classes": ["dark", "bright"],
        "metric": "auc",
        "train": {"file": "train.csv", "row_id": "id", "image": "{id}.jpg", "target": "label"},
        "holdout": {"fraction": 0.1},
        "folds": {"k": 4},
    }


def _run(small: bool, on_gpu: bool) -> dict[str, Any]:
    return {
        "model": {"name": "test_resnet" if small else "resnet18", "weights": "none"},
        "data": {"image_size": 32 if small else 64},
        "augment": {"recipe": "light"},
        "optim": {"lr": 1e-3},
        "train": {"epochs": 2, "batch_size": 8 if small else 32, "precision": "auto" if on_gpu else "fp32"},
    }


def command(setting: Setting, stage: str, *more: str) -> list[str]:
    """The arguments of foldline's command line for a stage."""
    given = [stage, "--root", str(setting.folder), "--comp", COMP]
    if stage in ("train", "predict"):
        given += ["--run", RUN, "--device", setting.device]
    return [*given, *more]


def train(setting: Setting, name: str, settings: str = "", *, device: str = "") -> list[str]:
    """The arguments that train fold 0 of the run under a name of its own."""
    more = ["--name", name, "--fold", "0", *(["--set", settings] if settings else [])]
    return command(setting, "train", *more, *(["--device", device] if device else []))


def run_here(arguments: list[str]) -> None:
    """A stage in this process.

    Raises:
        RuntimeError: its exit code is not 0.
    """
    from foldline.cli import main

    code = main(arguments)
    if code:
        raise RuntimeError(f"foldline {' '.join(arguments)}: exit code {code}")


def start(arguments: list[str]) -> "subprocess.Popen[str]":
    """A stage as a process of its own, with its output in one pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", "foldline", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
    )


def environment() -> dict[str, str]:
    """This process's, so that children find foldline where it is not installed, and reach no network."""
    known = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join([str(SRC), *([known] if known else [])])
    return {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}


def fold_folder(setting: Setting, name: str) -> Path:
    """`oof/<comp>/<run>/fold_0`."""
    return setting.folder / "oof" / COMP / name / "fold_0"
