"""The form of a submission: reads the sample once, then writes, checks and reads back. Tables of text, arrays.

    sample + facts -> Form.open -> write(predictions) -> check(frame) -> read_back(frame) -> predictions

Files of any length do the same block by block: `blocks`, `check_file`, `read_file`.
Header, ids, order and index column are the sample's; joins are by id.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.competition import Competition, RowFacts
from foldline.core.csv_blocks import CELLS, csv_blocks, csv_header, rows_at_a_time
from foldline.core.errors import FoldlineError, first_few, unknown
from foldline.core.paths import Layout
from foldline.core.tables import read_csv, require_unique
from foldline.core.task import Array
from foldline.readers import class_names
from foldline.readers.lines import shape_lines
from foldline.readers.templates import fill
from foldline.scoring.decide import Decision, default_decision
from foldline.scoring.metrics.metric import Predicted
from foldline.submission.doubts import remark, require_clear
from foldline.submission.gate import Gate, check_header, check_ids, id_hint
from foldline.submission.kind import Kind
from foldline.submission.kinds import KINDS
from foldline.submission.lines import read_lines
from foldline.submission.sample import columns_to_keep
from foldline.submission.source import InMemory, Source

_POSITION = " position"  # no column of a file begins with a blank and has this name


@dataclass(frozen=True)
class Form:
    """What a submission must look like: the sample, every cell a string, and what its lines and cells mean.

    Attributes:
        sample: without the columns of a wide one that hold placeholders alone (`submission.sample`).
        names: raw label -> class name.
    """

    sample: pd.DataFrame
    kind: Kind
    names: Mapping[str, str]

    @classmethod
    def open(
        cls, sample: pd.DataFrame, facts: Competition, outputs: Sequence[str], *,
        names: Mapping[str, str] | None = None, lines: pd.DataFrame | None = None,
        header: Sequence[str] | None = None, where: str = "the sample submission",
    ) -> "Form":  # fmt: skip
        """What the sample says, with the facts' help.

        Args:
            outputs: the class names, or the names of the numbers.
            names: raw label -> class name, where they come from a file; default: `train.target.names`.
            lines: what the facts say of each line: its `entity`, maybe its `output` (`read_sample`).
            header: all columns of the sample, where not all are kept.
            where: how errors call the sample.

        Raises:
            FoldlineError: no id column, no answer column, columns or words that match no output, an unknown kind;
                classes whose meaning nobody says (`doubts`).
        """
        name = facts.submission.kind
        if name not in ("auto", *KINDS):
            raise unknown("submission kind", name, list(KINDS), where="setting 'submission.kind'")
        names = names or getattr(facts.train.target, "names", None) or {}
        about = read_lines(sample, facts, outputs, names, lines, where, list(header or sample.columns))
        if name == "auto":
            name = next(name for name, kind in KINDS.items() if kind(facts, outputs, about).suits())
        kind = KINDS[name].for_task(facts.task)(facts, outputs, about)
        _ = kind.words  # raises where the sample uses others
        require_clear(kind)
        return cls(sample, kind, names)

    @property
    def holds_labels(self) -> bool:
        """Whether cells are decided labels and the metric reads such: only then a decision matters."""
        return self.kind.decided

    @property
    def meaning(self) -> list[str]:
        """What the cells of each column say, in words."""
        first, *others = self.kind.meaning
        return [f"{first} {remark(self.kind)}".strip(), *others]

    def about(self, ids: Sequence[str]) -> "Form":
        """The same form for other rows or entities: a line for each; of long samples one for each word as well."""
        lines = self.kind.lines
        asked = sorted(set(lines.places)) or [-1]
        pairs = [(name, place) for name in ids for place in asked]
        texts = [name if place < 0 else f"{name} / {lines.words[place]}" for name, place in pairs]
        first = self.sample.iloc[:1]
        kept = [column for column in lines.columns if column in first.columns]
        cells = {column: first[column].tolist() * len(pairs) for column in kept}
        cells |= {lines.keys[0]: texts} | ({lines.index: [str(i) for i in range(len(pairs))]} if lines.index else {})
        sample = pd.DataFrame(
            {column: cells.get(column, [""] * len(pairs)) for column in self.sample.columns}, dtype=str
        )
        entities, places = tuple(name for name, _ in pairs), tuple(place for _, place in pairs if place >= 0)
        return Form(sample, replace(self.kind, lines=replace(lines, entities=entities, places=places)), self.names)

    def require_ids(self, known: "pd.Series[str]") -> None:
        """Raises FoldlineError where the sample asks for an id that is none of `known`: the test rows or entities."""
        asked = pd.Series(self.kind.ids, dtype=str)
        lacking = asked[~asked.isin(known)].tolist()
        if lacking:
            raise FoldlineError(
                f"{len(lacking)} of its {len(asked)} ids are no test rows: {first_few(lacking)}",
                where=self.kind.lines.where,
                next=f"{id_hint(lacking, known.tolist())}; test rows are called {first_few(known.tolist(), 3)}: mend "
                'test.row_id or test.entity, or say in submission.entity what a line is about, such as "{id.stem}"',
            )

    def part(self, some: slice) -> "Form":
        """The same form for some of the lines."""
        return Form(self.sample.iloc[some], self.kind.part(some), self.names)

    @property
    def parts(self) -> Iterator[tuple[int, "Form"]]:
        """The first line of each block, and its form; of a sample without lines one."""
        step = rows_at_a_time(len(self.kind.lines.header))
        return ((start, self.part(slice(start, start + step))) for start in range(0, max(len(self.sample), 1), step))

    def write(self, predictions: pd.DataFrame, decision: Decision | None = None) -> pd.DataFrame:
        """The submission, every cell a string; write it with `core.tables.write_csv`.

        Args:
            predictions: `id` (the row's or the entity's) and the task's prediction columns. Ids that the sample does
                not hold are left out.
            decision: how labels are decided; default: the largest probability, or >= 0.5 for sets.

        Raises:
            FoldlineError: an id without a prediction, two predictions for one id, a prediction that is not finite.
        """
        source = InMemory(predictions, self.kind.task.prediction_columns(self.kind.outputs))
        return self._written(source, _index(source), decision)

    def blocks(self, source: Source, decision: Decision | None = None) -> Iterator[pd.DataFrame]:
        """What `write` gives of the same predictions, a block of lines after the other; raises as `write`."""
        index = _index(source)
        _require_all(self.kind.ids, index, self.kind.lines.where)
        for _, part in self.parts:
            yield part._written(source, index, decision)

    def _written(self, source: Source, index: "pd.Index[str]", decision: Decision | None) -> pd.DataFrame:
        task, outputs, ids = self.kind.task, self.kind.outputs, self.kind.ids
        values = source.values(_require_all(ids, index, self.kind.lines.where))
        if not np.isfinite(values).all():
            bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
            raise FoldlineError(f"{len(bad)} predictions are not finite: {first_few([ids[i] for i in bad.tolist()])}")
        cells = self.kind.write(values, decision or default_decision(task, len(outputs)))
        plain, header = self.sample.reset_index(drop=True), self.kind.lines.header
        return pd.DataFrame({name: cells[name] if name in cells else plain[name] for name in header})

    def check(self, frame: pd.DataFrame, where: str) -> None:
        """Nothing if the grader would take the file, every cell a string; errors call it `where`.

        Raises:
            FoldlineError: other columns; missing, extra or repeated ids, or another order; empty cells; no numbers,
                NaN or infinite; out of bounds; unknown classes; row sums. The first bad lines are named.
        """
        lines = self.kind.lines
        check_header(list(frame.columns), list(lines.header), where)
        check_ids(lines.ids(frame), lines.ids(self.sample), where)
        self._check_cells(frame, where)

    def _check_cells(self, frame: pd.DataFrame, where: str, first: int = 0, among: str = "") -> None:
        """Lines whose ids are the sample's; `first` is the place of the first of them in the file."""
        lines = self.kind.lines
        if lines.index is not None and frame[lines.index].tolist() != self.sample[lines.index].tolist():
            raise FoldlineError(f"the index column '{lines.index}' is not the sample's", where=where)
        self.kind.check(Gate(frame, lines.ids(frame), np.arange(len(frame)) + first + 2, where, among))

    def check_file(self, path: Path, where: str) -> int:
        """As `check` of a CSV file, which is read block by block; where some lines are bad it counts those of a block.

        Returns:
            How many lines it has.
        """
        lines, header = self.kind.lines, csv_header(path)
        check_header(header, list(lines.header), where)
        blocks, seen = csv_blocks(path, rows=rows_at_a_time(len(header))), 0
        for start, part in self.parts:
            frame = next(blocks, None)
            if frame is None or lines.ids(frame).tolist() != lines.ids(part.sample).tolist():
                break
            whole, seen = len(frame) == len(self.sample), seen + len(frame)
            among = "" if whole else f" in lines {start + 2} to {start + len(frame) + 1}"
            part._check_cells(frame, where, start, among)
        if seen < len(self.sample) or next(blocks, None) is not None:
            keys = pd.concat(list(csv_blocks(path, columns=lines.keys)), ignore_index=True)
            check_ids(lines.ids(keys), lines.ids(self.sample), where)
            raise FoldlineError("the file changed while it was read", where=where)
        return seen

    def read_back(self, frame: pd.DataFrame) -> tuple[list[str], Array]:
        """What the lines are about (rows or entities), and what was answered as predictions [ids, outputs].

        A label becomes probability 1 of its class, or its confidence where it has one (no answer: all 0), a set 1
        for each of its labels, a ranked list 1, 1/2, 1/3 ...; one number of an ordinal task stays one column, unless
        the metric reads labels. `check` the file before.
        """
        lines = self.kind.lines
        order = pd.Index(lines.ids(frame)).get_indexer(pd.Index(lines.ids(self.sample)))
        return list(self.kind.ids), self.kind.read(frame.iloc[order].reset_index(drop=True))

    def read_file(self, path: Path) -> tuple[list[str], Predicted]:
        """As `read_back` of a CSV file that passed `check_file`, whose lines so are in the sample's order.

        More numbers than a block holds are float32, as all predictions are: 200,000 x 1,000 of them take 0.8 GB.
        """
        header = csv_header(path)
        if self.kind.lines.places:  # an entity's lines may stand anywhere
            needed = [*self.kind.lines.keys, *self.kind.columns]
            return self.read_back(pd.concat(list(csv_blocks(path, columns=needed)), ignore_index=True))
        values: Predicted | None = None
        blocks = csv_blocks(path, rows=rows_at_a_time(len(header)))
        for (start, part), frame in zip(self.parts, blocks, strict=True):
            read = part.kind.read(frame)
            if values is None:
                large = len(self.sample) * read.shape[1] > CELLS
                values = np.empty((len(self.sample), read.shape[1]), dtype=np.float32 if large else np.float64)
            values[start : start + len(read)] = read
        assert values is not None, "parts are never none"
        return list(self.kind.ids), values


def sample_path(layout: Layout, comp: str, facts: Competition) -> Path:
    """The sample submission: the competition's own, or the one that foldline made."""
    if facts.makes_sample:
        return layout.holdout_sample(comp)
    return layout.input(comp) / (facts.submission.sample or "sample_submission.csv")


def open_form(layout: Layout, comp: str, facts: Competition, outputs: Sequence[str]) -> Form:
    """The form of a competition's submissions, from the files of the project."""
    path, root = sample_path(layout, comp, facts), layout.input(comp)
    header, names = csv_header(path), class_names(root, facts)
    words = names or getattr(facts.train.target, "names", None) or {}
    keep = columns_to_keep(header, facts, outputs, words)
    sample, lines = read_sample(path, root, facts, columns=keep)
    if len(keep) < len(header) and not any(sample[column].is_unique for column in keep):
        sample, lines = read_sample(path, root, facts)  # its id stands at the right
    return Form.open(sample, facts, outputs, names=names, lines=lines, header=header, where=layout.relative(path))


def read_sample(
    path: Path, root: Path, facts: Competition, *, columns: Sequence[str] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The sample submission, and what its lines are about where the facts say it.

    Args:
        root: `input/<comp>`, where the tables of `submission.join` lie.
        columns: those that are kept; default: all.

    Returns:
        The sample, every cell a string, without the lines that `submission.where` leaves out; and a table with the
        `entity` (and `output`) of each of its lines, or None where the facts name no `submission.entity`.

    Raises:
        FoldlineError: a table or column that the facts name is not there, an id has no line in a lookup table.
    """
    form = facts.submission
    sample = (
        read_csv(path) if columns is None else pd.concat(list(csv_blocks(path, columns=columns)), ignore_index=True)
    )
    if not form.tells_lines:
        return sample, None
    where = f"configs/{root.name}/competition.yaml: submission"
    steps = RowFacts(reader="csv").model_copy(update={"extract": form.extract, "join": form.join, "where": form.where})
    lines = shape_lines(sample.assign(**{_POSITION: range(len(sample))}).astype(str), root, steps, where=where)
    kept = sample.iloc[lines[_POSITION].astype(int).tolist()].reset_index(drop=True)
    told = {"entity": form.entity, "output": form.output}
    about = {name: fill(lines, template, where=f"{where}.{name}") for name, template in told.items() if template}
    return kept, pd.DataFrame(about) if about else None


def make_sample(test: pd.DataFrame, facts: Competition, outputs: Sequence[str]) -> pd.DataFrame:
    """A sample submission such as a competition would give: one line for each test row, or for each entity.

    The first column is `row_id` (or `entity`); the others, and the placeholders in them, are the kind's. A kind that
    facts do not name is the task's usual one.
    """
    name = facts.submission.kind if facts.submission.kind != "auto" else facts.task.sample
    if name not in KINDS:
        raise unknown("submission kind", name, ["auto", *KINDS], where="submission.kind")
    kind, key = KINDS[name](facts, outputs), "entity" if "entity" in test.columns else "row_id"
    ids = kind.line_ids(test[key].drop_duplicates().tolist())
    return pd.DataFrame({key: ids, **{column: [cell] * len(ids) for column, cell in kind.placeholders().items()}})


def _index(source: Source) -> "pd.Index[str]":
    """The ids of predictions, to be looked up; raises FoldlineError where one stands there twice."""
    require_unique(source.ids, where="the predictions")
    return pd.Index(source.ids)


def _require_all(ids: Sequence[str], known: "pd.Index[str]", where: str) -> NDArray[np.int64]:
    """[ids] the place of each id's predictions."""
    place = known.get_indexer(pd.Index(ids)).astype(np.int64)
    missing = [ids[i] for i in np.flatnonzero(place < 0)[:100].tolist()]
    if missing:
        raise FoldlineError(
            f"{int((place < 0).sum())} of its {len(ids)} ids have no prediction: {first_few(missing)}",
            where=where,
            next=f"predictions are for {first_few(known.tolist())}; see test.row_id and test.entity",
        )
    return place
