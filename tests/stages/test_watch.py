"""The live page: what it serves while a run trains, and to whom."""

import base64
import hashlib
import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from browser import Browser, needs_browser
from foldline.core.errors import FoldlineError
from foldline.core.processes import owner
from foldline.core.records.progress import RunProgress
from foldline.core.tables import read_csv, read_parquet, write_parquet
from foldline.report.live.standing import standing
from foldline.stages.watch import serve
from tiny import TinyProject


@pytest.fixture
def trained(project: TinyProject) -> TinyProject:
    project.prepare()
    assert project.run("train", "--fold", "0") == 0
    return project


@pytest.fixture
def address(trained: TinyProject) -> Iterator[str]:
    with serve(trained.layout, "tiny", "quick", port=0, test=False) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def get(url: str, host: str = "") -> str:
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: str = answer.read().decode()
        return found


def test_the_page_and_the_log(trained: TinyProject, address: str) -> None:
    assert "quick" in get(f"{address}/")
    state = json.loads(get(f"{address}/state.json"))
    log = read_csv(trained.fold(0) / "log.csv")
    [fold] = state["folds"]
    assert fold["done"]
    assert fold["log"]["valid_loss"] == [float(cell) for cell in log["valid_loss"]]
    assert fold["log"]["train_loss"][0] is None, "the start has no training loss"


def test_predictions_are_the_newest_and_of_rows_that_the_fold_did_not_learn(trained: TinyProject, address: str) -> None:
    frame = read_csv(trained.layout.folds("tiny")).set_index("row_id")
    rows = json.loads(get(f"{address}/predictions.json?seed=3"))
    assert len(rows) == 24
    assert {frame["fold"][row["row_id"]] for row in rows} == {"0"}
    assert all(row["truth"] == frame["target"][row["row_id"]] for row in rows)
    assert all(row["right"] == (row["predicted"] == row["truth"]) for row in rows)
    assert all(row["image"].startswith("data:image/") for row in rows)
    assert rows == json.loads(get(f"{address}/predictions.json?seed=3"))
    assert rows != json.loads(get(f"{address}/predictions.json?seed=4"))
    table = read_parquet(trained.fold(0) / "valid.parquet")
    write_parquet(trained.fold(0) / "latest.parquet", table.assign(prob_dark=1.0, prob_bright=0.0))
    assert {row["predicted"] for row in json.loads(get(f"{address}/predictions.json?seed=3"))} == {"dark"}


def test_held_out_labels_are_shown_only_on_request(trained: TinyProject) -> None:
    assert trained.run("train") == 0
    assert trained.run("predict") == 0
    with serve(trained.layout, "tiny", "quick", port=0, test=True) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        rows = json.loads(get(f"http://127.0.0.1:{server.server_port}/predictions.json?seed=0"))
        server.shutdown()
    solution = read_csv(trained.layout.holdout_solution("tiny")).set_index("row_id")["target"]
    assert rows
    assert all(row["truth"] == solution[row["row_id"]] for row in rows)


def test_other_sites_and_other_pages_are_refused(address: str) -> None:
    for host in (
        "evil.example",
        "localhost.evil.example:80",
        "127.0.0.1.evil.example:80",
        "localhost:80@evil",
        "localhost",
    ):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            get(f"{address}/state.json", host=host)
    assert get(f"{address}/state.json", host="localhost:9999"), "a tunnel from another machine has a port of its own"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(f"{address}/../secret")
    assert json.loads(get(f"{address}/predictions.json?seed={'9' * 5000}"))


def runs_its_own_script_alone(address: str) -> None:
    """Asserts that a browser would run nothing else on the page."""
    with urllib.request.urlopen(f"{address}/", timeout=10) as answer:
        policy, page = answer.headers["Content-Security-Policy"], answer.read().decode()
    [script] = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"\son\w+=|javascript:", page), "what the policy would not run"


def test_before_training_there_is_a_page_and_nothing_on_it(project: TinyProject) -> None:
    project.prepare()
    with serve(project.layout, "tiny", "quick", port=0, test=False) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        assert json.loads(get(f"{base}/state.json"))["folds"] == []
        assert json.loads(get(f"{base}/predictions.json")) == []
        runs_its_own_script_alone(base)
        server.shutdown()
        with pytest.raises(FoldlineError, match="cannot be used"):
            serve(project.layout, "tiny", "quick", port=server.server_port, test=False)


def test_a_run_of_another_name_is_an_error(project: TinyProject) -> None:
    project.prepare()
    with pytest.raises(FoldlineError, match="no run 'qick'"):
        serve(project.layout, "tiny", "qick", port=0, test=False)


def post(url: str, **headers: str) -> int:
    request = urllib.request.Request(url, method="POST", headers={k.replace("_", "-"): v for k, v in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_button_pauses_and_other_sites_cannot(trained: TinyProject, address: str) -> None:
    pause = trained.layout.pause("tiny", "quick")
    [token] = re.findall(r'<meta name="token" content="([^"]{20,})">', get(f"{address}/"))
    refused: list[dict[str, str]] = [
        {},
        {"X_Foldline_Token": "guessed"},
        {"X_Foldline_Token": "gu\xdfssed"},
        {"X_Foldline_Token": token, "Origin": "http://evil.example"},
        {"X_Foldline_Token": token, "Origin": "null"},
        {"X_Foldline_Token": token, "Host": "evil.example:80"},
    ]
    for headers in refused:
        assert post(f"{address}/pause", **headers) == 403, headers
        assert not pause.exists()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(f"{address}/pause")
    assert post(f"{address}/anything", X_Foldline_Token=token) == 404
    assert post(f"{address}/pause", X_Foldline_Token=token, Origin=address) == 200
    assert pause.is_file()
    assert json.loads(get(f"{address}/state.json"))["pausing"]
    assert post(f"{address}/resume", X_Foldline_Token=token) == 200
    assert not pause.exists()


ANYONE = "00000000.1.1"  # of another machine


def written(project: TinyProject, state: str, what: str = "", process: str = ANYONE) -> None:
    progress = RunProgress.model_validate({"process": process, "state": state, "what": what, "fold": 1, "folds": [1]})
    progress.write(project.layout.progress("tiny", "quick"))


def test_states_in_words(trained: TinyProject) -> None:
    def now(done: list[int], *, begun: bool = True) -> tuple[str, str]:
        found = standing(trained.layout, "tiny", "quick", done, [0, 1, 2], begun)
        return found.kind, found.words

    assert now([0, 1, 2]) == ("finished", "All 3 folds are finished.")
    assert now([0]) == ("idle", "Finished: fold 0. Nothing trains folds 1 and 2 now.")
    assert now([], begun=False)[0] == "waiting"
    for state, kind, words in (
        ("preparing", "preparing", "Pictures are decoded."),
        ("training", "training", "Training."),
        ("validating", "validating", "Validating."),
        ("paused", "paused", "Paused: the training waits"),
        ("failed", "failed", "Pictures are decoded."),
        ("stopped", "stopped", "It goes on with: "),
    ):
        written(trained, state, "pictures are decoded")
        assert now([0])[0] == kind
        assert words in now([0])[1]
    written(trained, "training")
    assert "Waiting for the first epoch" in now([], begun=False)[1]
    place, number, started = owner().split(".")
    written(trained, "training", process=f"{place}.{number}.{int(started) + 1}")
    assert now([0])[0] == "gone", "its number is another process's now"
    assert "foldline train" in now([0])[1] or "make train-all" in now([0])[1]


def test_locks_tell_where_nothing_is_written(trained: TinyProject) -> None:
    lock = trained.fold(1) / ".lock"
    lock.parent.mkdir()
    lock.write_text(f"{owner()} here")
    assert standing(trained.layout, "tiny", "quick", [0], [0, 1], True).kind == "training"
    place, number, started = owner().split(".")
    lock.write_text(f"{place}.{number}.{int(started) + 1} here")
    assert standing(trained.layout, "tiny", "quick", [0], [0, 1], True).kind == "gone"


def test_a_damaged_clock_says_nothing(trained: TinyProject, address: str) -> None:
    trained.layout.progress("tiny", "quick").write_text("{")
    trained.layout.first_score("tiny", "quick").write_text("{}")
    state = json.loads(get(f"{address}/state.json"))
    assert state["clock"] is None
    assert state["first"] is None
    assert state["kind"] == "idle"


@needs_browser
def test_a_browser_follows_a_training(project: TinyProject, tmp_path: Path) -> None:
    project.prepare()
    with (
        serve(project.layout, "tiny", "quick", port=0, test=False) as server,
        Browser(tmp_path / "browser") as browser,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        browser.open(address)
        browser.wait("document.querySelector('header')?.className === 'top waiting'")
        assert browser.js("document.querySelector('#pause').hidden"), "there is nobody to be paused"
        training = project.start("train", "--run", "quick")
        browser.wait("document.querySelectorAll('#charts svg').length > 2")
        browser.wait("document.querySelector('#headline').textContent === 'Finished'", 120)
        training.communicate(timeout=60)
        assert training.returncode == 0
        browser.wait("document.querySelectorAll('#predictions img').length === 24")
        said = browser.js("document.querySelector('#charts svg').getAttribute('aria-label')")
        assert "AUC of the validation rows. validation rows, mean of 3 finished folds: " in said
        ends = browser.js("[...document.querySelectorAll('#charts .legend')].map(node => node.textContent).join()")
        assert "lowest to highest of them" in ends
        browser.resize(390, 800)
        browser.wait("innerWidth === 390")
        assert browser.js("document.documentElement.scrollWidth") <= 390
        small = "[...document.querySelectorAll('#charts text')].map(node => node.getBoundingClientRect().height)"
        assert browser.js(f"Math.min(...{small})") >= 11, "numbers that are too small to read"
        server.shutdown()
        assert not browser.errors
        assert all(asked.startswith((address, "data:")) for asked in browser.asked)


CHARTS = """[...document.querySelectorAll('#charts figure')].map(figure => [
  figure.querySelectorAll('svg[role] text[style]').length, figure.querySelectorAll('.legend li').length,
  figure.querySelector('h3').textContent])"""


@needs_browser
def test_classes_are_labelled_where_they_are_few(project: TinyProject, tmp_path: Path) -> None:
    project.prepare()
    with (
        serve(project.layout, "tiny", "quick", port=0, test=False) as server,
        Browser(tmp_path / "browser") as browser,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.open(f"http://127.0.0.1:{server.server_port}/")
        browser.wait("typeof curves === 'function'")
        for count, labels, keys in ((3, 3, 0), (20, 0, 20), (60, 0, 12)):
            names = [f"a rather long class name {number}" for number in range(count)]
            log = {"epoch": [0, 1]} | {f"accuracy_{name}": [0.5, place / 100] for place, name in enumerate(names)}
            made = {"folds": [{"fold": 0, "log": log, "done": False}], "outputs": names, "title": "AUC",
                    "direction": "max", "metric": "auc", "titles": {}, "epochs": 2, "clock": None}  # fmt: skip
            found = browser.js(f"curves({json.dumps(made)}), {CHARTS}")
            assert found[-1][:2] == [labels, keys]
            assert ("12 of 60 classes" in found[-1][2]) == (count == 60)
        server.shutdown()
    assert not browser.errors
