"""Writers: each copy, read with its own library, is `steps.csv` and `log.csv`, killed and resumed or not."""

import json
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest

from foldline.core.errors import FoldlineError
from foldline.core.records.cv import Cv
from foldline.core.run import Run
from foldline.core.run_folder import run_sha256, training_choices
from foldline.core.tables import read_csv
from foldline.engine.writers import mirror as mirrors
from foldline.engine.writers import wandb
from foldline.engine.writers.catalogue import WRITERS, wanted_writers
from foldline.engine.writers.mirror import Book, Mirror, Worker, history
from foldline.engine.writers.writer import NONE, Ended, Logged, Point, Writer
from tiny import TinyProject

Numbers = list[tuple[int, str, float]]  # step, name, value
DRAWN = ("step/loss", "step/lr", "epoch", "epoch/valid_loss", "epoch/score")
# Pictures so large that an epoch takes longer than the moment after which Trackio writes, on a fast machine too
SETTINGS = "train.folds=[0] train.epochs=6 train.checkpoint_minutes=1e-6 data.image_size=112 train.log_to=[{}]"


def of_tensorboard(root: Path, run: str, part: str) -> Numbers:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events: Any = EventAccumulator(str(root / "oof/tiny" / run / "tensorboard" / part), size_guidance={"scalars": 0})
    events.Reload()
    return [(one.step, tag, one.value) for tag in events.Tags()["scalars"] for one in events.Scalars(tag)]


def of_wandb(root: Path, run: str, part: str) -> Numbers:
    """W&B's files are logs of records: blocks of 32 KB, each piece with its checksum, length and kind before it."""
    found: Numbers = []
    for path in sorted(root.glob("wandb/offline-run-*/*.wandb")):
        records = list(records_of(path.read_bytes()))
        if any(record.run.display_name == f"{run}/{part}" for record in records):
            for record in records:
                rows = [record.history.item, *([record.summary.update] if part == "cv" else [])]
                found += [one for row in rows for one in numbers_of(row)]
    return found


def records_of(content: bytes) -> Iterator[Any]:
    from wandb.proto import wandb_internal_pb2 as proto

    at, whole = 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole one, the last piece of one
            record: Any = proto.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def numbers_of(items: Any) -> Numbers:
    row = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
    step = row.get("_step", 0)
    return [(step, key, value) for key, value in row.items() if isinstance(value, int | float) and key[0] != "_"]


def of_mlflow(root: Path, run: str, part: str) -> Numbers:
    with sqlite3.connect(root / "mlflow.db") as base:
        query = "select step, key, value from metrics join runs using (run_uuid) where name = ? order by step"
        return base.execute(query, [f"{run}/{part}"]).fetchall()


def of_trackio(root: Path, run: str, part: str) -> Numbers:
    with sqlite3.connect(root / "trackio" / "tiny.db") as base:
        rows = base.execute("select step, metrics from metrics where run_name = ?", [f"{run}/{part}"]).fetchall()
    return [(step, key, value) for step, row in rows for key, value in json.loads(row).items()]


READERS: dict[str, Callable[[Path, str, str], Numbers]] = {
    "tensorboard": of_tensorboard, "wandb": of_wandb, "mlflow": of_mlflow, "trackio": of_trackio,
}  # fmt: skip


TRAIN_AND_PREDICT = "import sys; from foldline.cli import main; sys.exit(main({}) or main({}))"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyProject]:
    """Fold 0 of `killed`: killed in the middle, gone on with, and predicted; the libraries stay in its folder.

    These are processes of their own: what the libraries say of their own futures is no error there.
    """
    root = tmp_path_factory.mktemp("writers")
    with pytest.MonkeyPatch.context() as patch:
        for key in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "TRACKIO_DIR"):
            patch.setenv(key, str(root / key.removesuffix("_DIR").lower()))
        for key, value in {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false"}.items():
            patch.setenv(key, value)
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        made = TinyProject(root)
        made.prepare()
        given = ["--run", "quick", "--name", "killed", "--set", SETTINGS.format(",".join(WRITERS))]
        process, log = made.start("train", *given), made.fold(0, "killed") / "log.csv"
        until = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < until:
            if log.is_file() and len(log.read_text().splitlines()) >= 4 and _has_begun(root):
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it must have been killed while it trained"
        commands = [[stage, "--root", str(root), "--comp", "tiny", *given] for stage in ("train", "predict")]
        code = TRAIN_AND_PREDICT.format(*commands)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning: no more" not in done.stdout + done.stderr, done.stdout + done.stderr
        yield made


def _has_begun(root: Path) -> bool:
    """Whether Trackio, which begins in a thread of its own, holds anything yet: before that a kill loses all."""
    with suppress(sqlite3.Error):  # it has no table yet
        return (root / "trackio" / "tiny.db").is_file() and bool(READERS["trackio"](root, "killed", "fold_0"))
    return False


def wanted(folder: Path) -> dict[tuple[int, str], float]:
    """What a copy holds of these five numbers, from foldline's own files."""
    steps = read_csv(folder / "steps.csv")
    last = {int(epoch): int(step) + 1 for epoch, step in zip(steps["epoch"], steps["step"], strict=True)} | {0: 0}
    found: dict[tuple[int, str], float] = {}
    for step, loss, rate in zip(steps["step"], steps["loss"], steps["lr"], strict=True):
        found |= {(int(step) + 1, "step/loss"): float(loss), (int(step) + 1, "step/lr"): float(rate)}
    for _, row in read_csv(folder / "log.csv").iterrows():
        at = last[int(row["epoch"])]
        found[at, "epoch"] = float(row["epoch"])
        found |= {(at, f"epoch/{key}"): float(row[key]) for key in ("valid_loss", "score")}
    return found


@pytest.mark.parametrize("name", WRITERS)
def test_a_killed_training_draws_each_point_once(project: TinyProject, name: str) -> None:
    truth = wanted(project.fold(0, "killed"))
    held = [one for one in READERS[name](project.root, "killed", "fold_0") if one[1] in DRAWN]
    places = [(step, key) for step, key, _ in held]
    assert len(places) == len(set(places)), "a point was drawn twice"
    lacking = truth.keys() - set(places)
    assert len(lacking) <= (0.2 * len(truth) if WRITERS[name].notes_first else 0), "what it held when it was killed"
    assert max(places) == max(truth)
    expected = {place: truth[place] for place in places}
    assert {(step, key): value for step, key, value in held} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", WRITERS)
def test_final_scores(project: TinyProject, name: str) -> None:
    cv = Cv.read(project.layout.run("tiny", "killed") / "cv.json")
    held = {key: value for _, key, value in READERS[name](project.root, "killed", "cv")}
    assert cv.pooled is not None
    assert held["cv/pooled"] == pytest.approx(cv.pooled, rel=1e-6)
    assert held["cv/low"] == pytest.approx(cv.interval[0], rel=1e-6)


def test_settings_and_tags_are_kept(project: TinyProject) -> None:
    with sqlite3.connect(project.root / "mlflow.db") as base:
        params = dict(base.execute("select key, value from params").fetchall())
        tags = dict(base.execute("select key, value from tags").fetchall())
    assert params["train.epochs"] == "6"
    assert params["metric"] == "auc"
    assert {key: tags[key] for key in ("comp", "run", "fold")} == {"comp": "tiny", "run": "killed", "fold": "0"}


def test_wandb_is_never_asked_for_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in wandb.KEYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert not wandb._knows_a_key("https://api.wandb.ai")
    (tmp_path / "netrc").write_text("machine api.wandb.ai\n  login user\n  password key\n")
    assert wandb._knows_a_key("https://api.wandb.ai")
    assert not wandb._knows_a_key("https://wandb.example.org:8080")
    (tmp_path / "netrc").write_text("nonsense")
    assert not wandb._knows_a_key("https://api.wandb.ai")
    monkeypatch.setenv("WANDB_API_KEY", "key")
    assert wandb._knows_a_key("https://wandb.example.org:8080")


class Listed(Writer):
    """A writer of the test's own: what it was given, and what it raises."""

    package, extra = "json", ""
    given: ClassVar[list[Any]] = []
    fails_in: ClassVar[str] = ""
    hangs: ClassVar[threading.Event | None] = None  # until it is set

    def _do(self, what: str, given: Any) -> None:
        if self.hangs is not None:
            assert self.hangs.wait(60)
        if what == self.fails_in:
            raise OSError(28, "No space left on device")
        self.given.append((what, given))

    def open(self, sent: int) -> int:
        self._do("open", sent)
        return sent

    def add(self, points: Sequence[Point]) -> None:
        self._do("add", [point.step for point in points])

    def summary(self, numbers: Mapping[str, float]) -> None:
        self._do("summary", dict(numbers))

    def close(self, ended: Ended) -> None:
        self._do("close", ended)

    @property
    def where(self) -> str:
        return "in a list"


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> type[Listed]:
    monkeypatch.setitem(WRITERS, "listed", Listed)
    usual: dict[str, Any] = {"given": [], "fails_in": "", "hangs": None}
    for key, value in usual.items():
        monkeypatch.setattr(Listed, key, value)
    return Listed


@pytest.mark.parametrize("place", ["open", "add", "summary", "close"])
def test_a_writer_that_fails_warns_once_and_ends_nothing(
    tmp_path: Path,
    listed: type[Listed],
    place: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listed, "fails_in", place)
    mirror, book = made_mirror(tmp_path, listed)
    mirror.begin(tmp_path / "steps.csv")
    mirror.epoch({"epoch": 0, "score": 0.5})
    for step in range(5):
        mirror.step(step, 0.1, 1.0)
        mirror.flush()
    mirror.summary({"final/score": 0.5})
    mirror.close("finished")
    said = capsys.readouterr()
    assert (said.out + said.err).count("warning: no more is logged to listed ([Errno 28] No space") == 1
    assert book.sent("listed") == (NONE if place in ("open", "add") else 5)


def made_mirror(folder: Path, writer: type[Writer], made_from: str = "a") -> tuple[Mirror, Book]:
    book = Book(folder / "logs.json", made_from)
    of = Logged("tiny", "quick", "fold_0", book.logs.id, folder, folder, {})
    return Mirror([Worker("listed", writer(of), book)]), book


def test_a_writer_that_hangs_is_not_waited_for(
    tmp_path: Path, listed: type[Listed], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("OPEN_SECONDS", "CLOSE_SECONDS"):
        monkeypatch.setattr(mirrors, name, 0.05)
    monkeypatch.setattr(mirrors, "MOST_WAITING", 3)
    monkeypatch.setattr(listed, "hangs", threading.Event())
    mirror, _ = made_mirror(tmp_path, listed)
    start = time.monotonic()
    mirror.begin(tmp_path / "steps.csv")
    for step in range(10):
        mirror.step(step, 0.1, 1.0)
        mirror.flush()
    mirror.close("finished")
    assert time.monotonic() - start < 30, "it hangs twice as long"
    assert listed.hangs is not None
    listed.hangs.set()
    assert "it takes less than training gives" in capsys.readouterr().out
    for thread in threading.enumerate():
        if thread.name == "log to listed":
            thread.join()


def test_what_a_writer_lacks_is_sent_when_training_goes_on(tmp_path: Path, listed: type[Listed]) -> None:
    steps = tmp_path / "steps.csv"
    steps.write_text("step,epoch,lr,loss\n" + "".join(f"{i},{i // 2 + 1},0.1,{i}.5\n" for i in range(6)))
    log = [{"epoch": epoch, "score": 0.5 + epoch / 10} for epoch in range(3)]
    points = history(steps, 5, log)
    assert [point.step for point in points] == [0, 1, 2, 3, 4, 5]
    assert [point.numbers.get("epoch") for point in points] == [0, None, 1, None, 2, None]
    assert points[2].numbers == {"step/loss": 1.5, "step/lr": 0.1, "epoch": 1, "epoch/score": 0.6}
    _, book = made_mirror(tmp_path, listed)
    book.note("listed", 2)
    mirror, again = made_mirror(tmp_path, listed)
    mirror.begin(steps, 5, log)
    mirror.step(5, 0.1, 5.5)
    mirror.close("finished")
    assert listed.given == [("open", 2), ("add", [3, 4]), ("add", [5, 6]), ("close", "finished")]
    assert again.logs.id == book.logs.id
    _, other = made_mirror(tmp_path, listed, made_from="b")
    assert other.logs.id != book.logs.id, "another training has curves of its own"
    assert other.sent("listed") == NONE


def test_names_and_packages_are_checked_before_anything_takes_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(wanted_writers(["auto"])) == ["tensorboard"]
    assert wanted_writers([]) == {}
    with pytest.raises(FoldlineError, match="unknown writer 'wanbd'"):
        wanted_writers(["wanbd"])
    monkeypatch.setattr(Listed, "package", "no_such_package")
    monkeypatch.setitem(WRITERS, "listed", Listed)
    with pytest.raises(FoldlineError, match="'no_such_package' is not installed"):
        wanted_writers(["listed"])


def test_who_watches_changes_no_run() -> None:
    watched = Run.model_validate({"train": {"epochs": 3, "log_to": "wandb"}})
    alone = Run.model_validate({"train": {"epochs": 3, "log_to": []}})
    assert watched.train.log_to == ["wandb"]
    plain = Run.model_validate({"train": {"epochs": 3}})
    assert run_sha256(watched) == run_sha256(alone) == run_sha256(plain)
    assert run_sha256(Run.model_validate({"train": {"log_to": []}})) == run_sha256(Run())
    assert training_choices(watched) == training_choices(alone)


def test_a_whole_line_with_a_writer_that_breaks(
    project: TinyProject, listed: type[Listed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listed, "fails_in", "summary")
    given = ["--run", "quick", "--name", "broken", "--fold", "1", "--set", "train.log_to=[listed]"]
    assert project.run("train", *given) == 0
    assert listed.given[0] == ("open", NONE)
    assert project.fold(1, "broken").joinpath("meta.json").is_file()
