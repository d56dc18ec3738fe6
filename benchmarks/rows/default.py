"""The default competition as a person starts it: fold 0 of the default run, from photographs to validated scores.

foldline: `foldline train --fold 0` with the default run's own choices (frozen first stages, a probe as its start, views
in validation) but 3 epochs at 128 px, nothing decoded before. fastai: a script that fine-tunes the same network on the
same rows, size, batch, epochs and flips with its own defaults. Needs `make download` and the run's weights (`make
train` once).
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from rows.kit import Row, Side, main

ROW = Row(
    "train command, fold 0 of the default run on its 1,968 photographs, lite0, 128 px, batch 32, 3 epochs",
    "s",
    ("foldline", "fastai"),
    "≤ 0.40",
)
ROOT = Path(__file__).resolve().parents[2]
COMP = "elpv"


def _project(folder: Path) -> Path:
    """A project of its own whose raw files are links; made by the side that comes first."""
    raw, root = ROOT / "input", folder / "default"
    if not (raw / COMP / "manifest.json").is_file() or not (raw / ".weights").is_dir():
        sys.exit("the default competition or its weights are not here: make download, and make train once")
    if not root.is_dir():
        (root / "input").mkdir(parents=True)
        for name in (COMP, ".weights"):
            (root / "input" / name).symlink_to(raw / name)
        shutil.copytree(ROOT / "configs", root / "configs")
        _run([sys.executable, "-m", "foldline", "folds", "--root", str(root), "--comp", COMP])
    return root


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ})


def foldline(folder: Path, small: bool) -> float:
    """Caches and the run of the time before are deleted; small: one epoch at 32 px."""
    root = _project(folder)
    shutil.rmtree(root / "input" / ".caches", ignore_errors=True)
    shutil.rmtree(root / "oof", ignore_errors=True)
    settings = f"data.image_size={32 if small else 128} train.epochs={1 if small else 3}"
    command = [sys.executable, "-m", "foldline", "train", "--root", str(root), "--comp", COMP, "--name", "bench"]
    start = time.perf_counter()
    _run([*command, "--fold", "0", "--device", "cpu", "--set", settings])
    return time.perf_counter() - start


def fastai(folder: Path, small: bool) -> float:
    """A process, too: its start is counted."""
    root, script = _project_or_stop(folder), Path(__file__).parent / "fastai_side.py"
    size = ["32", "32", "1"] if small else ["128", "32", "3"]
    start = time.perf_counter()
    _run([sys.executable, str(script), "train", str(root), "tf_efficientnet_lite0", *size, COMP])
    return time.perf_counter() - start


def _project_or_stop(folder: Path) -> Path:
    """The project that foldline's side made: fastai's Python has no foldline."""
    if not (folder / "default").is_dir():
        sys.exit("foldline's side comes first: it makes the folds")
    return folder / "default"


SIDES: dict[str, Side] = {"foldline": foldline, "fastai": fastai}

if __name__ == "__main__":
    main(SIDES)
