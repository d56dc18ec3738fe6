"""How often the shift probe of `foldline explore` sees a shift that is none, and what it finds: docs/probes.md.

Made features of 128 numbers. In half of the draws both sides are drawn alike; in the others a fifth of the test rows
is moved by `MOVED` standard deviations in 8 of the numbers. Prints a line for each number of rows a side.

    python benchmarks/shift_probe.py --draws 50
"""

import argparse

import numpy as np
import pandas as pd

from foldline.report.explore.shift import features_shift

FEATURES, TOUCHED, MOVED, SHARE = 128, 8, 2.0, 0.2


def measure(rows: int, draws: int) -> None:
    """Prints how many of the draws are called a shift without one, and with one."""
    frame = pd.DataFrame({"row_id": [f"r{i}" for i in range(rows)]})
    seen = dict.fromkeys((False, True), 0)
    told = []
    for draw in range(draws):
        for moved in (False, True):
            rng = np.random.default_rng([rows, draw, moved])
            sides = rng.normal(size=(2, rows, FEATURES)).astype(np.float32)
            some = rng.permutation(rows)[: int(SHARE * rows)]
            if moved:
                sides[1, some, :TOUCHED] += MOVED
            found = features_shift(frame, frame, sides[0], sides[1])
            seen[moved] += found is not None and found.grade != "none"
            if moved and found is not None:
                told.append(np.isin(found.telling(len(some)), some).mean())
    print(f"| {rows:,} | {seen[False]} of {draws} | {seen[True]} of {draws} | {np.mean(told):.0%} |", flush=True)


def main() -> None:
    """Reads the arguments and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=50)
    arguments = parser.parse_args()
    print("| rows a side | seen where there is none | seen where there is one | moved rows among the most telling |")
    print("|---|---|---|---|")
    for rows in (60, 300, 2000):
        measure(rows, arguments.draws)


if __name__ == "__main__":
    main()
