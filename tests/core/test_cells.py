"""Spellings of one name, also where a look at all names together would settle it."""

import pytest

from foldline.core.cells import plain, plains, spellings

NAMES = ["a", "b", "007", "1.5"]
ODD = ["100.0", " a", "a ", "a\t", "", "a b", "\u00e9", "e\u0301", "\u2003a", "a\n", "a\x1f", "-3.00", "v1.0"]


@pytest.mark.parametrize("odd", ODD)
def test_each_is_looked_at_where_one_is_odd(odd: str) -> None:
    for names in ([odd], [*NAMES, odd], [odd, "", *NAMES], [odd, "a b c"]):
        assert plains(names) == [plain(name) for name in names]


@pytest.mark.parametrize(
    ("one", "other", "used"),
    [("100", "100.0", "100"), ("\u00e9", "e\u0301", "\u00e9"), ("cat", "cat ", "cat"), ("x", "\u2003x", "x")],
)
def test_two_spellings_are_one_name(one: str, other: str, used: str) -> None:
    assert spellings([one, *NAMES, other]) == {other: used}
    assert spellings([other, *NAMES], known=[one]) == {other: one}
    assert spellings([one, *NAMES], known=[other]) == {one: other}
    assert spellings([one, one, *NAMES]) == {}
