"""The gate: refuses a submission, in the user's words, before it costs a daily slot. Reads tables, writes nothing.

Both tables hold text in every cell (`core.tables.read_csv`), so what is checked is what stands in the file.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.competition import Competition
from foldline.core.errors import FoldlineError, first_few
from foldline.core.task import Array
from foldline.submission.sample import Shape, label_and_score, read_shape

SUM_TOLERANCE = 1e-6  # what dog-breed-identification's grader allows
Bad = NDArray[np.bool_]


def check_submission(
    frame: pd.DataFrame,
    sample: pd.DataFrame,
    facts: Competition,
    outputs: Sequence[str],
    *,
    where: str,
    names: Mapping[str, str] | None = None,
    lines: pd.DataFrame | None = None,
) -> None:
    """Nothing if the grader would take the file.

    Args:
        frame: the submission, every cell a string.
        sample: the sample submission, every cell a string.
        where: how errors call the submission: its path.
        names: raw label -> class name, where they come from a file.
        lines: what the facts say of each line of the sample (`submission.sample.read_shape`).

    Raises:
        FoldlineError: other columns; missing, extra or repeated ids, or another order; empty cells; no numbers,
            NaN or infinite; out of bounds; unknown classes; row sums. The first bad lines are named.
    """
    shape = read_shape(sample, facts, outputs, names=names, lines=lines)
    _check_header(frame, sample, where)
    _check_ids(frame, sample, shape, where)
    whole_numbers = shape.kind == "label" and not facts.task.has_classes
    (_check_whole_numbers if whole_numbers else CHECKS[shape.kind])(frame, shape, where)


def _check_header(frame: pd.DataFrame, sample: pd.DataFrame, where: str) -> None:
    found, wanted = list(frame.columns), list(sample.columns)
    if found == wanted:
        return
    missing = [f"'{name}'" for name in wanted if name not in found]
    extra = [f"'{name}'" for name in found if name not in wanted]
    parts = [f"lacks the column {first_few(missing)}"] if missing else []
    parts += [f"has the column {first_few(extra)}, which the sample has not"] if extra else []
    raise FoldlineError(
        " and ".join(parts) or "has the columns in another order than the sample",
        where=where,
        next=f"the header must be: {','.join(wanted[:20])}{',...' if len(wanted) > 20 else ''}",
    )


def _check_ids(frame: pd.DataFrame, sample: pd.DataFrame, shape: Shape, where: str) -> None:
    """Ids: each once, all of the sample's and no other, in its order; the index column as it is."""
    found, wanted = shape.line_ids(frame), shape.line_ids(sample)
    twice = found[found.duplicated()].unique().tolist()
    if twice:
        raise FoldlineError(f"{len(twice)} ids occur more than once: {first_few(twice)}", where=where)
    missing = wanted[~wanted.isin(found)].tolist()
    extra = found[~found.isin(wanted)].tolist()
    if missing or extra:
        parts = [f"{len(missing)} ids of the sample are missing: {first_few(missing)}"] if missing else []
        parts += [f"{len(extra)} ids are not in the sample: {first_few(extra)}"] if extra else []
        raise FoldlineError("; ".join(parts), where=where, next=_id_hint(missing, extra))
    if found.tolist() != wanted.tolist():
        at = int(np.flatnonzero(found.to_numpy() != wanted.to_numpy())[0])
        raise FoldlineError(
            f"the ids are in another order than in the sample: line {at + 2} has '{found.iloc[at]}', "
            f"the sample has '{wanted.iloc[at]}'",
            where=where,
            next="put the rows in the sample's order",
        )
    if shape.index is not None and frame[shape.index].tolist() != sample[shape.index].tolist():
        raise FoldlineError(f"the index column '{shape.index}' is not the sample's", where=where)


def _id_hint(missing: list[str], extra: list[str]) -> str:
    """What probably happened to ids that are nearly right."""
    if {text.lstrip("0") for text in missing} & {text.lstrip("0").removesuffix(".0") for text in extra}:
        return "leading zeros were lost: read ids as text"
    if {text.strip() for text in missing} & {text.strip() for text in extra}:
        return "the ids have blanks around them"
    if {text.rpartition(".")[0] for text in missing} & set(extra):
        return "the sample's ids have a file extension"
    if {text.rpartition(".")[0] for text in extra} & set(missing):
        return "the sample's ids have no file extension"
    return "take the ids from the sample submission"


def _refuse(frame: pd.DataFrame, shape: Shape, bad: Bad, column: str, what: str, *, where: str, next: str = "") -> None:
    """Raises an error that names the first bad lines of a column, if there are any."""
    lines = np.flatnonzero(bad)
    if len(lines) == 0:
        return
    ids, cells = shape.line_ids(frame.iloc[lines[:3]]).tolist(), frame[column].iloc[lines[:3]].tolist()
    shown = [f"line {i + 2} (id {name}): '{c}'" for i, name, c in zip(lines[:3].tolist(), ids, cells, strict=True)]
    more = f" and {len(lines) - 3} more" if len(lines) > 3 else ""
    raise FoldlineError(f"column '{column}' {what}: {', '.join(shown)}{more}", where=where, next=next)


def _check_filled(frame: pd.DataFrame, shape: Shape, column: str, where: str) -> None:
    blank = (frame[column].str.strip() == "").to_numpy(dtype=bool)
    _refuse(frame, shape, blank, column, "has empty cells", where=where, next="every row needs an answer")


def _parse_numbers(frame: pd.DataFrame, shape: Shape, column: str, where: str) -> Array:
    """[rows] the numbers of a column; raises FoldlineError for empty cells, text, NaN, infinity and bounds."""
    _check_filled(frame, shape, column, where)
    numbers = pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=np.float64)
    if np.isnan(numbers).any():
        nan = frame[column].str.strip().str.lower().isin(["nan", "na", "null", "none", "<na>"]).to_numpy(dtype=bool)
        _refuse(frame, shape, nan, column, "has cells without a value (NaN)", where=where)
        _refuse(frame, shape, np.isnan(numbers), column, "has cells that are no numbers", where=where)
    _refuse(frame, shape, np.isinf(numbers), column, "has infinite numbers", where=where)
    if shape.bounds is not None:
        low, high = shape.bounds
        outside = (numbers < low) | (numbers > high)
        _refuse(frame, shape, outside, column, f"has numbers outside {low:g} to {high:g}", where=where)
    return numbers


def _check_numbers(frame: pd.DataFrame, shape: Shape, where: str) -> None:
    numbers = [_parse_numbers(frame, shape, column, where) for column in shape.columns]
    if shape.row_sum is None:
        return
    total = np.sum(numbers, axis=0)
    wrong = np.flatnonzero(np.abs(total - shape.row_sum) > SUM_TOLERANCE)
    if len(wrong):
        shown = [f"line {i + 2} (id {frame[shape.id].iloc[i]}): {total[i]:.9g}" for i in wrong[:3].tolist()]
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise FoldlineError(
            f"{len(wrong)} rows do not add up to {shape.row_sum:g}: {', '.join(shown)}{more}",
            where=where,
            next="divide each row by its sum and write at least 9 decimals",
        )


def _check_whole_numbers(frame: pd.DataFrame, shape: Shape, where: str) -> None:
    numbers = _parse_numbers(frame, shape, shape.columns[0], where)
    _refuse(frame, shape, numbers != np.round(numbers), shape.columns[0], "has numbers that are not whole", where=where)


def _check_label(frame: pd.DataFrame, shape: Shape, where: str) -> None:
    column = shape.columns[0]
    _check_filled(frame, shape, column, where)
    strange = ~frame[column].isin(shape.words).to_numpy(dtype=bool)
    hint = _word_hint(frame[column][strange], shape)
    _refuse(frame, shape, strange, column, "has unknown classes", where=where, next=hint)


def _word_hint(cells: "pd.Series[str]", shape: Shape) -> str:
    """The known classes, or what probably happened to the word."""
    if any(cell.removesuffix(".0") in shape.words for cell in cells.head(3)):
        return "write whole numbers without '.0'"
    return f"known: {first_few(list(shape.words), 12)}"


def _check_words(frame: pd.DataFrame, shape: Shape, where: str) -> None:
    """Cells of several words: known ones, each once."""
    column, known = shape.columns[0], set(shape.words)
    rows = [[word for word in cell.split(shape.separator) if word] for cell in frame[column].tolist()]
    strange = np.array([not known.issuperset(row) for row in rows], dtype=bool)
    hint = f"known: {first_few(list(shape.words), 12)}; separated by '{shape.separator}'"
    _refuse(frame, shape, strange, column, "has unknown classes", where=where, next=hint)
    twice = np.array([len(set(row)) < len(row) for row in rows], dtype=bool)
    _refuse(frame, shape, twice, column, "names a class twice in one cell", where=where)
    if shape.kind == "ranked":
        long = np.array([len(row) > shape.top_k for row in rows], dtype=bool)
        _refuse(frame, shape, long, column, f"has more than {shape.top_k} classes in one cell", where=where)


def _check_ranked(frame: pd.DataFrame, shape: Shape, where: str) -> None:
    _check_filled(frame, shape, shape.columns[0], where)
    _check_words(frame, shape, where)


def _check_label_score(frame: pd.DataFrame, shape: Shape, where: str) -> None:
    """Empty cells, or a known class and a number."""
    column, known = shape.columns[0], set(shape.words)
    cells = frame[column].tolist()
    parts = [label_and_score(cell, shape.separator) for cell in cells]
    given = np.array([cell.strip() != "" for cell in cells], dtype=bool)
    strange = np.array([label not in known for label, _ in parts], dtype=bool)
    form = f"a cell is a class, '{shape.separator}' and its confidence, or empty; "
    _refuse(frame, shape, strange & given, column, "has no known class before the confidence", where=where,
            next=form + f"known: {first_few(list(shape.words), 12)}")  # fmt: skip
    scores = pd.DataFrame({**frame, column: pd.Series([score for _, score in parts], dtype=str)}, columns=frame.columns)
    scores.loc[~given, column] = repr(shape.bounds[0] if shape.bounds else 0.0)
    _parse_numbers(scores, shape, column, where)


CHECKS: dict[str, Callable[[pd.DataFrame, Shape, str], None]] = {
    "probability": _check_numbers,
    "probabilities": _check_numbers,
    "value": _check_numbers,
    "values": _check_numbers,
    "long": _check_numbers,
    "label": _check_label,
    "label_score": _check_label_score,
    "labels": _check_words,
    "ranked": _check_ranked,
}
