"""The whole page, from run folders of every task: what it holds, what it must never hold."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foldline.core import tables
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.run import Run
from foldline.core.task import TASKS, Task
from foldline.report.live.state import newest_predictions, open_live, state
from foldline.report.look import formats
from foldline.report.look.templates import sha256_for_policy
from foldline.report.run import sections
from foldline.report.run.confusion import alike
from foldline.report.run.page import build_report
from foldline.report.run.reported_run import read_run
from old_records import old
from report.made_runs import (
    COMP,
    OUTPUTS,
    RUN,
    SEVERAL,
    SEVERAL_OUTPUTS,
    change_scores,
    make_run,
    write_choices,
    write_fold,
    write_folds,
)
from tasks import PLAIN, plain

VOID = {"meta", "img", "br", "wbr", "link", "input", "hr"}


class Reader(HTMLParser):
    """Reads a page: its tags are well nested; headings, pictures and addresses are kept."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[int] = []
        self.images: list[dict[str, str | None]] = []
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.words = ""
        self.scripts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.add(tag)
        self.addresses += [str(found[name]) for name in ("src", "href", "data", "action", "srcset") if name in found]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(found)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.scripts.append(data)
        else:
            self.words += data


def page_of(layout: Layout) -> tuple[str, Reader]:
    text = build_report(layout, COMP, RUN)
    return text, Reader(text)


def svg_of(image: dict[str, str | None]) -> str:
    return base64.b64decode(str(image["src"]).partition(",")[2]).decode()


@pytest.mark.parametrize("trained", [True, False], ids=["trained", "ensemble"])
@pytest.mark.parametrize("task", PLAIN)
def test_every_task_has_a_whole_page(tmp_path: Path, task: Task, trained: bool) -> None:
    layout = make_run(tmp_path, task, trained=trained)
    text, page = page_of(layout)
    cv = tables.read_json(layout.run(COMP, RUN) / "cv.json")
    digits = formats.decimals(cv["interval"])
    assert all(formats.score(value, digits) in page.words for value in (cv["pooled"], *cv["interval"]))
    assert page.headings[0] == 1
    assert all(later - earlier <= 1 for earlier, later in zip(page.headings, page.headings[1:], strict=False))
    assert all(image["alt"] for image in page.images)
    drawn = ["roc", "reliability", "distribution"] if task.has_classes else ["scatter", "residuals"]
    assert all(f'id="figure-{name}"' in text for name in ["score", *drawn])
    assert ('id="figure-learning"' in text) == trained
    assert ("test_net" in page.words) == trained
    assert ("Members" in page.words) != trained
    assert "make ensemble" in page.words
    loads_nothing(text, page)


@pytest.mark.parametrize("trained", [True, False], ids=["trained", "ensemble"])
def test_several_targets_have_their_parts_of_a_page(tmp_path: Path, trained: bool) -> None:
    text, page = page_of(make_run(tmp_path, SEVERAL, SEVERAL_OUTPUTS, trained=trained))
    figures = ["score", "roc-kind", "reliability-kind", "distribution-kind", "scatter-weight", "residuals-weight"]
    assert all(text.count(f'id="figure-{name}"') == 1 for name in figures)
    assert all(f'id="gallery-{name}"' in text for name in ("wrong", "unsure"))
    assert "RMSE" in page.words
    loads_nothing(text, page)


def loads_nothing(text: str, page: Reader) -> None:
    """Asserts that a browser has nothing to fetch for this page, and nothing to run but its one script."""
    (script,) = page.scripts
    may_run = f"script-src '{sha256_for_policy(script)}'"
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; {may_run}; base-uri 'none'; form-action 'none'"
    )
    assert policy in text
    assert not re.search(r"fetch\(|XMLHttpRequest|WebSocket|innerHTML|eval\(", script)
    assert page.addresses
    assert all(address.startswith(("data:image/", "#")) for address in page.addresses)
    assert page.tags.isdisjoint({"link", "iframe", "object", "embed", "base", "form"})
    assert not re.search(r"@import|url\(", text)
    for image in page.images:
        if "svg" in str(image["src"])[:20]:
            svg = svg_of(image)
            assert not re.search(r'(?<!xmlns=")(?<!xmlns:xlink=")https?://', svg)
            assert "prefers-color-scheme:dark" in svg
            assert not re.search("#0102[0-9a-f]{2}", svg), "a stand-in colour is left"


@pytest.mark.parametrize("task", [task for task in PLAIN if task.has_classes])
def test_foreign_names_are_text(tmp_path: Path, task: Task) -> None:
    bad = ["<script>alert(1)</script>", "$\\frac{$", "猫\x00\"'><img src=x onerror=y>"]
    names = bad[:2] if task.two_classes else bad
    text, page = page_of(make_run(tmp_path, task, names))
    assert text.lower().count("<script") == len(page.scripts) == 1
    assert "<img src=x" not in text
    assert "\x00" not in text
    assert "<script>alert(1)</script>" in page.words
    for image in page.images:
        if "svg" in str(image["src"])[:20]:
            assert "<script" not in svg_of(image)


def test_the_readers_facts_are_text_too(tmp_path: Path) -> None:
    layout = make_run(tmp_path, TASKS["binary"])
    path = layout.competition_config(COMP)
    path.write_text(path.read_text().replace("A binary problem", "<b>bold</b>"))
    change_scores(layout, optimistic=["<i>picked</i> by validation rows"], device="<u>cpu</u>")
    text, page = page_of(layout)
    assert "<b>bold</b>" in page.words
    assert "<i>picked" not in text
    assert "<u>cpu" not in text


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    layout = make_run(tmp_path, TASKS["binary"])
    assert build_report(layout, COMP, RUN) == build_report(layout, COMP, RUN)


def test_warnings_stand_on_the_page(tmp_path: Path) -> None:
    layout = make_run(tmp_path, TASKS["binary"])
    assert "remark-" not in page_of(layout)[0]
    write_fold(layout, TASKS["binary"], OUTPUTS["binary"], 1, probe_score=0.9, below_probe=True)
    frame = tables.read_csv(layout.folds(COMP))
    extra = frame.tail(1).assign(row_id="unread")
    write_folds(layout, TASKS["binary"], OUTPUTS["binary"], pd.concat([frame, extra]), ["plain", "warning: two twins"])
    change_scores(layout, optimistic=["epoch selected by the score on its validation rows"], below_probe=[1])
    text, page = page_of(layout)
    for name in ("optimistic", "below-probe", "other-folds", "fold-checks", "rows-missing"):
        assert f'id="remark-{name}"' in text
    assert "Fine-tuning made fold 1 worse than the linear probe" in page.words
    assert "Fold 1 went from 0.9000 to 0.8600" in page.words
    assert "Epoch selected by the score on its validation rows." in page.words
    assert "two twins" in page.words
    assert "1 of 91 training rows have no prediction" in page.words


def test_a_guessed_metric_is_called_a_guess(tmp_path: Path) -> None:
    layout = make_run(tmp_path, TASKS["binary"], trained=False)
    assert 'id="remark-unconfirmed"' not in page_of(layout)[0]
    facts = layout.competition_config(COMP)
    facts.write_text(facts.read_text() + "\nunconfirmed: [metric, task]\n")
    text, page = page_of(layout)
    assert 'id="remark-unconfirmed"' in text
    assert "not confirmed: metric and task" in page.words


def test_gain_follows_the_metrics_direction(tmp_path: Path) -> None:
    layout = make_run(tmp_path, TASKS["regression"])  # RMSE: 0.6 after 0.8 is a gain
    for path in sorted(layout.run(COMP, RUN).glob("fold_*/meta.json")):
        tables.write_json(path, {**tables.read_json(path), "probe_score": 0.8, "score": 0.6})
    assert "+0.200" in page_of(layout)[1].words


def test_nobody_chooses_a_run_by_held_out_labels_that_the_page_shows(tmp_path: Path) -> None:
    layout = make_run(tmp_path, TASKS["binary"], trained=False)
    entry = old("ledger", name=RUN, run=RUN, cv={"pooled": 0.25}, public=0.4321, private=0.1234)
    tables.write_json(layout.submission(COMP, RUN).with_suffix(".json"), entry)
    words = page_of(layout)[1].words
    assert "0.4321" in words
    assert "0.1234" not in words


def test_undefined_scores_are_dashes(tmp_path: Path) -> None:
    layout = make_run(tmp_path, TASKS["binary"], trained=False)
    nothing = {"pooled": None, "per_fold": [None, None, None], "mean": None, "std": None}
    change_scores(layout, **nothing, interval=[None, None])
    text, page = page_of(layout)
    assert 'id="remark-undefined"' in text
    assert "None" not in page.words
    assert "nan" not in page.words


@pytest.mark.parametrize("task", plain(["binary", "multiclass", "multilabel"]))
def test_one_class_alone_has_a_page(tmp_path: Path, task: Task) -> None:
    layout = make_run(tmp_path, task, trained=False)
    path = layout.run(COMP, RUN) / "oof.parquet"
    table = tables.read_parquet(path)
    if task.label_sets:
        table = table.assign(target_rust="0", target_scab="0", target_rot="0")
    else:
        table = table.assign(target=OUTPUTS[task.name][0])
    tables.write_parquet(path, table)
    assert "figure-reliability" in page_of(layout)[0]


def test_many_classes_stay_small(tmp_path: Path) -> None:
    layout = make_run(tmp_path, TASKS["multiclass"], [f"species {i}" for i in range(1200)], rows=240, trained=False)
    text, page = page_of(layout)
    assert len(text) < 900_000
    assert "1,200 classes, 240 of them with rows. Over all" in page.words
    assert "species 1199" in page.words
    assert "Most frequent confusions" in page.words
    assert "figure-confusion" not in text
    assert "figure-roc" not in text


def test_many_labels_stay_small(tmp_path: Path) -> None:
    layout = make_run(tmp_path, TASKS["multilabel"], [f"label {i}" for i in range(300)], rows=60, trained=False)
    assert len(page_of(layout)[0]) < 600_000


def test_many_outputs_of_a_regression(tmp_path: Path) -> None:
    text, page = page_of(make_run(tmp_path, TASKS["regression"], [f"n{i}" for i in range(30)], trained=False))
    assert text.count('id="figure-scatter"') == 4
    assert "the first 25 of 30 outputs" in page.words


def test_pictures_that_are_gone_have_a_word(tmp_path: Path) -> None:
    layout = make_run(tmp_path, TASKS["binary"])
    before = page_of(layout)[0].count("data:image/png")
    for path in layout.input(COMP).glob("*.png"):
        path.write_bytes(b"")
    text, page = page_of(layout)
    assert before >= 24
    assert text.count("data:image/png") == 0
    assert "no picture: the file is empty" in page.words


def test_the_most_wrong_row_comes_first(tmp_path: Path) -> None:
    layout = make_run(tmp_path, TASKS["binary"])
    path = layout.run(COMP, RUN) / "oof.parquet"
    table = tables.read_parquet(path).sample(frac=1, random_state=1)  # joined by id, not by position
    worst = table["row_id"] == "0004"  # truly ok
    table.loc[worst, ["prob_ok", "prob_defective"]] = np.array([0.001, 0.999], dtype=np.float32)
    tables.write_parquet(path, table)
    cards = page_of(layout)[0].partition('id="gallery-wrong"')[2]
    assert cards.index(f"0004 · fold {table['fold'][worst].item()}") < 1500
    assert re.search(r"<dd>ok</dd>.*?<dd class=\"worse\">defective 1.00</dd>", cards[:1500])
    image = dict(zip(table["row_id"], read_run(layout, COMP, RUN).images, strict=True))
    assert image["0004"] == "0004.png"


def test_a_rank_blend_has_no_reliability(tmp_path: Path) -> None:
    layout = make_run(tmp_path, TASKS["binary"], trained=False)
    change_scores(layout, blend="rank_mean")
    text, page = page_of(layout)
    assert "figure-reliability" not in text
    assert "mean of the ranks" in page.words
    assert "BLEND=rank_mean" in page.words


def test_settings_that_differ_come_first(tmp_path: Path) -> None:
    layout = make_run(tmp_path, TASKS["binary"])
    first, _, folded = page_of(layout)[0].partition("<details>")
    changed = re.findall(r'<div class="changed"><dt>(.*?)</dt><dd>(.*?)<', first)
    assert {("lr", "0.001"), ("name", "test_net")} <= set(changed)
    assert not [pair for pair in changed if pair[0] == "weight_decay"]
    rest = re.findall(r'<div class="default"><dt>(.*?)</dt>', folded)
    assert "weight_decay" in rest
    assert 'class="changed"' not in folded
    assert f"<summary>{len(rest)} settings at their defaults" in folded
    tables.write_json(layout.run(COMP, RUN) / "run.json", Run().choices())
    assert "Every setting is at its default." in page_of(layout)[1].words


def test_what_training_saw_beside_the_folds_is_said(tmp_path: Path) -> None:
    layout = make_run(tmp_path, TASKS["binary"])
    assert "Pseudo-labels" not in page_of(layout)[1].words
    weights = {"name": "run", "options": {"run": "the_first"}}
    extra = {"rows": ["more/labels.csv"], "pseudo": "the_second"}
    write_choices(layout, model={"name": "test_net", "weights": weights, "metadata": ["age"]}, extra=extra)
    facts = page_of(layout)[0].partition('<dl class="facts">')[2].partition("</dl>")[0]
    for name, value in (
        ("Started from", "the run the_first"),
        ("Extra training rows", "more/labels.csv"),
        ("Pseudo-labels", "test rows, by the run the_second"),
        ("Beside the picture", "age"),
    ):
        assert f"<dt>{name}</dt><dd>{value}</dd>" in facts


def test_one_fold_of_three(tmp_path: Path) -> None:
    layout = make_run(tmp_path, TASKS["binary"], folds=[1], rows=91)
    text, page = page_of(layout)
    rows = (tables.read_csv(layout.folds(COMP))["fold"] == "1").sum()
    assert f"One model (test_net), for 1 of 3 folds. Each of the {rows} rows of fold 1" in page.words
    assert "<dt>Folds</dt><dd>1 of 3</dd>" in text
    assert not re.search("±|Standard deviation|Mean|thin:|remark-", page.words)
    assert "remark-" not in text
    strip = next(image for image in page.images if str(image["alt"]).startswith("The pooled score"))
    assert re.search(r"; fold 1 [\d.]+\.$", str(strip["alt"]))


def test_two_folds_of_three_keep_their_numbers(tmp_path: Path) -> None:
    layout = make_run(tmp_path, TASKS["multiclass"], folds=[0, 2])
    write_fold(layout, TASKS["multiclass"], OUTPUTS["multiclass"], 2, seconds=7200)
    cv = tables.read_json(layout.run(COMP, RUN) / "cv.json")
    change_scores(layout, per_fold=[cv["per_fold"][0], None])
    text, page = page_of(layout)
    assert "2 models (test_net), for 2 of 3 folds" in page.words
    assert "Accuracy is undefined in fold 2" in page.words
    assert "Weights, fold 2" in page.words
    assert ">Fold 2<" in text
    assert ">Fold 1<" not in text
    assert re.search(r'<tr><th scope="row">2</th>.*?>2 h 0 min</td>', text, re.DOTALL)


def test_pictures_of_any_kind_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = make_run(tmp_path, TASKS["binary"])
    for path in layout.input(COMP).glob("*.png"):
        with path.open("wb") as handle:
            np.save(handle, np.arange(20 * 24 * 5, dtype=np.uint16).reshape(20, 24, 5))
    text, page = page_of(layout)
    assert "no picture" not in page.words
    assert text.count("data:image/png") >= 24
    live = open_live(layout, COMP, RUN, test=False)
    write_valid_predictions(layout)
    assert newest_predictions(live, 1, seed=0)[0]["image"].startswith("data:image/")

    def without_package(*_: object) -> None:
        raise FoldlineError("a DICOM file needs a package", next="pip install it")

    monkeypatch.setattr("foldline.report.run.pictures.preview", without_package)
    monkeypatch.setattr("foldline.report.live.state.preview", without_package)
    assert "no picture: a DICOM file needs a package" in page_of(layout)[1].words
    assert newest_predictions(live, 1, seed=0)[0]["image"] == ""


def test_the_live_page_has_folds_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    layout = make_run(tmp_path, TASKS["binary"])
    tables.write_csv(layout.fold(COMP, RUN, 10) / "log.csv", tables.read_csv(layout.fold(COMP, RUN, 1) / "log.csv"))
    folds = state(open_live(layout, COMP, RUN, test=False))["folds"]
    assert [(fold["fold"], fold["done"]) for fold in folds] == [(0, True), (1, True), (2, True), (10, False)]


def write_valid_predictions(layout: Layout) -> None:
    """`valid.parquet` of fold 0, from the run's OOF predictions."""
    oof = tables.read_parquet(layout.run(COMP, RUN) / "oof.parquet")
    table = oof.loc[oof["fold"] == 0, ["row_id", "prob_ok", "prob_defective"]]
    tables.write_parquet(layout.fold(COMP, RUN, 0) / "valid.parquet", table)


def test_a_learning_rate_that_followed_the_validation_rows_is_optimistic(tmp_path: Path) -> None:
    layout = make_run(tmp_path, TASKS["binary"])
    change_scores(layout, optimistic=Run.parse({"schedule": {"name": "plateau"}}, where="test").optimistic())
    assert "The learning rate followed the loss on the validation rows." in page_of(layout)[1].words


def test_commands_bring_back_the_run_file(tmp_path: Path) -> None:
    layout = make_run(tmp_path, TASKS["binary"])
    assert "cp oof/made/quick/run.json configs/made/quick.yaml" in page_of(layout)[1].words
    layout.run_config(COMP, RUN).write_text("seed: 5\n")
    words = page_of(layout)[1].words
    assert "cp oof/made/quick/run.json configs/made/quick-again.yaml" in words
    assert "make ensemble COMP=made RUN=quick-again" in words
    layout.run_config(COMP, RUN).write_bytes((layout.run(COMP, RUN) / "run.json").read_bytes())
    assert "cp oof" not in page_of(layout)[1].words


def test_a_run_without_scores_says_what_to_type(tmp_path: Path) -> None:
    layout = make_run(tmp_path, TASKS["binary"])
    (layout.run(COMP, RUN) / "cv.json").unlink()
    with pytest.raises(FoldlineError, match="no out-of-fold score") as caught:
        build_report(layout, COMP, RUN)
    assert caught.value.next == "make predict COMP=made RUN=quick"


def test_every_section_has_a_macro_of_its_name() -> None:
    text = (Path(sections.__file__).parent / "sections.html").read_text()
    macros = re.findall(r"{% macro (\w+)\(it, run\) %}", text)
    assert [name for name in macros if name in sections.SECTIONS] == list(sections.SECTIONS)


def test_a_run_that_learnt_nothing_is_told_so(tmp_path: Path) -> None:
    layout = make_run(tmp_path, TASKS["binary"], trained=False)
    assert 'id="remark-no-better"' not in page_of(layout)[0]
    change_scores(layout, pooled=0.52, interval=[0.41, 0.63])
    text, page = page_of(layout)
    assert 'id="remark-no-better"' in text
    assert "Without looking at a picture 0.500: the same answer for every row" in page.words


@pytest.mark.parametrize(("classes", "kind"), [(2, "table"), (10, "table"), (11, "img"), (100, "img"), (101, "none")])
def test_the_confusion_matrix_up_to_a_hundred_classes(tmp_path: Path, classes: int, kind: str) -> None:
    names = [f"class {i}" for i in range(classes)]
    task = TASKS["binary" if classes == 2 else "multiclass"]
    text, page = page_of(make_run(tmp_path, task, names, rows=max(30, classes), trained=False))
    found = text.partition('id="figure-confusion"')[2].partition("</figure>")[0]
    assert (f"<{kind}" in found) == (kind != "none")
    assert ("Share of the true label's rows" in page.words) == (classes > 2)
    assert all(f">{name}</th>" in text for name in names)  # the class table has all
    loads_nothing(text, page)


def test_classes_that_are_confused_stand_together() -> None:
    counts = np.eye(12, dtype=np.int64) * 20
    for a, b in ((0, 7), (3, 11), (5, 6)):
        counts[a, b] = counts[b, a] = 9
    order = alike(counts)
    assert sorted(order) == list(range(12))
    assert all(abs(order.index(a) - order.index(b)) == 1 for a, b in ((0, 7), (3, 11), (5, 6)))


@pytest.mark.parametrize("scored", [1.0, 0.0])
def test_no_axis_leaves_what_the_metric_can_reach(tmp_path: Path, scored: float) -> None:
    layout = make_run(tmp_path, TASKS["multiclass"], trained=False)
    change_scores(
        layout, pooled=scored, per_fold=[scored] * 3, interval=[abs(scored - 0.04), scored][:: -1 if scored == 0 else 1]
    )
    strip = next(image for image in page_of(layout)[1].images if str(image["alt"]).startswith("The pooled score"))
    ticks = [float(text) for text in re.findall(r">([\d.]+)</text>", svg_of(strip)) if "." in text]
    assert ticks
    assert min(ticks) >= 0
    assert max(ticks) <= 1


@pytest.mark.parametrize("which", ["all right", "all wrong", "one never predicted"])
@pytest.mark.parametrize("task", plain(["binary", "multiclass", "ordinal", "multilabel"]))
def test_thirty_rows_at_the_edges(tmp_path: Path, task: Task, which: str) -> None:
    layout = make_run(tmp_path, task, rows=30, trained=False)
    path, names = layout.run(COMP, RUN) / "oof.parquet", OUTPUTS[task.name]
    table = tables.read_parquet(path)
    truth = task.of(names).truth(table, names, where="test")
    hot = truth if task.label_sets else np.eye(len(names))[truth.astype(int)]
    if which == "all wrong":
        hot = 1 - hot if task.label_sets else np.roll(hot, 1, axis=1)
    if which == "one never predicted":
        hot[:, -1] = 0
        hot[hot.sum(axis=1) == 0, 0] = 1
    columns = task.prediction_columns(names)
    tables.write_parquet(path, table.assign(**dict(zip(columns, hot.astype(np.float32).T, strict=True))))
    text, page = page_of(layout)
    assert "nan" not in page.words
    assert ('id="labels"' in text) == (which != "all right")
    assert ("100.0 %" in page.words) or task.label_sets or which != "all right"
    loads_nothing(text, page)
