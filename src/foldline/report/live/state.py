"""What the live page shows of a run that is being trained: where it stands, each fold's log, pictures with predictions.

Reads `fold_<k>/log.csv`, `latest.parquet` or `valid.parquet`, `test.parquet`, the rows and the images; the held-out
labels only where that is asked for; what `standing` reads. Writes nothing.
"""

from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.competition import Competition, load_competition
from foldline.core.errors import FoldlineError
from foldline.core.folds import Folds, load_folds
from foldline.core.paths import Layout
from foldline.core.tables import read_csv, read_parquet
from foldline.core.task import Task
from foldline.images.files.decode import BadImageError, preview
from foldline.report.live.standing import clock, final_score, first_score, plan, standing
from foldline.report.look.formats import metric_title
from foldline.report.run.pictures import data_uri
from foldline.scoring.metrics import metric_for

SIDE_PX = 112


@dataclass(frozen=True)
class LiveRun:
    """One run as the live page sees it.

    Attributes:
        test: pictures are test rows with their held-out labels, not validation rows.
    """

    layout: Layout
    comp: str
    run: str
    facts: Competition
    folds: Folds
    test: bool

    @property
    def folder(self) -> Path:
        """`oof/<comp>/<run>/`, which may not exist yet."""
        return self.layout.run(self.comp, self.run)


def open_live(layout: Layout, comp: str, run: str, *, test: bool) -> LiveRun:
    """The run `run` of `comp`; its folder may come into being later.

    Raises:
        FoldlineError: the facts or the folds are not there, or nothing is called so.
    """
    if not (layout.run(comp, run).is_dir() or layout.run_file(comp, run).is_file()):
        raise FoldlineError(
            f"there is no run '{run}', and no file that one could be made of",
            where=layout.relative(layout.run(comp, run)),
            next="correct the name; a run that SET changes can be watched once its training has begun (NAME=...)",
        )
    return LiveRun(layout, comp, run, load_competition(layout, comp), load_folds(layout, comp), test)


def state(live: LiveRun) -> dict[str, Any]:
    """Where the run stands and the logs of all folds, as a JSON value; a number that is not defined is null."""
    folds: list[dict[str, Any]] = []
    for path in live.folder.glob("fold_*/log.csv"):
        log = read_csv(path)
        numbers = log.apply(pd.to_numeric, errors="coerce").astype(object)
        columns = numbers.where(numbers.notna(), None).to_dict("list")
        done = path.with_name("meta.json").is_file()
        folds.append({"fold": int(path.parent.name.removeprefix("fold_")), "log": columns, "done": done})
    folds.sort(key=itemgetter("fold"))
    metric = metric_for(live.facts.metric, live.folds.task)
    of = (live.layout, live.comp, live.run)
    wanted, epochs = plan(*of, live.folds.k)
    now = standing(*of, [one["fold"] for one in folds if one["done"]], wanted, bool(folds))
    return {
        "comp": live.comp, "run": live.run, "metric": live.facts.metric,
        "title": metric_title(live.facts.metric), "direction": metric.direction,
        "outputs": live.folds.outputs, "folds": folds, "wanted": wanted, "epochs": epochs,
        "kind": now.kind, "words": now.words, "can_pause": now.can_pause, "clock": clock(*of),
        "pausing": live.layout.pause(live.comp, live.run).is_file(),
        "first": first_score(*of), "final": final_score(*of),
        "titles": {name: metric_title(name) for name in metric_columns(folds)},
    }  # fmt: skip


def metric_columns(folds: list[dict[str, Any]]) -> list[str]:
    """The further metrics of the logs: `valid_<metric>`, but for the loss."""
    columns = folds[0]["log"] if folds else {}
    return [name.removeprefix("valid_") for name in columns if name.startswith("valid_") and name != "valid_loss"]


def newest_predictions(live: LiveRun, count: int, seed: int) -> list[dict[str, Any]]:
    """So many rows, drawn by `seed`: a picture, its true label, the newest prediction, and whether that is right.

    Returns:
        Fields row_id, image (a data URI), truth, predicted, prob (0..1 or null), right (null where it has no meaning).
    """
    table = _test_table(live) if live.test else _valid_table(live)
    if not len(table):
        return []
    chosen = np.random.default_rng(seed).permutation(len(table))[:count]
    return [_prediction(live, table.iloc[int(i)]) for i in chosen]


def _valid_table(live: LiveRun) -> pd.DataFrame:
    """The validation rows with the newest predictions of their networks."""
    parts = []
    for folder in sorted(live.folder.glob("fold_*")):
        paths = [folder / name for name in ("latest.parquet", "valid.parquet") if (folder / name).is_file()]
        if paths:
            parts.append(read_parquet(paths[0]))
    if not parts:
        return pd.DataFrame()
    keep = ["row_id", "image", *live.folds.task.target_columns(live.folds.outputs)]
    return pd.concat(parts).merge(live.folds.frame[keep], on="row_id")


def _test_table(live: LiveRun) -> pd.DataFrame:
    """The test rows with the run's predictions and their held-out labels."""
    path, solution = live.folder / "test.parquet", live.layout.holdout_solution(live.comp)
    if not (path.is_file() and solution.is_file()):
        return pd.DataFrame()
    rows = live.folds.test[["row_id", "image"]]
    labels = read_csv(solution)
    return read_parquet(path).merge(rows, on="row_id").merge(labels, on=labels.columns[0])


def _prediction(live: LiveRun, row: "pd.Series[Any]") -> dict[str, Any]:
    task, outputs = live.folds.task, live.folds.outputs
    values = row[task.prediction_columns(outputs)].to_numpy(dtype=np.float64)
    cells = row[task.target_columns(outputs)].tolist()
    parts = [
        _in_words(block.task, block.outputs(outputs), values[block.columns],
                  cells if block.target is None else [cells[block.target]])
        for block in task.blocks
    ]  # fmt: skip
    known = [part["right"] for part in parts if part["right"] is not None]
    return {
        "row_id": row["row_id"], "image": _image(live, row["image"]),
        **{name: ", ".join(part[name] for part in parts) for name in ("truth", "predicted")},
        "prob": parts[0]["prob"] if len(parts) == 1 else None, "right": all(known) if known else None,
    }  # fmt: skip


def _in_words(task: Task, outputs: list[str], values: NDArray[np.float64], cells: list[str]) -> dict[str, Any]:
    """The label and the prediction of one target, the probability of the class, and whether it is right."""
    if task.single_label:
        best = int(values.argmax())
        right = bool(cells[0] == outputs[best])
        return {"truth": cells[0], "predicted": outputs[best], "prob": float(values[best]), "right": right}
    truths = np.array(cells, dtype=np.float64)
    if task.label_sets:
        predicted, true = ({name for name, v in zip(outputs, x, strict=True) if v >= 0.5} for x in (values, truths))
        words = [", ".join(sorted(names)) or "no label" for names in (true, predicted)]
        return {"truth": words[0], "predicted": words[1], "prob": None, "right": predicted == true}
    words = [", ".join(f"{number:.3g}" for number in numbers) for numbers in (truths, values)]
    return {"truth": words[0], "predicted": words[1], "prob": None, "right": None}


def _image(live: LiveRun, image: str) -> str:
    """A data URI of the first of the row's files; empty where it cannot be read."""
    try:
        pixels = preview(live.layout.input(live.comp) / image.split("|", maxsplit=1)[0])
    except (BadImageError, FoldlineError):  # FoldlineError: no package here reads this kind
        return ""
    return data_uri(pixels, SIDE_PX)
