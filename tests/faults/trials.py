"""The faults of `make faults`: each begins with a copy of the project, does its harm, and says what was lost."""

import errno
import os
import random
import resource
import shutil
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from faults import damage, machine
from faults.line import STAGES, Fault, Outcome, States, begun, command, content, left_over, spread

Trial = Callable[[States, str], str]  # the undisturbed line and a name for its copy -> what was lost, or ""
KILLED = -int(signal.SIGKILL)


@dataclass(frozen=True)
class Kind:
    """A row of the table: the fault, what is promised then, and the trials."""

    fault: str
    promise: str
    trials: Sequence[Trial]


def same(root: Path, wanted: dict[str, str], but: str = "") -> str:
    """What is not as it is without a fault, `but` for one file, or is left over."""
    now = content(root)
    odd = [name for name in sorted(wanted.keys() | now.keys()) if wanted.get(name) != now.get(name) and name != but]
    rest = left_over(root)
    return f"other content: {odd[:3]}" if odd else f"left over: {rest[:3]}" if rest else ""


def ended(outcome: Outcome, code: int, *words: str) -> str:
    """What is wrong with how a command ended."""
    if outcome.code != code or not (outcome.in_words or code == KILLED):
        return f"exit code {outcome.code}, not {code}: ... {outcome.said[-300:]}"
    lacking = [word for word in words if word not in outcome.said]
    return f"does not say {lacking}: ... {outcome.said[-300:]}" if lacking else ""


def disturbed(stage: str, fault: Fault, code: int, words: Sequence[str], states: States, name: str) -> str:
    """A stage with a fault, then the same command again: the bytes of an undisturbed one. A fault may do no harm."""
    root = states.copy(stage, name)
    outcome = command(root, stage, fault=fault)
    wrong = ended(outcome, code, *words) if outcome.code != 0 or code == 0 else ""
    if not wrong and code > 0 and any(path.endswith((".tmp", ".lock")) for path in left_over(root)):
        wrong = f"left over: {left_over(root)[:3]}"
    wrong = wrong or ended(command(root, stage), 0) or same(root, states.after(stage))
    return wrong and f"{stage}: {wrong}"


def at_moments(states: States, most: int, fault: Callable[[int], Fault], code: int, *words: str) -> list[Trial]:
    """A fault at moments of every stage."""
    return [
        partial(disturbed, stage, fault(moment), code, words)
        for stage in STAGES
        for moment in spread(states.moments(stage), most)
    ]


def in_every_stage(fault: Fault, code: int, *words: str) -> list[Trial]:
    """A fault that lasts, in each stage."""
    return [partial(disturbed, stage, fault, code, words) for stage in STAGES]


def killed_often(seed: int, states: States, name: str) -> str:
    """A training that is killed at random moments until it is through."""
    dice, root = random.Random(seed), states.copy("train", name)
    for _ in range(6):
        outcome = command(root, "train", fault=machine.ends_at(dice.randint(1, states.moments("train"))))
        if outcome.code != KILLED:
            break
    return ended(command(root, "train"), 0) or same(root, states.after("train"))


# ---- resume points


def interrupted(states: States) -> None:
    """Adds the state "resume": a training that was killed inside its first fold, with two resume points."""
    for moment in range(states.moments("train") // 3, states.moments("train")):
        root = states.copy("train", "resume")
        command(root, "train", fault=machine.ends_at(moment))
        if all((root / f"oof/tiny/quick/fold_0/{name}").is_file() for name in ("resume", "resume.before")):
            root.rename(states.folder / "resume")
            return
    raise AssertionError("no moment with two resume points")


def flipped(seed: int, files: Sequence[str], words: str, fault: Fault | None, states: States, name: str) -> str:
    """One bit of resume points is turned."""
    root = states.copy("resume", name)
    dice = random.Random(seed)
    for file in files:
        damage.flip(root / "oof/tiny/quick/fold_0" / file, dice)
    outcome = command(root, "train", fault=fault)
    return ended(outcome, 0, words) or same(root, states.after("train"))


# ---- files that were damaged


def damaged(stage: str, file: str, harm: str, states: States, name: str) -> str:
    """A file that a stage finds is another: it is refused or made again; what comes out is the same or nothing."""
    before = "whole" if stage in ("report", "compare", "ledger") else stage
    root = states.copy(before, name)
    path = root / file
    path.chmod(0o644)
    damage.HARMS[harm](path, random.Random(f"{file} {harm}"))
    outcome = command(root, stage)
    wrong = "" if outcome.in_words and outcome.code in (0, 2) else ended(outcome, 2)
    if not wrong and outcome.code == 0:
        after = content(states.folder / "whole") if before == "whole" else states.after(stage)
        wrong = same(root, after, but=file)
    return wrong and f"{stage}, {file} {harm}: {wrong}"


def files_of(states: States, stage: str) -> list[str]:
    """What a stage finds, of raw pictures two, and without files that are times only."""
    folder = states.folder / ("whole" if stage in ("report", "compare", "ledger") else stage)
    names = [
        name for name in damage.content_names(folder) if not name.endswith((".png", "report.html", "compare.html"))
    ]
    return names + [f"input/tiny/p00{i}.png" for i in (0, 1) if (folder / f"input/tiny/p00{i}.png").is_file()]


# ---- the machine


def full_disk(size: int, states: States, name: str) -> str:
    """The whole line on a disk with so many bytes beside the raw files, which then grows."""
    raw = sum(4096 * (1 + path.stat().st_size // 4096) for path in (states.folder / "download").rglob("*"))
    disk = machine.SmallDisk(states.folder / f"disk-{name}", raw + size)
    try:
        shutil.copytree(states.folder / "download", disk.folder / "p")
        for stage in STAGES:
            outcome = command(disk.folder / "p", stage)
            if outcome.code != 0:
                full = any(word in outcome.said for word in ("no space left", "disk is full", "are free"))
                if not (outcome.in_words and full):
                    return f"{stage}, {size} bytes: {outcome.code} {outcome.said[-300:]}"
                disk.grow()
                if wrong := ended(command(disk.folder / "p", stage), 0):
                    return f"{stage}, {size} bytes, again: {wrong}"
        return same(disk.folder / "p", content(states.folder / "whole"))
    finally:
        disk.remove()


def two_at_once(fault: Fault | None, states: States, name: str) -> str:
    """Two processes train one run: one does it, the other says who. The one stays in its fold until the other ends."""
    root, marks = states.copy("train", name), states.folder / f"{name}.marks"
    shutil.rmtree(marks, ignore_errors=True)
    marks.mkdir()
    stays = machine.waits_inside("fold_0/.steps.csv", marks)
    both = [begun(root, "train", fault=stays if fault is None else machine.both(fault, stays)) for _ in range(2)]

    def ended_by(number: int) -> Outcome:
        outcome = both[number]()
        (marks / f"end-{number}").touch()
        return outcome

    with ThreadPoolExecutor(2) as threads:
        outcomes = sorted(threads.map(ended_by, range(2)), key=lambda outcome: outcome.code or 0)
    wrong = ended(outcomes[0], 0) or ended(outcomes[1], 2, "is being trained by another process, number")
    return wrong or same(root, states.after("train"))


def with_workers(fault: Fault, code: int, words: Sequence[str], states: States, name: str) -> str:
    """Training whose pictures are made by two processes."""
    root = states.copy("train", name)
    path = root / "configs/tiny/quick.yaml"
    path.write_text(path.read_text().replace("image_size: 32", "image_size: 32\n  workers: 2"))
    outcome = command(root, "train", fault=fault)
    wrong = ended(outcome, code, *words) if outcome.code else ended(outcome, 0, *(words if code == 0 else ()))
    return wrong or ended(command(root, "train"), 0) or same(root, states.after("train"))


def read_only(stage: str, room: str, states: States, name: str) -> str:
    """A stage whose folder cannot be written to."""
    return disturbed(stage, machine.read_only(room), 1, ["read-only file system"], states, name)


def kinds(states: States, share: float = 1.0) -> list[Kind]:
    """All rows of the table; `share` of the moments and seeds."""

    def most(count: int) -> int:
        return max(2, round(count * share))

    resume = [partial(flipped, seed, ["resume"], "goes on from the one before", None) for seed in range(most(16))]
    resume += [partial(flipped, seed, ["resume", "resume.before"], "starts anew", None) for seed in range(most(6))]
    harms = [
        partial(damaged, stage, file, harm)
        for stage in (*STAGES[1:], "report", "compare", "ledger")
        for file in files_of(states, stage)
        for harm in damage.harms_of(file)
    ]
    harms = random.Random(0).sample(harms, min(len(harms), most(160)))
    again, refusal = "the same command goes on", "one message, exit code 1; the same command goes on"
    rows = [
        Kind("killed (SIGKILL) before a change of a file", again,
             at_moments(states, most(16), machine.ends_at, KILLED)),
        Kind("a training killed again and again", again, [partial(killed_often, seed) for seed in range(most(8))]),
        *(
            Kind(f"asked to end ({number.name})", f"exit code {128 + number}, in words",
                 at_moments(states, most(4), partial(machine.ends_at, number=number), 128 + number, again))
            for number in (signal.SIGTERM, signal.SIGINT)
        ),
        Kind("a bit of a resume point, or of both, is turned", "the one before counts, or the fold starts anew",
             resume),
        Kind("a file is emptied, cut, overwritten, turned in a bit, or lacks a key", "refused in words, or made again",
             harms),
        *(
            Kind(f"the system refuses a change: {os.strerror(code).lower()}", refusal,
                 at_moments(states, most(4), partial(machine.refused_at, code=code), 1, os.strerror(code).lower()))
            for code in (errno.ENOSPC, errno.EIO, errno.EACCES)
        ),
        Kind("files of at most 0.1 to 300 kB (`ulimit -f`)", refusal, [
            partial(disturbed, stage, machine.limited(resource.RLIMIT_FSIZE, size), 1, ["file too large"])
            for stage in STAGES for size in (1500, 20_000, 300_000)
        ]),
        Kind("64 open files (`ulimit -n`)", "works", [
            *in_every_stage(machine.limited(resource.RLIMIT_NOFILE, 64), 0),
            partial(with_workers, machine.limited(resource.RLIMIT_NOFILE, 64), 1, ["open files"]),
        ]),
        Kind("no HOME", "works", in_every_stage(machine.without_home, 0)),
        Kind("the clock is set back, files are of next year", "works", in_every_stage(machine.clock_set_back, 0)),
        Kind("two processes train one fold", "one does, the other says who", [partial(two_at_once, None)] * most(4)),
    ]  # fmt: skip
    if machine.can_mount():
        rooms = [("folds", "folds"), ("train", "input"), ("train", "oof"), ("predict", "oof"), ("score", "submissions")]
        rows += [
            Kind("a disk with 20 kB to 3 MB for the whole line", refusal,
                 [partial(full_disk, size) for size in spread_sizes(20_000, 3_000_000, most(10))]),
            Kind("a folder on a read-only mount", refusal, [partial(read_only, *room) for room in rooms]),
            Kind("16 kB of /dev/shm and two workers", "works, and says so",
                 [partial(with_workers, machine.tiny_shared_memory, 0, ["this process makes the pictures by itself"])]),
        ]  # fmt: skip
    return rows


def spread_sizes(least: int, most: int, count: int) -> list[int]:
    """Sizes that grow by a constant factor."""
    return [round(least * (most / least) ** (i / (count - 1))) for i in range(count)]


def controls() -> list[Kind]:
    """What makes foldline safe is switched off: some of these trials must fail."""

    def in_place(file: str) -> Fault:
        return machine.both(machine.writing_in_place, machine.ends_inside(file))

    return [
        Kind("files are written in place", "a kill leaves half a file", [
            partial(disturbed, stage, in_place(file), KILLED, ())
            for stage, file in (("train", "meta.json"), ("train", "model.safetensors"), ("predict", "cv.json"))
        ]),
        Kind("resume points without the check of their hash", "a turned bit ends in other weights", [
            partial(flipped, seed, ["resume"], "", machine.without_hashes) for seed in range(4)
        ]),
        Kind("no locks", "two processes train one fold", [partial(two_at_once, machine.without_locks)]),
        Kind("no handlers of signals", "a stage ends without a word", [
            partial(disturbed, "predict",
                    machine.both(machine.without_handlers, machine.ends_at(3, signal.SIGTERM)), 143, ())
        ]),
    ]  # fmt: skip
