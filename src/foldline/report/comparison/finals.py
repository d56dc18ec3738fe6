"""The ledger of a competition, and which two of its submissions to select.

Reads `submissions/<comp>/*.json`, the submissions beside it, and of the runs `cv.json`, `oof.parquet`. Writes nothing.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from foldline.core.competition import Competition, load_competition
from foldline.core.errors import FoldlineError
from foldline.core.folds import Folds, load_folds
from foldline.core.paths import Layout
from foldline.core.records.cv import Cv
from foldline.core.records.entry import Entry
from foldline.core.records.kernel import KernelEntry
from foldline.core.tables import read_parquet, sha256_file
from foldline.core.task import Array
from foldline.scoring.final_two import Against, Candidate, Choice, agreement, choose_two
from foldline.scoring.metrics import metric_for
from foldline.scoring.paired import compare_runs
from foldline.submission.form import Form, open_form
from foldline.submission.pushing import OUTPUT, SUBMISSION

RESAMPLES = 300  # tell a standard deviation to some 4 %
NORMAL_WIDTH = 2 * 1.959964  # standard deviations between the ends of an interval of 95 %


@dataclass(frozen=True)
class Known:
    """What is known of an entry of the ledger.

    Attributes:
        name: as it is shown.
        cv: the record of its run; None where that is another one by now.
        left_out: why it cannot be proposed; empty: it can.
    """

    entry: Entry
    name: str
    cv: Cv | None
    left_out: str = ""


@dataclass(frozen=True)
class Finals:
    """The choice, with all that it was made from: every entry, newest first."""

    comp: str
    facts: Competition
    known: list[Known]
    choice: Choice

    @property
    def good(self) -> dict[str, Known]:
        """The entries that could be proposed, by name."""
        return {one.name: one for one in self.known if not one.left_out}

    @property
    def chosen(self) -> list[Known]:
        """The proposed ones, the first first."""
        picks = [pick.name for pick in (self.choice.first, self.choice.second) if pick is not None]
        return [self.good[name] for name in picks]


def read_finals(layout: Layout, comp: str) -> Finals:
    """Reads the ledger and chooses.

    Raises:
        FoldlineError: the ledger is empty, or none of its entries has a score that can be trusted.
    """
    facts, folds = load_competition(layout, comp), load_folds(layout, comp)
    known = _read_ledger(layout, comp, facts, folds)
    good = {one.name: one for one in known if not one.left_out}
    if not good:
        listed = "; ".join(f"{one.name}: {one.left_out}" for one in known)
        raise FoldlineError(
            f"no submission of '{comp}' can be proposed{f': {listed}' if listed else ', there is none'}",
            where=layout.relative(layout.submission(comp, "a").parent),
            next=f"make ensemble COMP={comp} RUN=<run>",
        )
    sign = 1.0 if metric_for(facts.metric, facts.task).direction == "max" else -1.0
    judge = _Judge(layout, facts, folds, open_form(layout, comp, facts, folds.outputs), good)
    choice = choose_two([_candidate(one, sign) for one in good.values()], judge.compare)
    return Finals(comp, facts, known, choice)


def _read_ledger(layout: Layout, comp: str, facts: Competition, folds: Folds) -> list[Known]:
    """Every entry, newest first; one that cannot be proposed has its reason."""
    newest = [Entry.read(path) for path in sorted(layout.submission(comp, "a").parent.glob("*.json"))]
    entries = [(entry, "") for entry in newest]
    entries += [(entry, f" of {entry.time[:16]}") for last in newest for entry in last.earlier]
    known = [_known(layout, entry, when, facts, folds) for entry, when in entries]
    known.sort(key=lambda one: one.entry.time, reverse=True)
    if any(not one.left_out and one.cv and not one.cv.optimistic for one in known):
        known = [_unless_optimistic(one) for one in known]
    return _without_twins(known)


def _known(layout: Layout, entry: Entry, when: str, facts: Competition, folds: Folds) -> Known:
    cv = Cv.read_if_there(layout.run(entry.comp, entry.run) / "cv.json")
    if cv is not None and (not entry.is_of(cv) or cv.sha256.folds != entry.folds_sha256):
        cv = None  # the run was made anew since then
    reason = ""
    if entry.score.pooled is None:
        reason = "it has no CV score"
    elif entry.metric != facts.metric:
        reason = f"its CV score is {entry.metric}, not {facts.metric}"
    elif entry.folds_sha256 != folds.sha256:
        reason = "its CV score is of other folds"
    elif entry.diverged:
        reason = f"its training diverged: {'; '.join(entry.diverged)}"
    elif entry.kaggle is not None and entry.kaggle.status == "error":
        reason = "Kaggle could not score it"
    elif cv is not None and len(cv.per_fold) < folds.k:
        reason = f"its CV score is of {len(cv.per_fold)} of {folds.k} folds"
    return Known(entry, entry.file.removesuffix(".csv") + when, cv, reason)


def _unless_optimistic(one: Known) -> Known:
    if one.left_out or one.cv is None or not one.cv.optimistic:
        return one
    return replace(one, left_out=f"its CV score is optimistic: {'; '.join(one.cv.optimistic)}")


def _without_twins(known: list[Known]) -> list[Known]:
    """Of entries of the same file, or of the same run, one stays: one with a public score before one without."""
    stays: dict[str, str] = {}
    twin_of: dict[str, str] = {}
    for one in sorted(known, key=lambda one: one.entry.public is None):
        if one.left_out:
            continue
        keys = [one.entry.sha256, *([f"{one.entry.run}: {one.entry.decision}"] if one.cv else [])]
        twin_of[one.name] = next((stays[key] for key in keys if key in stays), one.name)
        stays |= dict.fromkeys(keys, twin_of[one.name])
    return [
        one if twin_of.get(one.name, one.name) == one.name
        else replace(one, left_out=f"it is the same as {twin_of[one.name]}")
        for one in known
    ]  # fmt: skip


def _candidate(one: Known, sign: float) -> Candidate:
    entry = one.entry
    assert entry.score.pooled is not None
    public = None if entry.public is None else sign * entry.public
    sent = entry.kaggle is not None and entry.kaggle.status in ("pending", "complete")
    return Candidate(one.name, sign * entry.score.pooled, public, frozenset(entry.members or [entry.run]), sent)


@dataclass(frozen=True)
class _Judge:
    """Compares two candidates: on the OOF rows, where their predictions are there, and in what they submit."""

    layout: Layout
    facts: Competition
    folds: Folds
    form: Form
    known: dict[str, Known]
    tables: dict[str, pd.DataFrame | None] = field(default_factory=dict)

    def compare(self, first: Candidate, other: Candidate) -> Against:
        left, right = self._oof(first.name), self._oof(other.name)
        plain = Against(first.cv - other.cv, None, self._agreement(first.name, other.name))
        if left is None or right is None:
            return plain
        fitted = [bool(one.cv and one.cv.fitted) for one in (self.known[first.name], self.known[other.name])]
        found = compare_runs(
            left, right, self.facts, self.folds.outputs, fitted=(fitted[0], fitted[1]), resamples=RESAMPLES
        )
        same = found.gain == found.low == found.high == 0
        if found.verdict == "undefined" or (same and self._on_all_rows(first.name, other.name)):
            return plain
        return replace(plain, gain=found.gain, deviation=(found.high - found.low) / NORMAL_WIDTH)

    def _on_all_rows(self, *names: str) -> bool:
        """Whether a candidate is, or has as a member, a network on all rows: by OOF it is the same as its folds."""
        runs = [run for name in names for run in (self.known[name].entry.run, *self.known[name].entry.members)]
        records = [Cv.read_if_there(self.layout.run(self.known[names[0]].entry.comp, run) / "cv.json") for run in runs]
        return any(cv is not None and cv.oof_of for cv in records)

    def _oof(self, name: str) -> pd.DataFrame | None:
        """The out-of-fold predictions that a candidate's CV score is of; None where they are gone."""
        if name not in self.tables:
            one = self.known[name]
            path = self.layout.run(one.entry.comp, one.entry.run) / "oof.parquet"
            whole = one.cv is not None and path.is_file()
            if one.cv is not None and whole and "oof.parquet" in one.cv.files:
                whole = one.cv.files["oof.parquet"] == sha256_file(path)
            self.tables[name] = read_parquet(path) if whole else None
        return self.tables[name]

    def _agreement(self, first: str, other: str) -> float | None:
        left, right = self._answers(first), self._answers(other)
        if left is None or right is None:
            return None
        found = agreement(left, right, labels=self.form.holds_labels)
        return found if np.isfinite(found) else None

    def _answers(self, name: str) -> Array | None:
        """What a submission says, [ids, outputs]; None where its file is gone, is another one, or fails the gate."""
        path = _file_of(self.layout, self.known[name].entry)
        if path is None:
            return None
        try:
            self.form.check_file(path, self.layout.relative(path))
        except FoldlineError:
            return None
        return np.asarray(self.form.read_file(path)[1], dtype=np.float64)


def _file_of(layout: Layout, entry: Entry) -> Path | None:
    """The CSV of an entry, or what its notebook wrote at Kaggle for the test set that is visible there."""
    if entry.notebook is None:
        path = layout.submission(entry.comp, entry.name)
        return path if path.is_file() and sha256_file(path) == entry.sha256 else None
    folder = layout.kernel(entry.comp, entry.name)
    record, path = KernelEntry.read_if_there(folder / "kernel.json"), folder / OUTPUT / SUBMISSION
    pushed = record.pushed if record else None
    return path if pushed and pushed.bundle == entry.sha256 and path.is_file() else None
