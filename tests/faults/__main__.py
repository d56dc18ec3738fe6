"""`make faults`: does every harm of `trials.py` to the line, and writes the table of docs/reliability.md.

python -m faults [--share 0.1] [--only WORD] [--jobs 2] [--page docs/reliability.md]
"""

import argparse
import os
import platform
import re
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from faults import machine, trials
from faults.line import States
from faults.trials import Kind

BEGIN, END = "<!-- made by make faults -->\n", "<!-- end -->\n"
_KINDS: list[Kind] = []
_STATES: list[States] = []


def main() -> int:
    """The exit code: 0 where nothing was lost and each control was noticed."""
    given = _parser().parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    folder, start = Path(tempfile.mkdtemp(prefix="faults-")), time.monotonic()
    try:
        states = States(folder).make(machine.counted)
        trials.interrupted(states)
        rows, controls = trials.kinds(states, given.share), trials.controls()
        wanted = [kind for kind in rows + controls if re.search(given.only, kind.fault)]
        _STATES.append(states)
        _KINDS.extend(wanted)
        lost = _do_all(given.jobs)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    bad = [kind.fault for kind in wanted if bool(lost[kind.fault]) == (kind not in controls)]
    minutes = (time.monotonic() - start) / 60
    table = "\n".join(_table(wanted, controls, lost)) + "\n"
    print(table + f"{minutes:.1f} minutes; " + (f"NOT as promised: {bad}" if bad else "nothing lost"))
    if given.page and not given.only:
        machine_is = f"{platform.system()}, Python {platform.python_version()}, {given.jobs} at once"
        _write(given.page, table, f"`--share {given.share}`, {machine_is}, {minutes:.1f} minutes")
    return 1 if bad else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the moments and seeds")
    parser.add_argument("--only", default="", help="rows whose fault fits this pattern")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--page", type=Path, help="where the table is written")
    return parser


def _do_all(jobs: int) -> dict[str, list[str]]:
    """What was lost, by fault."""
    todo = [(k, t) for k, kind in enumerate(_KINDS) for t in range(len(kind.trials))]
    lost: dict[str, list[str]] = {kind.fault: [] for kind in _KINDS}
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        for (k, _), wrong in zip(todo, pool.map(_do, todo), strict=True):
            if wrong:
                lost[_KINDS[k].fault].append(wrong)
                print(f"{_KINDS[k].fault}: {wrong}", file=sys.stderr, flush=True)
    return lost


def _do(which: tuple[int, int]) -> str:
    kind, number = which
    name = f"{kind}-{number}"
    try:
        return _KINDS[kind].trials[number](_STATES[0], name)
    except Exception:
        return traceback.format_exc()
    finally:
        shutil.rmtree(_STATES[0].folder / f"fault-{name}", ignore_errors=True)


def _table(kinds: Iterable[Kind], controls: list[Kind], lost: dict[str, list[str]]) -> list[str]:
    rows, switched = [kind for kind in kinds if kind not in controls], [kind for kind in kinds if kind in controls]
    lines = ["| fault | then | injected | survived | lost |", "|---|---|---:|---:|---:|"]
    for kind in rows:
        count, gone = len(kind.trials), len(lost[kind.fault])
        lines.append(f"| {kind.fault} | {kind.promise} | {count} | {count - gone} | {gone} |")
    count, gone = sum(len(kind.trials) for kind in rows), sum(len(lost[kind.fault]) for kind in rows)
    lines += [f"| **together** | | {count} | {count - gone} | {gone} |", ""]
    lines += ["| negative control: switched off | so that | tried | noticed | |", "|---|---|---:|---:|---|"]
    for kind in switched:
        verdict = "caught" if lost[kind.fault] else "**NOT CAUGHT**"
        lines.append(f"| {kind.fault} | {kind.promise} | {len(kind.trials)} | {len(lost[kind.fault])} | {verdict} |")
    return lines


def _write(page: Path, table: str, made: str) -> None:
    text = page.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    page.write_text(f"{head}{BEGIN}\n{table}\n{made}.\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
