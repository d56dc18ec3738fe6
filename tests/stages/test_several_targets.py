"""Several targets as one task, from the raw table to a graded submission: a colour, a shade and a width."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from foldline.cli import main
from foldline.core.competition import load_competition
from foldline.core.own_code import keep
from foldline.core.paths import Layout
from foldline.core.tables import read_csv, read_parquet
from foldline.engine.finished.model import load
from foldline.report.live.state import newest_predictions, open_live
from foldline.scoring.metrics.for_task import metric_for, target_metrics
from scoring.by_shape import score
from tiny import RUN

METRIC = "2*recall_macro(colour) + recall_macro(shade) + r2(width)"
FACTS: dict[str, Any] = {
    "task": {"colour": "multiclass", "shade": "binary", "width": "regression"},
    "classes": ["shade=light", "shade=dark"],
    "metric": METRIC,
    "metrics": ["accuracy(colour)"],
    "train": {"file": "train.csv", "row_id": "id", "image": "{id}.png", "target": {"columns": ["hue", "shade", "mm"]}},
    "holdout": {"fraction": 0.25},
    "folds": {"k": 3},
}
COLOURS = ("2", "9", "10")


class Project:
    """Raw files of coloured bars, and the command line run beside them."""

    def __init__(self, root: Path, rows: int = 120) -> None:
        self.root, self.layout = root, Layout(root)
        (root / "raw").mkdir()
        rng, lines = np.random.default_rng(0), ["id,hue,shade,mm"]
        for i in range(rows):
            colour, dark, width = i % 3, (i // 3) % 2, int(rng.integers(4, 30))
            picture = np.clip(rng.normal(110, 20, (32, 32, 3)), 0, 255)
            picture[:, :width] = 40
            picture[:, :width, colour] = 140 if dark else 250
            cv2.imwrite(str(root / "raw" / f"p{i:03d}.png"), picture.astype(np.uint8))
            lines.append(f"p{i:03d},{COLOURS[colour]},{('light', 'dark')[dark]},{(width - 17) / 4}")
        (root / "raw" / "train.csv").write_text("\n".join(lines) + "\n")
        self.facts = {**FACTS, "source": {"kind": "folder", "name": str(root / "raw")}}
        self.write("competition", self.facts)
        self.write(
            "quick",
            {
                **RUN,
                "data": {"image_size": 32},
                "train": {**RUN["train"], "epochs": 6},
                "augment": {"recipe": "none"},
                "model": {"name": "test_resnet", "weights": "none"},
            },
        )

    def write(self, name: str, content: dict[str, Any]) -> None:
        path = self.root / "configs" / "bars" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    def run(self, stage: str, *arguments: str) -> int:
        """The exit code of a stage."""
        return main([stage, "--root", str(self.root), "--comp", "bars", *arguments])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Trained and predicted once."""
    project = Project(tmp_path_factory.mktemp("several"))
    for stage in ("download", "folds"):
        assert project.run(stage) == 0
    for stage in ("train", "predict"):
        assert project.run(stage, "--run", "quick") == 0
    return project


OUTPUTS = ["colour=2", "colour=9", "colour=10", "shade=light", "shade=dark", "width="]


def test_rows_and_folds_hold_a_column_for_each_target(project: Project) -> None:
    rows, meta = read_csv(project.layout.folds("bars")), json.loads(project.layout.folds_meta("bars").read_text())
    assert {"target_colour", "target_shade", "target_width"} < set(rows.columns)
    assert meta["outputs"] == OUTPUTS
    assert meta["task"] == FACTS["task"]
    per_fold = [rows.groupby(["fold", f"target_{name}"]).size() for name in ("colour", "shade")]
    assert all(np.ptp(counts.unstack(), axis=0).max() <= 3 for counts in per_fold)


def test_predictions_and_scores_are_those_of_each_target(project: Project) -> None:
    oof = read_parquet(project.layout.run("bars", "quick") / "oof.parquet")
    colours = oof[[f"prob_colour_{name}" for name in COLOURS]].to_numpy(dtype=np.float64)
    shades = oof[["prob_shade_light", "prob_shade_dark"]].to_numpy(dtype=np.float64)
    assert np.allclose(colours.sum(axis=1), 1)
    assert np.allclose(shades.sum(axis=1), 1)

    cv = json.loads((project.layout.run("bars", "quick") / "cv.json").read_text())
    true = np.array([COLOURS.index(name) for name in oof["target_colour"]], dtype=np.float64)
    dark = np.array(oof["target_shade"] == "dark", dtype=np.float64)
    colour, shade = score("recall_macro", true, colours), score("recall_macro", dark, shades)
    width = score("r2", oof[["target_width"]].to_numpy(np.float64), oof[["value_width"]].to_numpy(np.float64))
    expected = {
        METRIC: (2 * colour + shade + width) / 4, "recall_macro(colour)": colour, "recall_macro(shade)": shade,
        "r2(width)": width, "accuracy(colour)": score("accuracy", true, colours),
    }  # fmt: skip
    assert list(cv["metrics"]) == list(expected)
    assert {name: found["pooled"] for name, found in cv["metrics"].items()} == pytest.approx(expected)
    low, high = cv["interval"]
    assert low < cv["pooled"] < high
    assert min(colour, shade, width) > 0.5, "each target is learnt"

    log = read_csv(project.layout.fold("bars", "quick", 0) / "log.csv")
    assert {f"accuracy_{name}" for name in OUTPUTS[:5]} | {f"valid_{name}" for name in expected} <= set(log.columns)


def test_the_activation_of_each_target_stands_in_the_record(project: Project) -> None:
    meta = json.loads((project.layout.fold("bars", "quick", 0) / "meta.json").read_text())
    rows = read_csv(project.layout.folds("bars"))
    others = rows.loc[rows["fold"] != "0", "target_width"].astype(float).to_numpy()
    scale = f"scaled({float(others.mean())!r},{float(others.std())!r})"
    assert meta["activation"] == f"blocks(softmax:3|softmax:2|{scale}:1)"


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("augment.mix.name=cutmix", "says nothing about a number"),
        ("loss.name=focal", "the loss 'focal' does not fit the task 'regression'"),
        ("sampling.balance=1", "none or several"),
        ("loss.class_weights='{\"colour=7\": 2}'", "no class is called colour=7"),
    ],
)
def test_what_several_targets_cannot_have_is_said(
    project: Project, setting: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.run("train", "--run", "quick", "--name", "other", "--set", setting) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "settings",
    [
        ["augment.mix.name=mixup", "loss.smoothing=0.1", "loss.class_weights='{\"colour=2\": 2}'"],
        ["train.probe={}"],
        ["loss.teacher.name=quick", "extra.pseudo.name=quick", "extra.pseudo.options.least=0.5"],
    ],
)
def test_several_targets_can_be_mixed_probed_and_taught(
    project: Project, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    changes = " ".join([*settings, "train.epochs=1", "train.folds=[0]"])
    assert project.run("train", "--run", "quick", "--name", settings[0].partition("=")[0], "--set", changes) == 0
    assert ", weighted mean of 3 targets 0." in capsys.readouterr().out


def test_new_pictures_and_the_live_page_have_every_targets_answer(project: Project) -> None:
    layout = project.layout
    table = load(layout.run("bars", "quick"), device="cpu").predict(project.root / "raw" / "p000.png")
    columns = [f"prob_{n.replace('=', '_')}" for n in OUTPUTS[:5]] + ["value_width", "label_colour", "label_shade"]
    assert table.columns[1:10].tolist() == [*columns, "spread_colour"]
    for test in (False, True):
        first, *_ = newest_predictions(open_live(layout, "bars", "quick", test=test), 3, 0)
        assert len(first["truth"].split(", ")) == len(first["predicted"].split(", ")) == 3
        assert first["right"] in (True, False)


def test_the_report_opens_with_every_targets_metrics(project: Project) -> None:
    assert project.run("report", "--run", "quick") == 0
    page = (project.layout.run("bars", "quick") / "report.html").read_text()
    for words in ("Weighted mean of 3 targets", METRIC, "Recall macro (colour)", "R² (width)", "colour 9"):
        assert words in page
    for figure in ("roc-colour", "roc-shade", "scatter-width", "learning-classes"):
        assert f'id="figure-{figure}"' in page


@pytest.mark.parametrize("kind", ["targets", "long"])
def test_a_submission_holds_every_targets_answer_and_is_graded(project: Project, kind: str) -> None:
    layout = project.layout
    project.write("competition", {**project.facts, "submission": {"kind": kind}})
    assert project.run("folds") == 0
    assert project.run("ensemble", "--run", "quick") == 0
    assert project.run("check", str(layout.submission("bars", "quick"))) == 0
    assert project.run("score", "--name", "quick") == 0
    submission, solution = read_csv(layout.submission("bars", "quick")), read_csv(layout.holdout_solution("bars"))
    if kind == "targets":
        assert submission.columns.tolist() == ["row_id", "colour", "shade", "width"]
    else:
        parts = submission["row_id"].str.rsplit("_", n=1, expand=True)
        submission = submission.assign(row=parts[0], part=parts[1]).pivot(index="row", columns="part", values="target")
        submission = submission.reset_index(names="row_id")
    both = submission.merge(solution, on="row_id")
    right = {name: (both[name] == both[f"target_{name}"]).mean() for name in ("colour", "shade")}
    assert min(right.values()) > 0.6
    ledger = json.loads(layout.submission("bars", "quick").with_suffix(".json").read_text())
    assert ledger["private_metrics"]["accuracy(colour)"] == pytest.approx(right["colour"])
    assert ledger["private"] == ledger["private_metrics"][METRIC]


def test_runs_of_several_targets_are_blended_and_compared(project: Project) -> None:
    project.write("competition", project.facts)
    assert project.run("folds") == 0
    for stage in ("train", "predict"):
        assert project.run(stage, "--run", "quick", "--name", "second", "--set", "seed=1 train.epochs=1") == 0
    both = ("ensemble", "--runs", "quick second", "--name", "both")
    assert project.run(*both, "--blend", "gmean") == 2, "there is no such mean of widths below 0"
    assert project.run(*both) == 0
    assert project.run("compare", "--runs", "quick second both") == 0
    oof = read_parquet(project.layout.run("bars", "both") / "oof.parquet")
    assert np.allclose(oof[[f"prob_colour_{name}" for name in COLOURS]].sum(axis=1), 1, atol=1e-5)


def test_a_metric_of_the_users_own_scores_one_of_the_targets(project: Project) -> None:
    (project.root / "configs" / "bars" / "own.py").write_text("def half(truth, prediction):\n    return 0.5\n")
    project.write("competition", {**project.facts, "metric": "3*own.py:half(shade) + accuracy(colour)"})
    facts = load_competition(project.layout, "bars")
    metric = metric_for(facts.metric, facts.task)
    assert target_metrics(metric)[0].endswith("configs/bars/own.py:half(shade)")
    right = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    prediction = np.array([[1.0, 0, 0, 1, 0, 0], [0.0, 1, 0, 1, 0, 0]])
    found = score(metric, right, prediction, task=facts.task.of(OUTPUTS))
    assert found == pytest.approx((3 * 0.5 + 1) / 4)
    assert set(keep(project.root / "kept", [facts.metric])) == {"own.py"}
