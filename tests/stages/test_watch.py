"""The live page: what it serves while a run trains, and to whom."""

import base64
import hashlib
import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from foldline.core.errors import FoldlineError
from foldline.core.tables import read_csv, read_parquet, write_parquet
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
