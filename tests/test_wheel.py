"""The wheel is all that somebody has who typed `pip install foldline`: it works in any empty folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built package, as pip would lay it down."""
    folder = tmp_path_factory.mktemp("wheel")
    build = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run([sys.executable, "-m", *build], check=True, capture_output=True, env=without_path())
    (wheel,) = folder.glob("foldline-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def without_path() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def foldline(unpacked: Path, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = without_path() | {"PYTHONPATH": str(unpacked)}
    command = [sys.executable, "-m", "foldline", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_what_comes_with_foldline_is_in_it(unpacked: Path) -> None:
    for path in (ROOT / "configs").rglob("*.yaml"):
        assert (unpacked / "foldline" / path.relative_to(ROOT)).read_bytes() == path.read_bytes()
    assert (unpacked / "foldline" / "report" / "run" / "report.html").is_file()
    assert not list(unpacked.rglob("__pycache__"))
    scripts = next(unpacked.glob("foldline-*.dist-info")) / "entry_points.txt"
    assert "foldline = foldline.cli:main" in scripts.read_text()


def test_pictures_in_an_empty_folder(unpacked: Path, tmp_path: Path) -> None:
    for i in range(20):
        path = tmp_path / "pics" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG + bytes([i]))
    (tmp_path / "empty").mkdir()
    done = foldline(unpacked, tmp_path / "empty", "init", "../pics", "--yes")
    assert done.returncode == 0, done.stderr
    assert "2 classes, 20 pictures" in done.stdout
    stopped = foldline(unpacked, tmp_path / "empty", "folds", "--comp", "pics")
    assert "foldline download --comp pics" in stopped.stderr
    finds = "from foldline.core.run import *; print(load_run(Layout(Path()), 'pics', 'baseline', []).model.name)"
    asked = subprocess.run(
        [sys.executable, "-c", f"from pathlib import Path; {finds}"],
        cwd=tmp_path / "empty", env=without_path() | {"PYTHONPATH": str(unpacked)}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert asked.stdout.strip() == "tf_efficientnet_lite0"


def test_facts_that_come_with_foldline_are_copied_where_they_are_wanted(unpacked: Path, tmp_path: Path) -> None:
    stopped = foldline(unpacked, tmp_path, "score", "--comp", "mnist")
    assert "its facts come with foldline: foldline download --comp mnist" in stopped.stderr
    copies = "from foldline.stages.download import Layout, Path, _copy_shipped; _copy_shipped(Layout(Path()), 'mnist')"
    environment = without_path() | {"PYTHONPATH": str(unpacked)}
    subprocess.run([sys.executable, "-c", copies], cwd=tmp_path, env=environment, check=True, capture_output=True)
    for name in ("competition.yaml", "baseline.yaml", "network.py"):  # its download itself is configs/'s own source
        path = Path("configs", "mnist", name)
        copied, ours = ((root / path).read_text(encoding="utf-8") for root in (tmp_path, ROOT))
        if path.suffix == ".yaml":  # its comments name commands, which are foldline's where make is not
            assert "# make" not in copied
            copied, ours = (yaml.safe_load(text) for text in (copied, ours))
        assert copied == ours
