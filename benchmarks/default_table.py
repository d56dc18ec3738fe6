"""The default run against its parts and against fastai's defaults, on the sets of default_sets.py.

    python benchmarks/default_table.py FOLDER [--from PROJECT] [--sets "elpv stamps"] [--seeds "0 1 2"] [--peer PYTHON]

FOLDER is made from PROJECT, in which `make folds` was run for the recipes. Seed s trains on all folds but fold s and is
scored on fold s; test rows are never looked at. Each run is a process of one thread that finds no cache, the sides in
turn; its CPU seconds count, which other work on the machine hardly changes. Results are appended to
FOLDER/results.jsonl, so that a run that was cut off goes on. Prints the table.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from default_sets import NETWORK, SETS, write_set, write_weights

ROOT = Path(__file__).resolve().parents[1]
RUN = "baseline"
# What of the default run each side leaves out; fastai's is no run of ours.
SIDES = {
    "default": "",
    "fine-tuning": "train.probe=null train.keep_start=false",
    "probe": "train.epochs=0 train.keep_start=false train.probe.c=0.03 train.probe.views={views}",
    "fastai": "",
}
BLENDED = ("default", "fine-tuning", "probe")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
Result = dict[str, Any]


def main() -> None:
    """Measures what is not there yet, and prints all."""
    given = parser().parse_args()
    folder, names = given.folder.resolve(), given.sets.split()
    for name in names:
        if not (folder / "configs" / name / f"{RUN}.yaml").is_file():
            prepare(given.origin, folder, name)
    if not (folder / "weights.pth").is_file():
        write_weights(folder)
    for seed in map(int, given.seeds.split()):
        for name in names:
            for side in given.sides.split():
                done = {key(result): result for result in results(folder)}
                if (name, side, seed) in done:
                    continue
                if side == "fine-tuning" and "probe" not in shown(folder, name)["train"]:
                    same = done[name, "default", seed]  # the default run has nothing else
                    shutil.copyfile(path_of(folder, key(same)), path_of(folder, (name, side, seed)))
                    record(folder, same | {"side": side})
                else:
                    record(folder, measured(folder, name, side, seed, given.peer))
    print(table(folder))


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("folder", type=Path)
    made.add_argument("--from", dest="origin", type=Path, default=ROOT, help="a project with the recipes' folds")
    made.add_argument("--sets", default=" ".join(SETS))
    made.add_argument("--seeds", default="0 1 2")
    made.add_argument("--sides", default=" ".join(SIDES))
    made.add_argument("--peer", type=Path, default=ROOT / ".bench" / "bin" / "python", help="the Python with fastai")
    return made


def prepare(origin: Path, folder: Path, name: str) -> None:
    """The set as a competition with its folds and the run file that `foldline run` writes for it."""
    from foldline.core.paths import Layout
    from foldline.stages.download import download
    from foldline.stages.first_run import first_run
    from foldline.stages.folds import folds

    write_set(origin, folder, name)
    layout = Layout(folder)
    download(layout, name)
    folds(layout, name)
    first_run(layout, name, RUN, device="cpu")


def measured(folder: Path, name: str, side: str, seed: int, peer: Path) -> Result:
    """One training, from files to predictions of the fold."""
    shutil.rmtree(folder / "input" / ".caches", ignore_errors=True)
    shutil.rmtree(folder / "input" / name / ".cache", ignore_errors=True)
    out = path_of(folder, (name, side, seed))
    out.parent.mkdir(exist_ok=True)
    choices = shown(folder, name)
    if side == "fastai":
        script, size = str(ROOT / "benchmarks" / "fastai_default.py"), [str(choices["data"]["image_size"])]
        told = [str(folder), name, str(seed), str(seed), NETWORK, str(folder / "weights.pth")]
        command = [str(peer), script, *told, *size, str(choices["train"]["epochs"]), str(out)]
    else:
        run = f"{side}-{seed}"
        shutil.rmtree(folder / "oof" / name / run, ignore_errors=True)
        command = [sys.executable, "-m", "foldline", "train", "--root", str(folder), "--comp", name, "--run", RUN]
        settings = SIDES[side].format(views=f"[{','.join(choices['predict']['views'])}]")
        command += ["--name", run, "--fold", str(seed), "--device", "cpu", "--set", f"seed={seed} {settings}"]
    before, begin = cpu_seconds(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **ONE_THREAD})
    wall, cpu = time.perf_counter() - begin, cpu_seconds() - before
    if side != "fastai":
        columns = {f"prob_{label}": label for label in labels(folder, name)}
        predicted = pd.read_parquet(folder / "oof" / name / f"{side}-{seed}" / f"fold_{seed}" / "valid.parquet")
        predicted.rename(columns=columns)[["row_id", *columns.values()]].to_csv(out, index=False)
    return {"set": name, "side": side, "seed": seed, "score": score(folder, name, [out]), "cpu": cpu, "wall": wall}


def path_of(folder: Path, which: tuple[str, str, int]) -> Path:
    """Where the predictions of a side stand."""
    return folder / "out" / f"{'-'.join(map(str, which))}.csv"


def shown(folder: Path, name: str) -> dict[str, Any]:
    """The choices of the set's run file."""
    from foldline.core.yaml_models import load_yaml

    return load_yaml(folder / "configs" / name / f"{RUN}.yaml")


def labels(folder: Path, name: str) -> list[str]:
    """The classes in the order of the predictions."""
    return list(json.loads((folder / "folds" / f"{name}.json").read_text(encoding="utf-8"))["outputs"])


def score(folder: Path, name: str, files: list[Path]) -> float:
    """Of the mean of predictions: AUC where there are two classes, else accuracy."""
    from sklearn.metrics import roc_auc_score

    classes = labels(folder, name)
    tables = [pd.read_csv(path, dtype={"row_id": str}).set_index("row_id") for path in files]
    mean = np.mean([table.reindex(tables[0].index)[classes].to_numpy() for table in tables], axis=0)
    frame = pd.read_csv(folder / "folds" / f"{name}.csv", dtype=str, keep_default_na=False).set_index("row_id")
    truth = frame.loc[tables[0].index, "target"].map(classes.index).to_numpy()
    if len(classes) == 2:
        return float(roc_auc_score(truth, mean[:, 1]))
    return float((mean.argmax(axis=1) == truth).mean())


def cpu_seconds() -> float:
    """Of all children so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def record(folder: Path, result: Result) -> None:
    """Appends one result."""
    print(json.dumps(result), flush=True)
    with (folder / "results.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")


def results(folder: Path) -> list[Result]:
    """What was measured so far."""
    path = folder / "results.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def key(result: Result) -> tuple[str, str, int]:
    """What a result is of."""
    return result["set"], result["side"], result["seed"]


def table(folder: Path) -> str:
    """Markdown: a line a set; mean ± standard deviation of the seeds, and CPU minutes."""
    done = {key(result): result for result in results(folder)}
    lines = [f"| set | {' | '.join([*SIDES, 'blend of the three'])} |", "|---" * (len(SIDES) + 2) + "|"]
    for name in dict.fromkeys(name for name, _, _ in done):
        cells = []
        for side in SIDES:
            found = [one for (of, by, _), one in done.items() if (of, by) == (name, side)]
            minutes = statistics.mean([one["cpu"] for one in found if one["cpu"]] or [0.0]) / 60
            cells.append(in_words([one["score"] for one in found], minutes))
        seeds = [seed for of, side, seed in done if (of, side) == (name, "default")]
        files = [[path_of(folder, (name, side, seed)) for side in BLENDED] for seed in seeds]
        whole = [score(folder, name, paths) for paths in files if all(path.is_file() for path in paths)]
        lines.append(f"| {name} | {' | '.join([*cells, in_words(whole)])} |")
    return "\n".join(lines)


def in_words(scores: list[float], minutes: float = 0.0) -> str:
    """Such as `0.9307 ± 0.0012 (n = 3), 2.1 min`.

    >>> in_words([0.9, 0.92, 0.94], 2.04), in_words([0.5]), in_words([])
    ('0.9200 ± 0.0200 (n = 3), 2.0 min', '0.5000 (n = 1)', 'not measured')
    """
    if not scores:
        return "not measured"
    spread = f" ± {statistics.stdev(scores):.4f}" if len(scores) > 1 else ""
    return f"{statistics.mean(scores):.4f}{spread} (n = {len(scores)})" + (f", {minutes:.1f} min" if minutes else "")


if __name__ == "__main__":
    main()
