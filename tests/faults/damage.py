"""What can happen to a file: a turned bit, half of it, nothing, other bytes, a key that is gone."""

import json
import random
from collections.abc import Callable
from pathlib import Path

from faults.line import DISPOSABLE

Harm = Callable[[Path, random.Random], object]


def flip(path: Path, dice: random.Random) -> None:
    """Turns one bit."""
    content = bytearray(path.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


def _lose_a_key(path: Path, dice: random.Random) -> None:
    content = json.loads(path.read_text())
    del content[dice.choice(sorted(content))]
    path.write_text(json.dumps(content))


def _mistype(path: Path, dice: random.Random) -> None:
    content = json.loads(path.read_text())
    key = dice.choice(sorted(content))
    content[key] = dice.choice([None, [], {}, "text", 3.5, [[1]], {"a": None}])
    path.write_text(json.dumps(content))


HARMS: dict[str, Harm] = {
    "emptied": lambda path, _: path.write_bytes(b""),
    "cut": lambda path, _: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "overwritten": lambda path, dice: path.write_bytes(dice.randbytes(500)),
    "with a turned bit": flip,
    "a list": lambda path, _: path.write_text("[]"),
    "without a key": _lose_a_key,
    "mistyped": _mistype,
}


def harms_of(file: str) -> list[str]:
    """Which harms a file can come to; a record that is changed into another valid one is no damage that shows."""
    if file.endswith(".json"):
        return ["emptied", "cut", "overwritten", "a list", "without a key", "mistyped"]
    return ["emptied", "cut", "overwritten", *([] if file.endswith("steps.csv") else ["with a turned bit"])]


def content_names(root: Path) -> list[str]:
    """The files that stages have written into a project."""
    rooms = ("input", "folds", "oof", "submissions")
    paths = [
        path
        for room in rooms
        for path in sorted((root / room).rglob("*"))
        if path.is_file() and path.name != DISPOSABLE
    ]
    return [path.relative_to(root).as_posix() for path in paths]
