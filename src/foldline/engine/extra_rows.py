"""Rows that are trained on and never validated on: further pictures with labels, and pseudo-labelled test rows.

Reads the CSV files that `extra.rows` names, and `fold_<k>/test.parquet` of the run that `extra.pseudo` names.
Pseudo-labels for fold k come from that run's model k alone, which saw none of fold k's rows.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.choices import Pseudo
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.folds import Folds
from foldline.core.paths import Layout, manifest_of
from foldline.core.predictions import read_predictions
from foldline.core.progress import say
from foldline.core.provenance import fold_of, refuse_diverged
from foldline.core.records.cv import Cv
from foldline.core.records.manifest import Manifest
from foldline.core.records.same import require_same
from foldline.core.records.seal import Seal
from foldline.core.run import Extra
from foldline.core.tables import (
    content_key,
    read_csv,
    require_file,
    require_unique,
    sha256_json,
    write_csv,
)
from foldline.core.task import Task, hot_truth
from foldline.images.stacks import middle
from foldline.splits.duplicates import MAX_DISTANCE, image_hashes, near_pairs

OR_GROUP = " (by picture or group)"


def listed_rows(layout: Layout, folds: Folds, extra: Extra) -> pd.DataFrame:
    """The rows of the files in `extra.rows`: row_id, image, the target columns, and what else they have.

    Raises:
        FoldlineError: a file is missing, has a `fold` column, an id twice or one that the folds have, or a label
            that is none.
    """
    targets = folds.task.target_columns(folds.outputs)
    tables = []
    for name in extra.rows:
        path = layout.root / name
        require_file(path, next="mend extra.rows in the run's file")
        table = read_csv(path, required=("row_id", "image", *targets))
        if "fold" in table.columns:
            raise FoldlineError(
                "has a column 'fold', and extra rows are never validated on",
                where=name,
                next="remove this column; rows that shall be validated belong into the competition's own table",
            )
        tables.append(table)
    if not tables:
        return pd.DataFrame(columns=["row_id", "image", *targets])
    frame = pd.concat(tables, ignore_index=True)
    where = f"extra.rows: {', '.join(extra.rows)}"
    require_unique(frame["row_id"], where=where)
    known = set(folds.frame["row_id"]) | set(folds.test["row_id"])
    twice = [name for name in frame["row_id"] if name in known]
    if twice:
        raise FoldlineError(
            f"{counted(len(twice), 'ids are')} training or test rows already: {first_few(twice)}", where=where
        )
    folds.task.truth(frame, folds.outputs, where=where)
    return frame


def pseudo_rows(layout: Layout, comp: str, folds: Folds, pseudo: Pseudo, fold: int) -> pd.DataFrame:
    """Test rows with the labels that the run's model of this fold gives them, where it is sure enough; and what it says
    of them, in the columns of predictions.

    Raises:
        FoldlineError: as `require_pseudo`.
    """
    folder = require_pseudo(layout, comp, folds, pseudo, fold)
    table = read_predictions(folder / "test.parquet", folds.task, folds.outputs, ids=folds.test["row_id"])
    columns = folds.task.prediction_columns(folds.outputs)
    values = table[columns].to_numpy(dtype=np.float64)
    sure = np.ones(len(values), dtype=bool)
    for block in folds.task.blocks:
        sure &= sure_rows(block.task, values[:, block.columns], pseudo.options["least"], pseudo.options["share"])
    frame = _labelled(folds, folds.test.reset_index(drop=True), values)
    frame = pd.concat([frame, table[columns].reset_index(drop=True)], axis=1)[sure].reset_index(drop=True)
    each = ""
    if folds.task.single_label:
        counts = frame["target"].value_counts().reindex(folds.outputs, fill_value=0)
        each = f": {first_few([f'{name} {count}' for name, count in counts.items()], 10)}"
    say(f"  fold {fold}: {len(frame)} of {len(values)} test rows get labels from {pseudo.name}'s model {fold}{each}")
    if frame.empty:
        say(f"warning: fold {fold} trains as without pseudo-labels: no test row is sure (least, share)")
    return frame


def sure_rows(task: Task, prob: NDArray[np.float64], least: float, share: float) -> NDArray[np.bool_]:
    """[rows] whether predictions are sure enough to be labels: from `least` on, and of each class, by the likeliest
    one, the surest `share` of its rows (a threshold a class, Zou et al. 2018, https://arxiv.org/abs/1810.07911), so
    that a class of which a network is never sure gives rows, too. Numbers and shares of classes always are.

    >>> from foldline.core.task import TASKS
    >>> sure_rows(TASKS["binary"], np.array([[0.95, 0.05], [0.8, 0.2], [0.4, 0.6], [0.45, 0.55]]), 0.9, 0.5).tolist()
    [True, False, True, False]
    """
    if task.single_label:
        certainty, group = prob.max(axis=1), prob.argmax(axis=1)
    elif task.label_sets:  # each label must be nearly sure, present or absent
        certainty, group = np.maximum(prob, 1 - prob).min(axis=1, initial=1.0), np.zeros(len(prob), dtype=np.intp)
    else:
        return np.ones(len(prob), dtype=bool)
    sure = certainty >= least
    for one in np.unique(group):
        rows = np.flatnonzero(group == one)
        order = rows[np.argsort(-certainty[rows], kind="stable")]
        sure[order[: int(np.ceil(share * len(rows)))]] = True
    return np.asarray(sure)


def soft_labels(folds: Folds, rows: pd.DataFrame, soft: float) -> NDArray[np.float32]:
    """[rows, outputs] targets of pseudo-labelled rows: the predictions mixed with what stands as label.

    Args:
        rows: as `pseudo_rows` gives them.
        soft: the predictions' part, 0 to 1.
    """
    truth = folds.task.truth(rows, folds.outputs, where="pseudo-labels")
    hard = hot_truth(truth, folds.task, len(folds.outputs))
    values = rows[folds.task.prediction_columns(folds.outputs)].to_numpy(dtype=np.float32)
    return np.asarray(soft * values + (1 - soft) * hard, dtype=np.float32)


def require_pseudo(layout: Layout, comp: str, folds: Folds, pseudo: Pseudo, fold: int) -> Path:
    """The folder of the fold whose model labels the test rows.

    Raises:
        FoldlineError: that run has not predicted the test rows with its present weights, was made on other folds, or
            diverged.
    """
    folder = layout.fold(comp, pseudo.name, fold)
    predict = f"make predict COMP={comp} RUN={pseudo.name}"
    meta = fold_of(layout, comp, pseudo.name, fold, "extra.pseudo")
    require_file(folder / "test.parquet", next=predict)
    require_same(meta, folds=folds.sha256, where="extra.pseudo")
    refuse_diverged(layout, meta, "extra.pseudo")
    cv = Cv.read_if_there(layout.run(comp, pseudo.name) / "cv.json")
    if cv is None or meta.sha256.weights not in cv.sha256.weights:
        raise FoldlineError(
            f"the test predictions of '{pseudo.name}' are not by its present weights of fold {fold}",
            where="extra.pseudo",
            next=predict,
        )
    cv.require_files(folder.parent, f"{folder.name}/test.parquet")
    return folder


def _labelled(folds: Folds, rows: pd.DataFrame, values: NDArray[np.float64]) -> pd.DataFrame:
    """The rows with predictions as labels: the likeliest class, labels from 0.5 on, or the numbers."""
    cells: list[list[str]] = []
    for block in folds.task.blocks:
        part = values[:, block.columns]
        if block.task.single_label:
            classes = block.outputs(folds.outputs)
            cells.append([classes[i] for i in part.argmax(axis=1)])
        else:
            labels = (part >= 0.5).astype(int) if block.task.label_sets else part
            cells += labels.T.astype(str).tolist()
    return rows.assign(**dict(zip(folds.task.target_columns(folds.outputs), cells, strict=True)))


def like_predicted(
    layout: Layout,
    comp: str,
    folds: Folds,
    rows: pd.DataFrame,
    valid: NDArray[np.int64],
    neighbours: int,
    *,
    test: bool,
) -> NDArray[np.bool_]:
    """[rows] whether a row's picture looks like one that is predicted; of rows with a `group` (`test`: extra rows)
    also whether a validation row is of that group, where the folds keep groups whole.

    Args:
        valid: the validation rows.
        neighbours: between how many others each picture stands (`data.neighbours`).
        test: the test rows' pictures count too.
    """
    images, tested, own = (
        part["image"].map(lambda image: middle(image, neighbours)) for part in (folds.frame, folds.test, rows)
    )
    others = images.tolist() + (tested.tolist() if test else [])
    alike = lookalikes(layout.input(comp), layout.cache(comp), own.tolist(), others)
    forbidden = set(images.iloc[valid]) | (set(tested) if test else set())
    bad = own.map(lambda image: bool(alike[image] & forbidden)).to_numpy(dtype=bool)
    if test and "group" in rows.columns and "group" in folds.frame.columns:
        bad = bad | rows["group"].isin(set(folds.frame["group"].iloc[valid])).to_numpy(dtype=bool)
    return np.asarray(bad)


def lookalikes(root: Path, cache: Path, left: list[str], right: list[str]) -> dict[str, set[str]]:
    """For each picture of `left` the pictures of `right` that look the same (perceptual hash), itself too.

    Args:
        root: `input/<comp>`, below which the pictures lie; of stacked files the first one is looked at.
        cache: where the found pairs are kept.
    """
    names = sorted(set(left) | set(right))
    manifest = Manifest.read_if_there(manifest_of(root))
    contents = [content_key(root, _first(name), manifest.hashes if manifest else {}) for name in names]
    path = cache / f"lookalikes-{sha256_json([sorted(set(left)), sorted(set(right)), contents])[:16]}.csv"
    if Seal.of(path) is None:
        places, hashes = image_hashes([root / _first(name) for name in names])
        first, second = set(left), set(right)
        pairs = {
            (names[places[a]], names[places[b]])
            for pairs in near_pairs(hashes, MAX_DISTANCE)
            for one, other in pairs.T.tolist()
            for a, b in ((one, other), (other, one))
            if names[places[a]] in first and names[places[b]] in second
        }
        write_csv(path, pd.DataFrame(sorted(pairs), columns=["left", "right"]))
        Seal.put(path)
    result: dict[str, set[str]] = {name: {name} & set(right) for name in left}
    for a, b in read_csv(path).itertuples(index=False):
        result[a].add(b)
    return result


def _first(image: str) -> str:
    """The first file of a stacked picture."""
    return image.partition("|")[0]
