"""Templates make text of columns (`train/{id}.png`); patterns make columns of text (`{label}/{name}.png`)."""

import re
import time
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from string import Formatter

import pandas as pd
import regex

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few

# Endings that are taken for pictures. A dotted id such as 1.2.826.0 has none of them.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".npy"),
    *(".dcm", ".dicom", ".jp2", ".ppm", ".pgm", ".jfif", ".jpe", ".jpg_large", ".avif"),
)


def split_suffix(path: str) -> tuple[str, str]:
    """A path without and with its picture ending.

    >>> split_suffix("a/b.JPG"), split_suffix("1.2.826.0")
    (('a/b', '.JPG'), ('1.2.826.0', ''))
    """
    suffix = next((s for s in IMAGE_SUFFIXES if path.lower().endswith(s)), "")
    return path[: len(path) - len(suffix)], path[len(path) - len(suffix) :]


PARTS: dict[str, Callable[[str], str]] = {
    "stem": lambda path: split_suffix(PurePosixPath(path).name)[0],
    "name": lambda path: PurePosixPath(path).name,
    "parent": lambda path: str(PurePosixPath(path).parent),
    "folder": lambda path: PurePosixPath(path).parent.name,
}


def fill(frame: pd.DataFrame, template: str, *, where: str) -> "pd.Series[str]":
    """One text for each line: a column as it is, or a template filled with columns.

    >>> frame = pd.DataFrame({"id": ["7"], "path": ["a/b.png"]})
    >>> fill(frame, "{id:03d}_{path.stem}", where="row_id").tolist()
    ['007_b']
    """
    if template in frame.columns:
        return frame[template].astype(str)
    if "{" not in template:
        raise _no_column(template, frame, where)
    pieces: list[list[str]] = []
    for literal, field, spec in parts_of(template, where=where):
        pieces.append([literal] * len(frame))
        if field is not None:
            pieces.append(_field(frame, field, spec, where))
    return pd.Series(["".join(parts) for parts in zip(*pieces, strict=True)], index=frame.index, dtype=str)


def parts_of(template: str, *, where: str) -> list[tuple[str, str | None, str]]:
    """The text, the column (None at the end) and the format of each part of a template.

    Raises:
        FoldlineError: a bracket that does not close; a format other than a width of up to 99.
    """
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        raise FoldlineError(
            f"'{template}' is no template: {error}", where=where, next="write columns as {name}; {{ is a bracket itself"
        ) from error
    for _, _, spec, conversion in parsed:
        if conversion or not re.fullmatch(r"(0?\d{1,2}d?)?", spec or ""):
            raise FoldlineError(
                f"'{template}' holds a format that is not read",
                where=where,
                next="give a width of up to 99, as {id:05d}",
            )
    return [(literal, field, spec or "") for literal, field, spec, _ in parsed]


def _field(frame: pd.DataFrame, field: str, spec: str, where: str) -> list[str]:
    """The cells of `column` or `column.part`, formatted."""
    column, _, part = field.rpartition(".")
    if field in frame.columns:
        cells = frame[field].astype(str).tolist()
    elif column in frame.columns and part in PARTS:
        cells = [PARTS[part](cell) for cell in frame[column].astype(str)]
    else:
        raise _no_column(field, frame, where)
    if not spec:
        return cells
    try:
        return [format(int(cell), spec) for cell in cells]
    except ValueError as error:
        raise FoldlineError(f"'{{{field}:{spec}}}' needs whole numbers: {error}", where=where) from error


def _no_column(name: str, frame: pd.DataFrame, where: str) -> FoldlineError:
    return FoldlineError(
        f"'{name}' is no column" + (f" (a column's parts are {', '.join(PARTS)})" if "." in name else ""),
        where=where,
        next=f"the columns are: {first_few(list(frame.columns), 20)}",
    )


class Pattern:
    """A pattern of texts, as a regular expression with a group for each `{name}`.

    `*` is anything inside one name, `**/` any number of folders, a name that stands twice must be equal both times.
    Names take as much as they can: `{who}_{n}.jpg` reads `homer_simpson_3.jpg` as who = homer_simpson.

    `{name:expression}` takes what Python's `re` takes.

    >>> Pattern("{label}/{label}/{n}.png", where="").matches(["a/a/1.png", "a/b/1.png"])
    [{'label': 'a', 'n': '1'}, None]

    Raises:
        FoldlineError: no pattern; or matching takes longer than half a second and a millisecond for each text, as
            nested repetitions can for ever.
    """

    def __init__(self, pattern: str, *, where: str) -> None:
        self.pattern, self.where = pattern, where
        text = _expression(pattern, where)
        try:
            re.compile(text)  # `regex` would take more than is promised
            self.compiled = regex.compile(text)
        except (re.error, regex.error, RecursionError, OverflowError) as error:
            raise FoldlineError(
                f"'{pattern}' holds no regular expression: {error}",
                where=where,
                next="after the colon in {name:...} stands one; without it {name} is all up to the next /",
            ) from error

    @property
    def columns(self) -> list[str]:
        """The names of its groups."""
        return list(self.compiled.groupindex)

    def matches(self, texts: Sequence[str]) -> list[dict[str, str] | None]:
        """The parts of each text by name; None for a text that does not match."""
        end = time.monotonic() + 0.5 + len(texts) / 1000
        try:
            hits = [self.compiled.fullmatch(text, timeout=max(end - time.monotonic(), 1e-3)) for text in texts]
        except (TimeoutError, MemoryError) as error:
            raise FoldlineError(
                f"the pattern '{self.pattern}' takes too long",
                where=self.where,
                next="repetitions inside repetitions, as (a+)+, try every way of sharing a text: write them plainer",
            ) from error
        return [None if hit is None else {key: part or "" for key, part in hit.groupdict().items()} for hit in hits]


def _expression(pattern: str, where: str) -> str:
    """The regular expression of a pattern, with a group for each `{name}`."""
    text, seen = "", set[str]()
    for token in re.findall(r"\*\*/|\*|\{[^{}]*\}|[^*{}]+|.", pattern):
        if token == "**/":  # noqa: S105 - no password
            text += "(?:[^/]+/)*"
        elif token == "*":  # noqa: S105
            text += "[^/]*"
        elif token.startswith("{") and len(token) > 1:
            text += _group(token[1:-1], seen, where)
        else:
            text += re.escape(token)
    return text


def _group(field: str, seen: set[str], where: str) -> str:
    """`name` or `name:expression` as a group; the second time as a back reference."""
    name, _, expression = field.partition(":")
    if not name.isidentifier():
        raise FoldlineError(f"'{{{field}}}' is no name for a column", where=where, next="use letters and _")
    if name in seen:
        return f"(?P={name})"
    seen.add(name)
    return f"(?P<{name}>{expression or '[^/]+'})"


def match(texts: "pd.Series[str]", pattern: str, *, where: str) -> pd.DataFrame:
    """The columns that a pattern finds in each text; raises FoldlineError that names the texts that do not match."""
    compiled = Pattern(pattern, where=where)
    matches = compiled.matches(texts.tolist())
    bad = [text for text, hit in zip(texts, matches, strict=True) if hit is None]
    if bad:
        raise FoldlineError(f"{counted(len(bad), 'cells do')} not match '{pattern}': {first_few(bad)}", where=where)
    return pd.DataFrame(matches, index=texts.index, columns=compiled.columns, dtype=str)
