"""`make gpu-check`: one command that says of any GPU whether foldline is right and fast on it.

    python benchmarks/gpu_check.py [--device cuda] [--only d,f] [--small] [--out build/gpu-check] [--page docs/gpu.md]

Needs no network and no installed foldline: weights are random, pictures are generated, `src` beside it is used. Each
part is a process of its own with a time-out; one that fails, hangs or crashes does not end the others. Prints a table
last; writes `gpu_check.json`, `gpu_check.md` and each part's output into OUT. Exit code 1 where something failed.
"""

import argparse
import datetime
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

from gpu import table
from gpu.kit import FAIL, Line, Setting, read_lines
from gpu.parts import PARTS

ROOT = Path(__file__).resolve().parents[1]
UNUSED = {"kaggle", "six"}  # of requirements.txt: what no part imports
ALONE_SECONDS = 120  # for the pictures, and to ask torch what device there is


def main() -> int:
    """The exit code: 0, 1 where something failed, 2 where the check cannot begin."""
    given = parser().parse_args()
    if given.part:
        setting = Setting(given.device, given.small, given.folder, given.lines, given.part)
        _end(setting)
    if lacking := missing_packages():
        print(words_for_missing(lacking), file=sys.stderr)
        return 2
    unknown = set(wanted_parts(given.only)) - PARTS.keys()
    if unknown:
        print(f"unknown parts: {', '.join(sorted(unknown))}; known:\n{listed()}", file=sys.stderr)
        return 2
    return check(given)


def _end(setting: Setting) -> NoReturn:
    """Does a part and ends this process at once: one that failed may have left others that it would wait for."""
    code = 0
    try:
        PARTS[setting.part].run(setting)
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    os._exit(code)


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(
        prog="gpu_check", description=__doc__, epilog=listed(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--device", default="auto", help="auto, cuda, cuda:1, cpu (default: auto: the first GPU)")
    made.add_argument("--only", default="", help="parts by their letters: d,f")
    made.add_argument("--small", action="store_true", help="the rehearsal's size; on a CPU always")
    made.add_argument("--out", type=Path, default=ROOT / "build" / "gpu-check", help="where the results go")
    made.add_argument("--page", type=Path, help="docs/gpu.md: the table is put there, too")
    made.add_argument("--minutes", type=float, default=15.0, help="no part begins after so many (default: 15)")
    made.add_argument("--jobs", type=int, help="parts at once that measure no speed (default: 4 with 8 cores)")
    for hidden in ("--part", "--folder", "--lines"):  # how it calls itself for one part
        made.add_argument(hidden, type=str if hidden == "--part" else Path, help=argparse.SUPPRESS)
    return made


def listed() -> str:
    """The parts that can be asked for."""
    return "\n".join(f"  {letter}  {part.words}" for letter, part in sorted(PARTS.items()) if not part.hidden)


def wanted_parts(only: str) -> list[str]:
    """The letters that are asked for, in the order of `PARTS`; unknown ones last."""
    asked = re.findall("[^, ]+", only) or [letter for letter, part in PARTS.items() if not part.hidden]
    return [letter for letter in PARTS if letter in asked] + [letter for letter in asked if letter not in PARTS]


def missing_packages() -> list[str]:
    """What of requirements.txt is not installed here."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = [found[0] for line in lines if (found := re.match("[A-Za-z0-9-]+", line))]
    lacking = []
    for name in [*names, "pytest"]:
        try:
            version(name)
        except PackageNotFoundError:
            lacking += [name] if name not in UNUSED else []
    return lacking


def words_for_missing(lacking: list[str]) -> str:
    """What to do about missing packages, also where there is no network."""
    names = " ".join(lacking)
    return (
        f"missing packages: {names}\n  with a network: {sys.executable} -m pip install {names}\n"
        f"  without one: on another machine, pip download --only-binary=:all: --python-version "
        f"{sys.version_info.major}.{sys.version_info.minor} -d wheels {names}; here, pip install --no-index --no-deps "
        "--target site wheels/*.whl, and run again with PYTHONPATH=site"
    )


def check(given: argparse.Namespace) -> int:
    """All parts, then the table."""
    given.out.mkdir(parents=True, exist_ok=True)
    start, began = time.monotonic(), datetime.datetime.now(datetime.UTC)
    folder = Path(tempfile.mkdtemp(prefix="gpu-check-"))
    try:
        facts = prepare(given, folder)
        if facts is None:
            return 2
        runner = Runner(given, folder, facts, start + given.minutes * 60)
        lines = runner.all_parts()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    facts |= {"date": f"{began:%Y-%m-%d}", "commit": commit(), "minutes": (time.monotonic() - start) / 60}
    (given.out / "gpu_check.json").write_text(table.as_json(lines, facts), encoding="utf-8")
    section = table.as_markdown(lines, facts)
    (given.out / "gpu_check.md").write_text(section, encoding="utf-8")
    if given.page:
        table.write_page(given.page, section)
    print(f"\n{facts['card']}, driver {facts['driver'] or 'none'}, torch {facts['torch']}\n")
    print(table.for_terminal(lines))
    print(f"\n{table.summary(lines)}; {facts['minutes']:.1f} minutes; {given.out}")
    return int(any(line.verdict == FAIL for line in lines))


def prepare(given: argparse.Namespace, folder: Path) -> dict[str, Any] | None:
    """Makes the project and looks at the device, in a process of its own: a driver can hang, too."""
    log = given.out / "prepare.log"
    more = ["--small"] if given.small else []
    wrong = ended(["-m", "gpu.machine", "--device", given.device, *more, str(folder)], log, ALONE_SECONDS)
    if wrong:
        print(f"the check cannot begin: {wrong}\n{tail(log)}", file=sys.stderr)
        return None
    facts: dict[str, Any] = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    return facts


class Runner:
    """Runs parts as processes, those that measure no speed several at a time."""

    def __init__(self, given: argparse.Namespace, folder: Path, facts: dict[str, Any], deadline: float) -> None:
        self.given, self.folder, self.facts, self.deadline = given, folder, facts, deadline
        cores, on_gpu = int(facts["cores"]), str(facts["device"]).startswith("cuda")
        self.jobs = given.jobs or (min(4, cores) if facts["small"] else 4 if on_gpu and cores >= 8 else 1)
        self.threads = max(1, cores // self.jobs) if facts["small"] else 0

    def all_parts(self) -> list[Line]:
        """The lines of all parts that are asked for."""
        letters = wanted_parts(self.given.only)
        most = sum(PARTS[letter].seconds for letter in letters) / 60
        print(
            f"{self.facts['card']}: parts {', '.join(letters)}; time-outs together {most:.0f} minutes, and no part "
            f"begins after {self.given.minutes:g}",
            flush=True,
        )
        alone = [letter for letter in letters if PARTS[letter].timed and not self.facts["small"]]
        beside = [letter for letter in letters if letter not in alone]
        with ThreadPoolExecutor(self.jobs) as pool:
            found = list(pool.map(self.part, beside))
        found += [self.part(letter) for letter in alone]
        return [line for lines in found for line in lines]

    def part(self, letter: str) -> list[Line]:
        """The lines of one part, whatever becomes of it."""
        part, start = PARTS[letter], time.monotonic()
        left = self.deadline - start
        if left <= 0:
            why = f"the {self.given.minutes:g} minutes are over (--minutes)"
            return [Line(letter, part.words, "not begun", "", FAIL, note=why)]
        log, lines = self.given.out / f"{letter}.log", self.folder / f"{letter}.jsonl"
        command = [__file__, "--part", letter, "--device", self.facts["device"], "--folder", str(self.folder)]
        command += ["--lines", str(lines), *(["--small"] if self.facts["small"] else [])]
        wrong = ended(command, log, part.seconds, self.threads)
        found, seconds = read_lines(lines), time.monotonic() - start
        if not wrong and not found:
            wrong = "it wrote nothing"
        if wrong:
            found.append(Line(letter, part.words, wrong, "ends well", FAIL, round(seconds, 1), last_words(log)))
        for line in found:
            print(f"  ({letter}) {line.what}: {line.number}: {line.verdict}", flush=True)
        return found


def ended(arguments: list[str], log: Path, seconds: float, threads: int = 0) -> str:
    """Runs Python with its output in a file; what went wrong in words, empty where nothing did.

    Args:
        threads: of each process; 0: as many as it likes.
    """
    paths = [str(ROOT / "src"), str(ROOT / "benchmarks"), *filter(None, [os.environ.get("PYTHONPATH")])]
    more = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
    more |= {"OMP_NUM_THREADS": str(threads)} if threads else {}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments], stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, **more, "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return f"ended after {seconds:.0f} s"
        finally:
            end_group(process.pid)
            process.wait()
    return "" if code == 0 else f"exit code {code}" if code > 0 else f"ended by {signal.Signals(-code).name}"


def end_group(leader: int) -> None:
    """Ends a part and whatever it has started."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def tail(log: Path, lines: int = 15) -> str:
    """The end of a part's output."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def last_words(log: Path) -> str:
    """The last line that a part printed."""
    words = [line.strip() for line in tail(log).splitlines() if line.strip()]
    return (words[-1] if words else "it printed nothing")[:300] + f" ({log.name})"


def commit() -> str:
    """Which commit this is; "unknown" where git is not."""
    git = shutil.which("git")
    found = git and subprocess.run(
        [git, "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() if found and not found.returncode else "unknown"


if __name__ == "__main__":
    sys.exit(main())
