"""What the sub-commands take: each argument once, and how its text is read. Nothing heavy is imported here."""

import re
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from foldline.core.errors import FoldlineError
from foldline.core.paths import USUAL_RUN

LONGEST = 4000  # letters of an argument

ABOUT = "which competition, run and files"
HOW = "how"
EVERYWHERE = "everywhere"

# `group` is where --help lists it (default: HOW), all else is argparse's. `choices` are checked in `helping.py`.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "--comp": {"group": ABOUT, "metavar": "NAME", "help": "the competition: its facts are configs/<comp>/"},
    "--run": {
        "group": ABOUT,
        "metavar": "NAME",
        "default": USUAL_RUN,
        "help": "the run: its choices are configs/<comp>/<run>.yaml, or configs/<run>.yaml for all "
        f"(default: {USUAL_RUN})",
    },
    "--name": {
        "group": ABOUT,
        "metavar": "NAME",
        "default": "",
        "help": "the name of the run that --set makes, or of an ensemble (default: --run's, or the runs joined by +)",
    },
    "--runs": {
        "group": ABOUT,
        "metavar": '"A B"',
        "default": "",
        "help": "several runs, separated by blanks (default: --run alone; for compare all of these folds)",
    },
    "--against": {
        "group": ABOUT,
        "metavar": "NAME",
        "default": "",
        "help": "a further run to compare every other one with",
    },
    "--search": {
        "group": ABOUT,
        "metavar": "NAME",
        "dest": "name",
        "required": True,
        "help": "the search: configs/<comp>/<search>.search.yaml",
    },
    "--fold": {
        "group": ABOUT,
        "metavar": "K",
        "default": "all",
        "help": "one fold, 0 to k - 1, or all; lr-find takes 0 for all (default: all)",
    },
    "--shard": {
        "metavar": "I/N",
        "default": "",
        "help": "a share of the rows, 0/N to N-1/N, for several processes; predict without it joins what they made",
    },
    "--folds": {
        "group": ABOUT,
        "metavar": '"0 1"',
        "default": "",
        "help": "folds that take part, separated by blanks (default: all)",
    },
    "--folder": {
        "group": ABOUT,
        "metavar": "FOLDER",
        "type": Path,
        "default": None,
        "help": "an exported folder, instead of --comp and --run",
    },
    "--inputs": {
        "group": ABOUT,
        "metavar": "FOLDER",
        "type": Path,
        "required": True,
        "help": "the folder that holds the competition's, as /kaggle/input does",
    },
    "--metadata": {
        "group": ABOUT,
        "metavar": "FILE",
        "type": Path,
        "default": None,
        "help": "a CSV with the column path and what the networks read beside the picture",
    },
    "format": {"choices": ["folder", "onnx"], "help": "what the model becomes: folder or onnx"},
    "file": {"type": Path, "help": "the CSV to check"},
    "kind": {"choices": ["facts", "run"], "help": "facts: competition.yaml; run: a file of choices"},
    "shell": {"choices": ["bash", "zsh"], "help": "bash or zsh"},
    "files": {"type": Path, "nargs": "*", "help": "picture files, and folders with pictures"},
    "--set": {
        "metavar": '"KEY=VALUE ..."',
        "dest": "overrides",
        "default": "",
        "help": 'settings that differ from the run file, "optim.lr=3e-4 train.epochs=5"; docs/runs.md lists them all',
    },
    "--device": {
        "metavar": "DEVICE",
        "default": "auto",
        "help": "auto, cpu, cuda, cuda:1 or mps; auto: a GPU where there is one (default: auto)",
    },
    "--ranks": {
        "metavar": "N",
        "default": "1",
        "help": "so many GPUs train each fold together, a process each (with --device cpu: processes on the CPU); the "
        "run and its batch_size mean the same (default: 1)",
    },
    "--jobs": {
        "metavar": "N",
        "default": "1",
        "help": "folds at once, each in a process of its own; auto: one a GPU, and one on a CPU (default: 1)",
    },
    "--blend": {
        "choices": ["mean", "gmean", "rank_mean"],
        "default": "mean",
        "help": "how predictions are joined: the mean, the geometric mean, or the mean of ranks (default: mean)",
    },
    "--decide": {
        "default": "fitted",
        "choices": ["default", "fitted"],
        "help": "how labels are decided: fitted on the OOF predictions where that is better by cross-fitting, or "
        "always the default, largest probability or 0.5 (default: fitted)",
    },
    "--with-diverged": {"action": "store_true", "help": "also take runs of which a fold's training diverged"},
    "--views": {
        "metavar": '"A B"',
        "default": "",
        "help": 'test-time views that take part, "identity hflip" (default: the run\'s)',
    },
    "--port": {
        "metavar": "PORT",
        "default": "8765",
        "help": "the page is at http://127.0.0.1:PORT/; 0: a free one (default: 8765)",
    },
    "--test": {"action": "store_true", "help": "show test pictures and their held-out labels; do not choose by them"},
    "--message": {"metavar": "TEXT", "default": "", "help": "what Kaggle shows beside it (default: name and CV score)"},
    "--yes": {
        "action": "store_true",
        "help": "ask nothing: neither whether guesses are right, nor before one of the day's slots is spent",
    },
    "--label": {
        "group": ABOUT,
        "metavar": "WORDS",
        "default": "",
        "help": "what is the label: first-folder, last-folder, file-name, a pattern '{label}_*', or a table's column",
    },
    "path": {"type": Path, "nargs": "?", "default": None, "help": "a folder of pictures, or a table of them"},
    "--out": {
        "metavar": "PATH",
        "type": Path,
        "default": None,
        "help": "where to write (default: predictions.csv or submission.csv in the working folder; exports/<comp>/)",
    },
    "--half": {"action": "store_true", "help": "weights in half precision, where the score holds"},
    "--each": {"action": "store_true", "help": "onnx: a file a fold, in place of one that averages them"},
    "--push": {
        "metavar": "OWNER/NAME",
        "default": "",
        "help": "upload the exported folder to this repository of the Hugging Face hub (private)",
    },
    "--bad-images": {
        "default": "skip",
        "choices": ["skip", "stop"],
        "help": "a picture that cannot be read: skip names it and leaves its line empty, stop is an error "
        "(default: skip)",
    },
    "--gpu": {"default": "t4", "choices": ["t4", "l4", "none"], "help": "Kaggle's accelerator (default: t4)"},
    "--hours": {
        "metavar": "HOURS",
        "default": "9",
        "help": "how long the notebook may take, as the competition's rules say (default: 9)",
    },
    "--hidden-rows": {
        "metavar": "N",
        "default": "",
        "help": "pictures of the hidden test set, for the forecast (default: the facts' hidden_rows)",
    },
    "--owner": {
        "metavar": "NAME",
        "default": "",
        "help": "your name at Kaggle (default: as its client's settings say)",
    },
    "--kernel": {"action": "store_true", "help": "submit the bundle submissions/<comp>/<name>.kernel/ as a notebook"},
    "--force": {"action": "store_true", "help": "a notebook that was not rehearsed, or failed at Kaggle, all the same"},
    "--fast": {
        "action": "store_true",
        "help": "rehearse: in this environment, without installing the bundle's wheels; explore: smaller samples",
    },
    "--features": {"action": "store_true", "help": "compute the run's frozen features where none are kept yet"},
    "--limit": {
        "metavar": "SECONDS",
        "default": "",
        "help": "how long the notebook may take (default: the bundle's hours)",
    },
    "--memory": {"metavar": "GB", "default": "", "help": "memory that it may take (default: 29, as on Kaggle)"},
    "--lines": {
        "metavar": "N",
        "default": "",
        "help": "lines of the hidden sample submission (default: twice the visible, at most 2000)",
    },
    "--offline": {"action": "store_true", "help": "ask no site whether it can be reached"},
    "--json": {
        "group": EVERYWHERE,
        "dest": "as_json",
        "action": "store_true",
        "help": "print the result as one JSON value on standard output; all else goes to standard error",
    },
    "--root": {
        "group": EVERYWHERE,
        "metavar": "FOLDER",
        "type": Path,
        "default": Path(),
        "help": "the project folder, which holds configs/, input/, folds/, oof/ (default: this one)",
    },
    "--quiet": {
        "group": EVERYWHERE,
        "action": "store_true",
        "help": "say errors, warnings and the last result alone",
    },
    "--log": {
        "group": EVERYWHERE,
        "default": "text",
        "choices": ["text", "json"],
        "help": "json: what is said becomes one JSON object a line, progress too",
    },
    "--debug": {"group": EVERYWHERE, "action": "store_true", "help": "show the traceback of an error"},
}
COMMON = "--root --quiet --log --debug"  # what every command takes


def _fold(text: str) -> int | None:
    if text == "all":
        return None
    if not re.fullmatch("[0-9]{1,9}", text):
        raise FoldlineError(f"'{text[:50]}' is no fold", where="FOLD", next="give a number such as 0, or all")
    return int(text)


def _ranks(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,3}", text):
        raise FoldlineError(f"'{text[:50]}' is no number of ranks", where="--ranks", next="give one such as 2")
    return int(text)


def _port(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > 65_535:
        raise FoldlineError(
            f"'{text[:50]}' is no port", where="--port", next="give a number up to 65535; 0: a free one"
        )
    return int(text)


def _folds(text: str) -> list[int]:
    words = _words(text)
    odd = [word for word in words if not re.fullmatch("[0-9]{1,9}", word)]
    if odd:
        raise FoldlineError(f"'{odd[0][:50]}' is no fold", where="--folds", next='give numbers such as "0 1 2"')
    return [int(word) for word in words]


def _hours(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3})?", text) or float(text) <= 0:
        raise FoldlineError(f"'{text[:50]}' is no number of hours", where="--hours", next="give one such as 9 or 0.5")
    return float(text)


def _count(text: str) -> int | None:
    digits = text.replace(",", "")
    if digits and not re.fullmatch("[1-9][0-9]{0,8}", digits):
        raise FoldlineError(f"'{text[:50]}' is no number of rows", where="--hidden-rows", next="give one such as 50000")
    return int(digits) if digits else None


def require_text(key: str, text: str, *, file: bool) -> None:
    """Raises FoldlineError for an argument that no file can hold; the name of a file may be any that the system has."""
    try:
        text.encode("utf-8", "surrogateescape" if file else "strict")
    except UnicodeEncodeError:
        text = "\0" + text
    if "\0" in text or len(text) > LONGEST:
        raise FoldlineError(
            f"{text[:50]!r} is no text in UTF-8 of up to {LONGEST} letters", where=f"--{key}", next="write it anew"
        )


def _jobs(text: str) -> int | str:
    if text != "auto" and not re.fullmatch("[1-9][0-9]{0,2}", text):
        raise FoldlineError(f"'{text[:50]}' is no number of folds at once", where="--jobs", next="give one, or auto")
    return text if text == "auto" else int(text)


def _amount(where: str, text: str) -> float | None:
    if text and (not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", text) or float(text) <= 0):
        raise FoldlineError(f"'{text[:50]}' is no number above 0", where=where, next="give one such as 20")
    return float(text) if text else None


def _lines(text: str) -> int | None:
    count = _amount("--lines", text)
    return None if count is None else max(1, int(count))


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise FoldlineError(f"{error}: {text}", where="SET, RUNS, VIEWS", next="close the quotation mark") from error


READ: dict[str, Callable[[str], Any]] = {
    "fold": _fold,
    "folds": _folds,
    "hidden_rows": _count,
    "hours": _hours,
    "jobs": _jobs,
    "limit": partial(_amount, "--limit"),
    "lines": _lines,
    "memory": partial(_amount, "--memory"),
    "overrides": _words,
    "port": _port,
    "ranks": _ranks,
    "runs": _words,
    "views": _words,
}
