"""The stages that join what others made (blends, soups, rounds, exports), each killed, refused or filled up anywhere.

A joining stage replaces several files that belong together, so more is asked than that each is whole: what readers say
of a state that a fault left must be what they say of the old or of the new one, or a refusal in words.

python -m faults.joining [--only PATTERN] [--most 24] [--filled 6]
"""

import argparse
import errno
import hashlib
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from faults import machine
from faults.line import LEFT, Fault, Outcome, command, content, left_over, spread
from faults.trials import KILLED, ended
from tiny import FACTS, RUN, TinyProject

CHOICES: dict[str, Any] = {**RUN, "train": {**RUN["train"], "epochs": 1}}
LOGS = ("log.csv", "steps.csv")  # of a training, which grow with it
TIME = r"\d{4}-\d\d-\d\dT[\d:+]+"
Step = Callable[[Path], None]


def done(root: Path, *words: str) -> str:
    """Runs a command that must end well; gives what it said."""
    outcome = command(root, *words)
    assert outcome.code == 0, f"{words}: {outcome.said}"
    return outcome.said


def typed(words: str) -> Step:
    """A command as a step; its words are separated by blanks, those in it by commas."""

    def step(root: Path) -> None:
        done(root, *split(words))

    return step


def split(words: str) -> list[str]:
    """The words of a command line."""
    return [word.replace(",", " ") for word in words.split()]


def other_slower(root: Path) -> None:
    """The run `slower` is trained anew with other settings under its old name."""
    shutil.rmtree(root / "oof/tiny/slower")
    write_run(root, "slower", {**CHOICES, "optim": {"lr": 2e-3}})
    for stage in ("train", "predict"):
        done(root, stage, "--run", "slower")


def partly_decided(root: Path) -> None:
    """Of the suspected labels a person decided about one, and the page is of before."""
    path = root / "configs/tiny/labels.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "p001,label,dark,bright,,,keep,", *lines[2:]]) + "\n")


@dataclass(frozen=True)
class Joining:
    """A joining stage, and what stood in its place before.

    Attributes:
        words: the command.
        old: what was done in its place before, and what has changed since then.
        readers: commands that read what it writes.
    """

    words: str
    old: Sequence[Step] = ()
    readers: Sequence[str] = ()


BOTH = ("score --name both", "export folder --run both --out away", "choose", "ledger", "compare --runs both,quick")
MIXED = (
    "predict --run mixed --json", "ensemble --run mixed", "compare --runs mixed,quick",
    "export folder --run mixed --out away",
)  # fmt: skip
STAGES: dict[str, Joining] = {
    "blend": Joining("blend --runs quick,slower", [typed("blend --runs slower,quick")], ["status"]),
    "ensemble": Joining(
        "ensemble --runs quick,slower --name both --blend weights",
        [typed("ensemble --runs quick,slower --name both"), typed("score --name both")], BOTH,
    ),
    "ensemble, a stack": Joining(
        "ensemble --runs quick,slower --name both --blend stack",
        [typed("ensemble --runs quick,slower --name both --blend weights")], BOTH,
    ),
    "ensemble, shares of classes": Joining(
        "ensemble --runs quick,slower --name both --prior em",
        [typed("ensemble --runs quick,slower --name both"), typed("score --name both")], BOTH,
    ),
    "ensemble, another decision": Joining(
        "ensemble --run quick --decide default",
        [typed("ensemble --run quick"), typed("score --name quick")],
        ["score --name quick", "compare --runs quick,slower", "export folder --run quick --out away", "choose"],
    ),
    "soup": Joining(
        "soup --runs quick,slower --name mixed",
        [typed("soup --runs quick,slower --name mixed"), other_slower],
        MIXED,
    ),
    "soup, greedy": Joining(
        "soup --runs quick,slower --name mixed --greedy",
        [typed("soup --runs quick,slower --name mixed --greedy"), other_slower],
        MIXED,
    ),
    "export folder": Joining(
        "export folder --run quick",
        [typed("export folder --run slower --out exports/tiny/quick")],
        ["predict-files --run exports/tiny/quick raw/p000.png --out away.csv"],
    ),
    "clean-labels": Joining(
        "clean --run quick", [typed("clean --run quick"), partly_decided], ["train --run by-file --fold 0"],
    ),
    "clean-labels, exclude": Joining("clean --run quick --action exclude", (), ["compare"]),
    "pseudo": Joining("pseudo --run quick --rounds 2", (), ["compare"]),
}  # fmt: skip


def write_run(root: Path, name: str, choices: dict[str, Any]) -> None:
    """A run file."""
    (root / "configs" / "tiny" / f"{name}.yaml").write_text(yaml.safe_dump(choices, sort_keys=False))


def ready(root: Path, *, k: int = 3) -> Path:
    """A project with two trained and predicted runs from one start, whose metric is of labels."""
    root.mkdir(parents=True)
    TinyProject(root, rows=16 * k)
    facts = {**FACTS, "metric": "f1", "metrics": ["auc"], "folds": {"k": k}}
    (root / "configs/tiny/competition.yaml").write_text(yaml.safe_dump(facts, sort_keys=False))
    write_run(root, "quick", CHOICES)
    write_run(root, "slower", {**CHOICES, "optim": {"lr": 1e-3}})
    write_run(root, "by-file", {**CHOICES, "train": {**CHOICES["train"], "labels": "file"}})
    for stage in ("download", "folds"):
        done(root, stage)
    for run in ("quick", "slower"):
        for stage in ("train", "predict"):
            done(root, stage, "--run", run)
    return root


# ---- what is there, and what it says


def unit_of(file: str) -> str:
    """The files that belong together with this one: a run's predictions, a fold, a submission, an exported folder."""
    path = Path(file)
    if path.parts[0] == "exports":
        return "/".join(path.parts[:3])
    if path.name in ("oof.parquet", "test.parquet", "cv.json", "meta.json", "model.safetensors"):
        return path.parent.as_posix()
    return path.with_suffix("").as_posix() if path.parts[0] == "submissions" else file


def there(root: Path) -> dict[str, str]:
    """`content`, with what reports say."""
    pages = {path.relative_to(root).as_posix(): path.read_text() for path in root.glob("oof/tiny/*/report.html")}
    return content(root, "configs", "exports") | {
        name: hashlib.sha256(re.sub(TIME, "", page).encode()).hexdigest() for name, page in pages.items()
    }


@dataclass(frozen=True)
class Told:
    """What a reader said: its exit code, its words, and the scores and predictions in these and in what it wrote."""

    code: int | None
    said: str
    numbers: frozenset[str]

    def is_of(self, other: "Told") -> bool:
        """Whether it says nothing else than the other; it may say less."""
        return self.code == other.code and self.numbers <= other.numbers


def read_all(root: Path, readers: Sequence[str]) -> list[Told]:
    """What each reader says of a copy of the project."""
    found = []
    for reader in readers:
        copy = root.with_name(f"{root.name}-read")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(root, copy, symlinks=True)
        outcome = command(copy, *split(reader))
        written = [path.read_text() for name in ("README.md", "away.csv") for path in copy.glob(f"*/{name}")]
        numbers = re.findall(r"\d+\.\d{4,}", "\n".join([outcome.said, *written]))
        found.append(Told(outcome.code, outcome.said, frozenset(numbers)))
        shutil.rmtree(copy)
    return found


@dataclass
class Case:
    """A joining stage that stands before its command, and what it is undisturbed.

    Attributes:
        before: the project then; after: when it has ended.
        old, new: the content of both; said: what the readers say of both.
        moments: the changes of files that the command makes: what each is, and the path.
    """

    name: str
    joining: Joining
    before: Path
    after: Path
    old: dict[str, str]
    new: dict[str, str]
    said: list[list[Told]]
    moments: list[str]
    read: dict[str, list[str]] = field(default_factory=dict)  # what was odd, by what is there

    @property
    def telling(self) -> list[int]:
        """The moments right before and right behind a change of what others see: a name that is given or taken."""
        seen = [
            number for number, line in enumerate(self.moments, 1)
            if line.startswith(("os.rename", "os.remove", "os.rmdir", "os.link")) and not line.endswith(".lock")
        ]  # fmt: skip
        return sorted({moment for number in seen for moment in (number, number + 1) if moment <= len(self.moments)})

    def at(self, change: str) -> int:
        """The number of the last change that a pattern finds."""
        return max(number for number, line in enumerate(self.moments, 1) if re.search(change, line))

    def copy(self, name: str) -> Path:
        """The project before the command."""
        root = self.before.with_name(f"fault-{name}")
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.before, root, symlinks=True)
        return root

    def run(self, root: Path, fault: Fault | None = None) -> Outcome:
        """The command."""
        return command(root, *split(self.joining.words), fault=fault)


def prepared(folder: Path, name: str, *, with_old: bool, readers: int = 9) -> Case:
    """Makes the states of a joining stage.

    Args:
        folder: with the project `ready`.
        with_old: whether something older stands in its place.
        readers: at most so many of those that there are.
    """
    joining = replace(STAGES[name], readers=STAGES[name].readers[:readers])
    before = folder / f"{name}{' old' if with_old else ''}".replace(", ", "-").replace(" ", "-")
    shutil.copytree(folder / "ready", before, symlinks=True)
    for step in joining.old if with_old else ():
        step(before)
    after, counter = before.with_name(f"{before.name}-after"), before.with_name(f"{before.name}.moments")
    shutil.copytree(before, after, symlinks=True)
    outcome = command(after, *split(joining.words), fault=machine.listed(counter))
    assert outcome.code == 0, outcome.said
    said = [read_all(root, joining.readers) for root in (before, after)]
    title, moments = f"{name}{', over an old one' if with_old else ''}", counter.read_text().splitlines()
    return Case(title, joining, before, after, there(before), there(after), said, moments)


def is_left(file: str) -> bool:
    """Whether a file is one that only a process at work may have, or lies in such a folder."""
    return any(part.endswith(LEFT) for part in Path(file).parts)


def not_whole(case: Case, root: Path) -> list[str]:
    """Files that are neither absent, the old nor the new ones."""
    return [
        file for file, digest in there(root).items()
        if digest not in (case.old.get(file), case.new.get(file))
        and not is_left(file)
        and Path(file).name not in LOGS
    ]  # fmt: skip


def mixed(case: Case, root: Path) -> list[str]:
    """Units of which some files are the old and some the new ones."""
    now = there(root)
    kinds: dict[str, set[bool]] = {}
    for file in case.old.keys() | case.new.keys() | now.keys():
        strict = file.startswith("exports/")  # of a run's files later ones may not be there yet, which readers notice
        if case.old.get(file) != case.new.get(file) and (strict or file in now) and not is_left(file):
            kinds.setdefault(unit_of(file), set()).add(now.get(file) == case.new.get(file))
    return sorted(unit for unit, found in kinds.items() if len(found) > 1)


def odd_readers(case: Case, root: Path) -> list[str]:
    """Readers that say something else than of the old or the new state, and do not refuse in words."""
    key = repr(sorted((file, digest) for file, digest in there(root).items() if not is_left(file)))
    if key in case.read or not case.joining.readers:
        return []
    odd = case.read.setdefault(key, [])
    for reader, now, *known in zip(case.joining.readers, read_all(root, case.joining.readers), *case.said, strict=True):
        refused = now.code == 2 and "Traceback" not in now.said
        if not refused and not any(now.is_of(one) for one in known):
            odd.append(f"{reader}: {now.code} ... {now.said[-600:]}")
    return odd


def again(case: Case, root: Path) -> str:
    """What is wrong when the same command is typed again: it must end with the bytes of an undisturbed one."""
    if wrong := ended(case.run(root), 0):
        return f"again: {wrong}"
    now = there(root)
    odd = [file for file in sorted(case.new.keys() | now.keys()) if case.new.get(file) != now.get(file)]
    rest = left_over(root)
    return f"other content: {odd[:5]}" if odd else f"left over: {rest[:3]}" if rest else ""


def killed(case: Case, moment: int, *, read: bool = True) -> str:
    """Killed before a change of a file; what was lost."""
    root = case.copy(f"{moment}-{os.getpid()}")
    try:
        outcome = case.run(root, machine.ends_at(moment))
        wrong = ended(outcome, KILLED) if outcome.code != 0 else ""
        third = not_whole(case, root)
        wrong = wrong or (f"neither old nor new: {third[:3]}" if third else "")
        odd = odd_readers(case, root) if read else []
        wrong = "; ".join(filter(None, [wrong, *odd, again(case, root)]))
        return wrong and f"{case.name}, killed at {moment} of {len(case.moments)}: {wrong}"
    finally:
        shutil.rmtree(root, ignore_errors=True)


def filled(case: Case, moment: int, code: int = errno.ENOSPC) -> str:
    """From a moment on no file can be written any more; what was lost."""
    root = case.copy(f"{moment}-{os.getpid()}")
    try:
        outcome = case.run(root, machine.unwritable_at(moment, code))
        if outcome.code == 0:
            return ""
        wrong = ended(outcome, 1, os.strerror(code).lower())
        units, rest = mixed(case, root), [path for path in left_over(root) if path.endswith((".tmp", ".lock"))]
        third = not_whole(case, root)
        wrongs = [wrong, f"neither old nor new: {third[:3]}" if third else "", f"left over: {rest[:3]}" if rest else ""]
        wrongs += [f"old and new files together: {units}" if units else "", again(case, root)]
        wrong = "; ".join(filter(None, wrongs))
        return wrong and f"{case.name}, {errno.errorcode[code]} at {moment} of {len(case.moments)}: {wrong}"
    finally:
        shutil.rmtree(root, ignore_errors=True)


def main() -> int:
    """The exit code: 0 where nothing was lost."""
    parser = argparse.ArgumentParser(prog="faults.joining", description=__doc__)
    parser.add_argument("--only", default="", help="stages whose name fits this pattern")
    parser.add_argument("--most", type=int, default=24, help="telling moments of a stage, evenly")
    parser.add_argument("--filled", type=int, default=6, help="moments of a stage from which on the disk is full")
    parser.add_argument("--keep", type=Path, help="where the ready project is kept")
    given = parser.parse_args()
    import_all()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="joining-"))
    lost = 0
    start = time.monotonic()
    if not (folder / "ready").is_dir():
        ready(folder / "making")
        (folder / "making").rename(folder / "ready")
    print(f"ready after {time.monotonic() - start:.0f} s", flush=True)
    for name, joining in STAGES.items():
        for with_old in (False, True) if joining.old else (False,):
            if re.search(given.only, f"{name}{' old' if with_old else ''}"):
                lost += _tried(prepared(folder, name, with_old=with_old), given.most, given.filled)
    if not given.keep:
        shutil.rmtree(folder)
    return 1 if lost else 0


def _tried(case: Case, most: int, filled_most: int) -> int:
    """Does the harms to a stage, says what was lost, and how often something was."""
    telling, start, lost = case.telling, time.monotonic(), 0
    some = {telling[i - 1] for i in spread(len(telling), most)} | {*spread(len(case.moments), 3)}
    trials = [partial(killed, case, moment) for moment in sorted(some)]
    trials += [partial(filled, case, moment) for moment in spread(len(case.moments), filled_most)]
    for trial in trials:
        if wrong := trial():
            lost += 1
            print(f"  {wrong}", flush=True)
    seconds = time.monotonic() - start
    print(
        f"{case.name}: {len(case.moments)} moments, {len(telling)} telling; {len(some)} kills, "
        f"{len(trials) - len(some)} full disks, {lost} lost, {seconds:.0f} s", flush=True,
    )  # fmt: skip
    for path in (case.before, case.after):
        shutil.rmtree(path)
    return lost


def import_all() -> None:
    """What a forked process need not import again."""
    for name in ("blend", "clean", "compare", "ensemble", "export_folder", "predict", "report", "soup", "train"):
        import_module(f"foldline.stages.{name}")
    for name in ("train_run", "finished.export", "finished.greedy", "finished.card"):
        import_module(f"foldline.engine.{name}")


if __name__ == "__main__":
    sys.exit(main())
