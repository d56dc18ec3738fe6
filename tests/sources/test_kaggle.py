"""The real client as a subprocess, against a site on loopback."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foldline.core.errors import FoldlineError
from foldline.core.source_facts import Source
from foldline.sources import fetch
from foldline.sources.kaggle import FAILURES, client_error, run_client
from foldline.sources.placing import parking
from sources.kaggle_site import Site, running_site
from sources.trees import harvest, plant, zipped

TREE = zipped({"train.csv": "id,label\n1,a\n", "train.zip": zipped({"train/1.png": "png", "train/2.png": "png"})})
UNPACKED = {"train.csv": "id,label\n1,a\n", "train/1.png": "png", "train/2.png": "png"}
COMPETITION = Source.model_validate({"kind": "kaggle", "name": "cats"})


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    home = tmp_path / "home"
    home.mkdir()
    with running_site(home, monkeypatch) as site:
        site.archive = TREE
        yield site


def test_a_competition_is_downloaded_and_unpacked(site: Site, tmp_path: Path) -> None:
    fetch(COMPETITION, tmp_path / "out")
    assert harvest(tmp_path / "out") == UNPACKED
    assert site.calls == ["DownloadDataFiles"]


def test_a_dataset_is_downloaded_and_unpacked(site: Site, tmp_path: Path) -> None:
    fetch(Source.model_validate({"kind": "kaggle_dataset", "name": "me/fish", "version": "3"}), tmp_path / "out")
    assert harvest(tmp_path / "out") == UNPACKED
    assert site.calls[-1] == "DownloadDataset"


REFUSALS = {
    401: ("Unauthenticated", "credentials", "kaggle.com/settings"),
    403: ("You must accept this competition's rules before you continue", "rules", "competitions/cats/rules"),
    404: ("Not found", "no such competition", "competitions/cats"),
    429: ("Too many requests", "throttles", "wait"),
}


@pytest.mark.parametrize("status", REFUSALS)
def test_each_refusal_has_its_own_words_and_next_step(status: int, site: Site, tmp_path: Path) -> None:
    message, what, following = REFUSALS[status]
    site.errors["DownloadDataFiles"] = (status, message)
    with pytest.raises(FoldlineError) as caught:
        fetch(COMPETITION, tmp_path / "out")
    assert what in caught.value.what
    assert following in caught.value.next
    assert not (tmp_path / "out").exists()


def test_no_credentials(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    site.errors["DownloadDataFiles"] = (401, "Unauthenticated")
    with pytest.raises(FoldlineError, match="credentials"):
        fetch(COMPETITION, tmp_path / "out")


def test_no_network(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with pytest.raises(FoldlineError, match="cannot be reached"):
        fetch(COMPETITION, tmp_path / "out")
    assert site.calls == []


def test_a_killed_download_goes_on_where_it_stopped(site: Site, tmp_path: Path) -> None:
    site.archive = zipped({"noise.bin": os.urandom(5 << 20)})
    site.stall_after = 3 << 20
    code = (
        "import sys; from pathlib import Path; from foldline.core.source_facts import Source; "
        "from foldline.sources import fetch; fetch(Source(kind='kaggle', name='cats'), Path(sys.argv[1]))"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "out")], start_new_session=True) as process:
        assert site.stalled.wait(120)
        archive = parking(tmp_path / "out") / "cats.zip"
        for _ in range(3000):
            if archive.is_file() and archive.stat().st_size >= 2 << 20:
                break
            site.closing.wait(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    site.stall_after = None
    fetch(COMPETITION, tmp_path / "out")
    assert (tmp_path / "out" / "noise.bin").stat().st_size == 5 << 20
    assert len(site.ranges) == 1
    assert int(site.ranges[0].removeprefix("bytes=").rstrip("-")) >= 2 << 20


def test_an_archive_that_came_broken_is_fetched_anew(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client would take it for whole, and every further command would end alike."""
    plant(parking(tmp_path / "out"), {"cats.zip": TREE[:60]})
    monkeypatch.setattr("foldline.sources.kaggle.run_client", lambda arguments, page: "")
    with pytest.raises(FoldlineError, match="broken"):
        fetch(COMPETITION, tmp_path / "out")
    assert not (parking(tmp_path / "out") / "cats.zip").exists()


def test_the_client_ends_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would go on, and write into the archive that the next command goes on with."""
    number = tmp_path / "number"
    script = f"#!/bin/sh\necho $$ > {number}.new\nmv {number}.new {number}\nexec sleep 60\n"
    client = plant(tmp_path, {"client": script}) / "client"
    client.chmod(0o755)

    def interrupt(signal_number: int, frame: Any) -> None:
        if number.is_file():
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "executable", str(client))
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2, 0.1)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_client([], page="")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(ProcessLookupError):
        os.kill(int(number.read_text()), 0)


@pytest.mark.parametrize("name", ["", "../etc", "a b", "-h", "owner/name", "--path=x"])
def test_a_name_that_is_no_slug_never_reaches_the_client(name: str, site: Site, tmp_path: Path) -> None:
    with pytest.raises(FoldlineError, match="no Kaggle competition"):
        fetch(Source.model_validate({"kind": "kaggle", "name": name}), tmp_path / "out")
    assert site.calls == []


def test_a_module_of_the_same_name_here_is_not_run(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kaggle.py").write_text("raise SystemExit('posing as the client')")
    monkeypatch.chdir(tmp_path)
    fetch(COMPETITION, tmp_path / "out")
    assert harvest(tmp_path / "out") == UNPACKED


def test_a_full_disk_is_told_from_the_client_text() -> None:
    error = client_error("OSError: [Errno 28] No space left on device", page="p")
    assert "disk is full" in error.what


def test_the_client_last_words_stay_in_the_message() -> None:
    error = client_error(" 10%|# | 1/9 [00:00<?, ?B/s]\r\nsomething new\n", page="p")
    assert "something new" in error.what


def test_every_failure_has_what_and_next() -> None:
    assert all(what and following for _, what, following in FAILURES)
