"""How the text of an argument is read. Nothing heavy is imported here."""

import re
import shlex
from collections.abc import Callable
from functools import partial
from typing import Any

from foldline.core.errors import FoldlineError
from foldline.core.shards import Shard


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


def _minutes(text: str) -> float | None:
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,3})?", text) or float(text) <= 0:
        raise FoldlineError(f"'{text[:50]}' is no number of minutes", where="--minutes", next="give one such as 20")
    return float(text)


def _count(text: str) -> int | None:
    digits = text.replace(",", "")
    if digits and not re.fullmatch("[1-9][0-9]{0,8}", digits):
        raise FoldlineError(f"'{text[:50]}' is no number of rows", where="--hidden-rows", next="give one such as 50000")
    return int(digits) if digits else None


def _shard(text: str) -> Shard | None:
    return None if text == "all" else Shard.parse(text)


def _jobs(text: str) -> int | str:
    if text != "auto" and not re.fullmatch("[1-9][0-9]{0,2}", text):
        next = "give one from 1 to 999, or auto: a fold on each GPU"
        raise FoldlineError(f"'{text[:50]}' is no number of folds at once", where="--jobs", next=next)
    return text if text == "auto" else int(text)


def _amount(where: str, text: str) -> float | None:
    if text and (not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", text) or float(text) <= 0):
        raise FoldlineError(f"'{text[:50]}' is no number above 0", where=where, next="give one such as 20")
    return float(text) if text else None


def _whole(where: str, text: str) -> int | None:
    count = _amount(where, text)
    return None if count is None else max(1, int(count))


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise FoldlineError(f"{error}: {text}", where="SET, RUNS, VIEWS", next="close the quotation mark") from error


def _share(where: str, text: str) -> float | None:
    """An amount that may be none at all."""
    return 0.0 if re.fullmatch(r"0(\.0+)?", text) else _amount(where, text)


READ: dict[str, Callable[[str], Any]] = {
    "cpus": partial(_amount, "--cpus"),
    "fold": _fold,
    "folds": _folds,
    "gpus": partial(_share, "--gpus"),
    "hidden_rows": _count,
    "hours": _hours,
    "minutes": _minutes,
    "jobs": _jobs,
    "limit": partial(_amount, "--limit"),
    "lines": partial(_whole, "--lines"),
    "memory": partial(_amount, "--memory"),
    "options": _words,
    "overrides": _words,
    "port": _port,
    "ranks": _ranks,
    "rounds": partial(_whole, "--rounds"),
    "runs": _words,
    "shard": _shard,
    "shards": partial(_whole, "--shards"),
    "views": _words,
}
