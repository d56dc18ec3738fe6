"""What the sample submission says: which column is what, the kind of answer, the words for the classes.

Reads the sample as a table of text (`core.tables.read_csv`) and the facts.
The sample is the truth; `submission` in the facts only decides what the sample leaves open.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from foldline.core.competition import Competition
from foldline.core.errors import FoldlineError, first_few, unknown
from foldline.scoring.dictionary import metric_for

# kind -> what a cell holds
KINDS = {
    "probability": "one probability, of the positive class or of the class that the column is called after",
    "probabilities": "a column of probabilities for each class",
    "label": "one class name, or a whole number",
    "labels": "a set of class names, which may be empty",
    "ranked": "the k most probable class names, best first",
    "value": "one number: a score, or a number within bounds",
    "values": "a column for each number",
    "long": "a line for each entity and output, called <entity>_<output>, with one number",
}
_WHOLE = re.compile(r"[+-]?\d+")


@dataclass(frozen=True)
class Shape:
    """What a submission must look like.

    Attributes:
        kind: an entry of KINDS.
        id: the column of ids.
        index: a column that only counts the rows, or None.
        columns: the columns of answers, in the sample's order.
        words: what each output is called in cells, headers or long ids, in the order of the outputs.
        bounds: the smallest and the largest number accepted, or None.
        row_sum: what the numbers of a row must add up to, or None.
        separator: what separates the words of one cell.
        top_k: how many words a ranked cell may hold.
    """

    kind: str
    id: str
    index: str | None
    columns: tuple[str, ...]
    words: tuple[str, ...]
    bounds: tuple[float, float] | None
    row_sum: float | None
    separator: str
    top_k: int


def read_shape(
    sample: pd.DataFrame,
    facts: Competition,
    outputs: Sequence[str],
    *,
    names: Mapping[str, str] | None = None,
    where: str = "the sample submission",
) -> Shape:
    """What the sample says, with the facts' help.

    Args:
        sample: the sample submission, every cell a string.
        outputs: the class names, or the names of the numbers.
        names: raw label -> class name, where they come from a file; default: `train.target.names`.
        where: how errors call the sample.

    Raises:
        FoldlineError: no id column, no answer column, columns or words that match no output, an unknown kind.
    """
    index, id_column = _index_and_id(sample, where)
    columns = [column for column in sample.columns if column not in (index, id_column)]
    if not columns:
        raise FoldlineError("has no column for answers", where=where)
    kind = facts.submission.kind
    options = _vocabularies(facts, outputs, names)
    if kind == "auto":
        kind = _guess_kind(facts, outputs, columns, sample[id_column].tolist(), options)
    if kind not in KINDS:
        raise unknown("submission kind", kind, list(KINDS), where="setting 'submission.kind'")
    seen = _seen_words(sample, kind, columns, facts.submission.separator)
    return Shape(
        kind=kind,
        id=id_column,
        index=index,
        columns=tuple(columns),
        words=tuple(_choose_words(kind, options, seen, facts, where)),
        bounds=_bounds(facts, kind),
        row_sum=_row_sum(facts, kind),
        separator=facts.submission.separator,
        top_k=_top_k(facts),
    )


def _index_and_id(sample: pd.DataFrame, where: str) -> tuple[str | None, str]:
    """The column that only counts the rows (or None), and the first other column whose cells all differ."""
    columns = list(sample.columns)
    index = columns[0] if len(columns) > 2 and _counts_rows(sample) else None
    for column in columns[0 if index is None else 1 :]:
        if sample[column].is_unique and not (sample[column] == "").any():
            return index, column
    raise FoldlineError("no column has another id in each row", where=where, next="look whether it is the right file")


def _counts_rows(sample: pd.DataFrame) -> bool:
    """Whether the first column is an index that somebody saved: no name of its own, cells 0, 1, 2 ... or 1, 2 ..."""
    if sample.columns[0] not in ("", "index", "Unnamed: 0"):
        return False
    cells = sample.iloc[:, 0].tolist()
    return any(cells == [str(start + i) for i in range(len(cells))] for start in (0, 1))


def _guess_kind(
    facts: Competition, outputs: Sequence[str], columns: list[str], ids: list[str], options: list[list[str]]
) -> str:
    """The kind by the number of answer columns, the task and what the metric reads."""
    if len(columns) > 1:
        return "values" if facts.task == "regression" else "probabilities"
    if facts.task != "binary" and len(outputs) > 1 and any(_is_long(ids, words) for words in options):
        return "long"
    metric = metric_for(facts.metric, facts.task, where="setting 'metric'")
    if _places(metric.name) > 1:
        return "ranked"
    if facts.task == "multilabel":
        return "labels" if len(outputs) > 1 else "probability"
    if metric.input == "label" or facts.task in ("multiclass", "soft"):
        return "label"
    return "probability" if facts.task == "binary" else "value"


def _places(metric: str) -> int:
    """How many ranked answers a metric reads: 5 for map@5; 1 for other metrics."""
    family, _, parameter = metric.partition("@")
    return int(float(parameter)) if family in ("map", "top_accuracy", "top_error") and parameter else 1


def _top_k(facts: Competition) -> int:
    """The setting where somebody wrote it, else the metric's own k, else the setting's default."""
    places = _places(facts.metric)
    if "top_k" in facts.submission.model_fields_set or places == 1:
        return facts.submission.top_k
    return places


def split_long(text: str, words: set[str]) -> tuple[str, str] | None:
    """The entity and the output of a long id, or None; the longest output that fits.

    >>> split_long("ID_7_epidural", {"any", "epidural"})
    ('ID_7', 'epidural')
    """
    at = text.find("_")
    while at >= 0:
        if text[at + 1 :] in words:
            return text[:at], text[at + 1 :]
        at = text.find("_", at + 1)
    return None


def _is_long(ids: list[str], words: list[str]) -> bool:
    """Whether the ids are every entity joined with every output (or some of them), two of each at least."""
    known = set(words)
    entities, found = set(), set()
    for text in ids:
        parts = split_long(text, known)
        if parts is None:
            return False
        entities.add(parts[0])
        found.add(parts[1])
    return len(found) > 1 and len(entities) > 1 and len(entities) * len(found) == len(ids)


def _vocabularies(facts: Competition, outputs: Sequence[str], names: Mapping[str, str] | None) -> list[list[str]]:
    """What the outputs may be called, the likeliest first: raw labels, class names, class numbers."""
    plain = list(outputs)
    target = facts.train.target
    names = names or (getattr(target, "names", None) or {})
    options = []
    if names and len(set(names.values())) == len(names):
        raw = {name: label for label, name in names.items()}
        options.append([raw.get(name, name) for name in plain])
    options.append(plain)
    if facts.classes is not None and not all(_WHOLE.fullmatch(word) for option in options for word in option):
        # Only an order that a person wrote down tells which number a class has.
        options.append([str(i) for i in range(len(plain))])
    return options


def _seen_words(sample: pd.DataFrame, kind: str, columns: list[str], separator: str) -> set[str]:
    """The words that the sample uses for outputs: in its header, its cells or its long ids."""
    if kind in ("probabilities", "values"):
        return set(columns)
    cells = sample[columns[0]].unique().tolist()
    if kind == "label":
        return {cell for cell in cells if cell}
    if kind in ("labels", "ranked"):
        return {word for cell in cells for word in cell.split(separator) if word}
    return set()


def _choose_words(kind: str, options: list[list[str]], seen: set[str], facts: Competition, where: str) -> list[str]:
    """The vocabulary that holds all words of the sample; placeholders in cells (0 for every row) may be no word."""
    if kind in ("probability", "value") or (kind == "label" and facts.task == "regression"):
        return options[0]
    for option in options:
        if seen <= set(option):
            return option
    if kind in ("probabilities", "values"):
        strange = sorted(seen - set(options[0]) - set(options[-1]))
        raise FoldlineError(
            f"no class or number is called after its column {first_few(strange)}",
            where=where,
            next=f"known: {first_few(options[0], 12)}; name them alike with `train.target.names` or `classes`",
        )
    return _words_for_placeholders(options, seen, where)


def _words_for_placeholders(options: list[list[str]], seen: set[str], where: str) -> list[str]:
    """The words where the sample's cells are none of them: numbers where it has numbers, else the likeliest."""
    if not all(_WHOLE.fullmatch(word) for word in seen):
        return options[0]
    for option in options:
        if all(_WHOLE.fullmatch(word) for word in option):
            return option
    raise FoldlineError(
        f"its answers are whole numbers ({first_few(sorted(seen))}), and classes are called {first_few(options[0])}",
        where=where,
        next="list `classes` in the order of their numbers, or map raw labels with `train.target.names`",
    )


def _bounds(facts: Competition, kind: str) -> tuple[float, float] | None:
    if facts.submission.bounds is not None:
        return facts.submission.bounds
    probabilities = kind in ("probability", "probabilities") or (kind == "long" and facts.task != "regression")
    return (0.0, 1.0) if probabilities else None


def _row_sum(facts: Competition, kind: str) -> float | None:
    """The setting, or 1 where the metric takes the columns as the shares of one whole."""
    if facts.submission.row_sum is not None or kind != "probabilities":
        return facts.submission.row_sum
    whole = facts.metric.partition("@")[0] in ("log_loss", "weighted_log_loss", "kl_divergence")
    return 1.0 if whole and facts.task != "multilabel" else None
