"""What heads over an entity's pictures are worth, on generated pictures whose right answer is known (docs/runs.md).

`python benchmarks/several_pictures.py [--seeds 3] [--kind pairs] [--heads max gru]`: in temporary projects, scans of
which one slice decides, and breasts whose two views decide together, are trained and predicted by each head. Prints a
table, and writes nothing else.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from foldline.core.tables import read_json

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from stacks import StackProject

COMMON = "train.folds=[0] train.validate_every=100"
STACKS = {
    "one by one, mean of the rows": "model.entity=none train.batch_size=64",
    "one by one, each between its neighbours": "model.entity=none train.batch_size=64 data.neighbours=1",
    **{head: f"model.entity={head}" for head in ("mean", "max", "gem", "attention", "transformer", "gru")},
    "attention, 6 pictures a step": "model.entity=attention model.entity.options.pictures=6",
    "attention, each between its neighbours": "model.entity=attention data.neighbours=1",
}
VIEW = "model.metadata=[view]"
PAIRS = {
    "one by one, mean of the rows": f"model.entity=none {VIEW} train.batch_size=16",
    "mean": f"model.entity=mean {VIEW}",
    "max": f"model.entity=max {VIEW}",
    "attention": f"model.entity=attention {VIEW}",
    "transformer": f"model.entity=transformer {VIEW}",
    "gru": f"model.entity=gru {VIEW}",
}


SIZES = {"stacks": (STACKS, 160, 20), "pairs": (PAIRS, 300, 20)}  # heads; scans or patients; epochs


def scores(kind: str, heads: list[str], seed: int) -> dict[str, float]:
    """The pooled OOF AUC of each head, over entities."""
    known, count, epochs = SIZES[kind]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        project = StackProject(Path(folder) / kind, count, pairs=kind == "pairs", seed=seed)
        project.prepare()
        for number, head in enumerate(heads):
            given = f"{COMMON} seed={seed} train.epochs={epochs} {known[head]}"
            for stage in ("train", "predict"):
                if project.run(stage, "--name", f"head-{number}", "--set", given):
                    raise SystemExit(1)
            found[head] = read_json(project.layout.run("tiny", f"head-{number}") / "cv.json")["pooled"]
            print(f"{kind}, seed {seed} | {head} | {found[head]:.3f}", flush=True)
    return found


def main() -> None:
    """Prints a line a head."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kind", choices=tuple(SIZES), nargs="*", default=list(SIZES))
    parser.add_argument("--heads", nargs="*", help="some alone")
    given = parser.parse_args()
    for kind in given.kind:
        heads = given.heads or list(SIZES[kind][0])
        runs = [scores(kind, heads, seed) for seed in range(given.seeds)]
        for head in heads:
            values = np.array([run[head] for run in runs])
            print(f"{kind} | {head} | {values.mean():.3f} ± {values.std(ddof=1):.3f}")


if __name__ == "__main__":
    main()
