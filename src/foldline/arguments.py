"""What the sub-commands take: each argument once, and how its text is read. Nothing heavy is imported here."""

import re
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from foldline.core.errors import FoldlineError

LONGEST = 4000  # letters of an argument

ARGUMENTS: dict[str, dict[str, Any]] = {
    "--run": {"default": "baseline", "help": "the run: configs/<comp>/<run>.yaml (default: baseline)"},
    "--name": {"default": "", "help": "the name of the run that --set makes, or of an ensemble"},
    "--set": {"dest": "overrides", "default": "", "help": 'settings that differ, "optim.lr=3e-4 train.epochs=5"'},
    "--device": {"default": "auto", "help": "auto, cpu, cuda, cuda:1, mps"},
    "--fold": {"default": "all", "help": "0, 1 ... or all, which lr-find takes for 0 (default: all)"},
    "--runs": {"default": "", "help": 'several runs, "a b"; default: --run alone, and for compare all of these folds'},
    "--blend": {"default": "mean", "help": "mean, gmean or rank_mean"},
    "--decide": {
        "default": "fitted",
        "choices": ["default", "fitted"],
        "help": "how labels are decided: fitted on the OOF predictions where that is better, or always the default",
    },
    "--with-diverged": {"action": "store_true", "help": "also hand in runs of which a fold's training diverged"},
    "--port": {"default": "8765", "help": "where on this machine (default: 8765)"},
    "--test": {"action": "store_true", "help": "show test pictures and their held-out labels"},
    "--against": {"default": "", "help": "a further run to compare every other one with"},
    "--search": {"dest": "name", "required": True, "help": "the search: configs/<comp>/<search>.search.yaml"},
    "--message": {"default": "", "help": "what is said of the submission"},
    "--yes": {
        "action": "store_true",
        "help": "ask nothing: neither whether guesses are right, nor before a daily slot",
    },
    "--label": {
        "default": "",
        "help": "what is the label: first-folder, last-folder, file-name, a pattern '{label}_*', or a table's column",
    },
    "path": {
        "type": Path,
        "nargs": "?",
        "default": None,
        "help": "a folder of pictures, or a table of them",
    },
    "--out": {
        "type": Path,
        "default": None,
        "help": "where to write (default: predictions.csv or submission.csv here; exports/)",
    },
    "format": {"choices": ["folder", "onnx"], "help": "what the model becomes"},
    "--half": {"action": "store_true", "help": "weights in half precision, where the score holds"},
    "--each": {"action": "store_true", "help": "onnx: a file a fold, in place of one that averages them"},
    "--push": {"default": "", "help": "owner/name: upload the exported folder to the Hugging Face hub (private)"},
    "--folder": {"type": Path, "default": None, "help": "an exported folder, instead of --comp and --run"},
    "--metadata": {"type": Path, "default": None, "help": "a CSV with the column path and what the networks read"},
    "--bad-images": {
        "default": "skip",
        "choices": ["skip", "stop"],
        "help": "a picture that cannot be read: skip names it and leaves its line empty, stop is an error",
    },
    "--gpu": {"default": "t4", "choices": ["t4", "l4", "none"], "help": "Kaggle's accelerator (default: t4)"},
    "--hours": {"default": "9", "help": "how long the notebook may take (default: 9)"},
    "--hidden-rows": {"default": "", "help": "pictures of the hidden test set, for the forecast (default: the facts')"},
    "--owner": {"default": "", "help": "your name at Kaggle (default: as its client's settings say)"},
    "--folds": {"default": "", "help": 'folds that take part, "0 1 2" (default: all)'},
    "--views": {"default": "", "help": 'views that take part, "identity hflip" (default: the run\'s)'},
    "--kernel": {"action": "store_true", "help": "submit a bundle as a notebook, submissions/<comp>/<name>.kernel/"},
    "--json": {"dest": "as_json", "action": "store_true", "help": "print one JSON value"},
    "--force": {"action": "store_true", "help": "a notebook that was not rehearsed, or failed at Kaggle, all the same"},
    "--inputs": {"type": Path, "required": True, "help": "the folder that holds the competition's, as /kaggle/input"},
    "--fast": {"action": "store_true", "help": "in this environment, without installing the bundle's wheels"},
    "--limit": {"default": "", "help": "seconds that the notebook may take (default: the bundle's)"},
    "--memory": {"default": "", "help": "GB of memory that it may take (default: 29, as on Kaggle)"},
    "--lines": {"default": "", "help": "of the hidden sample submission (default: twice the visible, at most 2000)"},
    "file": {"type": Path, "help": "the CSV to check"},
    "files": {"type": Path, "nargs": "*", "help": "picture files, and folders with pictures"},
}


def _fold(text: str) -> int | None:
    if text == "all":
        return None
    if not re.fullmatch("[0-9]{1,9}", text):
        raise FoldlineError(f"'{text[:50]}' is no fold", where="FOLD", next="give a number such as 0, or all")
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
    "limit": partial(_amount, "--limit"),
    "lines": _lines,
    "memory": partial(_amount, "--memory"),
    "overrides": _words,
    "port": _port,
    "runs": _words,
    "views": _words,
}
