"""The app on a trained run: what it says of pictures, in words and in a real browser, and whom it answers."""

import re
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from browser import Browser, needs_browser
from foldline.app.answers import ask_files, ask_row
from foldline.app.desk import Desk
from foldline.app.looked_rows import look_at
from foldline.app.neighbours import Neighbours
from foldline.app.opened import OOF, TEST, OpenRun, open_run
from foldline.core.errors import FoldlineError
from foldline.core.tables import read_csv, read_parquet
from foldline.engine.finished.embed import pooled_features
from foldline.engine.finished.pictures import Source
from foldline.engine.finished.reading import in_chunks
from foldline.images.store import PictureStore
from foldline.report.run.page import render
from foldline.report.run.pictures import worst_rows
from foldline.report.run.reported_run import read_run
from foldline.stages import app as stage
from tiny import RUN, TinyProject

pytestmark = pytest.mark.skipif(
    not find_spec("gradio"),
    reason="the extra app is not installed: pip install 'foldline[app]'",
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """Trained and predicted once; its pictures are large enough for a map of several places."""
    project = TinyProject(tmp_path_factory.mktemp("app"), rows=60)
    project.write_yaml(
        "quick", {**RUN, "data": {"image_size": 64, "channels": 1}, "train": {**RUN["train"], "epochs": 1}}
    )
    project.prepare()
    for name in ("train", "predict"):
        assert project.run(name) == 0
    return project


@pytest.fixture(scope="module")
def run(project: TinyProject) -> OpenRun:
    return open_run(project.layout, "tiny", "quick", device="cpu")


@pytest.fixture(scope="module")
def near(run: OpenRun) -> Neighbours:
    near = Neighbours(run)
    near.start()
    assert near.wait(60)
    assert not near.error
    return near


@pytest.fixture(scope="module")
def new_picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of no row of the competition; its name is one that a page could stumble over."""
    path = tmp_path_factory.mktemp("new") / "new {{1}} <b>&.png"
    cv2.imwrite(str(path), np.random.default_rng(7).integers(0, 255, (50, 70), np.uint8))
    return path


def test_a_new_picture_is_answered_by_all_folds_as_the_model_does(run: OpenRun, new_picture: Path) -> None:
    [answer] = ask_files(run, [new_picture])
    table = run.model.predict([new_picture])
    assert answer.folds == (0, 1, 2)
    assert answer.fair.all()
    assert answer.prob == pytest.approx(table[run.model.columns].to_numpy()[0], abs=1e-6)
    assert answer.names == (table["label"][0],)
    assert answer.spread.max() == pytest.approx(table["spread"][0], abs=1e-6)


def test_a_training_row_is_answered_by_the_fold_that_did_not_see_it(run: OpenRun, project: TinyProject) -> None:
    oof = read_parquet(project.layout.run("tiny", "quick") / "oof.parquet")
    for place in (0, 17):
        answer = ask_row(run, OOF, place)
        assert answer.prob == pytest.approx(oof[run.model.columns].to_numpy()[place], abs=1e-5)
        assert [f for f, fair in zip(answer.folds, answer.fair, strict=True) if fair] == [oof["fold"][place]]
        assert answer.row is not None
        assert answer.row.true == (oof["target"][place],)


def test_a_dropped_training_picture_is_no_new_one(run: OpenRun, project: TinyProject, tmp_path: Path) -> None:
    copy = tmp_path / "another name.png"
    copy.write_bytes(run.files(run.rows[OOF].images[3])[0].read_bytes())
    [answer] = ask_files(run, [copy])
    assert answer.row is not None
    assert (answer.row.kind, answer.row.place) == (OOF, 3)
    assert answer.prob == pytest.approx(ask_row(run, OOF, 3).prob)


def test_held_out_labels_are_read_only_on_request(project: TinyProject, run: OpenRun) -> None:
    rows = run.rows[TEST]
    assert rows.true is None
    assert rows.right is None
    assert rows.loss is None
    assert "loss" not in rows.sorts
    asked = open_run(project.layout, "tiny", "quick", device="cpu", test=True).rows[TEST]
    solution = read_csv(project.layout.holdout_solution("tiny")).set_index("row_id")["target"]
    assert asked.true == [(solution[row],) for row in asked.ids]


def test_neighbours_were_not_seen_by_the_network_that_compares(run: OpenRun, near: Neighbours) -> None:
    rows, spec = run.rows[OOF], run.first.spec
    assert rows.folds is not None
    answer = ask_row(run, OOF, 5)
    found = near.nearest(answer)
    assert {int(rows.folds[one.place]) for one in found} == {int(rows.folds[5])}
    assert 5 not in {one.place for one in found}
    assert [one.likeness for one in found] == sorted((one.likeness for one in found), reverse=True)

    # by hand: the nearest row of its fold, in the features of its fold's network
    own = np.flatnonzero(rows.folds == rows.folds[5])
    sources = [Source(rows.ids[i], run.files(rows.images[i])) for i in own]
    [chunk] = in_chunks(sources, [spec], len(own), "stop")
    [network] = run.first.fold_networks([int(rows.folds[5])])
    store = PictureStore(chunk.pixels[spec], run.model.device)
    features = pooled_features([network], store, np.arange(len(own)), batch_size=8)
    scale = np.maximum(features.std(0), 0.1 * features.std(0).mean())
    x = (features - features.mean(0)) / scale
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    likeness = dict(zip(own.tolist(), (x @ x[own.tolist().index(5)]).tolist(), strict=True))
    for one in found:
        assert one.likeness == pytest.approx(likeness[one.place], abs=1e-3)
    assert found[0].place == max(likeness.keys() - {5}, key=lambda place: likeness[place])


def test_a_new_picture_has_neighbours_in_all_folds(run: OpenRun, near: Neighbours, new_picture: Path) -> None:
    rows = run.rows[OOF]
    assert rows.folds is not None
    [answer] = ask_files(run, [new_picture])
    assert len(near.nearest(answer)) == 8
    twin = ask_row(run, OOF, 2)
    stranger = Neighbours(run)  # the features are read, not computed again
    stranger._compute = pytest.fail  # type: ignore[method-assign, assignment]
    stranger.start()
    assert stranger.wait(30)
    assert not stranger.error
    assert stranger.nearest(twin) == near.nearest(twin)


def test_pictures_that_are_gone_take_the_neighbours_alone(run: OpenRun, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = Neighbours(run)

    def refuse() -> Any:
        raise FoldlineError("the pictures are gone")

    monkeypatch.setattr(lost, "_read_or_compute", refuse)
    lost.start()
    assert lost.wait(10)
    desk = Desk(run, lost)
    assert "the pictures are gone" in list(desk.nearest(ask_row(run, OOF, 0)))[-1]


def test_every_output_can_be_explained(run: OpenRun, near: Neighbours, new_picture: Path) -> None:
    desk = Desk(run, near)
    [answer] = desk.ask_files([new_picture])
    html = [desk.looked(answer, output) for output in range(2)]
    assert all("fl-looked" in one or "Nothing in the picture" in one for one in html)
    assert ["dark" in html[0], "bright" in html[1]] == [True, True]
    own = desk.ask_row(OOF, 4)[0]
    assert own.row is not None
    assert any(f"fold {own.row.fold}" in desk.looked(own, output) for output in range(2))


@pytest.fixture(scope="module")
def second(project: TinyProject) -> TinyProject:
    """With a second run."""
    assert project.run("train", "--run", "quick", "--name", "other", "--set", "seed=1") == 0
    assert project.run("predict", "--run", "quick", "--name", "other", "--set", "seed=1") == 0
    return project


@pytest.mark.parametrize("blend", ["mean", "rank_mean"])
def test_an_ensemble_is_asked_as_a_whole(second: TinyProject, new_picture: Path, blend: str) -> None:
    assert second.run("ensemble", "--runs", "quick other", "--blend", blend, "--name", blend) == 0
    both = open_run(second.layout, "tiny", blend, device="cpu")
    [answer] = ask_files(both, [new_picture])
    parts = [open_run(second.layout, "tiny", name, device="cpu") for name in ("quick", "other")]
    alone = [ask_files(part, [new_picture])[0] for part in parts]
    assert answer.by_fold == pytest.approx(np.mean([one.by_fold for one in alone], axis=0), abs=1e-6)
    assert both.blends_ranks == (blend == "rank_mean")
    html = Desk(both, Neighbours(both)).top()
    assert ("one picture has none" in html) == both.blends_ranks
    assert "of 2 runs" in html


def test_names_of_strangers_are_escaped(run: OpenRun, near: Neighbours, new_picture: Path) -> None:
    desk = Desk(run, near)
    answers = desk.ask_files([new_picture, new_picture])
    for html in (desk.answer(answers[0]), desk.strip(answers, 0)):
        assert "&lt;b&gt;" in html
        assert "<b>&" not in html


def test_too_many_pictures_are_refused(run: OpenRun, near: Neighbours) -> None:
    with pytest.raises(FoldlineError, match="201 pictures"):
        Desk(run, near).ask_files(["a.png"] * 201)


def test_errors_come_before_anything_is_served(
    project: TinyProject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails(match: str, run: str = "quick", port: int = 0) -> None:
        with pytest.raises(FoldlineError, match=match), stage.serve(project.layout, "tiny", run, port=port):
            pass

    fails("not trained and predicted yet", run="nobody")
    with stage._listener(0) as taken:
        fails("cannot be used", port=taken.getsockname()[1])
    monkeypatch.setattr("foldline.engine.finished.model.Member.metadata", ["age"])
    fails("read metadata")
    monkeypatch.setattr(stage, "find_spec", lambda name: None if name == "gradio" else name)
    fails("the app needs gradio, which is not installed")


@pytest.fixture(scope="module")
def address(project: TinyProject) -> Iterator[str]:
    """Of the page that the command serves, which Ctrl-C ends."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BROWSER", "true")  # the command that opens pages
        process = project.start("app", "--run", "quick", "--device", "cpu", "--port", "0")
    assert process.stdout is not None
    found = next(filter(None, (re.match(r"(http://127\.0\.0\.1:\d+/) is the page", line) for line in process.stdout)))
    yield found[1]
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=20)[0]
    assert process.returncode == 130, rest
    assert "Traceback" not in rest


def test_only_this_machine_is_answered(address: str) -> None:
    with urllib.request.urlopen(address, timeout=20) as answer:
        assert "connect-src 'self'" in answer.headers["Content-Security-Policy"]
    request = urllib.request.Request(address, headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request, timeout=20)


def tab(name: str) -> str:
    return f"[...document.querySelectorAll('button[role=tab]')].find(tab => tab.innerText.trim() == '{name}').click()"


@needs_browser
def test_in_a_browser(address: str, new_picture: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with Browser(tmp_path) as page:
        page.open(address)
        page.wait("document.querySelector('#files input[type=file]')")
        page.choose_files("#files input[type=file]", [new_picture, broken])
        page.wait("document.querySelector('#answer h2')")
        page.wait("document.querySelectorAll('#looked img').length == 2")
        page.wait("document.querySelectorAll('#nearest .fl-card').length == 8")
        assert page.js("document.querySelector('#answer h2').innerText") in ("dark", "bright")
        assert page.js("document.querySelectorAll('#answer .fl-dot').length") == 6
        assert "a new picture" in page.text()
        assert "cannot be read" in page.js("document.querySelector('#strip').innerText")

        page.js("document.querySelectorAll('#strip .fl-card')[1].click()")
        page.wait("document.querySelector('#answer h2').innerText == 'cannot be read'")

        page.js(tab("Browse"))
        page.wait("document.querySelectorAll('#cards .fl-card').length == 24")
        first = page.js("document.querySelector('#cards').innerText")
        page.js("document.querySelector('#next').click()")
        page.wait("document.querySelector('#words').innerText.includes('page 2 of 2')")
        assert page.js("document.querySelector('#cards').innerText") != first
        page.js("document.querySelector('#cards .fl-card').click()")
        page.wait("document.querySelector('#answer').innerText.includes('training row of fold')")
        page.wait("document.querySelectorAll('#answer .fl-hollow').length == 4")
        page.wait("document.querySelectorAll('#nearest .fl-card').length == 8")

        page.js(tab("Browse"))
        page.js("document.querySelectorAll('#kind input')[1].click()")
        page.wait("document.querySelector('#words').innerText.includes('test rows')")
        assert "true" not in page.js("document.querySelector('#cards').innerText"), "held-out labels"

        for name in ("Ask", "Browse"):
            page.js(tab(name))
            page.resize(390, 844)
            assert page.js("document.documentElement.scrollWidth") <= 390
        assert page.errors == []
        assert [asked for asked in page.asked if not asked.startswith((address, "data:", "blob:"))] == []


def test_a_report_shows_where_the_networks_looked(project: TinyProject, monkeypatch: pytest.MonkeyPatch) -> None:
    reported = read_run(project.layout, "tiny", "quick")
    rows = worst_rows(reported)[:3]
    looks = look_at(reported, rows)
    assert list(looks.heat) == rows
    assert "the network that has never seen the row" in looks.note
    assert all(one.shape == (48, 48) and 0 <= one.min() <= one.max() <= 1 for one in looks.heat.values())

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("the maps were kept")

    monkeypatch.setattr("foldline.app.looked_rows._computed", refuse)
    again = look_at(reported, rows)
    assert all(np.allclose(again.heat[row], looks.heat[row], atol=1 / 255) for row in rows)
    page = render(replace(reported, looks=again))
    wrong = page.partition('id="gallery-wrong"')[2].partition("</ul>")[0]
    assert wrong.count('class="heat"') == 3
    assert "Show where the network looked" in page


def test_what_cannot_be_looked_into_is_said(project: TinyProject, monkeypatch: pytest.MonkeyPatch) -> None:
    reported = read_run(project.layout, "tiny", "quick")
    cv = reported.cv.changed(members=["a", "b"])
    assert "an ensemble has no network" in look_at(replace(reported, metas={}, cv=cv), [0]).note
    assert look_at(reported, [0], seconds=-1.0).heat == {}
    read = {k: meta.changed(metadata=[{"name": "age"}]) for k, meta in reported.metas.items()}
    assert "read metadata" in look_at(replace(reported, metas=read), [0]).note
