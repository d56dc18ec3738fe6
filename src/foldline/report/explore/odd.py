"""Broken and odd pictures: counted by what is wrong, named, and shown."""

from dataclasses import dataclass, replace

import pandas as pd

from foldline.report.explore.explored import Explored
from foldline.report.explore.file_facts import FileFacts
from foldline.report.explore.looks import Looks, by_reason, shown_files
from foldline.report.explore.thumbs import Thumb, thumb
from foldline.report.look import formats

MOST_SHOWN = 12
MOST_REASONS = 12


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong: how many rows of either side, and the first files."""

    why: str
    train: int
    test: int
    files: str


def broken_rows(explored: Explored) -> tuple[dict[int, str], dict[int, str]]:
    """(training row -> why training would stop at its picture, the same of the test rows)."""
    return (
        _of_side(explored.train_facts, explored.train_looks),
        _of_side(explored.test_facts, explored.test_looks),
    )


def _of_side(facts: FileFacts, looks: Looks) -> dict[int, str]:
    """By the header of every file, and by decoding as far as that was done, which knows better."""
    decoded = set(looks.rows.tolist())
    return {it.row: it.why for it in facts.broken if it.row not in decoded} | looks.broken


def troubles(explored: Explored) -> list[Trouble]:
    """What is broken, the most frequent first."""
    sides = broken_rows(explored)
    return _joined(explored, (by_reason(sides[0]), by_reason(sides[1])))


def oddities(explored: Explored) -> list[Trouble]:
    """What is whole and odd."""
    sides = [looks.odd() for looks in (explored.train_looks, explored.test_looks)]
    return _joined(explored, (by_reason(sides[0]), by_reason(sides[1])))


def _joined(explored: Explored, sides: tuple[dict[str, list[int]], dict[str, list[int]]]) -> list[Trouble]:
    reasons = list(dict.fromkeys([*sides[0], *sides[1]]))
    found = []
    for why in reasons:
        train, test = sides[0].get(why, []), sides[1].get(why, [])
        table, rows = (explored.frame, train) if train else (explored.test, test)
        found.append(Trouble(formats.printable(why, 200), len(train), len(test), shown_files(table, rows)))
    found.sort(key=lambda it: -(it.train + it.test))
    rest = found[MOST_REASONS:]
    if rest:
        more = Trouble(f"{len(rest)} further reasons", sum(it.train for it in rest), sum(it.test for it in rest), "")
        found = [*found[:MOST_REASONS], more]
    return found


def gallery(explored: Explored) -> list[Thumb]:
    """Some broken pictures as far as they can be shown, then odd ones; training rows first."""
    broken = broken_rows(explored)
    sides = (
        (explored.frame, "", explored.train_looks, broken[0]),
        (explored.test, "test", explored.test_looks, broken[1]),
    )
    cards = [
        card for table, side, looks, rows in sides for card in _cards(explored, table, side, looks, rows, "broken")
    ]
    cards += [card for table, side, looks, _ in sides for card in _cards(explored, table, side, looks, looks.odd(), "")]
    return cards[:MOST_SHOWN]


def _cards(
    explored: Explored, table: pd.DataFrame, side: str, looks: Looks, rows: dict[int, str], mark: str
) -> list[Thumb]:
    root, intensity = explored.layout.input(explored.comp), explored.run.data.intensity
    cards = []
    for row, why in list(rows.items())[: MOST_SHOWN // 2]:
        card = thumb(root, table, row, intensity, side, formats.printable(why, 120), looks.size(row), mark=mark)
        cards.append(card if card.uri else replace(card, lines=(side,) if side else ()))  # it says why by itself
    return cards
