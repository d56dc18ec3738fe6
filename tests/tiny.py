"""A small competition whose pictures carry a signal that a tiny network learns in seconds."""

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from foldline.cli import main
from foldline.core.paths import Layout

FACTS: dict[str, Any] = {
    "title": "bright or dark",
    "source": {"kind": "folder", "name": "raw"},
    "task": "binary",
    "classes": ["dark", "bright"],
    "metric": "auc",
    "metrics": ["accuracy", "log_loss"],
    "train": {"file": "train.csv", "row_id": "id", "image": "{id}.png", "target": "label", "group": "patient"},
    "holdout": {"fraction": 0.25},
    "folds": {"k": 3},
}
RUN: dict[str, Any] = {
    "model": {"name": "test_efficientnet", "weights": "none", "drop_rate": 0.1},
    "data": {"image_size": 32, "channels": 1},
    "augment": {"recipe": "light"},
    "optim": {"lr": 3e-3},
    "train": {"epochs": 2, "batch_size": 8, "precision": "fp32", "log_to": []},
    "predict": {"views": ["identity", "hflip"]},
}


class TinyProject:
    """Files of a project in a temporary folder, and the command line run in it."""

    def __init__(self, root: Path, rows: int = 96) -> None:
        self.root = root
        self.layout = Layout(root)
        self.write_raw(rows)
        self.write_yaml("competition", FACTS)
        self.write_yaml("quick", RUN)

    def write_raw(self, rows: int) -> None:
        """Gray noise with a bright or dark middle; patients have up to three pictures of either label."""
        rng = np.random.default_rng(0)
        raw = self.root / "raw"
        raw.mkdir()
        lines = ["id,label,patient"]
        for i in range(rows):
            label = int(rng.random() < 0.4)
            picture = rng.normal(110, 40, (40, 36))
            picture[10:30, 8:28] += 30 if label else -30
            cv2.imwrite(str(raw / f"p{i:03d}.png"), np.clip(picture, 0, 255).astype(np.uint8))
            lines.append(f"p{i:03d},{['dark', 'bright'][label]},patient{i // 3:02d}")
        (raw / "train.csv").write_text("\n".join(lines) + "\n")

    def make_uneven(self) -> None:
        """What real competitions are like: patients of 1 to 20 pictures, so folds of other lengths; one picture that
        cannot be read; a run that stops each fold early."""
        train = self.root / "raw" / "train.csv"
        rows = [line.split(",")[:2] for line in train.read_text().splitlines()[1:]]
        patients = np.repeat(np.arange(12), [20, 17, 13, 11, 9, 7, 6, 5, 3, 2, 2, 1])
        lines = [f"{row},{label},patient{patient:02d}" for (row, label), patient in zip(rows, patients, strict=True)]
        train.write_text("\n".join(["id,label,patient", *lines]) + "\n")
        (self.root / "raw" / "p050.png").write_bytes((self.root / "raw" / "p050.png").read_bytes()[:200])
        choices = {**RUN, "data": {**RUN["data"], "bad_images": "skip"}}
        self.write_yaml("quick", {**choices, "train": {**RUN["train"], "epochs": 8, "select": "best", "patience": 1}})

    def write_yaml(self, name: str, content: dict[str, Any]) -> None:
        path = self.root / "configs" / "tiny" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        source = content.get("source")
        if source:
            content = {**content, "source": {**source, "name": str(self.root / source["name"])}}
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    def run(self, stage: str, *arguments: str) -> int:
        """The exit code of a stage, run in this process."""
        run = ["--run", "quick"] if stage in ("train", "predict", "ensemble", "report", "score") else []
        given = [] if "--run" in arguments else run
        return main([stage, "--root", str(self.root), "--comp", "tiny", *given, *arguments])

    def start(self, stage: str, *arguments: str) -> "subprocess.Popen[str]":
        """A stage as a process of its own."""
        command = [sys.executable, "-m", "foldline", stage, "--root", str(self.root), "--comp", "tiny", *arguments]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ}
        )

    def prepare(self) -> None:
        """Downloads and splits."""
        assert self.run("download") == 0
        assert self.run("folds") == 0

    def blend_two(self, choices: dict[str, Any]) -> None:
        """The runs `quick` and `small`, whose pictures have another size, and their ensemble `both`."""
        self.write_yaml("quick", choices)
        self.write_yaml("small", {**choices, "data": {**choices["data"], "image_size": 24}, "seed": 1})
        self.prepare()
        for run in ("quick", "small"):
            assert self.run("train", "--run", run) == 0
            assert self.run("predict", "--run", run) == 0
        assert self.run("ensemble", "--runs", "quick small", "--name", "both", "--blend", "gmean") == 0

    def fold(self, fold: int, run: str = "quick") -> Path:
        return self.layout.fold("tiny", run, fold)


def seconds_of_children() -> float:
    """Of CPU time, of the processes that were waited for: what a command costs, however busy the machine is."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
