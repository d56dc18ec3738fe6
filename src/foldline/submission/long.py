"""Long samples: a line for each entity and output. Reads ids and columns, says what each line is about.

| form | found |
|---|---|
| one id, `<entity>_<output>`, or another separator | where every id ends with an output's name |
| one id, `<output>_<entity>` | where every id begins with an output's name |
| two id columns (maybe after a row number), then numbers | where the cells of one of the two are outputs' names |

What cannot be seen (a lookup table, an id that can be read in two ways) the facts state, with `submission.entity` and
`submission.output`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from foldline.core.errors import FoldlineError, first_few

SEPARATORS = ("_", "-", "/", ":", "|", ".", ",", " ")
STATE = "say which is meant with `submission.extract`, `submission.entity` and `submission.output`"
Part = tuple[str, str]


@dataclass(frozen=True)
class LongLines:
    """What the lines of a long sample are about.

    Attributes:
        words: what each output is called there, in the order of the outputs.
        parts: the entity and the output's word of each line.
        keys: the columns that together name a line.
    """

    words: list[str]
    parts: list[Part]
    keys: tuple[str, ...]


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


def stated_lines(lines: pd.DataFrame, options: Sequence[list[str]], keys: tuple[str, ...]) -> LongLines:
    """What the facts say of each line (columns `entity` and `output`); raises FoldlineError for unknown outputs."""
    seen = set(lines["output"])
    for words in options:
        if seen <= set(words):
            return LongLines(words, list(zip(lines["entity"], lines["output"], strict=True)), keys)
    strange = sorted(seen - set(options[0]))
    raise FoldlineError(
        f"no class or number is called {first_few(strange)}",
        where="setting 'submission.output'",
        next=f"known: {first_few(options[0], 12)}; name them alike with `train.target.names` or `classes`",
    )


def find_pair(sample: pd.DataFrame, columns: Sequence[str], options: Sequence[list[str]]) -> LongLines | None:
    """Lines named by two columns: entity and output in either order, before the one column of answers.

    A column before them that numbers the lines is a key too.

    Raises:
        FoldlineError: both columns hold outputs' names, so that either may be the entity.
    """
    if len(columns) not in (3, 4) or sample[columns[0]].is_unique != (len(columns) == 4):
        return None
    *keys, _ = columns
    first, second = keys[-2:]
    if sample[first].is_unique or sample[second].is_unique or sample.duplicated([first, second]).any():
        return None
    for words in options:
        if set(columns) & set(words):
            continue  # columns of answers, called after their outputs
        found = [(e, o) for e, o in ((first, second), (second, first)) if _are_outputs(sample[o], words)]
        if len(found) == 2:
            raise FoldlineError(
                f"'{first}' and '{second}' both hold names of outputs", where="the sample submission", next=STATE
            )
        if found:
            entity, output = found[0]
            return LongLines(words, list(zip(sample[entity], sample[output], strict=True)), tuple(keys))
    return None


def _are_outputs(cells: "pd.Series[str]", words: list[str]) -> bool:
    held = set(cells)
    return len(held) > 1 and held <= set(words)


def find_composed(
    ids: list[str], options: Sequence[list[str]], column: str, *, certain: bool = False
) -> LongLines | None:
    """Lines named by one id that holds entity and output.

    Args:
        ids: the ids.
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
    found = []
    for output_first in (False, True):
        for separator in SEPARATORS:
            if (parts := _split_all(ids, words, separator, output_first=output_first)) is not None:
                found.append(parts)
    return found


def _split_all(ids: list[str], words: set[str], separator: str, *, output_first: bool) -> list[Part] | None:
    found: list[Part] = []
    for text in ids:
        part = split_long(text, words, separator, output_first=output_first)
        if part is None:
            return None
        found.append(part)
    return found


def _is_grid(parts: list[Part]) -> bool:
    entities, outputs = {entity for entity, _ in parts}, {output for _, output in parts}
    return len(outputs) > 1 and len(entities) > 1 and len(entities) * len(outputs) == len(parts)
