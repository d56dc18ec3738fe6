"""The leak probe: do the facts of the files, the names' order or the metadata alone predict the label?

Tables in, findings out; nothing is read from the disk. Each kind of facts gets a small gradient boosting of its own,
whose out-of-fold score stands beside chance. A kind is suspected only where the lower end of the interval is clearly
above chance and the effect is large enough to matter. How often that is a false alarm, and what it finds, is measured:
docs/probes.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from foldline.core.cells import is_missing, numbers
from foldline.core.counted import counted
from foldline.core.task import TASKS, Block, Task
from foldline.models.metadata import metadata_columns
from foldline.report.explore import leak_words
from foldline.report.explore.boosting import Columns, Floats, OutOfFold, as_columns, out_of_fold
from foldline.report.explore.file_facts import KINDS, FileFacts
from foldline.report.explore.leak_words import Carrier, Grade, Nature, Truth
from foldline.report.explore.rows_to_probe import clusters, probe_folds, sampled
from foldline.scoring.intervals import score_interval
from foldline.scoring.metrics import metric_for
from foldline.splits.shuffle import Indices

MOST_ROWS = 20_000
FEWEST_ROWS = 30
MOST_COLUMNS = 60  # of metadata
MOST_OUTPUTS = 12  # classes, labels or numbers that are looked at one by one
FEWEST_OF_A_CLASS = 8
RESAMPLES = 400

# From which score on, and how many half widths of its interval above chance, a finding has a grade. One half width is
# not enough: of rows without any leak the score varies by about 1.4 times what the interval says (each two folds judge
# one another, so that what they have in common by chance counts twice), and a page asks many questions.
SUSPECTED = {"AUC": 0.60, "Spearman": 0.25}
WEAK = {"AUC": 0.55, "Spearman": 0.10}
ONE_OUTPUT = {"AUC": 0.70, "Spearman": 0.40}  # of a single class, label or number: suspected
WIDTHS = {"suspected": 2.0, "weak": 1.4, "one output": 2.5}
NAMED = "the names hold the labels, so their order says nothing new; a network never sees them"
CHANCE = {"AUC": 0.5, "Spearman": 0.0}
NATURES: dict[str, Nature] = {
    "bytes": "content",
    "dimensions": "collected",
    "format": "collected",
    "exif": "collected",
    "files": "collected",
    "name": "order",
    "order": "order",
    "metadata": "metadata",
}


Metric = Literal["AUC", "Spearman"]


@dataclass(frozen=True)
class Finding:
    """What one kind of facts alone says of one target.

    Attributes:
        name: the kind of facts: one of NATURES; `files` are bytes, dimensions, format and EXIF together.
        target: the target; "" where there is only one.
        metric: AUC (of several classes or labels: their mean, each against the rest) or Spearman's correlation.
        score, low, high: out of fold, with the 95 % interval of the rows (of the groups, where there are any).
        second_name, second: balanced accuracy, or R²; NaN where it means nothing.
        carriers: the facts that carry it, the most important first; empty where nothing was found.
        by_output: the score of each class, label or number.
        title, text: for a reader.
    """

    name: str
    target: str
    grade: Grade
    nature: Nature
    metric: Metric
    score: float
    low: float
    high: float
    chance: float
    second_name: str
    second: float
    facts: list[str]
    carriers: list[Carrier]
    by_output: dict[str, float]
    title: str
    text: str


@dataclass(frozen=True)
class Leaks:
    """What the probe found.

    Attributes:
        findings: the gravest first, those without anything too.
        equal: the kinds of facts that are the same in all rows, so that they cannot tell anything.
        left_out: what was not looked at, in sentences.
        rows: how many rows were looked at.
    """

    findings: list[Finding] = field(default_factory=list)
    equal: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    rows: int = 0

    @property
    def suspected(self) -> list[Finding]:
        """The findings that a person should look at."""
        return [finding for finding in self.findings if finding.grade == "suspected"]


def probe_leaks(frame: pd.DataFrame, facts: FileFacts, task: Task, outputs: Sequence[str], *, seed: int = 0) -> Leaks:
    """Whether facts that are no pixels predict the labels.

    Args:
        frame: [rows] the training rows as `core.folds.Folds.frame` has them; `fold` may be missing.
        facts: of the same rows, in the same order.
        task, outputs: what the target columns mean.
        seed: of the sample of large tables, and of the folds where there are none.
    """
    chosen = sampled(frame, MOST_ROWS, seed)
    left_out = [f"{len(chosen):,} of {len(frame):,} rows were looked at"] if len(chosen) < len(frame) else []
    table = facts.table.iloc[chosen].reset_index(drop=True)
    frame = frame.iloc[chosen].reset_index(drop=True)
    fold = probe_folds(frame, task, outputs, seed) if len(frame) >= FEWEST_ROWS else None
    if fold is None:
        few = (
            f"{counted(len(frame), 'rows are')} too few for a leak probe, which needs {FEWEST_ROWS} in two "
            "groups or more"
        )
        return Leaks(left_out=[*left_out, few], rows=len(frame))
    truth = task.truth(frame, outputs, where="the rows table")
    if (given := len(metadata_columns(frame))) > MOST_COLUMNS:
        left_out.append(f"{MOST_COLUMNS} of {given:,} metadata columns were looked at: the first")
    tables, equal = _kinds(frame, FileFacts(table))
    kinds, units = {kind: as_columns(columns) for kind, columns in tables.items()}, clusters(frame)
    findings = []
    for block in task.of(outputs).blocks:
        asked, said = _asked(block, truth, outputs)
        left_out += said
        if asked is None:
            continue
        rows = np.arange(len(frame)) if asked.rows is None else asked.rows
        named = leak_words.names_hold_labels(frame["image"].iloc[rows].tolist(), asked)
        left_out += [NAMED] if named and NAMED not in left_out else []
        for kind, columns in kinds.items():
            if not (named and kind in ("name", "order")):
                findings.append(_probe(kind, columns.only(rows), asked, fold[rows], units[rows]))
    findings.sort(key=lambda one: (("suspected", "weak", "none").index(one.grade), one.chance - one.score))
    return Leaks(findings, equal, left_out, len(frame))


def _kinds(frame: pd.DataFrame, facts: FileFacts) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """The tables to look at by kind, and the kinds in which all rows are alike."""
    varying = {kind: facts.varying(kind) for kind in KINDS}
    kinds = {kind: facts.table[names] for kind, names in varying.items() if names}
    files = [kind for kind in ("bytes", "dimensions", "format", "exif") if kind in kinds]
    if len(files) > 1:
        kinds["files"] = pd.concat([kinds[kind] for kind in files], axis=1)
    metadata = metadata_table(frame, metadata_columns(frame)[:MOST_COLUMNS])
    if "group" in frame.columns:
        sizes = frame.groupby("group")["row_id"].transform("size").to_numpy(dtype=np.float64)
        metadata["rows of its group"] = sizes
    metadata = metadata.loc[:, [metadata[name].nunique(dropna=False) > 1 for name in metadata.columns]]
    if len(metadata.columns):
        kinds["metadata"] = metadata
    return kinds, [kind for kind, names in varying.items() if not names]


def metadata_table(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Columns of text as a probe takes them: numbers where every cell that is not missing is one, else words."""
    parts = dict[str, "pd.Series[str] | pd.Series[float]"]()
    for name in columns:
        cells, missing = frame[name], is_missing(frame[name])
        values = numbers(cells[~missing])
        if len(values) and np.isfinite(values).all():
            filled = np.full(len(cells), np.nan)
            filled[~missing.to_numpy(dtype=bool)] = values
            parts[name] = pd.Series(filled)
        else:
            parts[name] = cells.str.strip().mask(missing, "").reset_index(drop=True)
    return pd.DataFrame(parts, index=range(len(frame)))


def _asked(block: Block, truth: Floats, outputs: Sequence[str]) -> tuple[Truth | None, list[str]]:
    """What is asked of one target, in a form that is quickly answered: rare classes become one."""
    names, values, at = block.outputs(outputs), block.truth(truth), f" of {block.name}" if block.name else ""
    if block.task.soft:
        values = values.argmax(axis=1).astype(np.float64)
    if values.ndim == 1:
        return _asked_class(block, values, names, at)
    enough = np.ptp(values, axis=0) > 0
    if block.task.label_sets:
        enough &= np.minimum(values.sum(axis=0), (1 - values).sum(axis=0)) >= FEWEST_OF_A_CLASS
    rank = -values.sum(axis=0) if block.task.label_sets else np.zeros(len(enough))
    chosen = np.sort(np.lexsort((np.arange(len(enough)), rank, ~enough))[: min(MOST_OUTPUTS, int(enough.sum()))])
    what = "labels" if block.task.label_sets else "numbers"
    said = (
        [f"{len(chosen)} of {len(names)} {what}{at} were looked at: the most frequent"]
        if len(chosen) < len(names)
        else []
    )
    if len(chosen) == 0:
        return None, [f"no {what[:-1]}{at} has rows enough of both kinds for a leak probe"]
    kind: Literal["set", "number"] = "set" if block.task.label_sets else "number"
    return Truth(block.name, kind, values[:, chosen], [names[i] or "the target" for i in chosen]), said


def _asked_class(block: Block, values: Floats, names: Sequence[str], at: str) -> tuple[Truth | None, list[str]]:
    counts = np.bincount(values.astype(np.int64), minlength=len(names))
    order = np.lexsort((np.arange(len(names)), -counts))
    kept = np.sort(order[: MOST_OUTPUTS if (counts > 0).sum() > MOST_OUTPUTS + 1 else MOST_OUTPUTS + 1])
    kept = kept[counts[kept] >= FEWEST_OF_A_CLASS]
    rest = int(counts.sum() - counts[kept].sum())
    place = np.full(len(names), len(kept), dtype=np.int64)
    place[kept] = np.arange(len(kept))
    words = [names[i] for i in kept]
    said = []
    rarer = int((counts > 0).sum()) - len(kept)
    text = f"{counted(rarer, 'rarer classes')}{at} ({counted(rest, 'rows')})"
    if rest >= FEWEST_OF_A_CLASS:
        words.append("all others")
        said = [f"{text}: taken as one"]
    elif rest:
        said = [f"{text}: not looked at, since {FEWEST_OF_A_CLASS} rows are needed"]
    if (
        len(words) < 2
        or min(counts[kept].max(initial=0), len(values) - counts[kept].max(initial=0)) < FEWEST_OF_A_CLASS
    ):
        return None, [f"no two classes{at} have {FEWEST_OF_A_CLASS} rows each, as a leak probe needs"]
    codes = place[values.astype(np.int64)]
    rows = np.flatnonzero(codes < len(words))
    return Truth(block.name, "class", codes[rows].astype(np.float64), words, rows), said


def _predict(columns: Columns, asked: Truth, fold: Indices) -> OutOfFold:
    """[rows, outputs] out of fold; labels and numbers one by one."""
    if asked.kind == "class":
        return out_of_fold(columns, asked.values, len(asked.names), fold, balanced=True)
    classes = 2 if asked.kind == "set" else 0
    parts = [out_of_fold(columns, values, classes, fold, balanced=True) for values in asked.values.T]
    return OutOfFold(
        np.stack([part.predicted[:, -1] for part in parts], axis=1),
        lambda values: np.stack([part.again(values)[:, -1] for part in parts], axis=1),
    )


def _probe(kind: str, columns: Columns, asked: Truth, fold: Indices, units: Indices) -> Finding:
    prediction = _predict(columns, asked, fold)
    name: Metric = "Spearman" if asked.kind == "number" else "AUC"
    metric_name = name.lower()
    score = asked.score(metric_name, prediction.predicted)
    by_output = asked.by_output(metric_name, prediction.predicted)
    low, high = _interval(metric_name, asked.values, prediction.predicted, asked.task, units)
    grade = _grade(name, score, low)
    best = max(by_output, key=lambda one: by_output[one])
    if grade != "suspected" and len(by_output) > 2 and by_output[best] >= ONE_OUTPUT[name]:
        task = TASKS["regression" if name == "Spearman" else "binary"]
        least, _ = _interval(metric_name, *asked.only(best, prediction.predicted), task, units)
        grade = "suspected" if _is_above(name, by_output[best], least, WIDTHS["one output"]) else grade
    carriers = leak_words.carriers(columns, asked, prediction, metric_name) if grade != "none" else []
    second_name, second = ("R²", "r2") if name == "Spearman" else ("balanced accuracy", "balanced_accuracy")
    title, text = leak_words.said(kind, NATURES[kind], grade, asked, name, score, by_output, carriers)
    return Finding(
        name=kind, target=asked.target, grade=grade, nature=NATURES[kind], metric=name, score=score, low=low, high=high,
        chance=CHANCE[name], second_name=second_name,
        second=asked.score(second, prediction.predicted) if asked.kind != "set" else float("nan"),
        facts=columns.names, carriers=carriers, by_output=by_output, title=title, text=text,
    )  # fmt: skip


def _interval(metric: str, truth: Floats, predicted: Floats, task: Task, units: Indices) -> tuple[float, float]:
    low, high, _ = score_interval(
        metric_for(metric, task), truth, predicted, task=task, clusters=units, resamples=RESAMPLES
    )
    chance = 0.0 if metric == "spearman" else 0.5
    return (low, high) if np.isfinite(low) else (chance, chance)


def _grade(metric: Metric, score: float, low: float) -> Grade:
    """How grave a score is; a score that chance explains is none."""
    if score >= SUSPECTED[metric] and _is_above(metric, score, low, WIDTHS["suspected"]):
        return "suspected"
    return "weak" if score >= WEAK[metric] and _is_above(metric, score, low, WIDTHS["weak"]) else "none"


def _is_above(metric: Metric, score: float, low: float, widths: float) -> bool:
    """Whether a score is so many half widths of its interval above chance."""
    return score - widths * (score - low) > CHANCE[metric]
