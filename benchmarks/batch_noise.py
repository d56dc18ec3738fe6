"""Batch size against the noise of the loss: draws docs/batch-noise.png from real runs.

    for b in 16 64 256 1024; do
      make train COMP=fashion FOLD=0 NAME=batch-$b SET="train.batch_size=$b train.epochs=1 train.precision=fp32 \\
        schedule.name=constant schedule.warmup=0 optim.lr=1e-3"
    done
    .venv/bin/python benchmarks/batch_noise.py --comp fashion --runs "batch-16 batch-64 batch-256 batch-1024"

Reads `oof/<comp>/<run>/fold_0/steps.csv` and `run.json`. A smaller batch sees a rougher picture of the same loss
landscape: the standard deviation of a step's loss falls with the root of the batch size.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from foldline.core.tables import read_csv, read_json
from foldline.report.look.palette import LIGHT

WINDOW = 9  # steps of the moving median that the noise is measured against


def noise(loss: "pd.Series[float]") -> float:
    """The standard deviation of the second half's losses about their moving median."""
    half = loss.iloc[len(loss) // 2 :]
    around = half.rolling(WINDOW, center=True, min_periods=1).median()
    return float((half - around).std())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--comp", default="fashion")
    parser.add_argument("--runs", required=True)
    parser.add_argument("--out", type=Path, default=Path("docs/batch-noise.png"))
    given = parser.parse_args()
    found = []
    for run in given.runs.split():
        folder = Path("oof") / given.comp / run
        steps = read_csv(folder / "fold_0" / "steps.csv").astype(float)
        size = read_json(folder / "run.json")["train"]["batch_size"]
        found.append((size, steps["step"] * size, steps["loss"]))
    draw(sorted(found, key=lambda item: item[0]), given.out)
    for size, _, loss in found:
        print(f"batch {size}: {len(loss)} steps, noise {noise(loss):.4f}")


def draw(found: "list[tuple[int, pd.Series[float], pd.Series[float]]]", path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[2, 1])
    for (size, seen, loss), shade in zip(found, np.linspace(0.35, 1.0, len(found)), strict=True):
        left.plot(seen, loss, color=LIGHT["accent"], alpha=shade, linewidth=0.8, label=f"batch {size}")
    left.set(xlabel="pictures seen", ylabel="training loss of a step", ylim=(0, None))
    left.legend(frameon=False)
    sizes, values = [size for size, _, _ in found], [noise(loss) for _, _, loss in found]
    right.loglog(sizes, values, "o-", color=LIGHT["accent"], label="measured")
    right.loglog(sizes, values[0] * np.sqrt(sizes[0] / np.array(sizes)), "--", color=LIGHT["muted"], label="1 / √batch")
    right.set(xlabel="batch size", ylabel="std of a step's loss, second half")
    right.set_xticks(sizes, [str(size) for size in sizes])
    right.set_yticks([0.02, 0.05, 0.1, 0.2], ["0.02", "0.05", "0.1", "0.2"])
    right.minorticks_off()
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


if __name__ == "__main__":
    main()
