"""What rounds of pseudo-labels gain where few rows have labels and the right ones of the test rows are known.

    python benchmarks/pseudo_rounds.py

The pictures of `noisy_labels.py` with more noise, no label flipped: 100 labelled rows and 600 test rows. `foldline
pseudo` with hard labels, and with soft ones, a threshold a class and half of each epoch. Printed as a table, mean ± std
over seeds.
"""

import argparse
import json
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from foldline.cli import main as foldline
from foldline.core.paths import Layout
from foldline.core.tables import read_csv, read_parquet
from noisy_labels import CLASSES, command, make

WAYS = {"hard": "least=0.9", "soft": "soft=1 least=0.7 share=0.3 ratio=0.5"}
SETTINGS = "train.epochs=12 train.batch_size=16"


def accuracy(root: Path, run: str) -> tuple[float, float]:
    """Out of fold, and on the test rows."""
    layout, columns = Layout(root), [f"prob_{name}" for name in CLASSES]
    oof, test = (read_parquet(layout.run("stripes", run) / f"{kind}.parquet") for kind in ("oof", "test"))
    right = read_csv(root / "raw" / "test.csv").set_index("id")["label"].loc[test["row_id"]].to_numpy()
    pairs = ((oof, oof["target"].to_numpy()), (test, right))
    own, tested = (
        float((np.array(CLASSES)[table[columns].to_numpy().argmax(1)] == labels).mean()) for table, labels in pairs
    )
    return own, tested


def one_seed(root: Path, args: argparse.Namespace, seed: int) -> dict[str, tuple[float, float]]:
    """The run, and all rounds of each way."""
    make(root, args.rows, args.tests, 0.0, seed, noise=75)
    command(root, "download")
    command(root, "folds")
    scores = {}
    for way, options in WAYS.items():
        given = ("--run", "base", "--name", way, "--set", SETTINGS)
        for stage in ("train", "predict"):
            command(root, stage, *given)
        said = StringIO()
        with redirect_stdout(said):
            rest = ("--rounds", str(args.rounds), "--options", options, "--json")
            code = foldline(["pseudo", "--root", str(root), "--comp", "stripes", *given, *rest])
        if code:
            raise SystemExit("failed: pseudo")
        found: dict[str, Any] = json.loads(said.getvalue())
        scores["the run itself"] = accuracy(root, way)
        for number in range(args.rounds):  # a round that was not needed leaves the run that is kept
            run = found["rounds"][number]["run"] if number < len(found["rounds"]) else found["kept"]
            scores[f"{way}, round {number + 1}"] = accuracy(root, run)
        scores[f"{way}, kept"] = accuracy(root, found["kept"])
    return scores


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--tests", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    every = []
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as folder:
            every.append(one_seed(Path(folder), args, seed))
        print(seed, every[-1], flush=True)
    print("| run | OOF | test |\n|---|---|---|")
    for run in every[0]:
        pairs = np.array([scores[run] for scores in every])
        spread = pairs.std(axis=0, ddof=1) if len(pairs) > 1 else np.zeros(2)
        cells = " | ".join(f"{mean:.4f} ± {std:.4f}" for mean, std in zip(pairs.mean(axis=0), spread, strict=True))
        print(f"| {run} | {cells} |")


if __name__ == "__main__":
    main()
