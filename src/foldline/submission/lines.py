"""What the lines of a sample submission are about. Reads its ids and columns, and the facts; tables in memory.

Long samples have a line for each entity and output:

| form | seen |
|---|---|
| one id, `<entity>_<output>`, or another separator | where every id ends with an output's name |
| one id, `<output>_<entity>` | where every id begins with an output's name |
| two id columns (maybe after a row number), then numbers | where the cells of one of the two are outputs' names |

What cannot be seen (a lookup table, an id that can be read in two ways) the facts state, with `submission.entity` and
`submission.output`. The sample is the truth; facts only decide what it leaves open.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product, takewhile
from typing import NamedTuple

import pandas as pd

from foldline.core.competition import Competition
from foldline.core.errors import FoldlineError, first_few
from foldline.readers.templates import parts_of

SEPARATORS = ("_", "-", "/", ":", "|", ".", ",", " ")
STATE = "say which is meant with `submission.extract`, `submission.entity` and `submission.output`"
Options = list[list[str]]
Part = tuple[str, str]


@dataclass(frozen=True)
class Lines:
    """The lines of a sample.

    Attributes:
        options: what outputs may be called, the likeliest first.
        where: how errors call the sample.
        index: a column that only counts the rows, or None.
        keys: the column of ids; or the columns that together name a line.
        columns: the columns of answers, in the sample's order.
        cells: the different cells of the first of them.
        entities: the row or entity that each line is about.
        words: of long lines: what each output is called there; else empty.
        places: of long lines: the output that each asks for, as its place among the words; else empty.
        header: all columns of the sample.
    """

    options: Options
    where: str
    index: str | None
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[str, ...]
    entities: tuple[str, ...]
    words: tuple[str, ...] = ()
    places: tuple[int, ...] = ()
    header: tuple[str, ...] = ()

    def part(self, some: slice) -> "Lines":
        """Some of the lines."""
        return replace(self, entities=self.entities[some], places=self.places[some])

    def ids(self, frame: pd.DataFrame) -> "pd.Series[str]":
        """What names each line of a sample or submission; of two columns: `<cell> / <cell>`."""
        texts = frame[self.keys[0]]
        for column in self.keys[1:]:
            texts = texts + " / " + frame[column]
        return texts


def read_lines(
    sample: pd.DataFrame, facts: Competition, outputs: Sequence[str], names: Mapping[str, str],
    about: pd.DataFrame | None, where: str, header: Sequence[str],
) -> Lines:  # fmt: skip
    """What each line is about; the arguments are those of `Form.open`.

    Raises:
        FoldlineError: no column of ids, none of answers, or lines that can be read in two ways or in none.
    """
    options = vocabularies(facts, outputs, names)
    index = str(sample.columns[0]) if len(sample.columns) > 2 and _counts_rows(sample) else None
    told = _told(sample, facts) if about is not None else ()
    long = _long_lines(sample, index, facts, outputs, options, about, told, where)
    keys = long.keys if long else _keys(sample, index, told, where)
    columns = tuple(column for column in header if column not in (index, *keys, *told))
    if not columns:
        raise FoldlineError("has no column for answers", where=where)
    cells = tuple(sample[columns[0]].unique())
    if long is None:
        alone = sample[keys[0]] if about is None else about["entity"]
        return Lines(options, where, index, keys, columns, cells, tuple(alone), header=tuple(header))
    place = {word: j for j, word in enumerate(long.words)}
    entities, places = tuple(entity for entity, _ in long.parts), tuple(place[word] for _, word in long.parts)
    return Lines(options, where, index, keys, columns, cells, entities, tuple(long.words), places, tuple(header))


def vocabularies(facts: Competition, outputs: Sequence[str], names: Mapping[str, str]) -> Options:
    """What the outputs, or several targets, may be called, the likeliest first: raw labels, names, class numbers."""
    if facts.task.targets:
        given = getattr(facts.train.target, "columns", None)
        return [facts.task.asked(outputs), *([given] if given else [])]
    raw = {name: label for label, name in names.items()}
    options = [[raw.get(name, name) for name in outputs]] if raw and len(raw) == len(names) else []
    options.append(list(outputs))
    if facts.classes is not None and not all(map(all_whole, options)):
        # Only an order that a person wrote down tells which number a class has.
        options.append([str(i) for i in range(len(outputs))])
    return options


def all_whole(words: Iterable[str]) -> bool:
    """Whether all words are whole numbers."""
    return all(re.fullmatch(r"[+-]?\d+", word) for word in words)


def _counts_rows(sample: pd.DataFrame) -> bool:
    """Whether the first column is an index that somebody saved: no name of its own, cells 0, 1, 2 ... or 1, 2 ..."""
    if sample.columns[0] not in ("", "index", "Unnamed: 0"):
        return False
    cells = sample.iloc[:, 0].tolist()
    return any(cells == [str(start + i) for i in range(len(cells))] for start in (0, 1))


def _told(sample: pd.DataFrame, facts: Competition) -> tuple[str, ...]:
    """The sample's columns that the facts name, or use in a template, for what a line is about."""
    templates = [text for text in (facts.submission.entity, facts.submission.output) if text]
    fields = {field for text in templates for _, field, _ in parts_of(text, where="submission") if field}
    used = {*templates, *fields, *(field.rpartition(".")[0] for field in fields)}
    return tuple(column for column in sample.columns if column in used)


def _keys(sample: pd.DataFrame, index: str | None, told: tuple[str, ...], where: str) -> tuple[str, ...]:
    """The column, or the columns that the facts name, whose cells differ from line to line."""
    first = next(column for column in sample.columns if column != index)
    if told and not sample[first].is_unique and not sample.duplicated(list(told)).any():
        return told
    for column in sample.columns:
        if column != index and sample[column].is_unique and not (sample[column] == "").any():
            return (str(column),)
    raise FoldlineError(
        "no column has another id in each row",
        where=where,
        next="look whether it is the right file; of two columns that name a line together, state "
        "submission.entity and submission.output",
    )


class LongLines(NamedTuple):
    """What outputs are called, the entity and the output of each line, and the columns that name a line."""

    words: list[str]
    parts: list[Part]
    keys: tuple[str, ...]


def _long_lines(
    sample: pd.DataFrame, index: str | None, facts: Competition, outputs: Sequence[str], options: Options,
    about: pd.DataFrame | None, told: tuple[str, ...], where: str,
) -> LongLines | None:  # fmt: skip
    """What the lines are about where each asks for one output; None for other kinds."""
    columns, certain = [column for column in sample.columns if column != index], facts.submission.kind == "long"
    if about is not None and "output" in about.columns:
        return _stated(about, options, _keys(sample, index, told, where))
    if about is not None or facts.submission.kind not in ("auto", "long"):
        return None
    several = len(outputs) > 1 and (not facts.task.two_classes or certain)
    if several and (pair := _find_pair(sample, columns, options)) is not None:
        return pair
    (column,) = _keys(sample, index, (), where)
    if not certain and (not several or len(columns) != 2):
        return None
    ids = sample[column].tolist()
    long = find_composed(ids, options, column, certain=certain)
    if certain and long is None:
        raise FoldlineError(
            f"ids that neither begin nor end with the name of an output: {first_few(ids)}",
            where=where,
            next=f"the outputs: {first_few(options[0], 12)}; else state submission.entity and submission.output",
        )
    return long


def _stated(about: pd.DataFrame, options: Options, keys: tuple[str, ...]) -> LongLines:
    """What the facts say of each line; raises FoldlineError for unknown outputs."""
    seen = set(about["output"])
    for words in options:
        if seen <= set(words):
            return LongLines(words, list(zip(about["entity"], about["output"], strict=True)), keys)
    raise FoldlineError(
        f"no class or number is called {first_few(sorted(seen - set(options[0])))}",
        where="setting 'submission.output'",
        next=f"known: {first_few(options[0], 12)}; name them alike with `train.target.names` or `classes`",
    )


def _find_pair(sample: pd.DataFrame, columns: Sequence[str], options: Options) -> LongLines | None:
    """Lines named by two columns: entity and output in either order, before the one column of answers.

    A column before them that numbers the lines is a key too. Both columns with outputs' names are an error.
    """
    if len(columns) not in (3, 4) or sample[columns[0]].is_unique != (len(columns) == 4):
        return None
    *keys, _ = columns
    pair = keys[-2:]
    if any(sample[column].is_unique for column in pair) or sample.duplicated(pair).any():
        return None
    for words in options:
        held = [set(sample[column]) for column in pair]
        are_outputs = [len(cells) > 1 and cells <= set(words) for cells in held]
        if not any(are_outputs) or set(columns) & set(words):  # columns of answers are called after their outputs
            continue
        if all(are_outputs):
            what = f"'{pair[0]}' and '{pair[1]}' both hold names of outputs"
            raise FoldlineError(what, where="the sample submission", next=STATE)
        entity, output = pair[::-1] if are_outputs[0] else pair
        return LongLines(words, list(zip(sample[entity], sample[output], strict=True)), tuple(keys))
    return None


def find_composed(ids: list[str], options: Options, column: str, *, certain: bool = False) -> LongLines | None:
    """Lines named by one id that holds entity and output.

    Args:
        options: what the outputs may be called, the likeliest first.
        column: the id's column.
        certain: whether it is known that the ids are such. Else they must be every entity with every output (or with
            some of them), two of each at least: `img_0 ... img_9` with ten digits for classes are plain names.

    Raises:
        FoldlineError: the ids can be read in two ways; where they are known to be such, `<entity>_<output>` is meant.
    """
    for words in options:
        readings = [parts for parts in _readings(ids, set(words)) if certain or _is_grid(parts)]
        if any(parts != readings[0] for parts in readings) and not certain:
            ways = " or ".join(f"entity {parts[0][0]}, output {parts[0][1]}" for parts in readings[:2])
            raise FoldlineError(
                f"the id '{ids[0]}' can be read in two ways: {ways}",
                where="the sample submission",
                next=f"set submission.kind: long for the first; else {STATE}",
            )
        if readings:
            return LongLines(words, readings[0], (column,))
    return None


def _readings(ids: list[str], words: set[str]) -> list[list[Part]]:
    """Each way in which all ids can be taken apart."""
    readings = []
    for output_first, separator in product((False, True), SEPARATORS):
        parts = (split_long(text, words, separator, output_first=output_first) for text in ids)
        readings.append(list(filter(None, takewhile(bool, parts))))
    return [parts for parts in readings if len(parts) == len(ids)]


def split_long(text: str, words: set[str], separator: str = "_", *, output_first: bool = False) -> Part | None:
    """The entity and the output of a long id, or None; the longest output that fits.

    >>> split_long("ID_7_epidural", {"any", "epidural"})
    ('ID_7', 'epidural')
    >>> split_long("left_eye-7-b", {"left_eye"}, "-", output_first=True)
    ('7-b', 'left_eye')
    """
    pieces = text.split(separator)
    for at in range(1, len(pieces)):
        cut = len(pieces) - at if output_first else at
        head, tail = separator.join(pieces[:cut]), separator.join(pieces[cut:])
        entity, output = (tail, head) if output_first else (head, tail)
        if output in words and entity:
            return entity, output
    return None


def _is_grid(parts: list[Part]) -> bool:
    entities, outputs = {entity for entity, _ in parts}, {output for _, output in parts}
    return len(outputs) > 1 and len(entities) > 1 and len(entities) * len(outputs) == len(parts)
