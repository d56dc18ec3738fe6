"""The whole training of a fold as a person starts it: from JPEG files to weights and validated scores.

foldline: `foldline train --fold 0` as a process, nothing decoded before. fastai: a script that does the same with the
same pictures, rows of the fold, network, epochs and flips (fit_one_cycle, its defaults else).
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from rows.kit import Row, Side, main

ROW = Row(
    "train command, fold 0, all of lite0 trained, 128 px, batch 32, 3 epochs, pictures in files",
    "s",
    ("foldline", "fastai"),
)


def _choices(small: bool) -> tuple[str, int, int, int]:
    """(network, side in px, batch size, epochs)."""
    return ("test_efficientnet", 32, 8, 1) if small else ("tf_efficientnet_lite0", 128, 32, 3)


def foldline(folder: Path, small: bool) -> float:
    """Caches and the run of the time before are deleted."""
    name, side, batch, epochs = _choices(small)
    shutil.rmtree(folder / "input" / "made" / ".cache", ignore_errors=True)
    shutil.rmtree(folder / "oof" / "made" / "bench", ignore_errors=True)
    settings = f"model.name={name} data.image_size={side} train.batch_size={batch} train.epochs={epochs}"
    settings += " augment.recipe=flips train.precision=auto"
    command = [sys.executable, "-m", "foldline", "train", "--root", str(folder), "--comp", "made", "--run", "quick"]
    command += ["--name", "bench", "--fold", "0", "--device", "cpu", "--set", settings]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ})
    return time.perf_counter() - start


def fastai(folder: Path, small: bool) -> float:
    """A process, too: its start is counted."""
    name, side, batch, epochs = _choices(small)
    script = Path(__file__).parent / "fastai_side.py"
    command = [sys.executable, str(script), "train", str(folder), name, str(side), str(batch), str(epochs)]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=sys.stderr)
    return time.perf_counter() - start


SIDES: dict[str, Side] = {"foldline": foldline, "fastai": fastai}

if __name__ == "__main__":
    main(SIDES)
