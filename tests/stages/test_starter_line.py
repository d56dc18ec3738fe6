"""From a slug alone to folds, by the real Makefile, the command line and the real Kaggle client on loopback."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sources.kaggle_site import Site, running_site
from sources.trees import Tree, zipped

ROOT = Path(__file__).parents[2]
IDS = [f"0{i:02d}" for i in range(30)]
FILES: Tree = {
    "train_labels.csv": "id,label\n" + "".join(f"{i},{int(i) % 3 % 2}\n" for i in IDS),
    "sample_submission.csv": "id,label\n1a,0\n1b,0\n",
    **{f"train/{i}.tif": f"picture {i}" for i in IDS},
    **{f"test/{i}.tif": f"picture {i}" for i in ("1a", "1b")},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A fresh clone, as far as Make sees it; the virtual environment is the one that runs the tests."""
    folder = tmp_path / "clone"
    folder.mkdir()
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    (folder / "ready").touch()
    return folder


def make(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    own = [f"bin={Path(sys.executable).parent}", "ready=ready", "--no-print-directory"]
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    return subprocess.run(
        ["make", *arguments, *own],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    (tmp_path / "home").mkdir()
    with running_site(tmp_path / "home", monkeypatch) as site:
        site.archive = zipped(FILES)
        yield site


def test_a_slug_becomes_facts_and_the_next_steps_are_said(folder: Path, site: Site) -> None:
    downloaded = make(folder, "download", "COMP=cancer")
    assert downloaded.returncode == 0, downloaded.stderr
    facts = folder / "configs" / "cancer" / "competition.yaml"
    assert "metric: auc" in facts.read_text()
    for words in (
        "competitions/cancer",
        "'auc'",
        "'binary'",
        "delete its last line",
        "make folds COMP=cancer",
    ):
        assert words in downloaded.stdout
    split = make(folder, "folds", "COMP=cancer")
    assert split.returncode == 0, split.stderr
    assert "GUESSED" in split.stdout
    assert "metric 'auc', task 'binary'" in split.stdout
    facts.write_text(facts.read_text().replace("metric: auc", "metric: log_loss").rpartition("unconfirmed:")[0])
    confirmed = make(folder, "folds", "COMP=cancer")
    assert confirmed.returncode == 0, confirmed.stderr
    assert "up to date: 30 rows" in confirmed.stdout, "the metric is no part of the folds"
    assert "GUESSED" not in confirmed.stdout
    assert site.calls.count("DownloadDataFiles") == 1


def test_later_targets_bring_the_files_first(folder: Path, site: Site) -> None:
    made = make(folder, "folds", "COMP=cancer")
    assert made.returncode == 0, made.stderr
    assert made.stdout.index("What to do next") < made.stdout.index("GUESSED") < made.stdout.index("wrote folds/")
    stopped = make(folder, "ensemble", "COMP=cancer", "RUN=nothing")
    assert stopped.returncode != 0
    assert "unknown run 'nothing'" in stopped.stderr
    assert "docs/runs.md" in stopped.stderr


def test_a_slug_that_kaggle_does_not_know_leaves_nothing(folder: Path, site: Site) -> None:
    site.errors["DownloadDataFiles"] = (404, "Not found")
    made = make(folder, "download", "COMP=elpw")
    assert made.returncode != 0
    assert "no such competition" in made.stderr
    assert not (folder / "configs").exists()
