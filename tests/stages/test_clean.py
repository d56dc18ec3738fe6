"""The stage `clean`: a page of suspects, a file that a person fills in, and runs that clean by themselves."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foldline.cli import main
from foldline.core.paths import Layout
from foldline.core.tables import read_csv, read_parquet, write_csv, write_parquet
from foldline.core.task import TASKS, Task, hot_truth
from foldline.stages.clean import clean
from report.made_runs import COMP, OUTPUTS, RUN, SEVERAL, SEVERAL_OUTPUTS, make_run
from tiny import TinyProject

BASE = "train.epochs=1 augment.recipe=none"


def contradicted(root: Path, task: Task, outputs: Sequence[str] = ()) -> Layout:
    """A made run whose networks are sure of something else than the label in each ninth row."""
    layout = make_run(root, task, outputs)
    path, names = layout.run(COMP, RUN) / "oof.parquet", list(outputs) or OUTPUTS[task.name]
    table = read_parquet(path)
    odd = np.arange(0, len(table), 9)
    truth = task.of(names).truth(table, names, where="")[odd]
    columns = task.prediction_columns(names)
    hot = hot_truth(truth, task.of(names), len(columns))
    wrong = np.empty_like(hot)
    for block in task.of(names).blocks:
        part = hot[:, block.columns]
        wrong[:, block.columns] = np.roll(part, 1, axis=1) if block.task.exclusive else 1 - part
        if not block.task.has_classes:
            wrong[:, block.columns] = part + 1000
    table.loc[odd, columns] = wrong
    write_parquet(path, table)
    return layout


@pytest.mark.parametrize("task", [*(task for name, task in TASKS.items() if name != "several"), SEVERAL], ids=str)
def test_suspects_become_a_page_and_a_file(tmp_path: Path, task: Task) -> None:
    layout = contradicted(tmp_path, task, SEVERAL_OUTPUTS if task.targets else ())
    found = clean(layout, COMP, RUN)
    lines = read_csv(tmp_path / found["file"])
    assert list(lines) == ["row_id", "target", "given", "predicted", "score", "loss_rank", "action", "label"]
    assert len(lines) == found["suspected"] >= 5
    assert set(lines["action"]) <= {""}
    assert (lines["label"] == ("" if task.soft else lines["predicted"])).all()
    page = (tmp_path / found["page"]).read_text(encoding="utf-8")
    assert "a suspect is no proof" in page.lower()
    assert page.count('class="card"') == 2 * min(len(lines), 200)


def test_what_a_person_decided_stays(tmp_path: Path) -> None:
    layout = contradicted(tmp_path, TASKS["multiclass"])
    path = tmp_path / clean(layout, COMP, RUN)["file"]
    lines = read_csv(path)
    assert len(lines) > 3
    lines.loc[2, ["action", "label"]] = ["relabel", lines["given"][2]]
    lines.loc[3, "action"] = "exclude"
    lines = lines.assign(note="mine").iloc[[3, 2]]  # a person's order and column; the others' lines are gone
    write_csv(path, lines)
    before = path.read_bytes()
    found = clean(layout, COMP, RUN)
    assert found["decided"] == 2
    after = read_csv(path)
    assert after.iloc[:2].to_csv(index=False, lineterminator="\n").encode() == before
    assert len(after) == found["suspected"]
    assert (after["action"][2:] == "").all()
    written = path.read_bytes()
    clean(layout, COMP, RUN)
    assert path.read_bytes() == written


def test_what_a_person_wrote_without_deciding_stays_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another label, or a note, in a line without an action: kept as it is, and said to change nothing."""
    layout = contradicted(tmp_path, TASKS["multiclass"])
    path = tmp_path / clean(layout, COMP, RUN)["file"]
    lines = read_csv(path).assign(note="")
    lines.loc[0, "note"], lines.loc[1, "label"] = "ask Ann", "newt"
    undecided = {"given": "cat", "predicted": "dog", "label": "dog", "note": "", "target": "", "action": ""}
    calm = next(f"{i:04d}" for i in range(90) if f"{i:04d}" not in set(lines["row_id"]))
    lines = pd.concat([lines, pd.DataFrame([{**undecided, "row_id": calm}])], ignore_index=True).fillna("")
    write_csv(path, lines)
    capsys.readouterr()
    clean(layout, COMP, RUN)
    said = capsys.readouterr().out
    after = read_csv(path)
    assert (after["note"][0], after["label"][1]) == ("ask Ann", "newt")
    assert f"a label or note of yours and no action: kept, changing nothing: {lines['row_id'][0]}" in said
    assert calm not in set(after["row_id"])
    assert "1 line that nobody had decided is not suspected by this run" in said


def test_a_page_says_given_and_a_lead(tmp_path: Path) -> None:
    for task, words in ((TASKS["multiclass"], "a lead of 1.00"), (TASKS["regression"], "deviations off")):
        layout = contradicted(tmp_path / str(task), task)
        page = (tmp_path / str(task) / clean(layout, COMP, RUN)["page"]).read_text(encoding="utf-8")
        assert "<dt>given</dt>" in page
        assert "<dt>true</dt>" not in page
        assert words in page


def test_a_run_is_cleaned_by_networks_that_did_not_see_the_fold(
    project: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    project.prepare()
    given = ("--name", "plain", "--set", BASE)
    for stage in ("train", "predict"):
        assert project.run(stage, *given) == 0
    capsys.readouterr()
    assert project.run("clean", "--run", "quick", *given, "--action", "exclude", "--json") == 0
    out, said = capsys.readouterr()
    found = json.loads(out)
    assert found["run"] == "plain-exclude"
    kept = "plain-exclude" if found["pair"]["difference"]["gain"] > 0 else "plain"
    assert f"next: make ensemble COMP=tiny RUN={kept}\n" in said
    assert "warning: of 3 folds the networks that say what is suspected are trained on one each" in said
    assert found["pair"]["difference"]["everything"]
    oof = [read_parquet(project.layout.run("tiny", run) / "oof.parquet") for run in ("plain", "plain-exclude")]
    assert oof[0][["row_id", "target", "fold"]].equals(oof[1][["row_id", "target", "fold"]])
    assert not oof[0]["prob_bright"].equals(oof[1]["prob_bright"])
    for fold in range(3):
        assert not project.fold(fold, f"plain-without-{fold}").exists()


def test_the_next_command_trains_by_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout = contradicted(tmp_path, TASKS["multiclass"])
    given = ("clean", "--root", str(tmp_path), "--comp", COMP, "--run", RUN)
    assert main(list(given)) == 0
    command = f"make ensemble COMP={COMP} RUN={RUN} SET=train.labels=file NAME={RUN}-cleaned"
    file = layout.relative(layout.competition_config(COMP).with_name("labels.csv"))
    assert f"next: fill in the column action of {file}, then {command}; make compare" in capsys.readouterr().out
    lines = read_csv(tmp_path / file)
    write_csv(tmp_path / file, lines.assign(action="keep"))
    assert main([*given, "--set", "optim.lr=0.1 seed=2", "--name", RUN]) == 0
    assert "next: make ensemble" in (said := capsys.readouterr().out)
    assert "SET='optim.lr=0.1 seed=2 train.labels=file'" in said
