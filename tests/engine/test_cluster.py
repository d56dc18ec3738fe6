"""What a cluster needs that can be seen without one: a task's resources, files on their way, the pages' YAML."""

import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml

from foldline.core import disks
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.run import Run
from foldline.engine.scale.cluster.connect import connected
from foldline.engine.scale.cluster.needs import Needs, usual_needs
from foldline.engine.scale.cluster.parcel import DamagedError, Piece, packed, unpack
from foldline.engine.scale.cluster.tied import tied_command
from foldline.engine.scale.cluster.trip import FoldTrip

BIG = {"CPU": 64.0, "GPU": 8.0, "memory": 5e11}
SMALL = {"CPU": 8.0, "GPU": 1.0, "memory": 3e10}
HEAD = {"CPU": 0.0, "memory": 1e10}


def test_a_task_takes_what_the_smallest_machine_can_give() -> None:
    assert usual_needs([HEAD, BIG, SMALL], None, None, None) == Needs(8, 1)
    assert usual_needs([BIG], None, 2, 40) == Needs(16, 2, 40)
    assert usual_needs([HEAD, {"CPU": 4.0}, {"CPU": 2.0}], None, None, None) == Needs(2, 0)
    assert usual_needs([BIG], 3, 0, None) == Needs(3, 0)
    assert usual_needs([], None, None, None) == Needs(1, 0)  # a cluster that grows: nothing is there yet
    assert [Needs(8, 1).room(one) for one in (BIG, SMALL, HEAD)] == [8, 1, 0]
    assert Needs(1, 0, 20).room(SMALL) == 1
    assert Needs(4, 1, 30).as_options() == {"num_cpus": 4, "num_gpus": 1, "memory": 30 * 10**9}
    with pytest.raises(FoldlineError, match="cannot take 0 GPUs and 0 CPUs"):
        usual_needs([BIG], 0, 0, None)


def test_files_arrive_whole_or_not_at_all(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    fold = here / "oof" / "x" / "run" / "fold_0"
    fold.mkdir(parents=True)
    for name in ("meta.json", "resume", "model.safetensors", "log.csv", "steps.csv"):
        (fold / name).write_text(f"what {name} holds")
    pieces = packed(here, [*fold.iterdir(), fold / "gone"])
    written = unpack(there, pieces)
    names = ["log.csv", "model.safetensors", "steps.csv", "resume", "meta.json"]
    assert [name.rpartition("/")[2] for name in written] == names
    assert (there / "oof/x/run/fold_0/model.safetensors").read_text() == "what model.safetensors holds"
    assert unpack(there, pieces) == []  # what is there is not written again
    other = np.frombuffer(b"other", dtype=np.uint8)
    with pytest.raises(DamagedError, match="another sha256"):
        unpack(there, [replace(pieces[0], path="a"), Piece("b", pieces[0].sha256, other)])
    assert sorted(path.name for path in there.iterdir()) == ["oof"]  # all or none
    for name in ("../out", "/etc/out", "a//b", "a/../../b", "C:\\x"):
        with pytest.raises(FoldlineError, match="a machine sent"):
            unpack(there, [Piece(name, "", other)])


def test_a_machine_writes_into_its_own_fold_alone(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    trip = FoldTrip(layout, "x", "run", Run(), 1)
    names = ["oof/x/run/fold_1/resume", "oof/x/run/fold_1/meta.json", "oof/x/run/precision.json", "oof/x/run/cv.json"]
    names += ["oof/x/run/fold_0/meta.json", "configs/x/run.yaml"]
    pieces = [Piece(name, "", None) for name in names]
    assert [piece.path for piece in trip.allowed(pieces, last=False)] == [names[0], names[2]]
    assert [piece.path for piece in trip.allowed(pieces, last=True)] == names[:3]
    layout.run("x", "run").mkdir(parents=True)
    (layout.run("x", "run") / "precision.json").touch()  # what another fold settled stays
    assert [piece.path for piece in trip.allowed(pieces, last=True)] == names[:2]


@pytest.mark.skipif(sys.platform != "linux", reason="the tie is Linux's")
def test_a_command_ends_with_whoever_started_it(tmp_path: Path) -> None:
    starts = (
        "import subprocess, sys, time; from foldline.engine.scale.cluster.tied import tied_command; "
        f"subprocess.Popen(tied_command([sys.executable, '-c', \"open({str(tmp_path / 'runs')!r}, 'w').close(); "
        'import time; time.sleep(60)"])); print(flush=True); time.sleep(60)'
    )
    parent = subprocess.Popen([sys.executable, "-c", starts], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout:
        end = time.monotonic() + 30
        while not (tmp_path / "runs").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        parent.kill()
        parent.wait()
        parent.stdout.read()  # ends when the child has, which holds the other end
    assert tied_command(["a"])[-1] == "a"


def test_disks_that_machines_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    lines = [
        "/dev/a / ext4 rw 0 0",
        f"s:/x {tmp_path}/a\\040b nfs4 rw 0 0",
        f"/dev/b {tmp_path}/a\\040b/local xfs rw 0 0",
    ]
    mounts.write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(disks, "MOUNTS", mounts)
    found = [disks.shared_kind(tmp_path / name) for name in ("a b/oof", "a b/local/oof", "a")]
    assert found == ["nfs4", "", ""]
    monkeypatch.setattr(disks, "MOUNTS", tmp_path / "none")
    assert disks.shared_kind(tmp_path) == ""


@pytest.mark.skipif(not find_spec("ray"), reason="the extra ray is not installed")
def test_the_pages_clusters_are_what_ray_reads() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    place = find_spec("ray")
    assert place is not None
    assert place.origin is not None
    schema = json.loads((Path(place.origin).parent / "autoscaler" / "ray-schema.json").read_text())
    page = (Path(__file__).parents[2] / "docs" / "scale.md").read_text()
    found = re.findall(r"```yaml\n(# c\w+\.yaml\n.*?)```", page, re.DOTALL)
    assert len(found) == 2
    for text in found:
        jsonschema.validate(yaml.safe_load(text), schema)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9"])
def test_nobody_at_an_address_is_said_at_once(address: str) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    begin = time.monotonic()
    with pytest.raises(FoldlineError, match="no cluster answers") as caught, connected(address):
        pass
    assert caught.value.where == f"--address {address}"
    assert time.monotonic() - begin < 20
