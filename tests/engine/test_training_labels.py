"""Which labels training takes: a person's file, or without what networks suspect that saw no row of the fold."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from foldline.core.errors import FoldlineError
from foldline.core.label_file import label_column, read_labels
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.run import Run
from foldline.core.run_folder import run_sha256
from foldline.core.tables import read_csv, read_parquet, sha256_files, write_csv, write_parquet
from foldline.core.task import TASKS, task_from
from foldline.engine.machine.device import pick_device
from foldline.engine.problem import Problem, open_problem
from foldline.engine.row_arrays import RowArrays
from tiny import TinyProject

BASE = "train.epochs=1 augment.recipe=none"


@pytest.fixture
def ready(project: TinyProject) -> TinyProject:
    project.prepare()
    return project


def problem(project: TinyProject, **train: object) -> Problem:
    run = Run.parse({"data": {"image_size": 32, "channels": 1}, "train": train}, where="")
    return open_problem(project.layout, "tiny", run, pick_device("cpu"))


def named(rows: RowArrays) -> list[str]:
    return rows.names(np.arange(len(rows)))


def write_labels(project: TinyProject, *lines: str) -> Path:
    path = project.layout.competition_config("tiny").with_name("labels.csv")
    path.write_text("\n".join(["row_id,target,given,action,label", *lines]) + "\n")
    return path


def test_a_persons_decisions_reach_training_alone(ready: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    folds = read_csv(ready.layout.folds("tiny"))
    first, second, third = folds["row_id"][:3]
    given = folds["target"][:3].tolist()
    other = {"dark": "bright", "bright": "dark"}
    write_labels(
        ready, f"{first},,{given[0]},exclude,", f"{second},,{given[1]},Relabel,{other[given[1]]}", f"{third},,,,"
    )
    before = ready.layout.folds("tiny").read_bytes()
    assert ready.run("folds") == 0
    assert "1 row is left out of training, 1 row is trained on with another label, by" in capsys.readouterr().out
    assert ready.layout.folds("tiny").read_bytes() == before
    plain, found = problem(ready), problem(ready, labels="file")
    own = [int(number) for number in folds["fold"][:2]]
    for fold in range(3):
        rows, cleaned = plain.train_rows(fold), found.train_rows(fold)
        assert set(named(rows)) - set(named(cleaned)) == ({first} if fold != own[0] else set())
        labels = [dict(zip(named(one), one.truth, strict=True)) for one in (rows, cleaned)]
        changed = {name for name in labels[1] if labels[0][name] != labels[1][name]}
        assert changed == ({second} if fold != own[1] else set())
        one, two = plain.valid_rows(fold, None), found.valid_rows(fold, None)
        assert named(one) == named(two)
        assert (one.truth == two.truth).all()
    assert ready.run("train", "--name", "cleaned", "--set", f"{BASE} train.labels=file") == 0
    metas = [FoldMeta.read(ready.fold(fold, "cleaned") / "meta.json") for fold in range(3)]
    assert sum(meta.rows_excluded for meta in metas) == 2
    assert sum(meta.rows_relabelled for meta in metas) == 2
    assert all("train.labels: labels.csv" in meta.sha256.inputs for meta in metas)
    write_labels(ready, f"{first},,{given[0]},keep,")
    assert ready.run("train", "--name", "cleaned", "--set", f"{BASE} train.labels=file") == 2
    assert "train.labels: labels.csv is not what this fold was trained with" in capsys.readouterr().err


def test_a_label_that_a_row_has_already_changes_nothing_and_is_said(
    ready: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    folds = read_csv(ready.layout.folds("tiny"))
    ids, given = folds["row_id"][:3].tolist(), folds["target"][:3].tolist()
    other = {"dark": "bright", "bright": "dark"}[given[1]]
    write_labels(ready, f"{ids[0]},,,relabel, {given[0]}", f"{ids[1]},,,relabel,{other}", f"{ids[2]},,,exclude,")
    assert ready.run("folds") == 0
    words = "1 row is left out of training, 1 row is trained on with another label; 1 row has the label already that"
    assert words in capsys.readouterr().out
    found = problem(ready, labels="file")
    counts = [found.labels_of(fold).counts(found.folds.frame, found.outside(fold)) for fold in range(3)]
    assert np.sum(counts, axis=0).tolist() == [2, 2], "each in the two folds that are not its own"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["nobody,,,exclude,"], "1 row is not among the training rows: nobody"),
        (["p001,,,drop,"], "none of exclude, relabel, keep"),
        (["p001,,,keep,", "p001,,,exclude,"], "1 row stands in more than one line"),
        (["p001,,,relabel,"], "have no label"),
        (["p001,,,relabel,green"], "no known class"),
        (["p001,,green,exclude,"], "another label now than the one decided about"),
        (["p001,age,,relabel,dark"], "there is no target 'age'"),
    ],
)
def test_wrong_decisions_are_one_message(
    ready: TinyProject, capsys: pytest.CaptureFixture[str], lines: list[str], words: str
) -> None:
    path, ids = write_labels(ready, *lines), read_csv(ready.layout.folds("tiny"))["row_id"]
    path.write_text(path.read_text().replace("p001", ids[0]))
    assert ready.run("train", "--name", "bad", "--set", f"{BASE} train.labels=file") == 2
    assert words in capsys.readouterr().err
    assert ready.run("folds") == 2


def nested(project: TinyProject) -> None:
    """The runs without each fold, whose networks are sure of the one class for rows of fold 0, else of the other."""
    for fold in range(3):
        others = [other for other in range(3) if other != fold]
        more = f"{BASE} train.without=[{fold}] train.folds=[{others[0]},{others[1]}]"
        assert project.run("train", "--name", f"plain-without-{fold}", "--set", more) == 0


def says(project: TinyProject, run: str, fold: int, prob_bright: NDArray[np.floating[Any]]) -> None:
    folder = project.fold(fold, run)
    table = read_parquet(folder / "valid.parquet").assign(
        prob_dark=(1 - prob_bright).astype(np.float32), prob_bright=prob_bright.astype(np.float32)
    )
    write_parquet(folder / "valid.parquet", table)
    meta = FoldMeta.read(folder / "meta.json")
    meta.changed(files=sha256_files(folder, meta.files)).write(folder / "meta.json")


def test_what_a_fold_leaves_out_is_said_by_networks_that_saw_none_of_its_rows(ready: TinyProject) -> None:
    nested(ready)
    folds = read_csv(ready.layout.folds("tiny")).set_index("row_id")
    bright = (folds["target"] == "bright").astype(float)
    odd: dict[tuple[int, int], str] = {}
    for fold in range(3):
        for other in (other for other in range(3) if other != fold):
            ids = read_parquet(ready.fold(other, f"plain-without-{fold}") / "valid.parquet")["row_id"]
            prob = np.clip(bright[ids].to_numpy(), 0.1, 0.9)
            wrong = 3 * fold + other  # each pair contradicts another row
            prob[wrong] = 1 - prob[wrong]
            odd[fold, other] = ids[wrong]
            says(ready, f"plain-without-{fold}", other, prob)
    labels = {"name": "exclude", "options": {"run": "plain"}}
    found = problem(ready, labels=labels)
    for fold in range(3):
        own = {odd[pair] for pair in odd if pair[0] == fold}
        assert set(folds.index[~found.labels_of(fold).kept]) == own
        assert not set(named(found.train_rows(fold))) & own
        assert len(found.train_rows(fold)) == len(problem(ready).train_rows(fold)) - 2
    again = problem(ready, labels={**labels, "name": "relabel"})
    truth = again.labels_of(0).truth
    assert set(folds.index[truth != again.truth]) == {odd[0, 1], odd[0, 2]}
    strict = problem(ready, labels={"name": "exclude", "options": {"run": "plain", "least": 0.9}})
    assert strict.labels_of(0).kept.all()


def test_networks_that_saw_the_fold_say_nothing_of_its_training(
    ready: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ready.run("train", "--name", "plain-without-0", "--set", f"{BASE} train.folds=[1,2]") == 0
    with pytest.raises(FoldlineError, match="saw rows of fold 0"):
        problem(ready, labels={"name": "exclude", "options": {"run": "plain"}}).labels_of(0)
    with pytest.raises(FoldlineError, match="'plain-without-1' is not trained"):
        problem(ready, labels={"name": "exclude", "options": {"run": "plain"}}).labels_of(1)


def test_a_run_without_a_fold_trains_on_none_of_its_rows(ready: TinyProject) -> None:
    found, plain = problem(ready, without=[2], folds=[0, 1]), problem(ready)
    numbers = read_csv(ready.layout.folds("tiny"))["fold"].astype(int).to_numpy()
    assert set(numbers[found.own(0, train=True)]) == {1}
    assert set(numbers[plain.own(0, train=True)]) == {1, 2}
    for settings in ("train.without=[2]", "train.without=[0] train.folds=[0]", "train.without=[9] train.folds=[0]"):
        assert ready.run("train", "--name", "bad", "--set", settings) == 2
    leak = "train.without=[2] train.folds=[0,1] extra.pseudo=plain"
    assert ready.run("train", "--name", "bad", "--set", leak) == 2


def test_labels_as_given_are_the_default_and_no_part_of_a_hash() -> None:
    assert run_sha256(Run.parse({"train": {"labels": "given", "without": []}}, where="")) == run_sha256(Run())
    with pytest.raises(FoldlineError, match="needs the option 'run'"):
        Run.parse({"train": {"labels": "exclude"}}, where="")


def test_what_is_relabelled_by_task(tmp_path: Path) -> None:
    outputs = ["kind=cat", "kind=dog", "weight="]
    several = task_from({"kind": "multiclass", "weight": "regression"}).of(outputs)
    frame = pd.DataFrame({"row_id": ["a", "b"], "target_kind": ["cat", "dog"], "target_weight": ["1", "2"]})
    path = tmp_path / "labels.csv"
    lines = [
        ("a", "kind", "cat", "relabel", "dog"),
        ("b", "weight", "2", "relabel", "7.5"),
        ("a", "weight", "1", "keep", ""),
    ]
    write_csv(path, pd.DataFrame(lines, columns=["row_id", "target", "given", "action", "label"]))
    labelled = read_labels(path, frame, several, outputs, where="").labelled(frame)
    assert labelled[["target_kind", "target_weight"]].to_numpy().tolist() == [["dog", "1"], ["dog", "7.5"]]
    assert frame["target_kind"][0] == "cat"
    with pytest.raises(FoldlineError, match="shares"):
        label_column(TASKS["soft"].of(["a", "b"]), ["a", "b"], "")


def test_a_file_of_a_spreadsheet_and_numbers_that_changed(tmp_path: Path) -> None:
    """Semicolons and blanks are no matter; a number that is not the one decided about any more is refused."""
    frame = pd.DataFrame({"row_id": ["007", "a b"], "target": ["12.3456789", "4"]})
    task = TASKS["regression"].of([""])
    path = tmp_path / "labels.csv"
    head = "\ufeffrow_id;target;given;action;label\r\n"
    path.write_text(f"{head}007; ;12.3457;relabel; 5 \r\na b;;4.0;keep;\r\n", encoding="utf-8")
    assert read_labels(path, frame, task, [""], where="").labels == {("007", "target"): "5"}
    path.write_text(f"{head}007;;12.4;exclude;\r\n", encoding="utf-8")
    with pytest.raises(FoldlineError, match="another label now than the one decided about: 007"):
        read_labels(path, frame, task, [""], where="")
    path.write_text(f"{head}a b;;4;exclude;\r\na b; ;4;keep;\r\n", encoding="utf-8")
    with pytest.raises(FoldlineError, match="more than one line: a b"):
        read_labels(path, frame, task, [""], where="")
