"""How often the leak probe of `foldline explore` raises a false alarm, and what it finds: the table of docs/probes.md.

Made tables of two classes (30 % are `bad`), facts of the files and two metadata columns. In half of the draws the facts
know nothing of the label; in the others each kind of facts leaks it, as `plant` says. Prints a line a kind of table.

    python benchmarks/leak_probe.py --draws 50
"""

import argparse
import time

import numpy as np
import pandas as pd

from foldline.core.task import TASKS
from foldline.report.explore.file_facts import FileFacts
from foldline.report.explore.leak import probe_leaks

KINDS = ("bytes", "dimensions", "format", "exif", "order", "metadata")
LEAKING = 0.4  # of the bad rows have the leaking value, beside those that have it by chance
LARGER = 1.3  # times more bytes of bad rows; files differ by a factor of exp(0.3) anyway
DISORDER = 0.8  # standard deviation of the places in the order of names, where the classes are 1 apart


def made(rng: np.random.Generator, rows: int, per_group: int) -> tuple[pd.DataFrame, FileFacts, "np.ndarray"]:
    """A table and its facts, and which rows are bad; the rows of a group share camera, day and mostly the label."""
    group = np.arange(rows) // per_group
    groups = int(group.max()) + 1
    bad = (rng.random(groups) < 0.3)[group]
    if per_group > 1:
        bad = np.where(rng.random(rows) < 0.2, rng.random(rows) < 0.3, bad)
    width = rng.choice([800.0, 1024.0, 1600.0], groups, p=[0.5, 0.3, 0.2])[group]
    height = np.where(rng.random(groups) < 0.7, 0.75, 1.0)[group] * width
    size = np.exp(rng.normal(10.3, 0.3, rows))
    kind = np.where(rng.random(groups) < 0.15, "png", "jpg")[group]
    quality = np.where(kind == "png", np.nan, rng.choice([75.0, 90.0, 95.0], groups)[group])
    table = pd.DataFrame(
        {
            "bytes": size,
            "bits_per_pixel": 8 * size / (width * height),
            "width": width,
            "height": height,
            "aspect": width / height,
            "megapixels": width * height / 1e6,
            "format": kind,
            "jpeg_quality": quality,
            "exif": (kind == "jpg").astype(float),
            "camera": rng.choice(["A", "B", "C", "D"], groups)[group],
            "taken_day": 19_000.0 + rng.integers(0, 300, groups)[group],
            "name_length": rng.integers(5, 8, rows).astype(float),
            "name_order": (np.arange(rows) if per_group > 1 else rng.permutation(rows)).astype(float),
        }
    )
    frame = pd.DataFrame({"row_id": [f"r{i}" for i in range(rows)], "image": [f"r{i}.jpg" for i in range(rows)]})
    frame["target"] = np.where(bad, "bad", "good")
    frame["age"] = [f"{age:.0f}" for age in rng.normal(50, 15, rows)]
    frame["site"] = rng.choice(["arm", "leg", "head"], rows)
    if per_group > 1:
        frame["group"] = [f"p{i}" for i in group]
    return frame, FileFacts(table), bad


def plant(
    rng: np.random.Generator, frame: pd.DataFrame, facts: FileFacts, bad: "np.ndarray"
) -> tuple[pd.DataFrame, FileFacts]:
    """The same rows, where each kind of facts leaks the label; each in rows of its own choice."""
    some = {kind: bad & (rng.random(len(bad)) < LEAKING) for kind in KINDS}
    table = facts.table.assign(
        bytes=facts.table["bytes"] * np.where(bad, LARGER, 1.0),
        width=np.where(some["dimensions"], 1600.0, facts.table["width"]),
        format=np.where(some["format"], "png", facts.table["format"]),
        camera=np.where(some["exif"], "D", facts.table["camera"]),
        name_order=np.argsort(np.argsort(bad + rng.normal(0, DISORDER, len(bad)))).astype(float),
    )
    return frame.assign(site=np.where(some["metadata"], "head", frame["site"])), FileFacts(table)


def measure(rows: int, draws: int, per_group: int) -> None:
    """Prints how many of the draws raise an alarm without a leak, and find each kind with one."""
    alarms, found, start = 0, dict.fromkeys(KINDS, 0), time.monotonic()
    for draw in range(draws):
        rng = np.random.default_rng([rows, per_group, draw])
        frame, facts, bad = made(rng, rows, per_group)
        alarms += bool(probe_leaks(frame, facts, TASKS["binary"], ["good", "bad"]).suspected)
        leaking = probe_leaks(*plant(rng, frame, facts, bad), TASKS["binary"], ["good", "bad"])
        for kind in {one.name for one in leaking.suspected} & set(KINDS):
            found[kind] += 1
    seconds = (time.monotonic() - start) / draws / 2
    cells = [f"{rows:,}", "yes" if per_group > 1 else "no", f"{alarms} of {draws}", *(f"{n}" for n in found.values())]
    print(f"| {' | '.join(cells)} | {seconds:.1f} s |", flush=True)


def main() -> None:
    """Reads the arguments and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=50)
    arguments = parser.parse_args()
    print(f"| rows | groups of 4 | false alarms | {' | '.join(KINDS)} | a probe |")
    print("|---|---|---|" + "---|" * (len(KINDS) + 1))
    for rows, per_group in ((60, 1), (300, 1), (2000, 1), (300, 4), (2000, 4)):
        measure(rows, arguments.draws, per_group)


if __name__ == "__main__":
    main()
