"""How a command is said: as make's where make was typed in the clone of foldline, as `foldline ...` everywhere else.

The code writes commands as make takes them (`make train COMP=elpv FOLD=0`), and what only the command line takes as
options (`--each`). Errors and `say` turn them into what the person can type next: an installed package has no Makefile.
"""

import os
import re
from pathlib import Path

# make's variables -> the command line's options; those of FLAGS take no value, those of PLACED no name.
_WITH_VALUE = (
    *(
        "COMP",
        "RUN",
        "NAME",
        "SET",
        "RUNS",
        "BLEND",
        "FOLD",
        "DEVICE",
        "AGAINST",
        "SEARCH",
        "DECIDE",
        "PRIOR",
        "MESSAGE",
        "GPU",
    ),
    *("ON", "ADDRESS", "GPUS", "CPUS", "SHARDS"),
    *("HOURS", "HIDDEN_ROWS", "OWNER", "FOLDS", "VIEWS", "LIMIT", "MEMORY", "LINES", "OUT", "PORT", "INPUTS", "LABEL"),
    *("RANKS", "SHARD", "JOBS", "ACTION", "ROUNDS", "OPTIONS", "MINUTES"),
)
_WITHOUT = ("WITH_DIVERGED", "GREEDY", "YES", "KERNEL", "FORCE", "REFRESH", "FAST", "FEATURES", "HALF", "TEST")
OPTIONS, FLAGS = ({name: f"--{name.lower().replace('_', '-')}" for name in names} for names in (_WITH_VALUE, _WITHOUT))
PLACED = {"FILE", "FILES", "FORMAT", "PICTURES"}
TARGETS = (
    *(
        "download",
        "folds",
        "train",
        "train-all",
        "lr-find",
        "predict",
        "predict-files",
        "export",
        "soup",
        "ensemble",
        "blend",
    ),
    *("score", "report", "app", "watch", "compare", "search", "submit", "kernel", "rehearse", "offline", "choose"),
    *("ledger", "check", "run", "init", "explore", "doctor", "clean-labels", "pseudo"),
)
_RENAMED = {"train-all": "train", "clean-labels": "clean"}  # make knows two kinds of some
_VALUE = r"""(?:<[^>]*>|"[^"]*"|'[^']*'|[^\s,;:()"'<>]+)+"""
_SETTING = re.compile(rf"\b(?P<key>{'|'.join([*OPTIONS, *FLAGS, *PLACED])})=(?P<value>{_VALUE})")
_TARGET = "|".join(sorted(TARGETS, key=len, reverse=True))  # train-all before train
_COMMAND = re.compile(rf"\bmake (?P<target>{_TARGET})\b(?P<rest>(?: [A-Z_]+={_VALUE})*)")


_ALONE = re.compile(rf"(?:(?<=^)|(?<=, )|(?<= or ))(?:{'|'.join([*OPTIONS, *FLAGS])})(?=$|,| )")
BY_MAKE = "FOLDLINE_BY_MAKE"  # set by our Makefile for what it starts
_OPTION = "|".join(sorted([*OPTIONS.values(), *FLAGS.values()], key=len, reverse=True))
_PLAIN = r"""\d[\w/.]*|auto|all|cpu|cuda(?::\d+)?|mps|ray|local|<[^>]*>|"[^"]*"|'[^']*'"""
_TYPED = re.compile(  # commands of `foldline` and what stands in backticks are left as they are
    rf"`[^`]*`|\bfoldline [a-z-]+(?: \S+)*|(?<![\w/-])(?P<option>{_OPTION})(?![\w=-])(?: (?P<value>{_PLAIN}))?"
)


def is_by_make() -> bool:
    """Whether make was typed, in the clone: then its variables are what the person knows."""
    return bool(os.environ.get(BY_MAKE)) and is_clone()


def is_clone(folder: Path | None = None) -> bool:
    """Whether make knows foldline's targets here: the folder (default: where the person types) has our Makefile."""
    path = (folder or Path()) / "Makefile"
    if not path.is_file():
        return False
    with path.open("rb") as handle:
        return handle.read(20).startswith(b"# foldline:")


def as_typed(text: str, *, make: bool | None = None) -> str:
    """A text whose commands can be typed as the person types them.

    Args:
        text: with commands and settings as make takes them, or options of the command line.
        make: whether make's form is the right one; None: look.

    >>> as_typed("next: make train COMP=a RUN=b FOLD=0, or make train-all", make=False)
    'next: foldline train --comp a --run b --fold 0, or foldline train'
    >>> as_typed('make ensemble COMP=a RUN=b; make ensemble COMP=a RUNS="b c"', make=False)
    'foldline run --comp a --run b; foldline ensemble --comp a --runs "b c"'
    >>> as_typed("add NAME=<new name>; make room first", make=False)
    'add --name <new name>; make room first'
    >>> as_typed("use --device cpu, or leave --half and --ranks out; `zip --out x`", make=True)
    'use DEVICE=cpu, or leave HALF=1 and RANKS out; `zip --out x`'
    """
    if not (_COMMAND.search(text) or _SETTING.search(text) or "--" in text):
        return text
    if is_by_make() if make is None else make:
        return _TYPED.sub(_variable, text)
    return _SETTING.sub(_setting, _COMMAND.sub(_command, text))


def place_as_typed(where: str, *, make: bool | None = None) -> str:
    """Where an error is: names of make's variables that stand alone are options, or the other way round.

    >>> place_as_typed("FOLD, train.folds or SET optim.lr", make=False), place_as_typed("--ranks, --each", make=True)
    ('--fold, train.folds or --set optim.lr', 'RANKS, --each')
    """
    known = {**OPTIONS, **FLAGS}
    if is_by_make() if make is None else make:
        return as_typed(where, make=True)
    return as_typed(_ALONE.sub(lambda found: known[found[0]], where), make=False)


def _command(found: "re.Match[str]") -> str:
    """`make ensemble` of one run is the whole line, which `foldline run` is; `foldline ensemble` only blends."""
    target, rest = found["target"], found["rest"]
    if target == "ensemble" and "COMP=" in rest and "RUNS=" not in rest:
        target = "run"
    return f"foldline {_RENAMED.get(target, target)}{rest}"


def _variable(found: "re.Match[str]") -> str:
    option, value = found["option"], found["value"]
    if option is None:
        return found[0]
    name = option.removeprefix("--").replace("-", "_").upper()
    if name in FLAGS:
        return f"{name}=1" + (f" {value}" if value else "")
    return f"{name}={value}" if value else name


def _setting(found: "re.Match[str]") -> str:
    key, value = found["key"], found["value"]
    if key in FLAGS:
        return FLAGS[key]
    if key in ("FILES", "PICTURES"):
        return value.strip("\"'")
    return value if key in PLACED else f"{OPTIONS[key]} {value}"
