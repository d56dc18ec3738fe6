"""What one network on all rows is worth beside the folds that it is of, on test rows: generated pictures.

    python benchmarks/all_rows.py

The pictures of `noisy_labels.py` with the right labels, so few that more rows help. The folds keep their best epoch;
`train.folds: all` then trains on all rows as long as their median, at the rates that the folds had. Beside it the same
number of epochs as a whole schedule, whose rate ends at 0. Printed as a table, mean ± std over seeds.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import yaml

from foldline.core.paths import Layout
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.tables import read_csv, read_parquet
from noisy_labels import CLASSES, command, make

FURTHER = (1, 2)  # seeds of further networks on all rows
Scores = dict[str, tuple[float, float]]  # accuracy and log loss


def trained(root: Path, name: str, settings: str) -> None:
    """A run of the base's settings and these, trained and predicted."""
    for stage in ("train", "predict"):
        command(root, stage, "--run", "base", "--name", name, "--set", settings)


def scored(root: Path, files: list[str]) -> tuple[float, float]:
    """Accuracy and log loss on the test rows of the mean of these predictions."""
    tables = [read_parquet(Layout(root).runs("stripes") / file) for file in files]
    truth = read_csv(root / "raw" / "test.csv").set_index("id")["label"].loc[tables[0]["row_id"]]
    prob = np.mean([table[[f"prob_{name}" for name in CLASSES]].to_numpy(float) for table in tables], axis=0)
    right = truth.map(CLASSES.index).to_numpy()
    losses = -np.log(prob[np.arange(len(right)), right])
    return float((prob.argmax(1) == right).mean()), float(losses.mean())


def one_seed(root: Path, args: argparse.Namespace, seed: int) -> Scores:
    """All ways of one seed."""
    make(root, args.rows, args.tests, 0.0, seed, args.noise)
    configs = root / "configs" / "stripes"
    facts = yaml.safe_load((configs / "competition.yaml").read_text())
    (configs / "competition.yaml").write_text(yaml.safe_dump({**facts, "folds": {"k": args.folds}}, sort_keys=False))
    command(root, "download")
    command(root, "folds")
    settings = f"train.epochs={args.epochs} train.select=best"
    trained(root, "folds", settings)
    everything = f"{settings} train.folds=all train.folds_of=folds"
    trained(root, "all", everything)
    for more in FURTHER:
        trained(root, f"all-{more}", f"{everything} seed={seed + 100 * more}")
    epochs = FoldMeta.read(Layout(root).fold("stripes", "all", args.folds) / "meta.json").epochs
    trained(root, "short", f"train.epochs={epochs}")
    trained(root, "short-all", f"train.epochs={epochs} train.folds=all train.folds_of=short")
    single = [scored(root, [f"folds/fold_{fold}/test.parquet"]) for fold in range(args.folds)]
    parts = [f"folds/fold_{fold}/test.parquet" for fold in range(args.folds)]
    alone, short = "all/test.parquet", [f"short/fold_{fold}/test.parquet" for fold in range(args.folds)]
    further = [f"all-{more}/test.parquet" for more in FURTHER]
    return {
        "one fold (the mean of its scores)": (float(np.mean(single, axis=0)[0]), float(np.mean(single, axis=0)[1])),
        "all rows, one network": scored(root, [alone]),
        f"all rows, {1 + len(FURTHER)} networks": scored(root, [alone, *further]),
        f"the {args.folds} folds": scored(root, parts),
        "the mean of folds and all rows": scored(root, ["folds/test.parquet", alone]),
        "as many epochs as a whole schedule: all rows, one network": scored(root, ["short-all/test.parquet"]),
        "as many epochs as a whole schedule: the folds": scored(root, short),
    }


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--tests", type=int, default=1000)
    parser.add_argument("--noise", type=float, default=100)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    args = parser.parse_args()
    every = []
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as folder:
            every.append(one_seed(Path(folder), args, seed))
        print(seed, {way: tuple(round(x, 4) for x in found) for way, found in every[-1].items()}, flush=True)
    print("| predicted by | accuracy, test | log loss, test |\n|---|---|---|")
    for way in every[0]:
        cells = []
        for part in range(2):
            values = [scores[way][part] for scores in every]
            cells.append(f"{np.mean(values):.4f} ± {np.std(values, ddof=1) if len(values) > 1 else 0:.4f}")
        print(f"| {way} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
