"""What a column that is learnt beside the target gains where the right answer is known: generated pictures.

    python benchmarks/auxiliary_targets.py

The pictures of `noisy_labels.py`, 300 rows with 40 % of the labels flipped; a column of the training table says of
every third row how the stripes truly lie. The test rows have no such column. Printed as a table, mean ± std over seeds.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import yaml

from foldline.core.tables import read_csv, write_csv
from noisy_labels import command, make, measured

WAYS = {"target alone": "", "with the column, weight 0.5": "0.5", "with the column, weight 2": "2"}


def one_seed(root: Path, args: argparse.Namespace, seed: int) -> dict[str, float]:
    """Accuracy on the test rows of each way."""
    truth = make(root, args.rows, args.tests, 0.4, seed)
    table, facts = root / "raw" / "train.csv", root / "configs" / "stripes" / "competition.yaml"
    rows = read_csv(table)
    rows["lies"] = [truth[name] if i % 3 == 0 else "" for i, name in enumerate(rows["id"])]
    write_csv(table, rows)
    content = yaml.safe_load(facts.read_text())
    content["train"]["metadata"] = ["lies"]
    facts.write_text(yaml.safe_dump(content, sort_keys=False))
    command(root, "download")
    command(root, "folds")
    scores = {}
    for number, (way, weight) in enumerate(WAYS.items()):
        given = ("--run", "base", "--name", f"way-{number}", "--set")
        settings = "train.epochs=8 " + (f"loss.auxiliary.lies={weight}" if weight else "")
        for stage in ("train", "predict"):
            command(root, stage, *given, settings)
        scores[way] = measured(root, f"way-{number}", truth)["test, true"]
    return scores


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--tests", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    every = []
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as folder:
            every.append(one_seed(Path(folder), args, seed))
        print(seed, every[-1], flush=True)
    print("| learnt | accuracy, test |\n|---|---|")
    for way in WAYS:
        values = [scores[way] for scores in every]
        print(f"| {way} | {np.mean(values):.4f} ± {np.std(values, ddof=1) if len(values) > 1 else 0:.4f} |")


if __name__ == "__main__":
    main()
