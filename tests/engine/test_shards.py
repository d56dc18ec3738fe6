"""Rows shared out among processes give the bytes that one process gives, whatever of it is there."""

from pathlib import Path

import pytest

from foldline.core.processes import lock
from foldline.core.shards import Shard
from foldline.core.tables import read_json, write_json
from tiny import TinyProject

VIEWS = "train.epochs=1 predict.views=[identity,vflip] predict.batch_size=5"
NAMED = ("--run", "quick", "--name", "flipped", "--set", VIEWS)


@pytest.mark.parametrize("rows", [0, 1, 16, 17, 100])
def test_shards_are_all_rows_in_whole_batches(rows: int) -> None:
    for of in (1, 2, 7, 30):
        parts = [Shard(i, of).rows(rows, 16) for i in range(of)]
        assert [row for part in parts for row in range(rows)[part]] == list(range(rows))
        assert all(part.start % 16 == 0 or part.start == rows for part in parts)


@pytest.mark.parametrize("text", ["", "1", "4/4", "-1/4", "a/b", "1/0", "1/4/2", "0/" + "9" * 30])
def test_what_is_no_shard_is_refused(project: TinyProject, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.run("predict", "--run", "quick", f"--shard={text}") == 2
    said = capsys.readouterr().err
    assert "is no shard\n  where: SHARD\n  next:  write i/n" in said
    assert len(said) < 300


def test_a_shard_that_looks_like_an_option_is_told_its_form(
    project: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.run("predict", "--shard", "-1/3") == 2
    assert "next:  foldline predict --shard I/N; foldline predict --help" in capsys.readouterr().err


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.parquet")}


def forget(folder: Path) -> None:
    for path in [folder / "cv.json", folder / "oof.parquet", *folder.rglob("test.parquet")]:
        path.unlink()


def test_shards_and_what_lacks_are_joined_to_the_same_bytes(
    project: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    project.prepare()
    folder = project.layout.run("tiny", "flipped")
    assert project.run("train", *NAMED) == 0
    assert project.run("predict", *NAMED) == 0
    whole, cv = files_of(folder), read_json(folder / "cv.json")
    assert len(whole) == 2 + 3 * 3
    capsys.readouterr()
    assert project.run("predict", *NAMED, "--shard", "0/3") == 0
    assert "shard 0/3: all rows of tiny/flipped are predicted already" in capsys.readouterr().out
    forget(folder)
    assert project.run("predict", *NAMED, "--shard", "0/1000000000") == 2
    assert "1,000,000,000 shards, and 72 rows" in (said := capsys.readouterr().err)
    assert "give at most 15 shards" in said
    for shard in ("0/3", "2/3", "0/2"):
        assert project.run("predict", *NAMED, "--shard", shard) == 0
    capsys.readouterr()
    assert project.run("predict", *NAMED, "--shard", "2/3") == 0
    assert "up to date" in capsys.readouterr().out
    with lock(folder / "shards" / ".1-of-3.lock", "shard 1/3 is being predicted"):
        process = project.start("predict", *NAMED)
        assert process.stdout is not None
        assert any("shard 1/3 is being predicted" in line for line in process.stdout), "it waits for what is at work"
    assert "shards: 2 of 3 are taken, 1 are predicted now" in process.communicate(timeout=120)[0]
    assert process.returncode == 0
    assert files_of(folder) == whole, "and no shard is left"
    assert {**read_json(folder / "cv.json"), "seconds": 0} == {**cv, "seconds": 0}


def test_a_shard_that_is_damaged_or_of_something_else_is_not_taken(
    project: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    project.prepare()
    folder = project.layout.run("tiny", "flipped")
    assert project.run("train", *NAMED) == 0
    for shard in ("0/2", "1/2"):
        assert project.run("predict", *NAMED, "--shard", shard) == 0
    part = folder / "shards" / "0-of-2" / "fold_1.test.parquet"
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    record = read_json(folder / "shards" / "1-of-2" / "shard.json")
    record["sha256"]["weights"][0] = "0" * 64
    write_json(folder / "shards" / "1-of-2" / "shard.json", record)
    capsys.readouterr()
    assert project.run("predict", *NAMED) == 0
    assert "none is whole and of these weights" in capsys.readouterr().out
    whole = files_of(folder)
    forget(folder)
    assert project.run("predict", *NAMED) == 0
    assert files_of(folder) == whole
