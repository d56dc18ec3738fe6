"""Who is one entity: rows that have none, groups that hold more, one place for several, labels of extra rows."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from foldline.core.competition import Competition
from foldline.core.errors import FoldlineError
from foldline.core.folds import Folds
from foldline.core.run import Run
from foldline.core.task import TASKS
from foldline.engine.entities import named_apart, neighboured, require_entities, stacks_of, step_in_words
from foldline.images.stacks import Stacks

FACTS: dict[str, Any] = {
    "title": "scans", "source": {"kind": "folder", "name": "raw"}, "task": "binary", "metric": "auc",
    "classes": ["0", "1"], "holdout": {"fraction": 0.2},
    "train": {"file": "a.csv", "row_id": "id", "image": "id", "target": "t", "group": "g", "order": "o"},
}  # fmt: skip
NO_ROWS = pd.DataFrame(columns=["row_id", "image", "target"])


def facts(**folds: Any) -> Competition:
    return Competition.parse({**FACTS, "folds": folds}, where="competition.yaml")


def table(*rows: str) -> pd.DataFrame:
    """row_id, group, order, target; the picture is called as the row."""
    frame = pd.DataFrame([row.split(",") for row in rows], columns=["row_id", "group", "order", "target"])
    return frame.assign(image=frame["row_id"], fold=np.arange(len(frame)) * 2 // len(frame))


def folds_of(frame: pd.DataFrame, test: pd.DataFrame | None = None) -> Folds:
    task = TASKS["binary"].of(["0", "1"])
    test = frame[frame["row_id"] == ""] if test is None else test
    return Folds(frame, test.drop(columns=["target", "fold"]), ["0", "1"], task, 2, "")


def run_of(name: str = "gru", neighbours: int = 0, **more: Any) -> Run:
    options = {"by": "group", **more.pop("options", {})} if name != "none" else {}
    model = {"name": "cifar_cnn", "entity": {"name": name, "options": options}}
    return Run.model_validate({"model": model, "data": {"neighbours": neighbours}, **more})


def required(run: Run, frame: pd.DataFrame, extra: pd.DataFrame = NO_ROWS, **split: Any) -> None:
    truth = np.array(frame["target"].tolist(), dtype=np.float64)
    require_entities(run, facts(**split), folds_of(frame, frame), extra, truth)


def test_rows_of_no_entity_stand_alone_and_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """Else all of them would be one, with one answer: test rows, whose cells nobody split by, in silence."""
    frame = table("a,p,1,0", "b,p,2,0", "c,,1,1", "d,NA,2,0")
    run = run_of()
    assert stacks_of(frame, run).sizes.tolist() == [2, 1, 1]  # type: ignore[union-attr]
    assert stacks_of(named_apart(frame, run), run).sizes.tolist() == [2, 1, 1]  # type: ignore[union-attr]
    required(run, frame)
    said = capsys.readouterr().out
    assert "2 training rows have no 'group'" in said
    assert "2 test rows have no 'group'" in said
    between, _ = neighboured(folds_of(frame), NO_ROWS, run_of("none", neighbours=1), facts())
    assert between.frame["image"].tolist() == ["a|a|b", "a|b|b", "c|c|c", "d|d|d"]
    assert "2 training rows have no 'group'" in capsys.readouterr().out


@pytest.mark.parametrize("split", [{"group_duplicates": True}, {"splitter": "open_set", "k": 2}])
def test_groups_that_hold_more_than_entities_are_none(split: dict[str, Any]) -> None:
    frame = table("a,p,1,0", "b,p,2,0", "c,q,1,1", "d,q,2,1")
    with pytest.raises(FoldlineError, match="the folds' groups are no entities"):
        required(run_of("mean"), frame, **split)
    with pytest.raises(FoldlineError, match="the folds' groups are no entities"):
        neighboured(folds_of(frame), NO_ROWS, run_of("none", neighbours=1), facts(**split))


def test_one_place_for_several_pictures_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    frame = table("a,p,1,0", "b,p,1,0", "c,q,1,1", "d,q,2,1")
    required(run_of("mean"), frame)
    assert "one place" not in capsys.readouterr().out, "nobody reads it"
    required(run_of(), frame)
    words = "warning: 2 training rows have one place in the column order with others of their entity (p)"
    assert words in capsys.readouterr().out
    neighboured(folds_of(frame), NO_ROWS, run_of("none", neighbours=1), facts())
    assert words in capsys.readouterr().out


def test_extra_rows_have_one_label_an_entity_too() -> None:
    frame = table("a,p,1,0", "b,p,2,0", "c,q,1,1", "d,q,2,1")
    extra = table("x,r,1,0", "y,r,2,1").drop(columns="fold")
    with pytest.raises(FoldlineError, match=r"the target differs among the rows of an entity \(r\)"):
        required(run_of("mean"), frame, extra)
    required(run_of("mean"), frame, extra.assign(target="1"))


def test_rows_are_not_sampled_by_the_first_of_several_labels() -> None:
    frame = table("a,p,1,0", "b,p,2,1", "c,q,1,1", "d,q,2,1")
    own: dict[str, Any] = {"options": {"per_picture": "all"}}
    required(run_of("mean", **own), frame)
    with pytest.raises(FoldlineError, match="drawn by the label of their first picture"):
        required(run_of("mean", **own, sampling={"balance": 1}), frame)


def test_a_step_that_sees_very_many_pictures_is_said() -> None:
    stacks = Stacks.of([*"aab", *("c" * 500)], None)
    assert step_in_words(stacks, run_of("mean", options={"pictures": 4}), 2) == (
        "3 entities of 1 to 500 pictures; a step sees up to 2 x 4"
    )
    assert "3 x 500 = 1,500 pictures: model.entity.options.pictures" in step_in_words(stacks, run_of("mean"), 32)
