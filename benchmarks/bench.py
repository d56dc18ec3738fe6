"""`make bench`: foldline against the same work by hand, and against fastai; each row measured in turn, A B A B A B.

    python benchmarks/bench.py [--only loop,command] [--small] [--against GITREF] [--page docs/performance.md]

Each side runs in a process of its own, at least three times, the sides in turn; nothing else should run meanwhile. The
table has medians and ranges. Writes `benchmarks/results/<date>-<machine>.csv` and, with --page, the table there. fastai
runs where `.bench` holds what requirements-bench.txt names: python -m venv .bench && .bench/bin/pip install -r ...
"""

import argparse
import csv
import datetime
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from gpu import project
from rows.kit import FOLDLINE, PEER, Measured, Row, shown

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
ROWS = ("loop", "command", "default", "predict", "decode", "augment")
BEGIN, END = "<!-- made by make bench -->\n", "<!-- end -->\n"
PATIENCE_SECONDS = 1800


def main() -> int:
    """The exit code: 1 where a side of foldline's failed."""
    given = parser().parse_args()
    names = re.findall("[^, ]+", given.only) or list(ROWS)
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        project.write(folder, small=given.small, on_gpu=False)
        for stage in ("download", "folds"):
            _foldline([stage, "--root", str(folder), "--comp", project.COMP], ROOT / "src")
        found = [measured(name, folder, given) for name in names]
        if given.against:
            found.append(former_and_now(given, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    lines = table(found)
    print("\n".join(lines))
    words = f"{machine()}, {datetime.date.today():%Y-%m-%d}, {commit()}{', small form' if given.small else ''}"
    if not given.small:
        write_csv(found, given.results)
    if given.page:
        write_page(given.page, lines, words)
    return int(any(FOLDLINE in row.missing for row in found))


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("--only", default="", help=f"rows: {', '.join(ROWS)}")
    made.add_argument("--small", action="store_true", help="the rehearsal's size; no results are written")
    made.add_argument("--repeats", type=int, default=3, help="of each side (default: 3)")
    made.add_argument("--against", default="", help="a commit: fold 0 of the default run then and now")
    made.add_argument("--page", type=Path, help="docs/performance.md: the table is put there")
    made.add_argument("--results", type=Path, default=RESULTS, help="where the CSV goes")
    made.add_argument(
        "--peer", type=Path, default=ROOT / ".bench" / "bin" / "python", help="the Python that has fastai"
    )
    return made


def measured(name: str, folder: Path, given: argparse.Namespace) -> Measured:
    """A row's sides in turn."""
    row: Row = import_module(f"rows.{name}").ROW
    result = Measured(name, row)
    for _ in range(given.repeats):
        for side in row.sides:
            if side in result.missing:
                continue
            python = given.peer if side == PEER else Path(sys.executable)
            command = [str(ROOT / "benchmarks" / "rows" / f"{name}.py"), side, "--folder", str(folder)]
            value = one_number(python, [*command, *(["--small"] if given.small else [])])
            if isinstance(value, str):
                result.missing[side] = value
            else:
                result.values.setdefault(side, []).append(value)
                print(f"  {name}, {side}: {value:.3f} {row.unit}", flush=True)
    return result


def one_number(python: Path, arguments: list[str]) -> float | str:
    """What a side prints last; in words why there is nothing."""
    if not python.is_file():
        return "requirements-bench.txt is not installed in .bench"
    environment = {**project.environment()}
    environment["PYTHONPATH"] += os.pathsep + str(ROOT / "benchmarks")
    done = subprocess.run(
        [str(python), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=PATIENCE_SECONDS,
    )
    if done.returncode:
        words = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        return f"failed: {words[:160]}"
    return float(json.loads(done.stdout.strip().splitlines()[-1])["value"])


def former_and_now(given: argparse.Namespace, made: Path) -> Measured:
    """Fold 0 of the default run by another commit and by this one, in turn, each from files to scored weights, each
    with the run file of its own commit.

    Without the default competition's files (`make download`) the generated pictures are trained on, which is said.
    """
    real = next((path for path in (ROOT / "input" / "elpv",) if (path / "manifest.json").is_file()), None)
    comp = "elpv" if real and not given.small else project.COMP
    row = Row(f"train command, fold 0 of {comp}, now against {given.against}", "s", (FOLDLINE, given.against))
    result = Measured("former", row)
    with worktree(given.against) as former:
        for number in range(given.repeats):
            for side, source in ((FOLDLINE, ROOT / "src"), (given.against, former / "src")):
                root = made / f"{number}-{'now' if source == ROOT / 'src' else 'former'}"
                _copy(root, comp, made, (ROOT if source == ROOT / "src" else former) if comp == "elpv" else made)
                _foldline(["folds", "--root", str(root), "--comp", comp], source)
                run = ["--run", "baseline" if comp == "elpv" else project.RUN, "--fold", "0", "--device", "cpu"]
                start = time.perf_counter()
                _foldline(["train", "--root", str(root), "--comp", comp, *run], source)
                result.values.setdefault(side, []).append(time.perf_counter() - start)
                print(f"  {side}: {result.values[side][-1]:.1f} s", flush=True)
                shutil.rmtree(root)
    return result


def _copy(root: Path, comp: str, made: Path, tree: Path) -> None:
    """A project with the raw files of one competition and no caches; facts and choices are those of `tree`."""
    origin = ROOT if comp == "elpv" else made
    shutil.copytree(origin / "input" / comp, root / "input" / comp, ignore=shutil.ignore_patterns(".cache"))
    shutil.copytree(tree / "configs", root / "configs")
    if (origin / "input" / ".weights").is_dir():  # pretrained, fetched before: no download is timed
        shutil.copytree(origin / "input" / ".weights", root / "input" / ".weights")


@contextmanager
def worktree(reference: str) -> Iterator[Path]:
    """Another commit's files, beside this checkout."""
    folder = Path(tempfile.mkdtemp(prefix="former-")) / "tree"
    subprocess.run(["git", "-C", str(ROOT), "worktree", "add", "--detach", str(folder), reference], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(folder)], check=True)


def _foldline(arguments: list[str], source: Path) -> None:
    environment = {**project.environment(), "PYTHONPATH": str(source)}
    command = [sys.executable, "-m", "foldline", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)


def table(found: list[Measured]) -> list[str]:
    """Markdown: a line for each pair of sides."""
    lines = ["| what | foldline | against | its figure | seconds, foldline / other | goal | n |"]
    lines += ["|---|---:|---|---:|---:|---|---:|"]
    for one in found:
        for other in one.row.sides[1:]:
            ours, theirs = (
                f"{shown(one.values[side])} {one.row.unit}" if one.values.get(side) else f"n/a: {one.missing[side]}"
                for side in (FOLDLINE, other)
            )
            ratio = one.seconds_ratio(other)
            ratio_words = "n/a" if ratio is None else f"{ratio:.2f}x"
            count = min((len(one.values[side]) for side in (FOLDLINE, other) if one.values.get(side)), default=0)
            goal = one.row.goal or "none"
            lines.append(f"| {one.row.words} | {ours} | {other} | {theirs} | {ratio_words} | {goal} | {count} |")
    return lines


def write_csv(found: list[Measured], folder: Path) -> None:
    """One line a side: its numbers, in the order in which they were measured."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.date.today():%Y-%m-%d}-{re.sub('[^a-z0-9]+', '-', machine().lower()).strip('-')}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["commit", "row", "side", "unit", "n", "median", "least", "most", "values"])
        for one in found:
            for side, values in one.values.items():
                numbers = [f"{value:.4f}" for value in (statistics.median(values), min(values), max(values))]
                every = " ".join(f"{value:.4f}" for value in values)
                writer.writerow([commit(), one.row.words, side, one.row.unit, len(values), *numbers, every])
    print(f"wrote {path}")


def write_page(page: Path, lines: list[str], words: str) -> None:
    """Puts the table between the marks of a page."""
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    table_text = "\n".join(lines)
    page.write_text(f"{before}{BEGIN}\n{table_text}\n\n{words}.\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


def machine() -> str:
    """The processor and how many cores of it are used."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        found = re.search("model name\\s*: (.*)", cpuinfo.read_text(encoding="utf-8"))
        name = found[1] if found else name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"


def commit() -> str:
    """Which commit is measured."""
    asked = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
