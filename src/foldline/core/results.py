"""What a command found, as one JSON value for programs: on standard output alone, all else on standard error.

Nobody else prints JSON. A stage returns what it found: a record, a dataclass, a table, a mapping, paths.
"""

import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TextIO


@contextmanager
def result_alone() -> Iterator[TextIO]:
    """Gives standard output to the block's result alone: whatever else is printed goes to standard error.

    That holds for libraries in C and for child processes, too, which write to the file and not through Python.
    """
    out, kept = sys.stdout, -1
    with suppress(OSError, ValueError):  # a process without standard output, or a test's that is no file
        out.flush()
        kept = os.dup(1)
        os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        with os.fdopen(os.dup(kept), "w", encoding="utf-8") if kept >= 0 and _is_file(out) else _Same(out) as result:
            yield result
    finally:
        sys.stdout = out
        if kept >= 0:
            os.dup2(kept, 1)
            os.close(kept)


class _Same:
    """A stream that the end of a block does not close."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __enter__(self) -> TextIO:
        return self.stream

    def __exit__(self, *_: object) -> None:
        with suppress(OSError, ValueError):
            self.stream.flush()


def _is_file(stream: TextIO) -> bool:
    """Whether a stream writes to the process's standard output itself."""
    try:
        return stream.fileno() == 1
    except (OSError, ValueError, AttributeError):
        return False


def print_result(result: Any, out: TextIO) -> None:
    """Writes the result as indented JSON; where whoever reads it has left, nothing is said."""
    with suppress(BrokenPipeError):
        text = json.dumps(plain(result), indent=1, ensure_ascii=False, allow_nan=False)
        out.write(text.encode("utf-8", "backslashreplace").decode() + "\n")  # a file's name may be no UTF-8
        out.flush()


def plain(value: Any) -> Any:  # noqa: PLR0911 - a kind of value each
    """A value as JSON has it: what is no finite number becomes null, a path its text, a table a list of lines.

    >>> plain({"score": float("nan"), "file": Path("a/b.csv"), "folds": (0, 1)})
    {'score': None, 'file': 'a/b.csv', 'folds': [0, 1]}
    """
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(part) for part in value]
    if hasattr(value, "model_dump"):  # a record
        return plain(value.model_dump(mode="json"))
    if hasattr(value, "to_dict") and hasattr(value, "columns"):  # a pandas table
        return plain(value.to_dict("records"))
    if hasattr(value, "tolist"):  # numpy's arrays and numbers
        return plain(value.tolist())
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return str(value)
