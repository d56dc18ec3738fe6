"""The form of a submission: reads the sample once, then writes, checks and reads back. Tables of text, arrays.

    sample + facts -> Form.open -> write(predictions) -> check(frame) -> read_back(frame) -> predictions

Header, ids, order and index column are the sample's; joins are by id.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from foldline.core.competition import Competition, RowFacts
from foldline.core.errors import FoldlineError, first_few, unknown
from foldline.core.paths import Layout
from foldline.core.tables import read_csv, require_unique
from foldline.core.task import Array
from foldline.readers import class_names
from foldline.readers.lines import shape_lines
from foldline.readers.templates import fill
from foldline.scoring.decide import Decision, default_decision
from foldline.submission.doubts import remark, require_clear
from foldline.submission.gate import Gate, check_header, check_ids, id_hint
from foldline.submission.kind import Kind
from foldline.submission.kinds import KINDS
from foldline.submission.lines import read_lines

_POSITION = " position"  # no column of a file begins with a blank and has this name


@dataclass(frozen=True)
class Form:
    """What a submission must look like: the sample, every cell a string, and what its lines and cells mean.

    Attributes:
        names: raw label -> class name.
    """

    sample: pd.DataFrame
    kind: Kind
    names: Mapping[str, str]

    @classmethod
    def open(
        cls, sample: pd.DataFrame, facts: Competition, outputs: Sequence[str], *,
        names: Mapping[str, str] | None = None, lines: pd.DataFrame | None = None,
        where: str = "the sample submission",
    ) -> "Form":  # fmt: skip
        """What the sample says, with the facts' help.

        Args:
            outputs: the class names, or the names of the numbers.
            names: raw label -> class name, where they come from a file; default: `train.target.names`.
            lines: what the facts say of each line: its `entity`, maybe its `output` (`read_sample`).
            where: how errors call the sample.

        Raises:
            FoldlineError: no id column, no answer column, columns or words that match no output, an unknown kind;
                classes whose meaning nobody says (`doubts`).
        """
        name = facts.submission.kind
        if name not in ("auto", *KINDS):
            raise unknown("submission kind", name, list(KINDS), where="setting 'submission.kind'")
        names = names or getattr(facts.train.target, "names", None) or {}
        about = read_lines(sample, facts, outputs, names, lines, where)
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
        cells = {column: first[column].tolist() * len(pairs) for column in lines.columns}
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

    def write(self, predictions: pd.DataFrame, decision: Decision | None = None) -> pd.DataFrame:
        """The submission, every cell a string; write it with `core.tables.write_csv`.

        Args:
            predictions: `id` (the row's or the entity's) and the task's prediction columns. Ids that the sample does
                not hold are left out.
            decision: how labels are decided; default: the largest probability, or >= 0.5 for sets.

        Raises:
            FoldlineError: an id without a prediction, two predictions for one id, a prediction that is not finite.
        """
        task, outputs = self.kind.task, self.kind.outputs
        values = _aligned(self.kind.ids, predictions, task.prediction_columns(outputs), self.kind.lines.where)
        cells = self.kind.write(values, decision or default_decision(task, len(outputs)))
        plain = self.sample.reset_index(drop=True)
        return pd.DataFrame({name: cells.get(name, plain[name]) for name in self.sample.columns})

    def check(self, frame: pd.DataFrame, where: str) -> None:
        """Nothing if the grader would take the file, every cell a string; errors call it `where`.

        Raises:
            FoldlineError: other columns; missing, extra or repeated ids, or another order; empty cells; no numbers,
                NaN or infinite; out of bounds; unknown classes; row sums. The first bad lines are named.
        """
        lines = self.kind.lines
        check_header(list(frame.columns), list(self.sample.columns), where)
        check_ids(lines.ids(frame), lines.ids(self.sample), where)
        if lines.index is not None and frame[lines.index].tolist() != self.sample[lines.index].tolist():
            raise FoldlineError(f"the index column '{lines.index}' is not the sample's", where=where)
        self.kind.check(Gate(frame, lines.ids(frame), np.arange(len(frame)) + 2, where))

    def read_back(self, frame: pd.DataFrame) -> tuple[list[str], Array]:
        """What the lines are about (rows or entities), and what was answered as predictions [ids, outputs].

        A label becomes probability 1 of its class, or its confidence where it has one (no answer: all 0), a set 1
        for each of its labels, a ranked list 1, 1/2, 1/3 ...; one number of an ordinal task stays one column, unless
        the metric reads labels. `check` the file before.
        """
        lines = self.kind.lines
        order = pd.Index(lines.ids(frame)).get_indexer(pd.Index(lines.ids(self.sample)))
        return list(self.kind.ids), self.kind.read(frame.iloc[order].reset_index(drop=True))


def sample_path(layout: Layout, comp: str, facts: Competition) -> Path:
    """The sample submission: the competition's own, or the one that foldline made."""
    if facts.makes_sample:
        return layout.holdout_sample(comp)
    return layout.input(comp) / (facts.submission.sample or "sample_submission.csv")


def open_form(layout: Layout, comp: str, facts: Competition, outputs: Sequence[str]) -> Form:
    """The form of a competition's submissions, from the files of the project."""
    path, root = sample_path(layout, comp, facts), layout.input(comp)
    sample, lines = read_sample(path, root, facts)
    names = class_names(root, facts)
    return Form.open(sample, facts, outputs, names=names, lines=lines, where=layout.relative(path))


def read_sample(path: Path, root: Path, facts: Competition) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The sample submission, and what its lines are about where the facts say it.

    Args:
        root: `input/<comp>`, where the tables of `submission.join` lie.

    Returns:
        The sample, every cell a string, without the lines that `submission.where` leaves out; and a table with the
        `entity` (and `output`) of each of its lines, or None where the facts name no `submission.entity`.

    Raises:
        FoldlineError: a table or column that the facts name is not there, an id has no line in a lookup table.
    """
    sample, form = read_csv(path), facts.submission
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


def _aligned(ids: Sequence[str], predictions: pd.DataFrame, columns: list[str], where: str) -> Array:
    """[ids, outputs] each id's predictions, in the order of `ids`."""
    require_unique(predictions["id"], where="the predictions")
    place = pd.Index(predictions["id"]).get_indexer(pd.Index(ids))
    missing = [ids[i] for i in np.flatnonzero(place < 0)[:100].tolist()]
    if missing:
        raise FoldlineError(
            f"{int((place < 0).sum())} of its {len(ids)} ids have no prediction: {first_few(missing)}",
            where=where,
            next=f"predictions are for {first_few(predictions['id'].tolist())}; see test.row_id and test.entity",
        )
    values: Array = predictions[columns].to_numpy(dtype=np.float64)[place]
    if not np.isfinite(values).all():
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        raise FoldlineError(f"{len(bad)} predictions are not finite: {first_few([ids[i] for i in bad.tolist()])}")
    return values
