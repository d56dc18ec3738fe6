"""Every stage on tiny pictures, through the real code: raw files to a graded submission and a report."""

import subprocess
import sys

import numpy as np
import pytest

from foldline.core.records.fold_meta import FoldMeta
from foldline.core.tables import read_csv, read_json, read_parquet, sha256_file
from scoring.by_shape import score
from tiny import FACTS, RUN, TinyProject, seconds_of_children


def test_the_whole_line(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    project.make_uneven()
    project.prepare()
    assert project.run("train") == 0
    assert project.run("predict") == 0
    assert project.run("ensemble") == 0
    assert project.run("score") == 0
    folds = read_csv(project.layout.folds("tiny"))
    folds = folds[folds["row_id"] != "p050"]
    run = project.layout.run("tiny", "quick")
    steps = [len(read_csv(project.fold(k) / "steps.csv")) for k in range(3)]
    epochs = [read_json(project.fold(k) / "meta.json")["epochs"] for k in range(3)]
    assert len(set(steps)) > 1, "the folds must differ in their steps"
    assert len(set(epochs)) > 1, "one fold at least must stop earlier than another"
    assert len(folds) < len(read_csv(project.layout.folds("tiny"))), "the broken picture must be a training row"
    oof, cv = read_parquet(run / "oof.parquet"), read_json(run / "cv.json")
    assert oof["row_id"].tolist() == folds["row_id"].tolist()
    assert oof["fold"].tolist() == folds["fold"].astype(int).tolist()
    truth = (oof["target"] == "bright").to_numpy(dtype=float)
    prob = oof[["prob_dark", "prob_bright"]].to_numpy(dtype=np.float64)
    assert cv["pooled"] == pytest.approx(score("auc", np.asarray(truth, dtype=np.float64), prob), abs=1e-12)
    assert cv["mean"] > 0.9, "the pictures' signal is easy to learn"
    assert cv["interval"][0] < cv["pooled"] < cv["interval"][1]
    assert cv["std"] == pytest.approx(np.std(cv["per_fold"], ddof=1))
    sample = read_csv(project.layout.holdout_sample("tiny"))
    submission = read_csv(project.layout.submission("tiny", "quick"))
    assert submission.columns.tolist() == sample.columns.tolist()
    assert submission["row_id"].tolist() == sample["row_id"].tolist()
    test = read_parquet(run / "test.parquet").set_index("row_id")["prob_bright"]
    assert np.allclose(submission["target"].astype(float), test.loc[submission["row_id"]], atol=1e-6)
    entry = read_json(project.layout.submission("tiny", "quick").with_suffix(".json"))
    assert entry["private"] > 0.7
    assert (run / "report.html").stat().st_size > 10_000
    assert "held-out score" in capsys.readouterr().out
    assert project.run("check", str(project.layout.submission("tiny", "quick"))) == 0


def test_oof_comes_from_the_model_that_did_not_see_the_row(project: TinyProject) -> None:
    """Each fold's OOF rows are predicted anew from that fold's files alone, and from another's: only one agrees."""
    from foldline.core.run_folder import resolve_run
    from foldline.engine.predict_run import predict_run

    project.prepare()
    assert project.run("train") == 0
    _, run = resolve_run(project.layout, "tiny", "quick", "", [])
    metas = [FoldMeta.read(project.fold(k) / "meta.json") for k in range(3)]
    for k in range(3):
        (project.fold(k) / "valid.parquet").unlink()
    predict_run(project.layout, "tiny", "quick", run, metas, "cpu", project.root / "again")
    again = read_parquet(project.root / "again" / "oof.parquet")
    assert project.run("predict") == 0
    stored = read_parquet(project.layout.run("tiny", "quick") / "oof.parquet").set_index("row_id")["prob_bright"]
    assert np.allclose(again.set_index("row_id")["prob_bright"].loc[stored.index], stored, atol=1e-6)
    one, other = project.fold(0) / "model.safetensors", project.fold(1) / "model.safetensors"
    content = one.read_bytes(), other.read_bytes()
    one.write_bytes(content[1])
    other.write_bytes(content[0])
    exchanged = [metas[k].changed(sha256=metas[1 - k].sha256) for k in range(2)]
    predict_run(project.layout, "tiny", "quick", run, [*exchanged, metas[2]], "cpu", project.root / "swapped")
    swapped = read_parquet(project.root / "swapped" / "oof.parquet")
    assert not np.allclose(swapped.set_index("row_id")["prob_bright"].loc[stored.index], stored, atol=1e-3)


def test_everything_is_done_once(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    project.prepare()
    for stage in ("train", "predict", "ensemble"):
        assert project.run(stage) == 0
    made = {path: path.stat().st_mtime_ns for path in project.root.rglob("*") if path.is_file()}
    capsys.readouterr()
    for stage in ("download", "folds", "train", "predict", "ensemble"):
        assert project.run(stage) == 0
    assert {path: path.stat().st_mtime_ns for path in project.root.rglob("*") if path.is_file()} == made
    said = capsys.readouterr().out
    assert said.count("up to date") >= 3
    assert said.count("finished already") == 3


def test_a_kept_start_is_averaged_with_the_fine_tuned_network(project: TinyProject) -> None:
    project.prepare()
    found = {}
    for name, more in (("tuned", "train.epochs=2"), ("start", "train.epochs=0"), ("both", "train.keep_start=true")):
        given = ["--name", name, "--set", f"train.probe.c=0.1 {more}"]
        assert project.run("train", *given) == 0
        assert project.run("predict", *given) == 0
        for kind in ("oof", "test"):
            table = read_parquet(project.layout.run("tiny", name) / f"{kind}.parquet").set_index("row_id")
            found[name, kind] = table["prob_bright"].sort_index().to_numpy()
    for kind in ("oof", "test"):
        mean = (found["tuned", kind] + found["start", kind]) / 2
        assert np.allclose(found["both", kind], mean, atol=1e-6)
        assert not np.allclose(found["both", kind], found["tuned", kind], atol=1e-3)


def test_equal_commands_give_equal_bytes(project: TinyProject) -> None:
    project.prepare()
    for name in ("a", "b"):
        assert project.run("train", "--name", name, "--fold", "1") == 0
    files = ("model.safetensors", "valid.parquet")
    assert [sha256_file(project.fold(1, "a") / f) for f in files] == [
        sha256_file(project.fold(1, "b") / f) for f in files
    ]


def test_runs_are_blended_and_an_ensemble_is_a_run(project: TinyProject) -> None:
    project.prepare()
    for name, seed in (("one", 1), ("two", 2)):
        given = ["--name", name, "--set", f"seed={seed} train.epochs=1"]
        assert project.run("train", *given) == 0
        assert project.run("predict", *given) == 0
    for blend in ("mean", "gmean", "rank_mean"):
        assert project.run("ensemble", "--runs", "one two", "--name", blend, "--blend", blend) == 0
    tables = {
        name: read_parquet(project.layout.run("tiny", name) / "oof.parquet").set_index("row_id")["prob_bright"]
        for name in ("one", "two", "mean")
    }
    assert np.allclose(tables["mean"], (tables["one"] + tables["two"]) / 2, atol=1e-6)
    cv = read_json(project.layout.run("tiny", "mean") / "cv.json")
    assert cv["members"] == ["one", "two"]
    assert project.run("ensemble", "--runs", "mean one", "--name", "further") == 0
    assert project.run("score", "--name", "further") == 0


def test_runs_of_other_folds_are_refused(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    project.prepare()
    for name in ("one", "two"):
        given = ["--name", name, "--set", f"seed={len(name)} train.epochs=1 optim.lr=1e-{len(name)}"]
        given[3] += f" train.batch_size={8 if name == 'one' else 9}"
        assert project.run("train", *given) == 0
        assert project.run("predict", *given) == 0
    path = project.layout.run("tiny", "two") / "cv.json"
    path.write_text(path.read_text().replace(read_json(path)["sha256"]["folds"], "0" * 64))
    assert project.run("ensemble", "--runs", "one two") == 2
    error = capsys.readouterr().err
    assert "other folds" in error
    assert "0" * 12 in error
    assert not project.layout.submission("tiny", "one+two").exists()


def test_another_config_in_the_same_folder_is_refused(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    project.prepare()
    assert project.run("train", "--fold", "0") == 0
    project.write_yaml("quick", {**RUN, "optim": {"lr": 1e-3}})
    assert project.run("train", "--fold", "0") == 2
    assert "optim.lr: 0.003 -> 0.001" in capsys.readouterr().err
    assert project.run("train", "--set", "seed=3") == 2
    assert "NAME" in capsys.readouterr().err
    project.write_yaml("quick", {**RUN, "predict": {"views": ["identity"]}})
    assert project.run("train", "--fold", "1") == 0, "views may change without a new training"


@pytest.mark.parametrize(
    ("change", "stage", "words"),
    [
        ({"model": {"name": "test_efficentnet"}}, "train", "test_efficientnet"),
        (
            {"model": {"name": "test_efficientnet", "weights": "hub"}},
            "train",
            "ways out|model.weights",
        ),
        (
            {"model": {"name": "test_efficientnet", "weights": {"name": "file", "options": {"file": "no.pth"}}}},
            "train",
            "no.pth",
        ),
        ({"augment": {"recipe": "heavyy"}}, "train", "augmentation recipe"),
        ({"predict": {"views": ["flip"]}}, "train", "predict.views"),
        ({"loss": {"name": "mse"}}, "train", "loss.name"),
        ({"optim": {"name": "adamww"}}, "train", "optim.name"),
        ({"train": {"batch_sise": 4}}, "train", "train.batch_size"),
    ],
)
def test_a_wrong_choice_is_one_message(
    project: TinyProject, capsys: pytest.CaptureFixture[str], change: dict[str, object], stage: str, words: str
) -> None:
    project.prepare()
    project.write_yaml("quick", {**RUN, **change})
    assert project.run(stage) == 2
    error = capsys.readouterr().err
    assert any(word in error for word in words.split("|")), error
    assert "Traceback" not in error
    assert error.startswith("error: ")
    assert not list(project.root.rglob("*.tmp"))


def test_wrong_names_are_errors(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.run("train", "--run", "qick") == 2
    assert "did you mean 'quick'" in capsys.readouterr().err
    from foldline.cli import main

    assert main(["folds", "--root", str(project.root), "--comp", "tny"]) == 2
    assert "known: tiny" in capsys.readouterr().err
    assert project.run("train") == 2
    assert "make folds" in capsys.readouterr().err
    project.prepare()
    assert project.run("train", "--fold", "7") == 2
    assert "0 to 2" in capsys.readouterr().err
    assert project.run("predict") == 2
    assert "not trained" in capsys.readouterr().err
    project.write_yaml("competition", {**FACTS, "metric": "acc"})
    assert project.run("train") == 2
    assert "accuracy" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing_half_written(
    project: TinyProject, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import foldline.engine.loop.checkpoint as checkpoint

    def full(tensors: object, path: str, metadata: object = None) -> None:
        with open(path, "wb") as handle:  # noqa: PTH123
            handle.write(b"half")
        raise OSError(28, "No space left on device", str(path))

    project.prepare()
    monkeypatch.setattr(checkpoint, "save_file", full)
    assert project.run("train", "--fold", "0") == 1
    assert "error: no space left on device" in capsys.readouterr().err
    assert not list(project.root.rglob("*.tmp"))
    assert not (project.fold(0) / "model.safetensors").exists()
    monkeypatch.undo()
    assert project.run("train", "--fold", "0") == 0


def test_help_is_fast_and_knows_no_torch() -> None:
    start = seconds_of_children()
    code = (
        "import sys, foldline.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: pass\n"
        "print('torch' in sys.modules, 'pandas' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.rstrip().endswith("False False")
    assert seconds_of_children() - start < 3, "0.05 s on an idle machine"
