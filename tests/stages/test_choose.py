"""The choose stage: a made ledger, its runs and its submissions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from foldline.cli import main
from foldline.core import tables
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.records.cv import Cv
from foldline.core.records.entry import CvScore, Entry, Kaggle, Notebook
from foldline.core.records.folds_meta import FoldsMeta
from foldline.core.records.kernel import KernelEntry, Pushed
from foldline.core.task import TASKS
from foldline.report.comparison import final_words
from foldline.stages.choose import choose
from report.made_rivals import add_rival, make_rivals
from report.made_runs import COMP

IDS = [f"t{i}" for i in range(40)]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Three runs; `near` is `best` with a little noise."""
    layout = make_rivals(tmp_path, TASKS["binary"], {"best": 1.0, "weak": 3.0})
    add_rival(layout, TASKS["binary"], "other", 1.4, seed=6)
    tables.write_csv(layout.test_rows(COMP), pd.DataFrame({"row_id": IDS, "image": "0001.png"}))
    meta = FoldsMeta.read(layout.folds_meta(COMP))
    meta.changed(sha256={**meta.sha256, "test": tables.sha256_file(layout.test_rows(COMP))}).write(
        layout.folds_meta(COMP)
    )
    tables.write_csv(layout.holdout_sample(COMP), pd.DataFrame({"row_id": IDS, "defective": 0.5}))
    return layout


def enter(
    layout: Layout, run: str, public: float | None = None, *, name: str = "", answers: str = "", **fields: Any
) -> Entry:
    """A ledger entry with its CSV; `answers`: of which run (default: its own) the CSV holds the predictions."""
    cv, path = Cv.read(layout.run(COMP, run) / "cv.json"), layout.submission(COMP, name or run)
    seed = len(answers or run) + ord((answers or run)[0])
    numbers = np.random.default_rng(seed).random(len(IDS)).round(4)
    tables.write_csv(path, pd.DataFrame({"row_id": IDS, "defective": numbers}))
    entry = Entry(
        comp=COMP, run=run, name=name or run, file=path.name, sha256=tables.sha256_file(path),
        time=f"2026-11-0{len(list(path.parent.glob('*.json'))) + 1}T12:00:00+00:00", metric=cv.metric,
        cv=CvScore(pooled=cv.pooled, mean=cv.mean, std=cv.std), folds_sha256=cv.sha256.folds, members=[], public=public,
        kaggle=None if public is None else Kaggle(ref="1", status="complete"),
    ).changed(**fields)  # fmt: skip
    entry.write(path.with_suffix(".json"))
    return entry


def proposal(layout: Layout) -> list[str]:
    return [one.name for one in choose(layout, COMP).chosen]


def test_it_proposes_the_best_and_the_best_different_one_and_says_why(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    enter(layout, "best", 0.8), enter(layout, "weak", 0.9), enter(layout, "other")
    finals = choose(layout, COMP)
    said = capsys.readouterr().out
    assert [one.name for one in finals.chosen] == ["best", "other"]
    assert "1. best: the best honest CV, auc" in said
    assert "how sure: a toss-up; that it is better than other, the nearest" in said
    assert "2. other: it adds most to the first" in said
    assert "2 with a public score: too few" in said
    assert f"other was not sent, and only what was sent can be selected: make submit COMP={COMP} NAME=other" in said
    against = finals.choice.against
    assert (against["other"].worth or 0) > (against["weak"].worth or 0)
    assert abs(against["other"].agreement or 1) < 0.5


def test_what_cannot_be_trusted_is_left_out_with_its_reason(layout: Layout) -> None:
    changes: dict[str, dict[str, Any]] = {
        "diverged": {"diverged": ["fold 1: it ran away"]},
        "odd": {"metric": "accuracy"},
        "old": {"folds_sha256": "0" * 64},
        "none": {"cv": {"pooled": None}},
        "failed": {"kaggle": {"ref": "1", "status": "error"}},
    }
    for run, change in changes.items():
        add_rival(layout, TASKS["binary"], run, 0.2)
        enter(layout, run, **change)
    add_rival(layout, TASKS["binary"], "picked", 0.2)
    path = layout.run(COMP, "picked") / "cv.json"
    Cv.read(path).changed(optimistic=["the epoch was selected"]).write(path)
    add_rival(layout, TASKS["binary"], "part", 0.2, folds=[0])
    enter(layout, "part")
    with pytest.raises(FoldlineError, match=r"no submission of 'made' can be proposed: .*part"):
        choose(layout, COMP)
    enter(layout, "picked")
    assert proposal(layout) == ["picked"]  # optimistic, as all are
    enter(layout, "best", 0.8)
    finals = choose(layout, COMP)
    assert [one.name for one in finals.chosen] == ["best"]
    reasons = {one.name: one.left_out for one in finals.known if one.left_out}
    assert reasons["diverged"] == "its training diverged: fold 1: it ran away"
    assert reasons["picked"] == "its CV score is optimistic: the epoch was selected"
    assert reasons["part"] == "its CV score is of 1 of 3 folds"
    assert sorted(reasons) == ["diverged", "failed", "none", "odd", "old", "part", "picked"]


def test_the_same_file_or_run_twice_is_one_and_the_one_with_a_score_stays(layout: Layout) -> None:
    enter(layout, "best", name="before", answers="other")  # the same run; its file is another one
    scored = enter(layout, "best", 0.8)
    enter(layout, "weak", name="copy", sha256=scored.sha256)
    finals = choose(layout, COMP)
    assert [one.name for one in finals.chosen] == ["best"]
    assert [one.left_out for one in finals.known if one.left_out] == ["it is the same as best"] * 2
    assert "2. none: there is no other one" in "\n".join(final_words.reasons(finals))


def test_a_file_that_was_made_anew_is_a_candidate_and_its_rows_are_gone(layout: Layout) -> None:
    former = enter(layout, "other", 0.7).changed(sha256="0" * 64, cv={"pooled": 0.99})
    enter(layout, "best", 0.8, earlier=[former.model_dump(by_alias=True, exclude_unset=True)])
    finals = choose(layout, COMP)
    assert finals.chosen[0].name == "other of 2026-11-01T12:00"
    said = "\n".join(final_words.reasons(finals))
    assert "how sure: nobody can tell" in said


def test_an_ensemble_and_its_member_say_so(layout: Layout) -> None:
    enter(layout, "best", 0.8)
    enter(layout, "other", 0.8, members=["best", "weak"])
    assert "both hold best: a run of its own would insure better" in "\n".join(
        final_words.reasons(choose(layout, COMP))
    )


def test_a_notebook_is_compared_by_what_it_wrote(layout: Layout) -> None:
    enter(layout, "best", 0.8)
    entry = enter(layout, "other")
    notebook = Notebook(kernel="u/other", version=1)
    entry.changed(file="other.kernel", notebook=notebook.model_dump(), sha256="b").write(
        layout.kernel_entry(COMP, "other")
    )
    folder, path = layout.kernel(COMP, "other"), layout.submission(COMP, "other")
    pushed = Pushed(bundle="b", time="t")
    KernelEntry(comp=COMP, name="other", members=["other"], made_from={}, bundle="b", time="t", pushed=pushed).write(
        folder / "kernel.json"
    )
    (folder / "output").mkdir()
    path.replace(folder / "output" / "submission.csv")
    path.with_suffix(".json").unlink()
    finals = choose(layout, COMP)
    assert [one.name for one in finals.chosen] == ["best", "other.kernel"]
    assert finals.choice.against["other.kernel"].agreement is not None
    assert "NAME=other KERNEL=1" in "\n".join(final_words.reasons(finals))


def test_as_json(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    enter(layout, "best", 0.8), enter(layout, "other", 0.7)
    capsys.readouterr()
    assert main(["choose", "--json", "--root", str(layout.root), "--comp", COMP]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["metric"], content["direction"], content["proposal"]) == ("auc", "max", ["best", "other"])
    assert content["cv_and_lb"] == {
        "value": None, "low": None, "high": None, "chance": 1.0, "pairs": 2, "verdict": "too few"
    }  # fmt: skip


def test_an_empty_ledger(layout: Layout) -> None:
    with pytest.raises(FoldlineError, match="can be proposed, there is none") as caught:
        choose(layout, COMP)
    assert "make ensemble" in caught.value.next
