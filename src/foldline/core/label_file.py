"""`configs/<comp>/labels.csv`: which labels training leaves out or replaces, as a person decided it.

`make clean-labels` proposes lines, a person fills the column `action`; whoever trains reads it. Validation never does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from foldline.core.cells import all_numbers
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.tables import read_csv
from foldline.core.task import Task

FILE = "labels.csv"
ACTIONS = ("exclude", "relabel", "keep")
COLUMNS = ["row_id", "target", "given", "predicted", "score", "loss_rank", "action", "label"]


@dataclass(frozen=True)
class Decided:
    """What training does with labels.

    Attributes:
        excluded: ids of rows that are not trained on.
        labels: (row_id, column of the rows table) -> the label in place of the given one, which is another one.
        open: how many lines nobody has decided yet.
        same: (row_id, column) of what shall be relabelled and has that label already.
    """

    excluded: frozenset[str]
    labels: dict[tuple[str, str], str]
    open: int = 0
    same: frozenset[tuple[str, str]] = frozenset()

    def labelled(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows table with these labels; ids that it does not have are passed over."""
        if not self.labels:
            return frame
        new: dict[str, dict[str, str]] = {}
        for (row, column), label in self.labels.items():
            new.setdefault(column, {})[row] = label
        ids = frame["row_id"]
        return frame.assign(**{name: ids.map(of).fillna(frame[name]) for name, of in new.items()})

    def in_words(self) -> str:
        """How many, for a person."""
        changed = {row for row, _ in self.labels} - self.excluded
        same = {row for row, _ in self.same} - self.excluded - changed
        already = f"; {counted(len(same), 'rows have')} the label already that they shall get" if same else ""
        left_out, others = counted(len(self.excluded), "rows are"), counted(len(changed), "rows are")
        return f"{left_out} left out of training, {others} trained on with another label{already}"


def label_column(task: Task, outputs: Sequence[str], target: str) -> str:
    """The column of the rows table that holds the label of a target: a name, or empty where there is only one.

    Raises:
        FoldlineError: there is no such target, or no word can say its label (shares).
    """
    columns = task.target_columns(outputs)
    column = f"target_{target}" if target else "target"
    if task.soft or column not in columns:
        names = ", ".join(name.removeprefix("target").removeprefix("_") or "(empty)" for name in columns)
        what = "shares of classes cannot be relabelled" if task.soft else f"there is no target '{target}'"
        raise FoldlineError(what, next="exclude these rows" if task.soft else f"the column target takes: {names}")
    return column


def read_lines(path: Path) -> pd.DataFrame:
    """The lines as they are, with all `COLUMNS`; of a spreadsheet that writes semicolons, too."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        head = file.readline()
    separator = ";" if ";" in head and "," not in head else ","
    table = read_csv(path, separator=separator, required=("row_id", "action")).fillna("")
    return table.assign(**dict.fromkeys([name for name in COLUMNS if name not in table.columns], ""))


def read_labels(path: Path, frame: pd.DataFrame, task: Task, outputs: Sequence[str], *, where: str) -> Decided:
    """The decisions of a file, checked against the rows.

    Raises:
        FoldlineError: no such file, an id that no row has, a line twice, an action that is none, a relabel without a
            label or with one that is no label, a label that is not the given one any more.
    """
    if not path.is_file():
        raise FoldlineError("there is no such file", where=where, next="make clean-labels writes one to fill in")
    table = read_lines(path)
    table["target"] = table["target"].str.strip()
    _refuse(table, table.duplicated(["row_id", "target"]), "stand in more than one line", where)
    _refuse(table, ~table["row_id"].isin(frame["row_id"]), "are not among the training rows", where)
    table["action"] = table["action"].str.strip().str.lower()
    odd = ~table["action"].isin(["", *ACTIONS])
    _refuse(table, odd, f"have an action that is none of {', '.join(ACTIONS)} (empty: not decided)", where)
    again = table[table["action"] == "relabel"]
    again = again.assign(label=[_known(label, outputs) for label in again["label"]])
    _refuse(again, again["label"] == "", "shall be relabelled and have no label", where)
    _require_given(table[table["action"].isin(["exclude", "relabel"])], frame, task, outputs, where)
    labels = {
        (row, label_column(task, outputs, target)): label
        for row, target, label in again[["row_id", "target", "label"]].itertuples(index=False)
    }
    excluded = frozenset(table.loc[table["action"] == "exclude", "row_id"])
    now = frame.set_index("row_id")
    same = {(row, column) for (row, column), label in labels.items() if _alike(label, now.loc[row, column])}
    labels = {key: label for key, label in labels.items() if key not in same}
    decided = Decided(excluded, labels, int((table["action"] == "").sum()), frozenset(same))
    changed = frame[frame["row_id"].isin({row for row, _ in labels})]
    task.truth(decided.labelled(changed), outputs, where=where)
    return decided


def _require_given(table: pd.DataFrame, frame: pd.DataFrame, task: Task, outputs: Sequence[str], where: str) -> None:
    """Raises FoldlineError where a label was decided about that is not the row's any more."""
    said = table[table["given"] != ""]
    for target, lines in said.groupby("target") if not task.soft else ():
        column = label_column(task, outputs, str(target))
        now = frame.set_index("row_id")[column].reindex(lines["row_id"])
        other = pd.Series([_shown(one) != _shown(two) for one, two in zip(lines["given"], now, strict=True)])
        _refuse(lines, other.set_axis(lines.index), "have another label now than the one decided about", where)


def _shown(label: str) -> str:
    """A label as the file shows it: of a number its first six digits."""
    return f"{float(label):g}" if all_numbers([label]) else label


def _alike(label: str, given: str) -> bool:
    """Whether two labels are the same one: of numbers their values are compared."""
    return label == given or (all_numbers([label, given]) and float(label) == float(given))


def _known(label: str, outputs: Sequence[str]) -> str:
    """A label without the blanks around it, unless a class has them."""
    return label if label in outputs else label.strip()


def _refuse(table: pd.DataFrame, bad: "pd.Series[bool]", what: str, where: str) -> None:
    if len(table) and bad.any():
        ids = table.loc[bad, "row_id"].tolist()
        raise FoldlineError(
            f"{counted(len(ids), f'rows {what}')}: {first_few(ids)}", where=where, next="mend these lines"
        )
