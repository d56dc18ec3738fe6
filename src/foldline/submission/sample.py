"""What the sample submission says: which column is what, the kind of answer, the words for the classes.

Reads the sample as a table of text (`core.tables.read_csv`) and the facts.
The sample is the truth; `submission` in the facts only decides what the sample leaves open.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter

import pandas as pd

from foldline.core.competition import Competition
from foldline.core.errors import FoldlineError, first_few, unknown
from foldline.scoring.metrics.for_task import metric_for
from foldline.submission.long import LongLines, find_composed, find_pair, stated_lines

# kind -> what a cell holds
KINDS = {
    "probability": "one probability, of the positive class or of the class that the column is called after",
    "probabilities": "a column of probabilities for each class",
    "label": "one class name, or a whole number",
    "label_score": "one class name and how sure it is; or nothing",
    "labels": "a set of class names, which may be empty",
    "ranked": "the k most probable class names, best first",
    "value": "one number: a score, or a number within bounds",
    "values": "a column for each number",
    "long": "a line for each entity and output, with one number (see `submission.long`)",
}
_WHOLE = re.compile(r"[+-]?\d+")
_FRACTION = re.compile(r"[01]?\.\d+([eE]-?\d+)?")


@dataclass(frozen=True)
class Shape:
    """What a submission must look like.

    Attributes:
        kind: an entry of KINDS.
        keys: the column of ids; or the two columns that together name a line.
        entities: the row or entity that each line of the sample is about.
        places: of long lines: the output that each is about, as its place in the outputs; else empty.
        index: a column that only counts the rows, or None.
        columns: the columns of answers, in the sample's order.
        words: what each output is called in cells, headers or long ids, in the order of the outputs.
        bounds: the smallest and the largest number accepted, or None.
        row_sum: what the numbers of a row must add up to, or None.
        separator: what separates the words of one cell.
        top_k: how many words a ranked cell may hold.
    """

    kind: str
    keys: tuple[str, ...]
    entities: tuple[str, ...]
    places: tuple[int, ...]
    index: str | None
    columns: tuple[str, ...]
    words: tuple[str, ...]
    bounds: tuple[float, float] | None
    row_sum: float | None
    separator: str
    top_k: int

    @property
    def id(self) -> str:
        """The (first) column of ids."""
        return self.keys[0]

    def line_ids(self, frame: pd.DataFrame) -> "pd.Series[str]":
        """What names each line of a sample or submission; of two columns: `<cell> / <cell>`."""
        texts = frame[self.keys[0]]
        for column in self.keys[1:]:
            texts = texts + " / " + frame[column]
        return texts


def read_shape(
    sample: pd.DataFrame,
    facts: Competition,
    outputs: Sequence[str],
    *,
    names: Mapping[str, str] | None = None,
    lines: pd.DataFrame | None = None,
    where: str = "the sample submission",
) -> Shape:
    """What the sample says, with the facts' help.

    Args:
        sample: the sample submission, every cell a string.
        outputs: the class names, or the names of the numbers.
        names: raw label -> class name, where they come from a file; default: `train.target.names`.
        lines: what the facts say of each line of the sample: its `entity`, and its `output` where it has one
            (`readers.read_sample`).
        where: how errors call the sample.

    Raises:
        FoldlineError: no id column, no answer column, columns or words that match no output, an unknown kind.
    """
    if facts.submission.kind not in ("auto", *KINDS):
        raise unknown("submission kind", facts.submission.kind, list(KINDS), where="setting 'submission.kind'")
    index = str(sample.columns[0]) if len(sample.columns) > 2 and _counts_rows(sample) else None
    options = _vocabularies(facts, outputs, names)
    long = _find_long(sample, index, facts, outputs, options, lines, where)
    told = _told(sample, facts) if lines is not None else ()
    keys = long.keys if long else _keys(sample, index, told, where)
    columns = [column for column in sample.columns if column not in (index, *keys, *told)]
    if not columns:
        raise FoldlineError("has no column for answers", where=where)
    kind = facts.submission.kind
    if kind == "auto":
        kind = "long" if long else _guess_kind(sample, facts, outputs, columns, options)
    seen = _seen_words(sample, kind, columns, facts.submission.separator)
    words = long.words if long else _choose_words(kind, options, seen, facts, where)
    place = {word: j for j, word in enumerate(words)}
    plain = sample[keys[0]] if lines is None else lines["entity"]
    return Shape(
        kind=kind,
        keys=keys,
        entities=tuple(entity for entity, _ in long.parts) if long else tuple(plain),
        places=tuple(place[word] for _, word in long.parts) if long else (),
        index=index,
        columns=tuple(columns),
        words=tuple(words),
        bounds=_bounds(facts, kind),
        row_sum=_row_sum(facts, kind),
        separator=facts.submission.separator,
        top_k=_top_k(facts),
    )


def _told(sample: pd.DataFrame, facts: Competition) -> tuple[str, ...]:
    """The sample's columns that the facts name, or use in a template, for what a line is about."""
    templates = [text for text in (facts.submission.entity, facts.submission.output) if text]
    fields = {field for text in templates for _, field, _, _ in Formatter().parse(text) if field}
    used = {*templates, *fields, *(field.rpartition(".")[0] for field in fields)}
    return tuple(column for column in sample.columns if column in used)


def _keys(sample: pd.DataFrame, index: str | None, told: tuple[str, ...], where: str) -> tuple[str, ...]:
    """The column, or the columns that the facts name, whose cells differ from line to line."""
    first = next(column for column in sample.columns if column != index)
    if told and not sample[first].is_unique and not sample.duplicated(list(told)).any():
        return told
    return (_id_column(sample, index, where),)


def _find_long(
    sample: pd.DataFrame, index: str | None, facts: Competition, outputs: Sequence[str], options: list[list[str]],
    lines: pd.DataFrame | None, where: str,
) -> LongLines | None:  # fmt: skip
    """What the lines are about where each asks for one output; None for other kinds."""
    columns, kind = [column for column in sample.columns if column != index], facts.submission.kind
    if lines is not None and "output" in lines.columns:
        return stated_lines(lines, options, _keys(sample, index, _told(sample, facts), where))
    if lines is not None or kind not in ("auto", "long"):
        return None
    several = len(outputs) > 1 and (not facts.task.two_classes or kind == "long")
    if several and (pair := find_pair(sample, columns, options)) is not None:
        return pair
    column, certain = _id_column(sample, index, where), kind == "long"
    if not certain and (not several or len(columns) != 2):
        return None
    ids = sample[column].tolist()
    found = find_composed(ids, options, column, certain=certain)
    if certain and found is None:
        raise FoldlineError(
            f"ids that neither begin nor end with the name of an output: {first_few(ids)}",
            where=where,
            next=f"the outputs: {first_few(options[0], 12)}; else state submission.entity and submission.output",
        )
    return found


def _id_column(sample: pd.DataFrame, index: str | None, where: str) -> str:
    """The first column whose cells all differ; the column that only counts the rows is none."""
    for column in sample.columns:
        if column != index and sample[column].is_unique and not (sample[column] == "").any():
            return str(column)
    raise FoldlineError(
        "no column has another id in each row",
        where=where,
        next="look whether it is the right file; of two columns that name a line together, state "
        "submission.entity and submission.output",
    )


def _counts_rows(sample: pd.DataFrame) -> bool:
    """Whether the first column is an index that somebody saved: no name of its own, cells 0, 1, 2 ... or 1, 2 ..."""
    if sample.columns[0] not in ("", "index", "Unnamed: 0"):
        return False
    cells = sample.iloc[:, 0].tolist()
    return any(cells == [str(start + i) for i in range(len(cells))] for start in (0, 1))


def _guess_kind(
    sample: pd.DataFrame, facts: Competition, outputs: Sequence[str], columns: list[str], options: list[list[str]]
) -> str:
    """The kind by the number of answer columns, the task and what the metric reads."""
    if len(columns) > 1:
        return "values" if not facts.task.has_classes else "probabilities"
    metric = metric_for(facts.metric, facts.task, where="setting 'metric'")
    if _places(metric.name) > 1:
        return "ranked"
    scored = _are_scored(sample[columns[0]].unique().tolist(), facts.submission.separator, options)
    if facts.task.single_label and (metric.name == "gap" or scored):
        return "label_score"
    if facts.task.label_sets:
        return "labels" if len(outputs) > 1 else "probability"
    if metric.input == "label" or (facts.task.exclusive and not (facts.task.two_classes or facts.task.ordered)):
        return "label"
    return "probability" if facts.task.two_classes else "value"


def _are_scored(cells: list[str], separator: str, options: list[list[str]]) -> bool:
    """Whether the cells are a class's name and a fraction; they may be empty, but not all of them."""
    parts = [label_and_score(cell, separator) for cell in cells if cell]
    known = {word for option in options for word in option}
    return bool(parts) and all(label in known and _FRACTION.fullmatch(score) for label, score in parts)


def label_and_score(cell: str, separator: str) -> tuple[str, str]:
    """The two parts of a cell such as `8815 0.03`; the label may hold the separator.

    >>> label_and_score("New York 0.5", " "), label_and_score("8815", " ")
    (('New York', '0.5'), ('', '8815'))
    """
    label, _, score = cell.strip().rpartition(separator)
    return label, score


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
    if kind == "label_score":
        return {label_and_score(cell, separator)[0] for cell in cells if cell}
    if kind in ("labels", "ranked"):
        return {word for cell in cells for word in cell.split(separator) if word}
    return set()


def _choose_words(kind: str, options: list[list[str]], seen: set[str], facts: Competition, where: str) -> list[str]:
    """The vocabulary that holds all words of the sample; placeholders in cells (0 for every row) may be no word."""
    if kind in ("probability", "value") or (kind == "label" and not facts.task.has_classes):
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
    probabilities = kind in ("probability", "probabilities", "label_score") or (
        kind == "long" and facts.task.has_classes
    )
    return (0.0, 1.0) if probabilities else None


def _row_sum(facts: Competition, kind: str) -> float | None:
    """The setting, or 1 where the metric takes the columns as the shares of one whole."""
    if facts.submission.row_sum is not None or kind != "probabilities":
        return facts.submission.row_sum
    whole = facts.metric.partition("@")[0] in ("log_loss", "weighted_log_loss", "kl_divergence")
    return 1.0 if whole and not facts.task.label_sets else None
