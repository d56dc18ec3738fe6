"""npm and apt, each a small script on PATH here; and what happens where a source cannot be reached."""

import gzip
import hashlib
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.source_facts import Source
from foldline.core.tables import read_json
from foldline.sources import fetch
from foldline.sources.tools import UnreachableError
from foldline.stages.download import download
from sources.trees import Tree, harvest, plant, tarred, zipped

NPM_TREE: Tree = {
    "package/package.json": "{}",
    "package/index.js": "throw 'code of the package was run'",
    "package/data/images-ubyte": "pictures",
    "package/data/labels.zip": zipped({"labels-ubyte": "labels"}),
}
DEB_TREE: Tree = {
    "usr/share/doc/digits/copyright": "MIT",
    "usr/share/datasets/digits/images-ubyte.gz": gzip.compress(b"pictures"),
    "usr/share/datasets/digits/labels-ubyte.gz": gzip.compress(b"labels"),
}
DATA = {"images-ubyte": "pictures", "labels-ubyte": "labels"}
NPM = {"kind": "npm", "name": "digits", "version": "1.2.0", "keep": ["package/data"]}
DEBIAN = {"kind": "debian", "name": "dataset-digits", "keep": ["usr/share/datasets/digits"]}


class Tools:
    """A folder of fake programs that is all of PATH; each leaves what it was called with beside itself."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = plant(folder / "bin", {"store/npm.tgz": tarred(NPM_TREE, "w:gz")})
        for name, content in DEB_TREE.items():
            plant(self.folder / "store" / "deb", {name: content})
        plant(self.folder / "outside", {"other": "stays"})
        (self.folder / "store" / "deb" / "usr/share/datasets/digits/link").symlink_to(self.folder / "outside")
        monkeypatch.setenv("PATH", str(self.folder))

    def add(self, name: str, body: str) -> None:
        """A program in Python; `store` is the folder of its packages."""
        head = f"#!{sys.executable}\nimport pathlib, shutil, sys\nhere = pathlib.Path({str(self.folder)!r})\n"
        head += f"store = here / 'store'\n(here / '{name}.called').write_text(' '.join(sys.argv[1:]))\n"
        path = self.folder / name
        path.write_text(head + body)
        path.chmod(0o755)

    def add_npm(self, body: str = "shutil.copy(store / 'npm.tgz', 'digits-1.2.0.tgz')") -> None:
        self.add("npm", body)

    def add_apt(self, body: str = "pathlib.Path('dataset-digits_1_all.deb').write_text('deb')") -> None:
        self.add("apt-get", body)
        self.add("dpkg-deb", "shutil.copytree(store / 'deb', sys.argv[3], symlinks=True, dirs_exist_ok=True)")

    def called(self, name: str) -> list[str]:
        path = self.folder / f"{name}.called"
        return path.read_text().split() if path.is_file() else []


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    return Tools(tmp_path, monkeypatch)


def source(content: dict[str, Any], **more: Any) -> Source:
    return Source.model_validate({**content, **more})


def complain(words: str, code: int = 1) -> str:
    return f"print({words!r}, file=sys.stderr); sys.exit({code})"


def test_npm_gives_the_data_of_a_package(tools: Tools, tmp_path: Path) -> None:
    tools.add_npm()
    digest = hashlib.sha256((tools.folder / "store" / "npm.tgz").read_bytes()).hexdigest()
    fetch(source(NPM, sha256=digest), tmp_path / "out")
    assert harvest(tmp_path / "out") == DATA
    assert tools.called("npm")[:2] == ["pack", "digits@1.2.0"]
    assert "--ignore-scripts" in tools.called("npm")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "out"]


def test_debian_gives_the_data_of_a_package(tools: Tools, tmp_path: Path) -> None:
    tools.add_apt()
    fetch(source(DEBIAN, sha256=hashlib.sha256(b"deb").hexdigest()), tmp_path / "out")
    assert harvest(tmp_path / "out") == DATA
    assert not (tmp_path / "out" / "link").exists(), "a link may lead anywhere"
    assert tools.called("apt-get") == ["download", "dataset-digits"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "out"]


def test_packed_files_may_stay_packed(tools: Tools, tmp_path: Path) -> None:
    tools.add_apt()
    fetch(source(DEBIAN, unpack=False, version="1:2.0~rc1-1"), tmp_path / "out")
    assert sorted(harvest(tmp_path / "out")) == ["images-ubyte.gz", "labels-ubyte.gz"]
    assert tools.called("apt-get") == ["download", "dataset-digits=1:2.0~rc1-1"]


@pytest.mark.parametrize("facts", [NPM, DEBIAN])
def test_another_sha256_is_refused(facts: dict[str, Any], tools: Tools, tmp_path: Path) -> None:
    tools.add_npm()
    tools.add_apt()
    with pytest.raises(FoldlineError, match="sha256") as caught:
        fetch(source(facts, sha256="0" * 64, otherwise={"kind": "folder", "name": str(tmp_path)}), tmp_path / "out")
    assert not isinstance(caught.value, UnreachableError), "damage is never passed over for another source"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin"]


@pytest.mark.parametrize(("facts", "program"), [(NPM, "npm"), (DEBIAN, "apt-get")])
def test_a_machine_without_the_program(facts: dict[str, Any], program: str, tools: Tools, tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match=f"the program {program} is missing") as caught:
        fetch(source(facts), tmp_path / "out")
    assert caught.value.next
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin"]


@pytest.mark.parametrize(
    ("facts", "printed", "words", "reachable"),
    [
        (NPM, "npm error code ECONNREFUSED\nnpm error address: '127.0.0.1'", "registry cannot be reached", False),
        (NPM, "npm error code ENOTFOUND\nnpm error syscall getaddrinfo", "registry cannot be reached", False),
        (NPM, "npm error code E404\nnpm error 404 Not Found", r"has no digits@1\.2\.0", True),
        (NPM, "npm error code ETARGET\nnpm error notarget No matching version", r"has no digits@1\.2\.0", True),
        (NPM, "npm error code ENOSPC", "disk is full", True),
        (NPM, "npm error code EODD\nnpm notice goodbye", "could not download it: npm error code EODD", True),
        (DEBIAN, "Err:1 x\nE: Failed to fetch x  Could not connect to 127.0.0.1", "mirror cannot be reached", False),
        (DEBIAN, "E: Failed to fetch x  Temporary failure resolving 'x'", "mirror cannot be reached", False),
        (DEBIAN, "E: Unable to locate package dataset-digits", "knows no such package", False),
        (DEBIAN, "E: Version '9' for 'dataset-digits' was not found", "knows no such package", False),
        (DEBIAN, "E: Write error - write (28: No space left on device)", "disk is full", True),
        (DEBIAN, "E: Odd\nW: goodbye", "could not download it: E: Odd", True),
    ],
)
def test_failures_in_plain_words(
    facts: dict[str, Any], printed: str, words: str, reachable: bool, tools: Tools, tmp_path: Path
) -> None:
    tools.add_npm(complain(printed))
    tools.add_apt(complain(printed, 100))
    with pytest.raises(FoldlineError, match=words) as caught:
        fetch(source(facts), tmp_path / "out")
    assert isinstance(caught.value, UnreachableError) is not reachable
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["me/digits", "git+ssh://x/y", "../digits", "digits@latest", "@me", "Digits", "-g"])
def test_npm_gets_nothing_that_is_no_name(name: str, tools: Tools, tmp_path: Path) -> None:
    tools.add_npm()
    with pytest.raises(FoldlineError, match="no npm package"):
        fetch(source(NPM, name=name), tmp_path / "out")
    assert not tools.called("npm")


def test_a_broken_debian_package(tools: Tools, tmp_path: Path) -> None:
    tools.add_apt()
    tools.add("dpkg-deb", complain("dpkg-deb: error: not a Debian format archive", 2))
    with pytest.raises(FoldlineError, match=r"package is broken.*not a Debian format") as caught:
        fetch(source(DEBIAN), tmp_path / "out")
    assert not isinstance(caught.value, UnreachableError)


def test_a_broken_gz_inside(tools: Tools, tmp_path: Path) -> None:
    tools.add_apt()
    path = tools.folder / "store" / "deb" / "usr/share/datasets/digits/labels-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(FoldlineError, match="the file is broken"):
        fetch(source(DEBIAN), tmp_path / "out")


def test_the_other_source_is_tried_and_named(tools: Tools, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tools.add_npm(complain("npm error code ENOTFOUND"))
    tools.add_apt()
    served = fetch(source(NPM, otherwise=DEBIAN), tmp_path / "out")
    assert served == source(DEBIAN)
    assert harvest(tmp_path / "out") == DATA
    assert "cannot be reached; trying debian dataset-digits instead" in capsys.readouterr().out.replace("\n", " ")


def test_the_other_source_is_not_asked_where_the_first_serves(tools: Tools, tmp_path: Path) -> None:
    tools.add_npm()
    tools.add_apt()
    assert fetch(source(NPM, otherwise=DEBIAN), tmp_path / "out") == source(NPM)
    assert not tools.called("apt-get")


def test_a_wrong_name_is_not_passed_over(tools: Tools, tmp_path: Path) -> None:
    tools.add_npm(complain("npm error code E404"))
    tools.add_apt()
    with pytest.raises(FoldlineError, match="has no digits"):
        fetch(source(NPM, otherwise=DEBIAN), tmp_path / "out")
    assert not tools.called("apt-get")


def test_where_none_can_be_reached_all_are_named(tools: Tools, tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="none of the 2 sources") as caught:
        fetch(source(NPM, otherwise=DEBIAN), tmp_path / "out")
    assert "npm digits: the program npm is missing" in caught.value.what
    assert "debian dataset-digits: the program apt-get is missing" in caught.value.what
    assert "Node.js" in caught.value.next


def test_torchvision_without_its_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets

    class Toy:
        def __init__(self, root: str, train: bool = True, download: bool = False) -> None:
            raise RuntimeError("Error downloading train.gz:\nTried https://a, got:\n<urlopen error refused>")

    monkeypatch.setattr(torchvision.datasets, "Toy", Toy, raising=False)
    monkeypatch.setattr(torchvision.datasets, "__all__", (*torchvision.datasets.__all__, "Toy"))
    mine = plant(tmp_path / "mine", {"a": "b"})
    facts = source({"kind": "torchvision", "name": "Toy"}, otherwise={"kind": "folder", "name": str(mine)})
    assert fetch(facts, tmp_path / "out").kind == "folder"
    assert harvest(tmp_path / "out") == {"a": "b"}


def test_torchvision_leaves_no_packed_twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets

    class Toy:
        def __init__(self, root: str, train: bool = True, download: bool = False) -> None:
            plant(Path(root), {"Toy/raw/images": "x", "Toy/raw/images.gz": "packed", "Toy/raw/lone.gz": "packed"})

    monkeypatch.setattr(torchvision.datasets, "Toy", Toy, raising=False)
    monkeypatch.setattr(torchvision.datasets, "__all__", (*torchvision.datasets.__all__, "Toy"))
    fetch(source({"kind": "torchvision", "name": "Toy", "keep": ["Toy/raw"]}), tmp_path / "out")
    assert sorted(harvest(tmp_path / "out")) == ["images", "lone.gz"]


def test_the_manifest_says_which_source_served_and_stays_valid(tools: Tools, tmp_path: Path) -> None:
    """The same facts on another machine may be served by another source; either one's files count."""
    tools.add_apt()
    layout = Layout(tmp_path / "project")
    facts = layout.competition_config("toy")
    plant(layout.root, {"configs/toy/competition.yaml": ""})
    tail = "task: binary\nmetric: auc\ntrain: {file: t, target: l}\nholdout: {fraction: 0.5}\n"
    facts.write_text(f"source: {source(NPM, otherwise=DEBIAN).model_dump(mode='json')}\n{tail}".replace("None", "null"))
    download(layout, "toy")
    manifest = read_json(layout.manifest("toy"))
    assert manifest["source"]["kind"] == "debian"
    assert manifest["source"]["otherwise"] is None
    shutil.rmtree(tools.folder)
    download(layout, "toy")  # nothing is fetched again
    facts.write_text(f"source: {source(NPM).model_dump(mode='json')}\n{tail}".replace("None", "null"))
    with pytest.raises(FoldlineError, match="another source than the facts name: debian dataset-digits"):
        download(layout, "toy")
