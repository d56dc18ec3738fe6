"""One network on the rows of all folds: `train.folds: all`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median_high
from typing import Any

import numpy as np
import pandas as pd
import pytest

from foldline.core.all_rows import require_folds_of
from foldline.core.errors import FoldlineError
from foldline.core.folds_of import FoldsOf, folds_of
from foldline.core.run import Run
from foldline.core.run_folder import run_sha256
from foldline.core.tables import read_csv, read_json, read_parquet
from foldline.engine.finished.model import load
from foldline.engine.loop import fit
from foldline.engine.loop.checkpoint import save_resume
from foldline.engine.loop.schedule import build_rates
from foldline.engine.scale.cluster.trip import FoldTrip, ShardTrip
from tiny import RUN, TinyProject

K = 3
WHOLE = {"folds": "all", "folds_of": "a"}
ALL = ("--name", "whole", "--set", "train.folds=all")
STEPS = 72 // 8  # of an epoch on all rows


def settings(**train: Any) -> dict[str, Any]:
    return {**RUN, "train": {**RUN["train"], **train}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """`quick` in three folds that keep their best epoch, predicted; `whole` on all rows."""
    project = TinyProject(tmp_path_factory.mktemp("rows"))
    project.write_yaml("quick", settings(epochs=6, select="best"))
    project.prepare()
    for fold in (0, 1):
        assert project.run("train", "--fold", str(fold)) == 0
    with pytest.raises(FoldlineError, match="fold 2 of 'quick' is not trained yet"):
        asked(project)
    for stage in ("train", "predict"):
        assert project.run(stage) == 0
    for fold, best in enumerate((2, 5, 4)):  # as if they had been so: the data are too easy to say
        change_best(project, fold, best)
    for stage in ("train", "predict"):
        assert project.run(stage, *ALL) == 0
    return project


def change_best(project: TinyProject, fold: int, best: int, run: str = "quick") -> None:
    path = project.fold(fold, run) / "meta.json"
    path.write_text(json.dumps(read_json(path) | {"selected_epoch": best}))


def asked(project: TinyProject) -> FoldsOf | None:
    """What a run as `quick` on all rows takes from its folds."""
    content = settings(epochs=6, select="best", folds="all", folds_of="quick")
    folds_sha256 = read_json(project.layout.folds_meta("tiny"))["sha256"]["folds"]
    return require_folds_of(project.layout, "tiny", Run.parse(content, where=""), K, folds_sha256)


@pytest.fixture
def project(trained: TinyProject, tmp_path: Path) -> TinyProject:
    """A copy that a test may change."""
    root = tmp_path / "copy"
    shutil.copytree(trained.root, root)
    copied = object.__new__(TinyProject)
    copied.root, copied.layout = root, type(trained.layout)(root)
    return copied


def test_it_is_trained_on_all_rows_for_the_median_of_the_folds_epochs_and_validated_on_none(
    trained: TinyProject,
) -> None:
    folder = trained.fold(K, "whole")
    meta, log = read_json(folder / "meta.json"), read_csv(folder / "log.csv")
    assert (meta["rows_train"], meta["rows_valid"], meta["score"]) == (72, 0, None)
    assert (meta["epochs"], meta["selected_epoch"], meta["folds_of"]) == (median_high([2, 5, 4]), 4, "quick")
    assert len(log) == 5
    assert not "".join([*log["score"], *log["valid_loss"]])
    assert {path.name for path in folder.iterdir()} <= {
        "meta.json", "log.csv", "steps.csv", "model.safetensors", "test.parquet", "code", "logs.json",
    }  # fmt: skip


def test_its_rates_are_those_of_the_folds_and_end_before_the_schedule_does(trained: TinyProject) -> None:
    whole, fold = (read_csv(trained.fold(k, run) / "log.csv")["lr"][1:5] for k, run in ((K, "whole"), (0, "quick")))
    own = pd.to_numeric(whole).to_numpy()
    assert own == pytest.approx(pd.to_numeric(fold).to_numpy(), rel=0.1)
    assert own[-1] > 0.1 * RUN["optim"]["lr"], "the schedule was cut, not shrunk"


def test_its_out_of_fold_score_is_that_of_the_folds_and_that_is_said(
    trained: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    own, theirs = (trained.layout.run("tiny", run) for run in ("whole", "quick"))
    assert (own / "oof.parquet").read_bytes() == (theirs / "oof.parquet").read_bytes()
    cv, other = read_json(own / "cv.json"), read_json(theirs / "cv.json")
    assert cv["oof_of"] == "quick"
    assert "oof_of" not in other
    assert [cv[key] for key in ("pooled", "interval", "per_fold")] == [
        other[key] for key in ("pooled", "interval", "per_fold")
    ]
    column = "prob_bright"
    alone = read_parquet(own / f"fold_{K}" / "test.parquet")[column]
    assert np.allclose(read_parquet(own / "test.parquet")[column], alone)
    assert not np.allclose(read_parquet(theirs / "test.parquet")[column], alone)
    table = load(own).predict(
        [trained.root / "raw" / f"{row}.png" for row in read_parquet(own / "test.parquet").row_id]
    )
    assert np.allclose(table["prob_bright"].astype(float), alone, atol=1e-4)
    said = {}
    for command, given in (("status", ()), ("compare", ()), ("ensemble", ALL)):
        capsys.readouterr()
        assert trained.run(command, *given) == 0
        said[command] = capsys.readouterr().out
    assert "whole: on all rows, trained" in said["status"]
    assert "by the folds of quick" in said["status"]
    for command in ("compare", "ensemble"):
        assert "whole: the score is that of the folds of 'quick': this network saw all rows" in said[command]
    page = (own / "report.html").read_text()
    assert "The score is of other networks than those that predict the test rows" in page
    assert "trained on all rows: it predicts the test rows alone" in page


@pytest.mark.parametrize("changed", ["epochs", "oof", "settings", "views", "gone"])
def test_folds_that_changed_are_noticed(project: TinyProject, changed: str, capsys: pytest.CaptureFixture[str]) -> None:
    stage, code, words = "train", 2, ""
    if changed == "epochs":
        change_best(project, 2, 6)
        words = "train.folds_of: quick is not what this fold was trained with"
    elif changed == "settings":
        shutil.rmtree(project.layout.run("tiny", "whole"))
        project.write_yaml("quick", settings(epochs=6, select="best", batch_size=4))
        words = "with other settings, and say nothing of this network: train.batch_size"
    elif changed == "gone":
        shutil.rmtree(project.layout.run("tiny", "whole"))
        shutil.rmtree(project.layout.run("tiny", "quick"))
        words = "run 'quick' has no folds yet"
    elif changed == "views":
        stage, words = "predict", "the OOF predictions of 'quick' are by the views identity, hflip"
        path = project.layout.run("tiny", "whole") / "run.json"
        path.write_text(json.dumps(read_json(path) | {"predict": {"views": ["identity"]}}))
    else:
        cv = project.layout.run("tiny", "quick") / "cv.json"
        table = cv.with_name("oof.parquet")
        frame = pd.read_parquet(table)
        frame.assign(prob_bright=frame["prob_bright"] * 0.5, prob_dark=1 - frame["prob_bright"] * 0.5).to_parquet(table)
        from foldline.core.tables import sha256_file

        content = read_json(cv)
        content["files"]["oof.parquet"] = sha256_file(table)
        cv.write_text(json.dumps(content))
        stage, code, words = "predict", 0, "OOF auc"
    capsys.readouterr()
    given = ("--run", "whole") if changed == "views" else ALL
    assert project.run(stage, *given) == code
    assert words in "".join(capsys.readouterr())
    if changed == "oof":
        copies = [project.layout.run("tiny", run) / "oof.parquet" for run in ("quick", "whole")]
        assert copies[0].read_bytes() == copies[1].read_bytes()


def test_what_is_fitted_on_out_of_fold_rows_never_chooses_between_it_and_its_folds(
    project: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    for given in (("ensemble", "--runs", "quick whole", "--blend", "weights"), ("blend", "--runs", "quick whole")):
        assert project.run(*given) == 2
        assert "'quick' and 'whole' have the same OOF predictions" in capsys.readouterr().err
    assert project.run("blend") == 2
    assert "left out: whole (its OOF is that of quick, in whose place it may be named)" in capsys.readouterr().out
    assert project.run("ensemble", "--runs", "quick whole", "--name", "both") == 0
    assert "note: whole: the score is that of the folds of 'quick'" in capsys.readouterr().out
    own, theirs = (read_json(project.layout.run("tiny", run) / "cv.json") for run in ("both", "quick"))
    assert own["pooled"] == theirs["pooled"]
    assert not own["oof_of"]
    assert project.run("ensemble", "--run", "quick") == 0
    assert project.run("ensemble", *ALL) == 0
    capsys.readouterr()
    assert project.run("choose") == 0
    assert "none: the others say the same" not in capsys.readouterr().out


def test_commands_that_need_unseen_rows_refuse_it(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    path = project.root / "configs" / "tiny" / "whole.yaml"
    project.write_yaml("whole", settings(epochs=6, select="best", folds="all", folds_of="quick"))
    (path.with_name("wide.search.yaml")).write_text(
        "base: whole\ntrials: 2\nfolds: [0]\nranges: {optim.lr: [1e-3, 2e-3]}\n"
    )
    project.write_yaml("taught", {**RUN, "loss": {"teacher": "whole"}})
    cases: dict[tuple[str, ...], str] = {
        ("train", *ALL, "--fold", "1"): "it has no fold 1",
        ("soup", "--runs", "quick whole"): "has no validation rows: a soup with it could not be scored",
        ("clean", "--run", "whole", "--action", "exclude"): "none of its own says anything of an unseen row",
        ("search", "--search", "wide"): "no row is left to score a trial on",
        ("train", "--run", "taught"): "none of its networks left fold 0 unseen",
    }
    for given, words in cases.items():
        capsys.readouterr()
        assert project.run(*given) == 2, given
        assert words in capsys.readouterr().err, given


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"train": {"folds": "all"}}, "folds: all needs folds_of"),
        ({"train": {"folds_of": "quick"}}, "folds_of needs folds: all"),
        ({"train": {"folds": "every"}}, "train.folds"),
        ({"train": {**WHOLE, "without": [1]}}, "without needs folds"),
        (
            {"train": {"folds": "all", "folds_of": "a", "labels": {"name": "exclude", "options": {"run": "a"}}}},
            "exclude",
        ),
        ({"train": {"folds": "all", "folds_of": "a"}, "loss": {"teacher": "b"}}, "all takes no loss.teacher"),
        ({"train": {"folds": "all", "folds_of": "a"}, "extra": {"pseudo": "b"}}, "all takes no extra.pseudo"),
    ],
)
def test_settings_that_cannot_be_joined_are_refused(content: dict[str, Any], words: str) -> None:
    with pytest.raises(FoldlineError, match=words):
        Run.parse(content, where="")


def test_no_run_of_before_has_another_hash() -> None:
    assert run_sha256(Run.parse({"train": {"folds": []}}, where="")) == run_sha256(Run())


WAYS = {
    "best": "train.select=last train.average.name=best train.average.options.epochs=2",
    "plateau": "train.select=last schedule.name=plateau schedule.options.patience=1 schedule.options.decay=0.5 "
    "schedule.warmup=0 train.average.name=ema train.average.options.decay=0.9",
    "start": "train.select=best train.patience=3 train.probe.c=0.1 train.keep_start=true",
}


@pytest.mark.parametrize("way", WAYS)
def test_killed_at_any_moment_it_ends_with_the_same_bytes(
    trained: TinyProject, way: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = f"train.epochs=4 {WAYS[way]}"
    assert trained.run("train", "--name", f"folds-{way}", "--set", changes) == 0
    if way == "start":
        for fold in range(K):
            change_best(trained, fold, 3 if fold else 1, "folds-start")
    given = ("--set", f"{changes} train.folds=all train.folds_of=folds-{way}")
    assert trained.run("train", "--name", f"all-{way}", *given) == 0
    said = capsys.readouterr().out
    left = [1]

    def dies(*words: Any, **more: Any) -> None:
        save_resume(*words, **more)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    monkeypatch.setattr(fit, "save_resume", dies)
    more = (*given[:-1], f"{given[-1]} train.checkpoint_minutes=1e-6")
    for after in (3, 12):
        left[0] = after
        assert trained.run("train", "--name", f"cut-{way}", *more) != 0
    monkeypatch.undo()
    assert trained.run("train", "--name", f"cut-{way}", *more) == 0
    whole, cut = (trained.fold(K, f"{name}-{way}") for name in ("all", "cut"))
    assert (whole / "model.safetensors").read_bytes() == (cut / "model.safetensors").read_bytes()
    if way in CHECKS:
        CHECKS[way](trained, whole, said)


def logs(trained: TinyProject, way: str, column: str) -> list[list[float]]:
    return [pd.to_numeric(read_csv(trained.fold(k, f"folds-{way}") / "log.csv")[column])[1:].tolist() for k in range(K)]


def best_of_the_folds(trained: TinyProject, whole: Path, said: str) -> None:
    scores = [fmean(values) for values in zip(*logs(trained, "best", "score"), strict=True)]
    best = sorted(sorted(range(1, 5), key=lambda epoch: (-scores[epoch - 1], epoch))[:2])
    assert f"the mean of the weights of epochs {best[0]}, {best[1]} predicts" in said


def rates_of_the_folds(trained: TinyProject, whole: Path, said: str) -> None:
    import torch

    choices = Run.parse(read_json(whole.parent / "run.json"), where="")
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": choices.optim.lr}])
    rates = build_rates(optimizer, choices.optim.lr, choices.schedule, STEPS * 4)
    wanted = []
    for epoch, values in enumerate(zip(*logs(trained, "plateau", "valid_loss"), strict=True)):
        for step in range(STEPS):
            rates.at_step(epoch * STEPS + step)
        wanted.append(optimizer.param_groups[0]["lr"])
        rates.after_epoch(fmean(values))
    assert pd.to_numeric(read_csv(whole / "log.csv")["lr"])[1:].to_numpy() == pytest.approx(wanted, rel=1e-6)


def with_its_start(trained: TinyProject, whole: Path, said: str) -> None:
    meta = read_json(whole / "meta.json")
    assert meta["weights"] == ["model.safetensors", "start.safetensors"]
    assert meta["epochs"] == 3
    starts = [trained.fold(k, run) / "start.safetensors" for k, run in ((K, "all-start"), (0, "folds-start"))]
    assert starts[0].read_bytes() != starts[1].read_bytes(), "its probe is fitted on all rows"


CHECKS: dict[str, Callable[[TinyProject, Path, str], None]] = {
    "best": best_of_the_folds, "plateau": rates_of_the_folds, "start": with_its_start,
}  # fmt: skip


def test_shares_of_its_test_rows_are_joined_to_the_same_bytes(project: TinyProject) -> None:
    folder = project.layout.run("tiny", "whole")
    before = {name: (folder / name).read_bytes() for name in ("oof.parquet", "test.parquet")}
    for name in ("cv.json", f"fold_{K}/test.parquet", *before):
        (folder / name).unlink()
    for shard in ("0/2", "1/2"):
        assert project.run("predict", *ALL, "--shard", shard) == 0
    assert project.run("predict", *ALL) == 0
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_what_it_reads_of_the_folds_goes_to_another_machine(trained: TinyProject) -> None:
    choices = Run.parse(read_json(trained.layout.run("tiny", "whole") / "run.json"), where="")
    folder = trained.layout.run("tiny", "quick")
    for trip in (
        FoldTrip(trained.layout, "tiny", "whole", choices, K),
        ShardTrip(trained.layout, "tiny", "whole", choices, 0, 2),
    ):
        taken = set(trip.takes())
        assert {folder / "run.json", folder / "cv.json", folder / "oof.parquet"} <= taken
        assert {folder / f"fold_{fold}" / file for fold in range(K) for file in ("meta.json", "log.csv")} <= taken
    assert folds_of(trained.layout, "tiny", choices, K) is not None
