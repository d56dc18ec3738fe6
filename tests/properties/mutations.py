"""Input made from good input by a few changes, for tests that hold for any input: words or success, at once.

`FOLDLINE_EXAMPLES=2000` tries that many inputs for each test instead of a handful; which ones is not left to chance.
"""

import copy
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from foldline.core.errors import FoldlineError

Test = TypeVar("Test", bound=Callable[..., None])
SECONDS = 2.0  # of the processor: a crowded machine is no hang

ODD_TEXTS = [
    "",
    " ",
    "x",
    "\0",
    "{",
    "{}",
    "{a",
    "*",
    "**",
    "../x",
    "/x",
    "nan",
    "inf",
    "1e999",
    "٣",
    "²",
    "é",
    "e\u0301",
]
ODD_VALUES: list[Any] = [
    *ODD_TEXTS, "\ud800", "x" * 5000, None, True, False, 0, -1, 1, 3, 2**31, 2**63, 2**70, -(2**70), 0.5, 1e308,
    float("inf"), float("-inf"), float("nan"), [], [[]], {}, {"": ""}, [None], ["a", "a"], {"a": {"b": [1]}},
]  # fmt: skip
ODD_BYTES = [
    b"", b"\0", b"\xff", b"\xc3", b"\xef\xbb\xbf", b'"', b",", b"\n", b"\r", b"\t", b"{", b"[", b": ", b"- ", b"&a ",
    b"*a", b"nan", b"1e999", b"9" * 30, b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff",
]  # fmt: skip


def many(few: int) -> Callable[[Test], Test]:
    """So many inputs for a test, or as many as `FOLDLINE_EXAMPLES` says; the same ones each time."""
    return settings(
        max_examples=int(os.environ.get("FOLDLINE_EXAMPLES", few)),
        derandomize="FOLDLINE_RANDOM" not in os.environ,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def words_or_success() -> Iterator[None]:
    """Only a FoldlineError may come out of the block, short enough to read, and in time."""
    started, words = time.process_time(), "success"
    try:
        yield
    except FoldlineError as error:
        words = error.what
    assert 0 < len(words) < 3000, "no message to read"
    assert time.process_time() - started < SECONDS, "a hang"


@st.composite
def mutated(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes with one to four places changed: replaced, taken out, put in, doubled, cut off."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 12)))
        new = draw(st.one_of(st.sampled_from(ODD_BYTES), st.binary(max_size=6)))
        way = draw(st.sampled_from(["replace", "remove", "insert", "double", "cut"]))
        middle = {"replace": new, "remove": b"", "insert": new + content[start:end], "double": 2 * content[start:end]}
        content = content[:start] if way == "cut" else content[:start] + middle[way] + content[end:]
    return content


@st.composite
def changed(draw: st.DrawFn, content: Any) -> Any:
    """A nested value with one to three places changed: another value, another key, a key less."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        holder, key = content, None
        while isinstance(holder, dict | list) and holder:
            key = draw(st.sampled_from(list(holder) if isinstance(holder, dict) else list(range(len(holder)))))
            if not isinstance(holder[key], dict | list) or not holder[key] or draw(st.booleans()):
                break
            holder = holder[key]
        if key is None or key not in (holder if isinstance(holder, dict) else range(len(holder))):
            return draw(st.sampled_from(ODD_VALUES))
        way = draw(st.sampled_from(["value", "value", "value", "remove", "rename"]))
        if way == "value":
            holder[key] = copy.deepcopy(draw(st.sampled_from(ODD_VALUES)))
        elif way == "remove" or isinstance(holder, list):
            del holder[key]
        else:
            holder[draw(st.sampled_from(ODD_TEXTS))] = holder.pop(key)
    return content
