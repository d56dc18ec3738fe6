"""A download that ends at any moment, by SIGKILL or Ctrl-C: the same command goes on, and ends with the same bytes."""

import gc
import os
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foldline import cli
from foldline.core.paths import Layout
from sources.trees import Tree, plant, zipped

FACTS = "task: binary\nmetric: auc\ntrain: {file: t.csv, target: label}\nholdout: {fraction: 0.5}\n"
CHANGES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.link", "shutil.rmtree"}
KILLED, PASSED = 137, 0
POINTS: Callable[[int], range] = lambda changes: range(1, changes + 1, int(os.environ.get("FAULTS", changes // 5)))
PICTURES = zipped({f"train/{i}.png": f"picture {i}" for i in range(2)})
RAW: Tree = {
    "t.csv": "id,label\n0,1\n",
    "manifest.json": '{"images": []}',
    "train.zip.001": PICTURES[:100],
    "train.zip.002": PICTURES[100:],
}


def bring_kaggle(arguments: list[str], *, page: str) -> str:
    """Kaggle's client: what is whole already is not fetched again."""
    archive = Path(arguments[-1]) / "toy.zip"
    if not archive.exists():
        plant(archive.parent, {"toy.zip": zipped(RAW)})
    return ""


def bring_hub(name: str, *, local_dir: Path, **options: Any) -> None:
    """The hub's client: it fetches what is missing, and refuses what it finds changed."""
    for path, content in RAW.items():
        if not (local_dir / path).exists():
            plant(local_dir, {path: content})
        assert (local_dir / path).read_bytes() == (content if isinstance(content, bytes) else content.encode())


@pytest.fixture(params=["folder", "kaggle", "huggingface"])
def layout(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    name = str(plant(tmp_path / "raw", RAW)) if request.param == "folder" else "toy"
    monkeypatch.setattr("foldline.sources.kaggle.run_client", bring_kaggle)
    monkeypatch.setattr("huggingface_hub.snapshot_download", bring_hub)
    monkeypatch.setattr("os.fsync", lambda handle: None)  # a power cut is another matter
    facts = f"source: {{kind: {request.param}, name: {name}}}\n{FACTS}"
    return Layout(plant(tmp_path / "project", {"configs/toy/competition.yaml": facts}))


def in_a_process(layout: Layout, end: Callable[[], None] | None = None, at: int = 0) -> int:
    """The exit code of `foldline download` in a process of its own; `end` is called at its `at`-th change of a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads; the child needs none of them
        child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    gc.disable()  # it would touch, and so copy, all of the parent's memory
    count = 0

    def watch(event: str, arguments: Any) -> None:
        nonlocal count
        if event in CHANGES and str(arguments[0]).startswith(str(layout.root / "input")):
            count += 1
            if end is not None and count == at:
                end()

    code = 99
    try:
        sys.addaudithook(watch)
        code = cli.main(["download", "--comp", "toy", "--root", str(layout.root)])
    finally:
        sys.stdout.flush()
        (layout.root / "changes").write_text(str(count))
        os._exit(code)


def kill() -> None:
    os._exit(KILLED)


def interrupt() -> None:
    raise KeyboardInterrupt


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file, hidden ones too, with its mode and content."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): (path.stat().st_mode, path.read_bytes()) for path in files}


@pytest.mark.parametrize(("end", "code"), [(kill, KILLED), (interrupt, 130)])
def test_a_download_that_ends_at_any_moment_goes_on(
    end: Callable[[], None], code: int, layout: Layout, capfd: pytest.CaptureFixture[str]
) -> None:
    assert in_a_process(layout) == PASSED
    undisturbed = tree(layout.root / "input")
    assert set(undisturbed) == {
        "toy.manifest.json",
        *(f"toy/{name}" for name in ("manifest.json", "t.csv", "train/0.png", "train/1.png")),
    }
    changes = int((layout.root / "changes").read_text())
    assert changes > 30
    for at in POINTS(changes):
        shutil.rmtree(layout.root / "input")
        assert in_a_process(layout, end, at) == code, at
        assert in_a_process(layout) == PASSED, f"{at}: {capfd.readouterr()}"
        assert tree(layout.root / "input") == undisturbed, at
    assert "did not download" not in "".join(capfd.readouterr())
