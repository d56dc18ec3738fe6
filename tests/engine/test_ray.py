"""Folds on a cluster of two machines, which are two of Ray's nodes here: whatever is lost, the bytes are the same."""

import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tiny import RUN, TinyProject

pytest.importorskip("ray", reason="the extra ray is not installed")

FILES = ("model.safetensors", "last.safetensors", "best.safetensors", "valid.parquet")
CHOICES = {**RUN, "train": {**RUN["train"], "epochs": 16, "folds": [0, 1]}}
SMALL = 80_000_000  # bytes of each node's object store


class Machines:
    """A cluster whose machines see their project folder at a path of their own: a link, which a test lays."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from ray.cluster_utils import Cluster
        self.folder = folder
        head = {"num_cpus": 0, "object_store_memory": SMALL, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes: dict[str, Any] = {}

    def add(self, name: str) -> None:
        """A machine of one core."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FOLDLINE_ROOT", str(self.folder / name))
            self.nodes[name] = self.cluster.add_node(num_cpus=1, object_store_memory=SMALL)

    def kill(self, name: str) -> None:
        self.cluster.remove_node(self.nodes.pop(name), allow_graceful=False)

    def see(self, *roots: Path) -> None:
        """From now on the machines see these folders as their project's."""
        for name, root in zip(self.nodes, roots, strict=True):
            link = self.folder / name
            link.unlink(missing_ok=True)
            link.symlink_to(root)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_raylet_start_wait_time_s", "180")
        made = Machines(tmp_path_factory.mktemp("machines"))
        made.add("one")
        made.add("two")
        yield made
        made.cluster.shutdown()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """Both runs, trained by one process that nobody disturbs."""
    project = TinyProject(tmp_path_factory.mktemp("alone"))
    project.write_yaml("quick", CHOICES)
    project.write_yaml("small", {**CHOICES, "seed": 1})
    project.prepare()
    shutil.copytree(project.root, project.root.parent / "untrained", symlinks=True)
    for run in ("quick", "small"):
        assert project.run("train", "--run", run) == 0
    return project


def project_at(alone: TinyProject, folder: Path, *, copy: bool = True) -> TinyProject:
    if copy:
        shutil.copytree(alone.root.parent / "untrained", folder, symlinks=True)
    project = object.__new__(TinyProject)
    project.root, project.layout = folder, type(alone.layout)(folder)
    return project


class Driver:
    """`foldline train --on ray` as a process."""

    def __init__(
        self, machines: Machines, project: TinyProject, runs: str, *further: str, stage: str = "train"
    ) -> None:
        self.home, self.out = project, project.root / "said.txt"
        which = ["--runs", runs] if stage == "train" else ["--run", runs]
        words = [*which, "--on", "ray", "--address", machines.cluster.address, *further]
        command = [sys.executable, "-m", "foldline", stage, "--root", str(project.root), "--comp", "tiny", *words]
        with self.out.open("a") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out)

    def until(self, happened: Callable[[], Any], seconds: float = 180) -> Any:
        """Waits until something happened while it trains."""
        end = time.monotonic() + seconds
        while not (found := happened()):
            assert self.process.poll() is None, self.out.read_text()
            assert time.monotonic() < end, self.out.read_text()
            time.sleep(0.05)
        return found

    def send(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(120)

    def ends(self, code: int = 0) -> str:
        assert self.process.wait(300) == code, self.out.read_text()
        return self.out.read_text()


def held_up(driver: Driver, root: Path) -> tuple[str, int]:
    """The run and number of a fold that trains on the disk `root`: paused in the middle, its resume point at home."""
    before = driver.out.stat().st_size

    def paused() -> tuple[str, int] | None:
        for folder in root.glob("oof/tiny/*/fold_*"):
            if (folder / "log.csv").is_file() and not (folder / "meta.json").exists():
                (folder.parent / "pause").touch()  # a training that begins removes an earlier one
                run, fold = folder.parent.name, int(folder.name[-1])
                said = driver.out.read_bytes()[before:].decode()
                if f"{run}/{fold}: paused" in said and (driver.home.fold(fold, run) / "resume").is_file():
                    return run, fold
        return None

    found: tuple[str, int] = driver.until(paused)
    return found


def require_same(project: TinyProject, alone: TinyProject, folds: Sequence[tuple[str, int]]) -> None:
    for run, fold in folds:
        names = [name for name in FILES if (alone.fold(fold, run) / name).is_file()]
        assert len(names) == 3
        for name in names:
            ours = (project.fold(fold, run) / name).read_bytes()
            assert ours == (alone.fold(fold, run) / name).read_bytes(), (run, fold, name)
        assert not list(project.fold(fold, run).glob("*resume*"))


def test_machines_with_their_own_disks(machines: Machines, alone: TinyProject, tmp_path: Path) -> None:
    """Stopped politely, started again, a machine lost in the middle of a fold: the bytes are those of one machine."""
    home = project_at(alone, tmp_path / "home")
    disks = [project_at(alone, tmp_path / name).root for name in machines.nodes]
    machines.see(*disks)
    driver = Driver(machines, home, "quick small")
    stopped = held_up(driver, disks[0])
    assert driver.send(signal.SIGTERM) == 143
    assert "the same command goes on" in driver.out.read_text()
    assert (home.fold(stopped[1], stopped[0]) / "resume").is_file()

    driver = Driver(machines, home, "quick small")
    lost = held_up(driver, disks[1])
    machines.kill("two")
    found = driver.ends().partition("the same command goes on")[2]
    assert "state-dump" not in found  # Ray's own words
    assert found.count("has its own disk") == 2
    assert "it goes on elsewhere from its last resume point, try 2" in found
    for run, fold in {stopped, lost}:
        assert f"{run}/{fold}: fold {fold}: goes on in epoch" in found
    require_same(home, alone, [(run, fold) for run in ("quick", "small") for fold in (0, 1)])
    machines.add("two")


def test_machines_that_share_a_disk(machines: Machines, alone: TinyProject, tmp_path: Path) -> None:
    """A worker that is killed, as where memory ends; a fold that fails; a driver that is killed and started again."""
    home = project_at(alone, tmp_path / "home")
    home.write_yaml("broken", {**CHOICES, "model": {**CHOICES["model"], "name": "no_such_network"}})
    machines.see(home.root, home.root)
    driver = Driver(machines, home, "quick broken", "--fold", "0")
    assert held_up(driver, home.root) == ("quick", 0)
    child = owner_of(home)
    os.kill(parent_of(child), signal.SIGKILL)
    driver.until(lambda: "try 2" in driver.out.read_text())
    driver.until(lambda: not alive(child))
    assert held_up(driver, home.root) == ("quick", 0)
    driver.until(lambda: "warning: broken/0: failed: " in driver.out.read_text())
    child = owner_of(home)
    assert driver.send(signal.SIGKILL) == -signal.SIGKILL

    found = Driver(machines, home, "quick", "--fold", "0").ends()
    assert "shares this project folder" in found
    assert "no_such_network" in found
    assert "broken/0: begins" in found
    assert found.count("try 2") == 1  # the fold that fails is not tried again
    assert not alive(child)
    require_same(home, alone, [("quick", 0)])


def test_shares_of_the_rows_on_their_own_disks(machines: Machines, alone: TinyProject, tmp_path: Path) -> None:
    """The shares are predicted where no weights lie, and come back; joined they are what one machine writes."""
    shutil.copytree(alone.root, tmp_path / "home", symlinks=True)
    home = project_at(alone, tmp_path / "home", copy=False)
    machines.see(*(project_at(alone, tmp_path / name).root for name in machines.nodes))
    found = Driver(machines, home, "quick", "--shards", "2", stage="predict").ends()
    assert "quick 0/2: begins" in found
    assert "shards: 2 of 2 are taken" in found
    assert alone.run("predict") == 0
    for name in ("oof.parquet", "test.parquet"):
        one, many = (layout.run("tiny", "quick") / name for layout in (alone.layout, home.layout))
        assert one.read_bytes() == many.read_bytes()


def owner_of(home: TinyProject) -> int:
    """The process that trains fold 0 of the run `quick`."""
    return int((home.fold(0) / ".lock").read_text().split(".")[1])


def parent_of(number: int) -> int:
    return int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])


def alive(number: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(number, 0)
        return "Z" not in Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    return False
