"""What each stage costs from 10 thousand to a million rows, on generated files: seconds and peak memory.

    python benchmarks/scale.py [--only folds,cv] [--sizes 10000,100000] [--repeats 3] [--page docs/scale.md]

Each size of each stage runs in a process of its own: the seconds are of its `run` alone, the peak is that of the whole
process, imports and mapped files included. Exits with 1 where a goal is missed. Stages are the files of
`benchmarks/costs/`. Nothing else should run meanwhile.
"""

import argparse
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from bench import commit, machine
from costs.kit import GIB, Cost, Measured, growth, seconds_shown

ROOT = Path(__file__).resolve().parents[1]
COSTS = sorted(
    path.stem for path in (ROOT / "benchmarks" / "costs").glob("*.py") if path.stem not in ("__init__", "kit")
)
BEGIN, END = "<!-- made by benchmarks/scale.py -->\n", "<!-- end -->\n"
PATIENCE_SECONDS = 3600


def main() -> int:
    """The exit code: 1 where a stage failed or missed its goal."""
    given = parser().parse_args()
    if given.one:
        return one(given.one, given.step, given.folder, given.rows)
    names = re.findall("[^, ]+", given.only) or COSTS
    found = [measured(name, sizes(given.sizes), given.repeats) for name in names]
    lines = table(found)
    print("\n".join(lines))
    if given.page:
        write_page(given.page, lines, f"{machine()}, {datetime.date.today():%Y-%m-%d}, {commit()}, n = {given.repeats}")
    return int(any(row.missing or not within(row) for row in found))


def parser() -> argparse.ArgumentParser:
    """The command line; `--one` and its like are those of the child processes."""
    result = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--only", default="", help=f"some of {', '.join(COSTS)}")
    result.add_argument("--sizes", default="", help="numbers of rows in place of each stage's own")
    result.add_argument("--repeats", type=int, default=1)
    result.add_argument("--page", type=Path, help="a page whose table is written anew")
    for name, kind in (("--one", str), ("--step", str), ("--folder", Path), ("--rows", int)):
        result.add_argument(name, type=kind, help=argparse.SUPPRESS)
    return result


def sizes(words: str) -> tuple[int, ...]:
    """Numbers of rows.

    >>> sizes("10000, 2_000")
    (10000, 2000)
    """
    return tuple(int(word) for word in re.findall("[0-9_]+", words))


def one(name: str, step: str, folder: Path, rows: int) -> int:
    """A child: one step of one stage; prints its seconds as JSON in the last line."""
    module = import_module(f"costs.{name}")
    start = time.perf_counter()
    getattr(module, step)(folder, rows)
    print(json.dumps({"seconds": time.perf_counter() - start}))
    return 0


def measured(name: str, wanted: tuple[int, ...], repeats: int) -> Measured:
    """All sizes of a stage, from few rows to many; after one that fails no greater one is tried."""
    cost: Cost = import_module(f"costs.{name}").COST
    result = Measured(name, cost)
    for rows in wanted or cost.sizes:
        folder = Path(tempfile.mkdtemp(prefix=f"scale-{name}-"))
        try:
            child(name, "prepare", folder, rows)
            for _ in range(repeats):
                seconds, peak = child(name, "run", folder, rows)
                result.seconds.setdefault(rows, []).append(seconds)
                result.peak.setdefault(rows, []).append(peak)
                print(f"{name}, {rows:,} rows: {seconds:.1f} s, {peak / GIB:.2f} GiB", file=sys.stderr)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            result.missing[rows] = str(error)
            break
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return result


def child(name: str, step: str, folder: Path, rows: int) -> tuple[float, int]:
    """Seconds of the step, and the peak memory of its process in bytes."""
    command = [
        sys.executable, __file__, "--one", name, "--step", step, "--folder", str(folder), "--rows", str(rows),
    ]  # fmt: skip
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, env=os.environ | {"PYTHONPATH": python_path()})
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        lines = out.read().splitlines()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    unit = 1 if sys.platform == "darwin" else 1024
    return float(json.loads(lines[-1])["seconds"]), usage.ru_maxrss * unit


def python_path() -> str:
    """Where children find foldline and these files."""
    return os.pathsep.join(map(str, (ROOT / "src", ROOT / "benchmarks", ROOT / "tests")))


def within(row: Measured) -> bool:
    """Whether a stage keeps its goals."""
    memory = row.cost.most_bytes is None or all(max(peaks) <= row.cost.most_bytes for peaks in row.peak.values())
    largest = max(row.seconds, default=0)
    slow = row.cost.most_seconds is not None and largest == row.cost.sizes[-1]
    return memory and not (slow and min(row.seconds[largest]) > (row.cost.most_seconds or 0))


def table(found: list[Measured]) -> list[str]:
    """Markdown: a line a stage and size; growth is the exponent from the size before, 1 is linear."""
    lines = ["| stage | rows | seconds | growth | peak GiB | goal |", "|---|---:|---:|---:|---:|---|"]
    for row in found:
        before: tuple[int, float] | None = None
        for rows, values in row.seconds.items():
            middle = sorted(values)[len(values) // 2]
            grown = f"{growth(before[1], middle, rows / before[0]):.2f}" if before else ""
            goal = _goal(row) if rows == max(row.seconds) else ""
            peak = f"{max(row.peak[rows]) / GIB:.2f}"
            lines.append(f"| {row.cost.words} | {rows:,} | {seconds_shown(values)} | {grown} | {peak} | {goal} |")
            before = rows, middle
        lines += [f"| {row.cost.words} | {rows:,} | failed | | | {why} |" for rows, why in row.missing.items()]
    return lines


def _goal(row: Measured) -> str:
    goals = []
    if row.cost.most_bytes is not None:
        goals.append(f"≤ {row.cost.most_bytes / GIB:g} GiB")
    if row.cost.most_seconds is not None:
        goals.append(f"≤ {row.cost.most_seconds:g} s")
    return f"{', '.join(goals)}: {'kept' if within(row) else 'MISSED'}" if goals else ""


def write_page(path: Path, lines: list[str], words: str) -> None:
    """Writes the table into its place in a page."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    assert rest, f"{path} has no line {BEGIN!r}"
    after = rest.partition(END)[2]
    path.write_text(
        before + BEGIN + "\n" + "\n".join([*lines, "", f"Measured: {words}."]) + "\n\n" + END + after, encoding="utf-8"
    )


if __name__ == "__main__":
    raise SystemExit(main())
