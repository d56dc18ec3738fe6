"""The raw lines of new test rows: lines of the visible ones under new names, with the training rows' pictures.

What the facts use is changed (ids, entities, paths, metadata, pixels); every other cell stays that of a visible line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from foldline.core.competition import RowFacts
from foldline.images.stacks import place_ranks
from foldline.readers.raw_lines import PATH, CannotBeMadeError, RawLines, of_its_kind
from foldline.readers.templates import fill
from foldline.rehearsal.ids import NewIds


@dataclass(frozen=True)
class Names:
    """Which names of the facts' templates get another text, and which are only read.

    Attributes:
        line: what tells lines of the submission apart: of an entity, or of a row where there are none.
        row: what tells rows of one entity apart; None where one row makes a line.
        picture: what tells pictures apart where the others do not; None where they do, or there are none.
    """

    line: str
    row: str | None
    picture: str | None

    @classmethod
    def choose(cls, lines: RawLines) -> "Names":
        """Of the names in a template the one that has most texts."""
        rows, pictures = lines.rows, _image_templates(lines.rows, lines)
        own = lines.names_in(rows.row_id or pictures[0])
        about = lines.names_in(rows.entity) if rows.entity else own
        line = _most(lines, about)
        further = [name for name in own if name not in about]
        row = _most(lines, further) if further else None
        shown = [name for template in pictures for name in lines.names_in(template)]
        each = row if row is not None or rows.entity else line  # what every row has of its own
        enough = not shown or rows.reader == "folders" or (each and _base(each) in map(_base, shown))
        return cls(line, row, None if enough else _most(lines, shown))


def _base(name: str) -> str:
    return name.rpartition(".")[0] or name


def _image_templates(rows: RowFacts, lines: RawLines) -> list[str]:
    """The templates of the pictures' paths; none where they stand in cells."""
    given = [rows.image] if isinstance(rows.image, str) else list(rows.image or [])
    if given or lines.holds_pictures:
        return given
    if PATH in lines.texts.columns:
        return [PATH]
    raise CannotBeMadeError("the facts name no picture")


def own_ids(lines: RawLines) -> list[str]:
    """The row_id of each line of a table."""
    template = lines.rows.row_id or _image_templates(lines.rows, lines)[0]
    return [str(text) for text in fill(lines.derived(lines.texts), template, where="row_id")]


def _most(lines: RawLines, names: Sequence[str]) -> str:
    """The name with most texts; of equal ones the last."""
    texts = lines.derived(lines.texts)
    counts = {name: fill(texts, f"{{{name}}}", where="template").nunique() for name in names}
    return max(reversed(names), key=lambda name: counts[name])


@dataclass(frozen=True)
class NewLines:
    """New raw lines.

    Attributes:
        frame: with cells of the table's types.
        texts: the same as text, with the columns that are derived.
        place: the position of the raw line that each is a copy of.
        known: of each line's training row; example: of the visible row.
        images: the paths of each line's pictures, a list a template.
    """

    frame: pd.DataFrame
    texts: pd.DataFrame
    place: list[int]
    known: list[int]
    example: list[int]
    images: list[list[str]]

    def ids(self, rows: RowFacts) -> "pd.Series[str]":
        """The row_id of each line."""
        if rows.row_id is None:
            return pd.Series(self.images[0], dtype=str)
        return fill(self.texts, rows.row_id, where="row_id")

    def entities(self, rows: RowFacts) -> "pd.Series[str]":
        """What each line's row is about."""
        return fill(self.texts, rows.entity, where="entity") if rows.entity else self.ids(rows)


def make_lines(
    lines: RawLines,
    places: Mapping[int, Sequence[int]],
    hidden: Sequence[tuple[Sequence[int], Sequence[int]]],
    train: pd.DataFrame,
    pixels: "pd.DataFrame | None",
    ids: NewIds,
) -> NewLines:
    """The lines of new rows.

    Args:
        places: where in `lines` each visible row stands.
        hidden: for each line of the submission its training rows, and the visible rows that are its examples.
        train: the training rows, for their metadata.
        pixels: the cells of the training rows' pictures, in their order; None where pictures are files.
        ids: gives new names.
    """
    names, texts = Names.choose(lines), lines.derived(lines.texts)
    told = {name: fill(texts, f"{{{name}}}", where="template").tolist() for name in _told(names)}
    plain = lines.texts.to_dict(orient="records")
    made: list[tuple[dict[str, str], int, int, int]] = []
    for known, examples in hidden:
        line_text = ids.like(told[names.line][places[examples[0]][0]])
        own = [examples[number % len(examples)] for number in range(len(known))]
        fresh = [
            {name: ids.like(told[name][places[example][0]]) for name in _told(names) if name != names.line}
            for example in own
        ]
        if lines.rows.order is not None and "order" in train.columns:
            fresh = _in_order(fresh, names, train["order"].iloc[list(known)])
        for row, example, changed in zip(known, own, fresh, strict=True):
            for place in places[example]:
                line = {str(key): value for key, value in plain[place].items()}
                for name, text in ({names.line: line_text} | changed).items():
                    lines.put(line, name, text)
                line |= _copied(lines.rows, names, line, train, row)
                made.append((line, place, row, example))
    return _assembled(lines, made, pixels)


def _told(names: Names) -> list[str]:
    return [name for name in (names.line, names.row, names.picture) if name is not None]


def _in_order(fresh: list[dict[str, str]], names: Names, order: "pd.Series[str]") -> list[dict[str, str]]:
    """The new texts of an entity's rows, dealt so that what tells these apart rises with their places: the place may be
    made of it."""
    name = names.row or names.picture
    if name is None:
        return fresh
    rising = np.argsort(place_ranks(pd.Series([texts[name] for texts in fresh], dtype=str)), kind="stable").tolist()
    dealt = list(fresh)
    for place, text in zip(np.argsort(place_ranks(order), kind="stable").tolist(), rising, strict=True):
        dealt[place] = fresh[text]
    return dealt


def _copied(
    rows: RowFacts, names: Names, line: Mapping[str, str], train: pd.DataFrame, row: int
) -> dict[str, str]:  # fmt: skip
    """The training row's metadata, for the columns that the table has; its place, where that has one of its own."""
    copied = {name: str(train[name].iat[row]) for name in rows.metadata if name in line and name in train.columns}
    order = rows.order
    if order is not None and order in line and order not in _told(names) and "order" in train.columns:
        copied[order] = str(train["order"].iat[row])
    return copied


def _assembled(
    lines: RawLines, made: "list[tuple[dict[str, str], int, int, int]]", pixels: pd.DataFrame | None
) -> NewLines:  # fmt: skip
    kept = [name for name in lines.texts.columns if lines.rows.reader != "folders" or name == PATH]
    plain = pd.DataFrame([{name: line[name] for name in kept} for line, *_ in made], dtype=str)
    texts = lines.derived(plain)
    frame = lines.frame.iloc[[place for _, place, *_ in made]].reset_index(drop=True)
    for name in kept:
        cells = zip(plain[name], frame[name], lines.texts[name].iloc[[place for _, place, *_ in made]], strict=True)
        changed = [cell if text == before else of_its_kind(text, cell) for text, cell, before in cells]
        try:
            frame[name] = pd.Series(changed, dtype=frame[name].dtype)
        except (ValueError, TypeError, OverflowError) as error:
            raise CannotBeMadeError(f"column '{name}' cannot hold a new value: {error}") from error
    if pixels is not None:
        own = pixels.iloc[[row for _, _, row, _ in made]].reset_index(drop=True)
        frame = pd.concat([frame.drop(columns=list(own.columns)), own], axis=1)[list(lines.frame.columns)]
    images = [fill(texts, template, where="image").tolist() for template in _image_templates(lines.rows, lines)]
    return NewLines(
        frame, texts, [at for _, at, _, _ in made], [row for _, _, row, _ in made], [at for *_, at in made], images
    )
