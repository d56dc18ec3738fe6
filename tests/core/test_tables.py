import errno
import os
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from faults.damage import HARMS
from foldline.core.errors import FoldlineError
from foldline.core.tables import (
    atomic_path,
    read_csv,
    read_json,
    read_parquet,
    require_unique,
    save_array,
    write_csv,
    write_json,
    write_parquet,
    write_text,
)


def test_ids_stay_what_they_are(tmp_path: Path) -> None:
    ids = ["000123", "1e5", "NA", "", "1.2.840.113", "=1+1", "été"]
    path = tmp_path / "a.csv"
    write_csv(path, pd.DataFrame({"id": ids, "x": "1"}))
    assert read_csv(path)["id"].tolist() == ids


def write_half(path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(OSError, match="No space"):
        write_half(path)
    assert read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_an_array_on_a_full_disk_says_why(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space") as caught:
        save_array(Path("/dev/full"), np.zeros(100_000))
    assert caught.value.errno == errno.ENOSPC
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    save_array(tmp_path / "a.npy", array)
    assert (np.load(tmp_path / "a.npy") == array).all()


def test_what_a_killed_process_was_writing_is_removed_by_the_next(tmp_path: Path) -> None:
    write = (
        "import os, sys\nfrom pathlib import Path\nfrom foldline.core.tables import atomic_path, scratch_folder\n"
        "folder = Path(sys.argv[1])\n"
        "with scratch_folder(folder) as scratch, atomic_path(folder / 'b.npy') as temporary:\n"
        "    (scratch / 'c').write_text('half')\n    temporary.write_text('half')\n"
    )
    killed = subprocess.run([sys.executable, "-c", f"{write}    os.kill(os.getpid(), 9)", str(tmp_path)], check=False)
    assert killed.returncode == -9
    assert len(list(tmp_path.iterdir())) == 2
    alive = f"{write}    print('ready', flush=True)\n    sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", alive, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        assert len(list(tmp_path.iterdir())) == 2, "the killed one's are gone, the living one's are there"
        write_json(tmp_path / "a.json", {})
        assert len(list(tmp_path.iterdir())) == 3, "nobody takes a living process's file away"
        other.communicate()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.npy"]


def test_nan_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_broken_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(FoldlineError, match="not valid JSON"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(FoldlineError, match="cannot be read as a table"):
        read_csv(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FoldlineError, match="has no column c"):
        read_csv(tmp_path / "b.csv", required=("c",))


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_table_is_refused_in_words(tmp_path: Path, seed: int) -> None:
    """Parquet and CSV, whatever their bytes have become; a turned bit may also give another table."""
    dice, frame = random.Random(seed), pd.DataFrame({"row_id": ["a", "b"], "value": [0.5, 0.25]})
    write_parquet(tmp_path / "a.parquet", frame)
    write_csv(tmp_path / "a.csv", frame)
    harm = [name for name in HARMS if name not in ("without a key", "mistyped")][seed % 5]
    for path, read in ((tmp_path / "a.parquet", read_parquet), (tmp_path / "a.csv", read_csv)):
        HARMS[harm](path, dice)
        with suppress(FoldlineError):
            assert read(path, required=["row_id"])["row_id"].shape[0] <= 2


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_have_the_mode_that_the_umask_says(tmp_path: Path, umask: int, mode: int) -> None:
    """Whatever a library makes of them: safetensors writes files that only their owner can read."""
    from safetensors.numpy import save_file

    before = os.umask(umask)
    try:
        write_text(tmp_path / "a.txt", "a")
        with atomic_path(tmp_path / "b.safetensors") as temporary:
            save_file({"x": np.zeros(2)}, temporary)
    finally:
        os.umask(before)
    assert [(path.name, path.stat().st_mode & 0o777) for path in sorted(tmp_path.iterdir())] == [
        ("a.txt", mode),
        ("b.safetensors", mode),
    ]


@pytest.mark.parametrize(("ids", "said"), [
    (["a", "b", "c"], ""), (["c", "a", "b"], ""), (["a", "b", "b"], "1 id occurs more than once: b"),
    (["b", "a", "b"], "1 id occurs more than once: b"), (["", "a"], "1 row has an empty id"), ([], ""),
])  # fmt: skip
@pytest.mark.parametrize("kind", [str, object])
def test_an_id_that_stands_twice_is_named_in_order_or_not(ids: list[str], said: str, kind: type) -> None:
    cells = pd.Series(ids, dtype=kind)
    if not said:
        require_unique(cells, where="rows")
        return
    with pytest.raises(FoldlineError, match=said):
        require_unique(cells, where="rows")
