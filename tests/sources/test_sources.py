"""Every source, and the sources that need no server of their own."""

import errno
import hashlib
import shutil
import sys
from collections.abc import Callable
from http.client import IncompleteRead
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from foldline.core.errors import FoldlineError
from foldline.core.source_facts import Source
from foldline.sources import SOURCES, fetch
from foldline.sources.packages import PIP, file_from_wheel
from foldline.sources.placing import parking
from foldline.sources.tools import UnreachableError
from sources.trees import Tree, harvest, plant, tarred, zipped

PARTS = zipped({"a.txt": "a"})
WHEEL: Tree = {
    "toy_data/__init__.py": "raise SystemExit('code of the package was run')",
    "toy_data/data/labels.csv": "a.png 1\n",
    "toy_data/data/images/a.png": "png",
    "toy_data-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: toy-data\nVersion: 1.0\n",
    "toy_data-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "toy_data-1.0.dist-info/RECORD": "",
}


def source(kind: str, name: str, **more: Any) -> Source:
    return Source.model_validate({"kind": kind, "name": name, **more})


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index that is a folder with one wheel; pip's own settings of this machine do not apply."""
    plant(tmp_path / "wheels", {"toy_data-1.0-py3-none-any.whl": zipped(WHEEL)})
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(tmp_path / "wheels"), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return tmp_path / "wheels"


def wheel_sha(index: Path) -> str:
    return hashlib.sha256(next(index.iterdir()).read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("name", ["", "../no/such", "--help"])
def test_every_source_refuses_a_bad_name_in_words_and_leaves_nothing(kind: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(FoldlineError) as caught:
        fetch(source(kind, name), tmp_path / "out")
    assert caught.value.where
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.rglob(".raw*"))


def test_an_unknown_source_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(FoldlineError, match="did you mean 'kaggle'") as caught:
        fetch(source("kagle", "x"), tmp_path)
    assert all(name in caught.value.next for name in SOURCES)


def test_a_package_gives_its_data_and_runs_nothing(index: Path, tmp_path: Path) -> None:
    facts = source("pypi", "toy-data", version="1.0", sha256=wheel_sha(index), keep=["toy_data/data"])
    fetch(facts, tmp_path / "out")
    assert harvest(tmp_path / "out") == {"labels.csv": "a.png 1\n", "images/a.png": "png"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "wheels"]


def test_a_package_with_another_hash_is_refused(index: Path, tmp_path: Path) -> None:
    with pytest.raises(FoldlineError, match="sha256"):
        fetch(source("pypi", "toy-data", version="1.0", sha256="0" * 64), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["wheels"]


def test_an_unknown_version_names_the_known_ones(index: Path, tmp_path: Path) -> None:
    with pytest.raises(FoldlineError, match="no such version") as caught:
        fetch(source("pypi", "toy-data", version="9.9"), tmp_path / "out")
    assert "1.0" in caught.value.next


def test_an_unknown_package(index: Path, tmp_path: Path) -> None:
    with pytest.raises(FoldlineError, match="no wheel of no-such-thing"):
        fetch(source("pypi", "no-such-thing"), tmp_path / "out")


def test_an_index_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"INDEX_URL": "http://127.0.0.1:9/simple", "RETRIES": "1", "CONFIG_FILE": "/dev/null", "FIND_LINKS": ""}
    for name, value in settings.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    with pytest.raises(FoldlineError, match="cannot be reached"):
        fetch(source("pypi", "toy-data"), tmp_path / "out")


def test_a_python_without_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = plant(tmp_path, {"python": '#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n'}) / "python"
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    with pytest.raises(FoldlineError, match="pip is missing") as caught:
        fetch(source("pypi", "toy-data"), tmp_path / "out")
    assert "ensurepip" in caught.value.next


@pytest.mark.parametrize(
    "text",
    [
        "WARNING: Retrying after connection broken by 'NewConnectionError('<pip._vendor.urllib3...>: [Errno 111]')'",
        "Failed to establish: [Errno -3] Temporary failure in name resolution",
        "ReadTimeoutError: HTTPSConnectionPool",
    ],
)
def test_network_failures_are_recognised(text: str) -> None:
    assert isinstance(PIP.error("toy-data", "toy-data==1.0", text), UnreachableError)


def test_one_file_of_a_wheel(index: Path, tmp_path: Path) -> None:
    expected = hashlib.sha256(b"a.png 1\n").hexdigest()
    place = tmp_path / "deep" / "labels.csv"
    for _ in range(2):  # the second time nothing is downloaded
        assert file_from_wheel("toy-data", "1.0", "toy_data/data/labels.csv", expected, place) == place
        assert place.read_text() == "a.png 1\n"
        shutil.rmtree(index, ignore_errors=True)
    place.write_text("damaged")
    with pytest.raises(FoldlineError, match="sha256"):
        file_from_wheel("toy-data", "1.0", "toy_data/data/labels.csv", expected, place)


def test_a_file_that_the_wheel_lacks(index: Path, tmp_path: Path) -> None:
    with pytest.raises(FoldlineError, match=r"holds no 'toy_data/x\.csv'") as caught:
        file_from_wheel("toy-data", "1.0", "toy_data/x.csv", "", tmp_path / "x.csv")
    assert "toy_data/data/labels.csv" in caught.value.next
    assert not (tmp_path / "x.csv").exists()


def test_one_part_of_an_archive_is_no_source(tmp_path: Path) -> None:
    plant(tmp_path, {"all.zip.001": "PK"})
    with pytest.raises(FoldlineError, match="one part of an archive"):
        fetch(source("folder", str(tmp_path / "all.zip.001")), tmp_path / "out")


def test_a_local_folder_is_copied_and_stays_as_it_is(tmp_path: Path) -> None:
    tree: Tree = {"train/a.png": "a", "test.zip": zipped({"1.png": "1", "2.png": "2"}), ".DS_Store": "x"}
    mine = plant(tmp_path / "mine", tree)
    fetch(source("folder", str(mine)), tmp_path / "out")
    assert harvest(tmp_path / "out") == {"train/a.png": "a", "test/1.png": "1", "test/2.png": "2"}
    assert (mine / "test.zip").is_file()
    fetch(source("folder", str(mine), unpack=False, keep=["train"]), tmp_path / "kept")
    assert harvest(tmp_path / "kept") == {"a.png": "a"}


@pytest.mark.parametrize("make", [zipped, tarred])
def test_a_local_archive_is_unpacked(make: Callable[[Tree], bytes], tmp_path: Path) -> None:
    plant(tmp_path, {"data.bin": make({"a.csv": "id\n", "b/c.png": "c"})})
    fetch(source("folder", str(tmp_path / "data.bin")), tmp_path / "out")
    assert harvest(tmp_path / "out") == {"a.csv": "id\n", "b/c.png": "c"}


class Toy:
    """Downloads like torchvision's own data sets: an archive, and what it unpacks to."""

    def __init__(self, root: str, train: bool = True, download: bool = False) -> None:
        name = "train" if train else "test"
        plant(Path(root), {f"toy/{name}.bin": name, f"{name}.tar.gz": "archive"})


def test_torchvision_brings_the_raw_files_of_all_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets

    monkeypatch.setattr(torchvision.datasets, "Toy", Toy, raising=False)
    monkeypatch.setattr(torchvision.datasets, "__all__", (*torchvision.datasets.__all__, "Toy"))
    fetch(source("torchvision", "Toy"), tmp_path / "out")
    assert harvest(tmp_path / "out") == {"toy/train.bin": "train", "toy/test.bin": "test"}


def test_hugging_face_keeps_only_what_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def download(name: str, **options: Any) -> None:
        asked.update(options, name=name)
        plant(options["local_dir"], {"data/train.parquet": "p", "README.md": "r", ".cache/huggingface/x": "x"})

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    fetch(source("huggingface", "me/pictures", version="main", keep=["data"]), tmp_path / "out")
    assert harvest(tmp_path / "out") == {"train.parquet": "p"}
    assert (asked["repo_type"], asked["revision"], asked["allow_patterns"]) == ("dataset", "main", ["data", "data/*"])


class LostError(Exception):
    """As the hub's client raises it for a connection that breaks while a file comes."""

    __module__ = "httpx2"


@pytest.mark.parametrize(
    "error",
    [LocalEntryNotFoundError("Cannot find the requested files"), LostError("timed out"), ConnectionResetError(104, "")],
)
def test_a_hub_that_cannot_be_reached(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(name: str, **options: Any) -> None:
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(UnreachableError, match="cannot be reached") as caught:
        fetch(source("huggingface", "me/pictures"), tmp_path / "out")
    assert "goes on where it stopped" in caught.value.next


def test_a_full_disk_is_no_hub_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(name: str, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(OSError, match="No space left"):
        fetch(source("huggingface", "me/pictures"), tmp_path / "out")


@pytest.mark.parametrize("error", [ConnectionResetError(104, "reset"), TimeoutError("timed out"), IncompleteRead(b"x")])
def test_torchvision_whose_connection_breaks(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(dataset: type, root: Path) -> None:
        raise error

    monkeypatch.setattr("foldline.sources.torchvision._download", lost)
    with pytest.raises(UnreachableError, match="cannot reach the servers of CIFAR10"):
        fetch(source("torchvision", "CIFAR10"), tmp_path / "out")


def test_a_folder_of_a_user_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda number: {}[number])
    with pytest.raises(FoldlineError, match="no such folder or archive: '~/pictures'"):
        fetch(source("folder", "~/pictures"), tmp_path / "out")


def test_what_the_hub_brought_stays_until_all_is_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(name: str, **options: Any) -> None:
        plant(options["local_dir"], {"a.zip.001": PARTS[:30], "a.zip.002": PARTS[30:], "b.csv": "b"})

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    fetch(source("huggingface", "me/pictures"), tmp_path / "out")
    assert harvest(tmp_path / "out") == {"a.txt": "a", "b.csv": "b"}
    assert (parking(tmp_path / "out") / "a.zip.001").read_bytes() == PARTS[:30]
    assert sorted(harvest(parking(tmp_path / "out"))) == ["a.zip.001", "a.zip.002", "b.csv"]


def test_a_folder_that_does_not_fit_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = plant(tmp_path / "mine", {"a.csv": "a" * 3_000_000})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 2_000_000})())
    with pytest.raises(FoldlineError, match=r"3\.0 MB to copy, 2\.0 MB are free") as caught:
        fetch(source("folder", str(mine)), tmp_path / "out")
    assert "source.kind: placed" in caught.value.next
    assert not (tmp_path / "out").exists()
