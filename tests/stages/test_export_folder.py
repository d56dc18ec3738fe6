"""`foldline export folder`: a folder that is loaded anywhere, its card, half precision, and the way to a hub."""

import base64
import json
import os
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import numpy as np
import pytest

import foldline
from foldline.core.records.cv import Cv
from foldline.core.records.fold_meta import FoldMeta
from foldline.engine.finished import export
from tiny import FACTS, RUN, TinyProject

CHOICES = {**RUN, "train": {**RUN["train"], "epochs": 1}}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """Two runs, their ensemble, and an ensemble of that and the first run."""
    project = TinyProject(tmp_path_factory.mktemp("export"), rows=48)
    facts = {**FACTS, "metric": "f1", "metrics": ["auc"], "licence": "CC0-1.0", "folds": {"k": 2}}
    project.write_yaml("competition", facts)
    project.write_yaml("quick", CHOICES)
    project.write_yaml("other", {**CHOICES, "seed": 1})
    project.prepare()
    for run in ("quick", "other"):
        assert project.run("train", "--run", run) == 0
        assert project.run("predict", "--run", run) == 0
    assert project.run("ensemble", "--run", "quick") == 0
    assert project.run("score", "--run", "quick") == 0
    assert project.run("ensemble", "--runs", "quick other", "--name", "both") == 0
    assert project.run("ensemble", "--runs", "both quick", "--name", "nested") == 0
    return project


def pictures(project: TinyProject) -> list[Path]:
    return sorted((project.root / "raw").glob("*.png"))[:6]


@pytest.mark.parametrize("run", ["quick", "nested"])
def test_the_folder_predicts_what_the_run_does(
    project: TinyProject, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "deep" / "exported"
    assert project.run("export", "folder", "--run", run, "--out", str(out)) == 0
    moved = shutil.move(out, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    model = foldline.load("elsewhere", device="cpu")
    home = foldline.load(project.layout.run("tiny", run), device="cpu")
    files = pictures(project)
    assert model.predict(files).equals(home.predict(files))
    assert (model.score, model.interval, model.decision) == (home.score, home.interval, home.decision)
    assert not [path for path in Path(moved).rglob("*") if path.suffix == ".parquet"]


def test_the_card_says_what_the_model_is(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):  # an earlier export is replaced
        assert project.run("export", "folder", "--run", "quick") == 0
    folder = project.root / "exports" / "tiny" / "quick"
    assert "wrote exports/tiny/quick: " in capsys.readouterr().out
    card = (folder / "README.md").read_text()
    cv = Cv.read(project.layout.run("tiny", "quick") / "cv.json")
    assert card.startswith("---\nlibrary_name: foldline\npipeline_tag: image-classification\n")
    for words in (
        "# bright or dark: quick", "Task: binary; outputs: `dark`, `bright`.", f"| {cv.pooled:.4f} |",
        f"- auc: {cv.metrics['auc'].pooled:.4f}", "- on held-out or leaderboard labels, all folds together: f1 ",
        "| quick | test_efficientnet | 32 x 32 px, 1 channel | 2 | identity, hflip | 1 | random numbers |",
        "- pictures that it was trained on: CC0-1.0", "- starting weights of quick: none, they were random",
    ):  # fmt: skip
        assert words in card
    assert str(project.root) not in card


def test_half_precision_is_scored_before_it_is_written(
    project: TinyProject, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    half = tmp_path / "half"
    assert project.run("export", "folder", "--run", "both", "--half", "--out", str(half)) == 0
    assert "in half precision" in capsys.readouterr().out
    weights = [
        place / "fold_0" / "model.safetensors" for place in (half / "quick", project.layout.run("tiny", "quick"))
    ]
    small, large = (path.stat().st_size for path in weights)
    assert small < 0.75 * large
    model = foldline.load(half, device="cpu")
    home = foldline.load(project.layout.run("tiny", "both"), device="cpu")
    values = [own.predict(pictures(project))["prob_bright"].to_numpy(dtype=float) for own in (model, home)]
    assert 0 < np.abs(values[0] - values[1]).max() < 1e-2
    meta = FoldMeta.read(half / "quick" / "fold_0" / "meta.json")
    assert meta.rounded_from == FoldMeta.read(project.fold(0) / "meta.json").sha256.weights != meta.sha256.weights
    assert "weights in half precision, scored so; in float32 " in (half / "README.md").read_text()
    monkeypatch.setattr(export, "LARGEST_LOSS", -10.0)
    assert project.run("export", "folder", "--run", "quick", "--half", "--out", str(tmp_path / "no")) == 2
    assert "in half precision the score is" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_what_cannot_be_exported_is_said(
    project: TinyProject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("x")
    for arguments, words in (
        (["--run", "nothing"], "there is no such folder"),
        (["--run", "quick", "--out", str(tmp_path)], "something that is no exported model lies there"),
    ):
        assert project.run("export", "folder", *arguments) == 2
        assert words in capsys.readouterr().err
    assert (tmp_path / "mine").read_text() == "x"


PUSH = """
import pathlib, sys
from foldline.core.errors import FoldlineError
from foldline.engine.finished.hub import push_folder

for name in ("me/forbidden", "me/cells"):
    try:
        print(push_folder(pathlib.Path(sys.argv[1]), name))
    except FoldlineError as error:
        print(error)
"""


class Hub(BaseHTTPRequestHandler):
    """What the hub answers to its client when a folder of small files is uploaded; it notes what came."""

    calls: ClassVar[list[str]] = []
    files: ClassVar[dict[str, bytes]] = {}

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.calls.append(f"{self.path} {self.headers['Authorization']}")
        answer: dict[str, Any] = {}
        if self.path == "/api/repos/create":
            assert b"private" in body
            answer = {"url": f"http://{self.headers['Host']}/me/cells"}
        elif self.path.endswith("/preupload/main"):
            files = json.loads(body)["files"]
            answer = {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
        elif self.path.endswith("/commit/main"):
            lines = [json.loads(line) for line in body.splitlines()]
            parts = [line["value"] for line in lines if line["key"] == "file"]
            self.files.update({part["path"]: base64.b64decode(part["content"]) for part in parts})
            answer = {"commitUrl": f"http://{self.headers['Host']}/me/cells/commit/1", "commitOid": "1" * 40}
        self.send_response(403 if b"forbidden" in body else 200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def do_GET(self) -> None:
        self.send_response(404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def test_a_folder_goes_to_the_hub_by_its_own_client(project: TinyProject, tmp_path: Path) -> None:
    """The real client as a process, against a server on this machine."""
    folder = tmp_path / "quick"
    assert project.run("export", "folder", "--run", "quick", "--out", str(folder)) == 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        hub = f"http://127.0.0.1:{server.server_port}"
        environment = {
            **os.environ, "HF_ENDPOINT": hub, "HF_TOKEN": "hf_x", "HF_HUB_OFFLINE": "", "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(tmp_path / "hf"),
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", PUSH, str(folder)], env=environment, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        server.shutdown()
    assert "the hub cannot be reached or refuses" in done.stdout, done.stderr
    assert "hf upload me/forbidden" in done.stdout
    assert done.stdout.splitlines()[-1] == f"{hub}/me/cells/commit/1", done.stderr
    sent = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert Hub.files == sent
    assert all("Bearer hf_x" in call for call in Hub.calls)


def test_a_name_that_is_no_repository_is_refused(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.run("export", "folder", "--run", "quick", "--push", "cells") == 2
    assert "'cells' is no repository of a hub" in capsys.readouterr().err
