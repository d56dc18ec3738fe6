"""What every split must hold, and what a person should know about it.

Reads tables in memory; writes nothing. Broken folds raise; findings are returned as lines of text.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.cells import MISSING, alike_but_for_case, is_missing, numbers, plains
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.folds import require_sound
from foldline.core.records.manifest import RawHashes
from foldline.core.task import Task
from foldline.splits.shuffle import Indices
from foldline.splits.strata import Floats, class_matrix

SHOWN = 12  # classes whose rows are printed
LARGE_GROUP = 0.5  # of a fold's share of the rows: from here on one group decides what its fold looks like


def check_folds(
    frame: pd.DataFrame,
    test: pd.DataFrame,
    task: Task,
    outputs: Sequence[str],
    k: int,
    *,
    where: str,
    hashes: Mapping[str, str],
    held_out: bool = False,
    allow_missing_class: bool = False,
    open_set: bool = False,
) -> list[str]:
    """The findings about a split, in plain words.

    Args:
        frame: the training rows with an int column `fold`.
        test: the test rows.
        task, outputs: what the target columns mean.
        k: the number of folds.
        where: the file, for errors.
        hashes: the sha256 of each image file, by its path below `input/<comp>`; files not named are taken by path.
        held_out: the test rows were drawn from the same table, so they must share no id and no group.
        allow_missing_class: report a class that a fold lacks, instead of raising.
        open_set: some classes shall lie in one fold alone.

    Raises:
        FoldlineError: an id twice, a group in two folds or on both sides of a holdout, an empty fold, a broken label,
            or a fold without a class that k rows or more (k groups, where there are groups) have.
    """
    require_sound(frame, k, where=where)
    shared = _shared_with_test(frame, test, held_out, where)
    truth = task.truth(frame, outputs, where=where)
    findings = [_sizes(frame, k)]
    for block in task.of(outputs).blocks:
        names, labels = list(outputs[block.columns]), block.truth(truth)
        if not block.task.has_classes:
            names = [block.name] if block.name else names
            findings += _values(labels.reshape(len(frame), -1), names, frame["fold"].to_numpy(), k)
            continue
        counts = _counts(labels, block.task, len(names), frame, k)
        units = _units_per_class(frame, labels, block.task, len(names))
        kind = "groups" if "group" in frame.columns else "rows"
        findings += _missing_classes(
            counts, units, names, kind=kind, soft=block.task.soft, allow=allow_missing_class, where=where
        )
        findings += _unseen_classes(counts, names, wanted=open_set) + _balance(counts, frame, names)
        findings += _name_findings(counts, names, block.outputs(outputs))
    findings += _group_findings(frame, k) + shared + _metadata_findings(frame, test)
    return findings + duplicate_findings(frame, test, task.target_columns(outputs), hashes)


def class_counts(frame: pd.DataFrame, task: Task, outputs: Sequence[str], k: int, *, where: str) -> Indices:
    """[k, classes] the rows of each class (`Task.classes`) in each fold; a soft label counts for its largest class."""
    truth = task.truth(frame, outputs, where=where)
    parts = [
        _counts(block.truth(truth), block.task, len(outputs[block.columns]), frame, k)
        for block in task.of(outputs).blocks
    ]
    return np.concatenate(parts, axis=1)


def _counts(truth: Floats, task: Task, classes: int, frame: pd.DataFrame, k: int) -> Indices:
    """[k, classes] of one target; [k, 0] of numbers."""
    held, fold = class_matrix(truth, task, classes), frame["fold"].to_numpy()
    return np.stack([np.asarray(held[fold == i].sum(axis=0)).reshape(-1) for i in range(k)]).astype(np.int64)


def _units_per_class(frame: pd.DataFrame, truth: Floats, task: Task, classes: int) -> Indices:
    """[classes] the groups that hold each class, or its rows where there are no groups."""
    held = class_matrix(truth, task, classes).tocoo()
    held_rows, held_columns = held.row[held.data > 0], held.col[held.data > 0]
    unit = pd.factorize(frame["group"] if "group" in frame.columns else frame["row_id"])[0].astype(np.int64)
    pairs = pd.unique(unit[held_rows] * classes + held_columns)
    return np.bincount(pairs % classes, minlength=classes)


def _shared_with_test(frame: pd.DataFrame, test: pd.DataFrame, held_out: bool, where: str) -> list[str]:
    """Ids and groups on both sides. A holdout must share none; given test rows may repeat names by chance."""
    findings = []
    for name in ("row_id", "group"):
        if name not in frame.columns or name not in test.columns:
            continue
        cells = (table[name].unique().tolist() for table in (frame, test))
        one, other = (every if name == "row_id" else plains(every) for every in cells)
        tested = set(other) - MISSING
        shared = sorted({cell for cell in one if cell in tested})
        text = f"{counted(len(shared), f'values of {name} are')} in both training and test rows: {first_few(shared)}"
        if shared and held_out:
            raise FoldlineError(text, where=where, next="this is a fault of the split: please report it")
        findings += [text] if shared else []
    return findings


def _sizes(frame: pd.DataFrame, k: int) -> str:
    sizes = np.bincount(frame["fold"], minlength=k)
    return f"{counted(len(frame), 'rows')} in {counted(k, 'folds')} of {sizes.min()} to {counted(sizes.max(), 'rows')}"


def _missing_classes(
    counts: Indices, units: Indices, outputs: Sequence[str], *, kind: str, soft: bool, allow: bool, where: str
) -> list[str]:
    findings, k = [], len(counts)
    none = [outputs[i] for i in np.flatnonzero(counts.sum(axis=0) == 0).tolist()]
    if none:
        lack = "are the largest share of no training row" if soft else "have no training rows at all"
        findings.append(f"{counted(len(none), f'classes {lack}')}: {first_few(none)}")
    rare = [f"{outputs[i]} ({units[i]})" for i in np.argsort(units, kind="stable").tolist() if 0 < units[i] < k]
    if rare:
        findings.append(
            f"{counted(len(rare), 'classes have')} fewer {kind} than folds, so some folds lack them: {first_few(rare)}"
        )
    lacking = [(fold, i) for fold, i in np.argwhere(counts == 0).tolist() if units[i] >= k]
    if lacking:
        text = first_few([f"fold {fold} lacks '{outputs[i]}' ({units[i]} {kind})" for fold, i in lacking])
        if not allow:
            raise FoldlineError(
                f"folds lack classes that have {k} {kind} or more: {text}",
                where=where,
                next="set folds.splitter: auto, or fewer folds; to accept it: folds.allow_missing_class: true",
            )
        findings.append(f"accepted by folds.allow_missing_class: {text}")
    return findings


def _unseen_classes(counts: Indices, outputs: Sequence[str], *, wanted: bool) -> list[str]:
    """The classes whose rows are all in one fold: its network is judged by what it never saw.

    Args:
        wanted: they are so by the facts, which is nothing to warn of.
    """
    alone = [
        f"'{outputs[i]}' in fold {fold} ({counted(counts[fold, i], 'rows')})"
        for fold, i in np.argwhere((counts > 0) & (counts == counts.sum(axis=0))).tolist()
    ]
    text = f"{counted(len(alone), 'classes are')} in one fold alone, whose network never sees them: {first_few(alone)}"
    text = text if wanted else f"warning: {text}"
    return [text] if alone and len(counts) > 1 else []


def _balance(counts: Indices, frame: pd.DataFrame, outputs: Sequence[str]) -> list[str]:
    """The smallest class, and the class whose share differs most between folds."""
    share = counts / np.bincount(frame["fold"], minlength=len(counts))[:, None]
    spread = share.max(axis=0) - share.min(axis=0)
    worst, total = int(spread.argmax()), counts.sum(axis=0)
    least = int(np.where(total > 0, total, total.max() + 1).argmin())
    low, high = 100 * share[:, worst].min(), 100 * share[:, worst].max()
    return [
        f"smallest class: '{outputs[least]}' with {counted(total[least], 'rows')}",
        f"most uneven class: '{outputs[worst]}', {low:.2f} % to {high:.2f} % of a fold's rows",
    ]


def _name_findings(counts: Indices, names: Sequence[str], words: Sequence[str]) -> list[str]:
    """How many rows each class has; names that hardly mean two classes, or none; `words`: without the target."""
    rows = dict(zip(names, counts.sum(axis=0).tolist(), strict=True))
    listed = [f"{name} {n}" for name, n in sorted(rows.items(), key=lambda item: -item[1])]
    shown = listed if len(listed) <= SHOWN else [*listed[: SHOWN // 2], "...", *listed[-SHOWN // 2 :]]
    more = "" if len(listed) <= SHOWN else " (all: `counts` of the JSON beside the folds)"
    findings = [f"rows of the {len(listed)} classes: {', '.join(shown)}{more}"]
    findings += [
        f"warning: classes differ in spelling alone: {_counted(family, rows)}; join them with train.target.names"
        for family in alike_but_for_case(names)
    ]
    return findings + [
        f"warning: '{name}' ({counted(n, 'rows')}) is a class, and a word for a missing label; train.without "
        "leaves such rows out"
        for (name, n), word in zip(rows.items(), words, strict=True)
        if word.strip().lower() in MISSING
    ]


def _counted(names: Sequence[str], rows: Mapping[str, int]) -> str:
    return " and ".join(f"'{name}' ({counted(rows[name], 'rows')})" for name in names)


def _values(truth: Floats, outputs: Sequence[str], fold: NDArray[np.int64], k: int) -> list[str]:
    parts = [truth[fold == i] for i in range(k)]
    means = np.stack([part.mean(axis=0) for part in parts])
    findings = [
        f"mean of {name or 'the target'}: {means[:, i].min():.4g} to {means[:, i].max():.4g} over the folds "
        f"(standard deviation of the rows {truth[:, i].std():.4g})"
        for i, name in enumerate(outputs)
    ]
    for i, name in enumerate(outputs):
        equal = [str(place) for place, part in enumerate(parts) if np.ptp(part[:, i]) == 0]
        rows = "all rows" if np.ptp(truth[:, i]) == 0 else f"all rows of fold {first_few(equal)}"
        if equal and (len(truth) > k or rows == "all rows"):
            findings.append(
                f"warning: {name or 'the target'} is one number in {rows}: scores there say nothing "
                "(correlations are undefined, r2 is 1 or 0)"
            )
    return findings


def _group_findings(frame: pd.DataFrame, k: int) -> list[str]:
    if "group" not in frame.columns:
        return []
    sizes = frame["group"].value_counts()
    rows: dict[str, int] = dict(zip(sizes.index.tolist(), sizes.tolist(), strict=True))
    findings = [f"{counted(len(sizes), 'groups')}; the largest has {counted(sizes.iloc[0], 'rows')}"]
    twins = [_counted(names, rows) for names in alike_but_for_case(rows)]
    if twins:
        findings.append(f"warning: groups differ in case alone, and may be torn: {first_few(twins, 3)}")
    if sizes.iloc[0] > LARGE_GROUP * len(frame) / k:
        findings.append(f"group '{sizes.index[0]}' alone is {sizes.iloc[0] * k / len(frame):.0%} of an average fold")
    return findings


def _metadata_findings(frame: pd.DataFrame, test: pd.DataFrame) -> list[str]:
    """Metadata columns of numbers that a few other words make columns of words; cells that are missing."""
    own = {"row_id", "image", "target", "group", "entity", "fold"}
    findings = []
    for name in (name for name in frame.columns if name not in own and not name.startswith("target_")):
        known = frame.loc[~is_missing(frame[name]), name]
        odd = known[~np.isfinite(numbers(known))]
        if 0 < len(odd) < len(known) / 2:
            findings.append(
                f"warning: {counted(len(known) - len(odd), 'cells')} of '{name}' are numbers and {len(odd)} are none "
                f"({first_few(odd.unique().tolist(), 3)}), so a network reads all as words"
            )
        findings += _missing_cells(name, frame, test)
    return findings


def _missing_cells(name: str, frame: pd.DataFrame, test: pd.DataFrame) -> list[str]:
    """How many cells of a metadata column are missing, where some are."""
    lines = []
    for table, rows in ((frame, "training"), (test, "test")):
        count = int(is_missing(table[name]).sum()) if name in table.columns else 0
        if count:
            lines.append(f"{count} of {len(table)} cells of '{name}' are missing in the {rows} rows")
    if len(lines) == 1 and lines[0].endswith("test rows"):
        return [f"warning: {lines[0]}, and none in the training rows: a network takes their mean there, or no word"]
    return lines


def duplicate_findings(
    frame: pd.DataFrame, test: pd.DataFrame, targets: Sequence[str], hashes: Mapping[str, str]
) -> list[str]:
    """What byte-identical images tell: in two folds, with different labels, in training and test rows."""
    cells, images = frame["image"].tolist(), test["image"].tolist()
    if _all_differ([*cells, *images], hashes):
        return []
    held = contents(cells, hashes)
    known, twice = set(held), pd.Series(held).duplicated(keep=False)
    same = [held[row] for row in np.flatnonzero(twice).tolist()]
    repeated = frame[np.asarray(twice)].assign(content=same).groupby("content", sort=True)
    torn = repeated["fold"].nunique() > 1
    first_image = repeated["image"].first()
    findings = []
    if torn.any():
        findings.append(
            f"warning: {counted(int(torn.sum()), 'images occur')} byte for byte in two folds "
            f"({first_few(first_image[torn].tolist(), 3)}): the score will be too good; "
            "set folds.group_duplicates: true"
        )
    disagree = (repeated[list(targets)].nunique() > 1).any(axis=1)
    if disagree.any():
        findings.append(
            f"warning: {counted(int(disagree.sum()), 'images occur')} twice with different labels: "
            f"{first_few(first_image[disagree].tolist(), 3)}"
        )
    both = [image for image, name in zip(images, contents(images, hashes), strict=True) if name in known]
    if both:
        findings.append(
            f"warning: {counted(len(both), 'test images are')} byte for byte training images: {first_few(both, 3)}"
        )
    return findings


def _all_differ(images: Sequence[str], hashes: Mapping[str, str]) -> bool:
    """Whether no two image cells hold the same, as is seen at once where no two files do."""
    if "|" in "".join(images) or len(set(images)) < len(images):
        return False
    return hashes.all_differ() if isinstance(hashes, RawHashes) else len(set(hashes.values())) == len(hashes)


def contents(images: Iterable[str], hashes: Mapping[str, str]) -> list[str]:
    """What each image cell holds: the sha256 of its files; the path of a file that has none."""
    return [
        "|".join(hashes.get(file, file) for file in image.split("|")) if "|" in image else hashes.get(image, image)
        for image in images
    ]
