"""A competition with predictions that nobody trained: generated folds, test rows, a sample and a run, at any size."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from foldline.core.competition import Competition, load_competition
from foldline.core.csv_blocks import rows_at_a_time, write_csv_blocks
from foldline.core.folds import shaping
from foldline.core.paths import Layout
from foldline.core.prediction_blocks import PredictionWriter, blocks_of
from foldline.core.records.cv import Cv, CvHashes, Seconds
from foldline.core.records.folds_meta import FoldsMeta, MadeFrom
from foldline.core.tables import sha256_file, write_csv
from foldline.scoring.cv import cross_validation
from foldline.scoring.metrics import score

COMP, RUN, K = "made", "one", 5


def make(root: Path, rows: int, classes: int) -> Layout:
    """A project with `rows` training rows and as many test rows; two classes: the area under the curve, more: log loss.

    The interval in the run's `cv.json` is that of its first 10,000 rows; so are all scores where classes are more.
    """
    layout, outputs = Layout(root), [f"c{i:04d}" for i in range(classes)]
    facts: dict[str, Any] = {
        "source": {"kind": "folder", "name": "."}, "task": "binary" if classes == 2 else "multiclass",
        "metric": "auc" if classes == 2 else "log_loss", "classes": outputs,
        "train": {"file": "train.csv", "row_id": "id", "image": "{id}.png", "target": "label"},
        "test": {"file": "test.csv", "row_id": "id", "image": "{id}.png", "target": "label"},
        "submission": {
            "kind": "probability" if classes == 2 else "probabilities", "sample": "sample_submission.csv",
        },
    }  # fmt: skip
    config = layout.competition_config(COMP)
    config.parent.mkdir(parents=True)
    config.write_text(yaml.safe_dump(facts))
    _write_folds(layout, load_competition(layout, COMP), rows, outputs)
    (layout.input(COMP)).mkdir(parents=True)
    answers = ["label"] if classes == 2 else outputs
    with (layout.input(COMP) / "sample_submission.csv").open("wb") as handle:
        write_csv_blocks(handle, _sample(rows, answers))
    _write_run(layout, rows, outputs)
    return layout


def _write_folds(layout: Layout, facts: Competition, rows: int, outputs: list[str]) -> None:
    ids = [f"train_{i:07d}" for i in range(rows)]
    folds = {"row_id": ids, "image": [f"{i}.png" for i in ids], "target": _labels(rows, outputs)}
    write_csv(layout.folds(COMP), pd.DataFrame(folds | {"fold": np.arange(rows) % K}))
    test = [f"test_{i:07d}" for i in range(rows)]
    write_csv(layout.test_rows(COMP), pd.DataFrame({"row_id": test, "image": [f"{i}.png" for i in test]}))
    write_csv(layout.holdout_solution(COMP), pd.DataFrame({"row_id": test, "target": _labels(rows, outputs)}))
    FoldsMeta(
        comp=COMP, task=facts.task, k=K, seed=0, splitter="stratified", outputs=outputs, counts={}, rows=rows,
        test_rows=rows, sha256={"folds": sha256_file(layout.folds(COMP)), "test": sha256_file(layout.test_rows(COMP))},
        facts=shaping(facts), made_from=MadeFrom(manifest_sha256="", submission={}), checks=[],
    ).write(layout.folds_meta(COMP))  # fmt: skip


def _labels(rows: int, outputs: list[str]) -> NDArray[np.str_]:
    return np.array(outputs)[np.random.default_rng(1).integers(0, len(outputs), rows)]


def _sample(rows: int, answers: list[str]) -> Iterator[pd.DataFrame]:
    step = rows_at_a_time(len(answers))
    for start in range(0, rows, step):
        ids = pd.Series([f"test_{i:07d}" for i in range(start, min(rows, start + step))], dtype=str)
        cells = pd.Series(["0.001"] * len(ids), dtype=str)
        yield pd.DataFrame({"id": ids, **dict.fromkeys(answers, cells)})


def _write_run(layout: Layout, rows: int, outputs: list[str]) -> None:
    facts, folder = load_competition(layout, COMP), layout.run(COMP, RUN)
    labels, rng = _labels(rows, outputs), np.random.default_rng(2)
    codes = np.searchsorted(outputs, labels)
    heads: list[pd.DataFrame] = []
    every: list[NDArray[np.float32]] = []
    for file, name in (("oof.parquet", "train"), ("test.parquet", "test")):
        ids = pd.Series([f"{name}_{i:07d}" for i in range(rows)], dtype=str)
        with PredictionWriter.open(folder / file, facts.task, outputs, ids=ids) as writer:
            for place in blocks_of(rows, len(outputs)):
                values = rng.random((place.stop - place.start, len(outputs)), dtype=np.float32)
                values[np.arange(len(values)), codes[place]] += 0.3
                values /= values.sum(axis=1, keepdims=True)
                frame = pd.DataFrame({"row_id": ids[place].to_numpy(), "fold": np.arange(place.start, place.stop) % K})
                frame["target"] = labels[place]
                writer.write(frame if name == "train" else frame[["row_id"]], values)
                if name == "train" and len(outputs) == 2:
                    every.append(values)
                if name == "train" and place.start == 0:
                    known = pd.DataFrame(values[:10_000], columns=facts.task.prediction_columns(outputs))
                    heads.append(pd.concat([frame.iloc[:10_000], known], axis=1))
    scores = cross_validation(heads[0], facts, outputs)
    if every:
        truth, prob, folds = codes.astype(np.float64), np.concatenate(every).astype(np.float64), np.arange(rows) % K
        task = facts.task.of(outputs)
        parts = [np.ones(rows, dtype=bool), *(folds == k for k in range(K))]
        pooled, *per_fold = [score(facts.metric, truth[part], prob[part], task=task) for part in parts]
        scores |= {"pooled": pooled, "per_fold": per_fold}
    names = {"oof.parquet", "test.parquet"}
    Cv(
        comp=COMP, run=RUN, task=facts.task, outputs=outputs, views=["identity"], members=["made"], blend=None,
        sha256=CvHashes(folds=sha256_file(layout.folds(COMP))), optimistic=[], below_probe=[], seconds=Seconds(),
        device="none", files={name: sha256_file(folder / name) for name in names}, **scores,
    ).write(folder / "cv.json")  # fmt: skip
