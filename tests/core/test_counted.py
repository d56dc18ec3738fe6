"""A number with its noun: of one in the singular, everywhere that something is counted."""

import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest

import foldline
from foldline.core.counted import counted

HOUSE = Path(foldline.__file__).parent
NOUNS = (
    "rows|pictures|images|files|folds|runs|classes|lines|labels|groups|entities|columns|cells|members|epochs|networks|"
    "targets|pairs|ids|views|tables|trials|steps|batches|shards|ranks|masks|folders|parts|channels|settings|outputs|"
    "values|names|numbers|words"
)
COUNTED_SO = re.compile(rf" ([a-z]+ )?({NOUNS})\b")
CHOSEN = re.compile(rf"'({NOUNS})\b[^']*' if ")  # a noun that an expression chooses
A_COUNT = re.compile(r"(len|int)\(")
TOTAL = re.compile(r"\b(of|of the|of its|of all|than|All|The best of) $")  # of two or more: 1 of 12 rows


@pytest.mark.parametrize(
    ("what", "one"),
    [
        ("rows", "1 row"), ("test images are", "1 test image is"), ("rows do", "1 row does"), ("boxes", "1 box"),
        ("entities of the extra rows are", "1 entity of the extra rows is"), ("images occur", "1 image occurs"),
        ("rows that nobody decided are", "1 row that nobody decided is"), ("pictures cannot", "1 picture cannot"),
        ("classes have no training rows at all", "1 class has no training rows at all"), ("means", "1 mean"),
    ],
)  # fmt: skip
def test_one_is_singular(what: str, one: str) -> None:
    assert counted(1, what) == one
    assert counted(2, what) == f"2 {what}"


def uncounted(source: str) -> list[str]:
    """Where a text has a count before a plural that is the same for one."""
    found = []
    for node in ast.walk(ast.parse(source)):
        parts = node.values if isinstance(node, ast.JoinedStr) else []
        for place, (value, after) in enumerate(pairwise(parts)):
            if not isinstance(value, ast.FormattedValue):
                continue
            before = parts[place - 1] if place else None
            text = str(before.value) if isinstance(before, ast.Constant) else ""
            number = ast.unparse(value.value)
            words = str(after.value) if isinstance(after, ast.Constant) else f" {ast.unparse(after)}"
            chosen = words == " " and place + 2 < len(parts) and CHOSEN.search(ast.unparse(parts[place + 2]))
            if A_COUNT.match(number) and (chosen or COUNTED_SO.match(words)) and not TOTAL.search(text):
                found.append(f"{number}{words[:30]}")
    return found


def test_every_count_in_a_message_goes_through_it() -> None:
    """`{len(rows)} rows` says `1 rows` of one: `{counted(len(rows), 'rows')}` does not."""
    assert uncounted('f"{len(a)} bad rows and {int(b.sum())} files"') == ["len(a) bad rows and ", "int(b.sum()) files"]
    assert uncounted('f"{one} of {len(a)} rows, {counted(len(a), 1)} {len(a)}"') == []
    paths = [path for path in HOUSE.rglob("*.py") if path.name != "counted.py"]
    wrong = {str(path.relative_to(HOUSE)): uncounted(path.read_text(encoding="utf-8")) for path in paths}
    assert {path: found for path, found in wrong.items() if found} == {}
