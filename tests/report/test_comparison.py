"""Runs compared: who is better and whether that is sure; what is refused, left out, said; and the page."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser import needs_browser
from foldline.core import tables
from foldline.core.competition import load_competition
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.task import TASKS, Task
from foldline.report.comparison.page import build_comparison, lede
from foldline.report.comparison.rivals import Comparison, caveats, read_comparison
from foldline.scoring.paired import compare_runs
from report.made_rivals import add_rival, make_rivals
from report.made_runs import COMP, OUTPUTS
from report.test_browser import measure
from report.test_page import Reader, loads_nothing
from scoring.by_shape import paired_difference, score
from tasks import PLAIN


def pair_of(found: Comparison, run: str, reference: str) -> Any:
    return next(pair for pair in found.pairs[reference] if pair.run == run)


@pytest.mark.parametrize("task", PLAIN)
def test_equal_runs_cannot_be_told_apart(tmp_path: Path, task: Task) -> None:
    found = read_comparison(make_rivals(tmp_path, task, {"a": 0.8, "twin": 0.8}), COMP)
    pair = pair_of(found, "twin", "a")
    assert (pair.difference.gain, pair.difference.low, pair.difference.high) == (0, 0, 0)
    assert (pair.difference.wins, pair.difference.losses, pair.difference.folds) == (0, 0, 3)
    assert "no significant difference" in pair.in_words()
    told = [line for line in caveats(found) if "have the same score: none of them is the best" in line]
    assert [line.split(" have")[0] for line in told] == ["a and twin"]
    assert "a and twin score best, all the same." in lede(found)


@pytest.mark.parametrize("task", PLAIN)
def test_a_clearly_better_run_is_told(tmp_path: Path, task: Task) -> None:
    """Of metrics where less is better (regression, soft labels) too."""
    found = read_comparison(make_rivals(tmp_path, task, {"bad": 6.0, "good": 0.4}, rows=150), COMP)
    assert [rival.name for rival in found.rivals] == ["good", "bad"]
    pair = pair_of(found, "bad", "good")
    assert pair.difference.verdict == "worse"
    assert pair.difference.gain < 0
    assert pair.in_words().startswith(f"good is better than bad by {-pair.difference.gain:.2f}"[:28])
    assert "3 of 3 folds" in pair.in_words()
    assert pair_of(read_comparison(Layout(tmp_path), COMP, against="bad"), "good", "bad").in_words() == (
        pair.in_words()
    )


def test_noise_of_equal_strength_is_rarely_told_apart(tmp_path: Path) -> None:
    """Runs of one quality: with 95 % intervals few of the differences may look sure."""
    layout = make_rivals(tmp_path, TASKS["binary"], {"a": 1.5}, rows=240)
    for seed in range(12):
        add_rival(layout, TASKS["binary"], f"seed{seed}", 1.5, seed=seed + 20, settings={"seed": seed + 1})
    pairs = read_comparison(layout, COMP, against="a").pairs["a"]
    assert sum(pair.difference.verdict != "same" for pair in pairs) <= 2
    assert all(pair.seed_alone and "seed alone" in pair.in_words() for pair in pairs)


def test_runs_on_other_folds(tmp_path: Path) -> None:
    layout = make_rivals(tmp_path, TASKS["binary"], {"a": 1.0, "b": 1.2, "old": 0.1})
    path = layout.run(COMP, "old") / "cv.json"
    record = tables.read_json(path)
    tables.write_json(path, record | {"sha256": record["sha256"] | {"folds": "0" * 64}})
    found = read_comparison(layout, COMP)
    assert [rival.name for rival in found.rivals] == ["a", "b"]
    assert list(found.left_out) == ["old"]
    with pytest.raises(FoldlineError, match="'old' was made on other folds"):
        read_comparison(layout, COMP, ["a", "old"])
    with pytest.raises(FoldlineError, match="file not found"):
        read_comparison(layout, COMP, ["a", "missing"])


def test_no_run_at_all_is_an_error(tmp_path: Path) -> None:
    layout = make_rivals(tmp_path, TASKS["binary"], {})
    with pytest.raises(FoldlineError, match="no run of 'made' is predicted"):
        read_comparison(layout, COMP)


def test_runs_of_some_folds_are_compared_on_shared_rows(tmp_path: Path) -> None:
    layout = make_rivals(tmp_path, TASKS["binary"], {"a": 1.5})
    add_rival(layout, TASKS["binary"], "look", 0.1, folds=[1])
    add_rival(layout, TASKS["binary"], "other", 0.1, folds=[2])
    found = read_comparison(layout, COMP, against="look")
    assert found.rivals[0].name == "a"  # a perfect score on fewer rows does not make a run the best
    pair = pair_of(found, "look", "a")
    assert (pair.difference.rows, pair.difference.folds, pair.difference.wins) == (30, 1, 1)
    assert "on the 30 that both have" in pair.in_words()
    assert pair_of(found, "other", "look").in_words() == "other and look have no rows in common"
    assert any("look and other cover only some of the rows" in line for line in caveats(found))
    fold = found.rivals[0].cv.per_fold[1]
    own = found.rivals[found.partial.index("look") + 1].cv.pooled
    assert fold is not None
    assert own is not None
    assert pair.difference.gain == pytest.approx(own - fold)
    assert "Rows" in build_comparison(found)


def test_rows_are_joined_by_id_and_whole_groups_are_drawn(tmp_path: Path) -> None:
    layout = make_rivals(tmp_path, TASKS["binary"], {})
    frame = tables.read_csv(layout.folds(COMP))
    add_rival(layout, TASKS["binary"], "a", 1.5)
    add_rival(layout, TASKS["binary"], "bb", 1.6)  # its rows stand in another order
    a, b = (tables.read_parquet(layout.run(COMP, name) / "oof.parquet") for name in ("a", "bb"))
    assert a["row_id"].tolist() != b["row_id"].tolist()
    facts, names = load_competition(layout, COMP), OUTPUTS["binary"]
    found = compare_runs(a, b, facts, names)
    truth = np.asarray(frame["target"] == "defective", dtype=np.float64)
    scores = [
        score("auc", truth, table.set_index("row_id").loc[frame["row_id"], ["prob_ok", "prob_defective"]].to_numpy())
        for table in (a, b)
    ]
    assert found.gain == pytest.approx(scores[0] - scores[1])
    groups = frame.set_index("row_id").index.to_series().str[:3]  # ten rows each
    grouped = compare_runs(a.assign(group=a["row_id"].map(groups)), b, facts, names)
    ordered = [table.sort_values("row_id") for table in (a, b)]
    expected = paired_difference(
        "auc", np.asarray(ordered[0]["target"] == "defective", dtype=np.float64),
        *(table[["prob_ok", "prob_defective"]].to_numpy(dtype=np.float64) for table in ordered),
        clusters=ordered[0]["row_id"].map(groups).to_numpy(), task=TASKS["binary"],
    )  # fmt: skip
    assert (grouped.gain, grouped.low, grouped.high) == pytest.approx(expected)
    assert (grouped.low, grouped.high) != (found.low, found.high)


def test_entities_are_scored_as_one(tmp_path: Path) -> None:
    layout = make_rivals(tmp_path, TASKS["binary"], {"a": 1.5, "b": 1.6})
    a, b = (tables.read_parquet(layout.run(COMP, name) / "oof.parquet") for name in ("a", "b"))
    keys = a["target"] + a["fold"].astype(str) + (a["row_id"].astype(int) % 5).astype(str)
    entity = dict(zip(a["row_id"], keys, strict=True))
    a, b = (table.assign(entity=table["row_id"].map(entity)) for table in (a, b))
    found = compare_runs(a, b, load_competition(layout, COMP), OUTPUTS["binary"])
    assert found.rows == len(set(entity.values())) < len(a)


def test_what_a_reader_must_know_is_said(tmp_path: Path) -> None:
    layout = make_rivals(tmp_path, TASKS["binary"], {"a": 1.0, "b": 1.2})
    assert not [line for line in caveats(read_comparison(layout, COMP)) if "luck" in line]
    add_rival(layout, TASKS["binary"], "c", 1.1)
    path = layout.run(COMP, "c") / "cv.json"
    tables.write_json(path, tables.read_json(path) | {"optimistic": ["its epoch was picked"]})
    lines = caveats(read_comparison(layout, COMP))
    assert any(line.startswith("The best of 3 runs is partly luck") for line in lines)
    assert "c's score is optimistic: its epoch was picked" in lines


def test_settings_that_differ(tmp_path: Path) -> None:
    layout = make_rivals(tmp_path, TASKS["binary"], {"a": 1.0})
    add_rival(layout, TASKS["binary"], "b", 1.2, settings={"optim": {"lr": 0.01, "options": {"momentum": 0.9}}})
    path = layout.run(COMP, "a") / "run.json"
    stored = tables.read_json(path)
    del stored["loss"]  # written by a version that had no such settings
    tables.write_json(path, stored)
    found = read_comparison(layout, COMP)
    assert found.settings == [("optim.lr", ["0.0003", "0.01"]), ("optim.options.momentum", ["none", "0.9"])]


@pytest.mark.parametrize("task", PLAIN)
def test_the_page_is_whole(tmp_path: Path, task: Task) -> None:
    layout = make_rivals(tmp_path, task, {"a": 0.6, "b": 0.9, "c": 3.0})
    settings = {"optim": {"lr": 0.01}, "model": {"name": "<b>c"}}
    add_rival(layout, task, "d", 1.0, train_score=True, settings=settings)
    found = read_comparison(layout, COMP, against="b")
    text = build_comparison(found)
    page = Reader(text)
    loads_nothing(text, page)
    assert len(page.images) == 1 + 2 + 4  # scores, two references, curves
    assert "<b>c" in page.words
    assert "optim.lr 0.01" in page.words


def test_folds_that_stopped_early_are_said(tmp_path: Path) -> None:
    layout = make_rivals(tmp_path, TASKS["binary"], {"a": 0.6})
    assert "a after 4 epochs, mean of 3 folds" in build_comparison(read_comparison(layout, COMP))
    path = layout.fold(COMP, "a", 1) / "log.csv"
    tables.write_csv(path, tables.read_csv(path).head(3))
    assert "a after 2 to 4 epochs, mean of 3 folds" in build_comparison(read_comparison(layout, COMP))


def test_a_broken_run_is_left_out_in_words(tmp_path: Path) -> None:
    layout = make_rivals(tmp_path, TASKS["binary"], {"a": 0.6, "b": 0.9})
    (layout.run(COMP, "b") / "cv.json").write_text("{}")
    tables.write_json(layout.runs(COMP) / "my run" / "cv.json", tables.read_json(layout.run(COMP, "a") / "cv.json"))
    found = read_comparison(layout, COMP)
    assert [rival.name for rival in found.rivals] == ["a"]
    assert "the key 'comp' is missing" in found.left_out["b"]
    assert "cannot be the name" in found.left_out["my run"]


def test_train_scores_are_drawn_where_they_are_logged(tmp_path: Path) -> None:
    layout = make_rivals(tmp_path, TASKS["binary"], {"a": 0.6})
    assert "training loss and AUC" not in build_comparison(read_comparison(layout, COMP))
    add_rival(layout, TASKS["binary"], "b", 0.6, train_score=True)
    assert "training loss and AUC" in build_comparison(read_comparison(layout, COMP))


def test_one_run_has_a_page(tmp_path: Path) -> None:
    found = read_comparison(make_rivals(tmp_path, TASKS["binary"], {"a": 0.6}), COMP)
    assert found.pairs == {}
    assert "One run so far" in build_comparison(found)


@needs_browser
def test_fits_a_phone(tmp_path: Path) -> None:
    layout = make_rivals(tmp_path, TASKS["binary"], {"a-name-without-any-place-to-break-" * 3: 0.6, "b": 0.9})
    view, content, images, drawn = measure(build_comparison(read_comparison(layout, COMP)), 400, tmp_path)
    assert images == drawn == 4
    assert content <= view <= 400
