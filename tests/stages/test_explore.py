"""The stage `explore`: what is planted is said, what is clean raises nothing, and every task and layout has a page."""

import json
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from browser import Browser, needs_browser
from foldline.core.competition import Competition
from foldline.core.run import Run
from foldline.core.yaml_models import load_yaml
from foldline.report.look.templates import sha256_for_policy
from foldline.stages.explore import explore
from report.test_page import Reader
from shapes.shapes import SHAPES
from shapes.test_shapes import Line
from stages.made_pictures import COMP, Made, Project, messy
from tiny import RUN, TinyProject

NEEDED = {"labels", "sizes", "broken", "duplicates", "leak", "folds", "batch", "cost"}


def found_in(project: Project, **options: Any) -> dict[str, Any]:
    return explore(project.layout, COMP, overrides=[], **options)


def changes_of(found: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {change["name"]: change for change in found["changes"]}


def joined(before: Any, further: Any) -> Any:
    """A YAML mapping with the lines of another."""
    if not (isinstance(before, dict) and isinstance(further, dict)):
        return further
    return {**before, **{key: joined(before.get(key), value) for key, value in further.items()}}


def require_parseable(project: Project, found: dict[str, Any]) -> None:
    """Each proposal names a file, and what it holds with the lines is accepted there."""
    for change in found["changes"]:
        if change["yaml"]:
            path = project.root / change["file"]
            content = joined(load_yaml(path), yaml.safe_load(change["yaml"]))
            kind = Competition if path.stem == "competition" else Run
            kind.parse(content, where=change["name"])


def require_sound(page: str) -> Reader:
    """One file that asks for nothing and runs one script, its own; every picture described, headings without a gap."""
    reader = Reader(page)
    (script,) = reader.scripts
    assert f"script-src '{sha256_for_policy(script)}'" in page
    assert all(address.startswith(("data:", "#")) for address in reader.addresses)
    assert "http://" not in page
    assert "https://" not in page
    assert all(image.get("alt") for image in reader.images)
    assert reader.headings[0] == 1
    assert all(after - before <= 1 for before, after in zip(reader.headings, reader.headings[1:], strict=False))
    return reader


@dataclass(frozen=True)
class Planted:
    """The messy project, explored: what came out, what was said, and which files are new."""

    project: Project
    found: dict[str, Any]
    said: str
    new: set[Path]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    root = tmp_path_factory.mktemp("messy")
    project = messy(root)
    assert project.run("download") == 0
    before = {path for path in root.rglob("*") if path.is_file()}
    with redirect_stdout(StringIO()) as out:
        found = found_in(project)
    return Planted(project, found, out.getvalue(), {path for path in root.rglob("*") if path.is_file()} - before)


def test_what_is_planted_is_said(planted: Planted) -> None:
    project, found = planted.project, planted.found
    assert planted.new == {project.layout.explored(COMP)}, "folds are shown and not written"
    assert not found["folds_written"]

    assert {it["why"] for it in found["broken"]} == {
        "the file is empty",
        "the file is truncated: its end marker is missing",
    }
    counts = found["duplicates"]["counts"]
    assert counts["across"] >= 4
    assert counts["conflict"] >= 1
    assert found["duplicates"]["pairs"][0]["labels"] == "conflict"
    suspected = {it["name"] for it in found["leaks"] if it["grade"] == "suspected"}
    assert {"bytes", "format", "metadata"} <= suspected
    assert all(it["grade"] in ("clear", "strong") for it in found["shifts"] if it["by"].startswith("brightness"))
    assert found["classes"]["target"]["yak"] == 2
    named = changes_of(found)
    assert {"broken", "rare-classes", "fold-checks", "leak", "duplicates", "across"} <= named.keys()
    require_parseable(project, found)
    json.dumps(found, allow_nan=False)

    assert "open oof/made/explore.html" in planted.said
    assert all(change["title"] in planted.said for change in found["changes"])
    reader = require_sound(project.page)
    for words in ("different labels", "in training and test", "the file is empty", "another shape than most", "yak"):
        assert words in reader.words, words


@needs_browser
@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_is_quiet_in_a_browser(planted: Planted, tmp_path: Path, width: int) -> None:
    """No error, no request but for itself, nothing wider than the screen, every picture drawn."""
    with Browser(tmp_path, width) as browser:
        browser.resize(width, 900)
        browser.open(planted.project.layout.explored(COMP).as_uri())
        browser.wait("document.readyState === 'complete'")
        assert browser.errors == []
        assert [address for address in browser.asked if not address.startswith(("data:", "file:"))] == []
        assert browser.js("document.documentElement.scrollWidth") <= width
        assert browser.js("[...document.images].filter(image => !image.naturalWidth).length") == 0


def test_clean_rows_raise_nothing(tmp_path: Path) -> None:
    """Of 20 draws: docs/explore.md."""
    project = Made(seed=1).ordinary(120, ["cat", "dog"], test=60).project(tmp_path)
    assert project.run("download") == 0
    found = found_in(project)
    assert found["changes"] == []
    assert [it for it in found["leaks"] if it["grade"] == "suspected"] == []
    assert [it for it in found["shifts"] if it["grade"] != "none"] == []
    assert found["duplicates"]["pairs"] == []
    assert found["broken"] == []
    assert "Nothing was found that should be changed" in project.page


@pytest.mark.parametrize(
    "slug",
    [
        "plant-pathology-2021-fgvc8",  # sets of labels, twins that are grouped
        "aptos2019-blindness-detection",  # ordinal
        "rsna-miccai-brain-tumor-radiogenomic-classification",  # several slices an entity, DICOM
        "siim-isic-melanoma-classification",  # patients, metadata
    ],
)
def test_every_layout_has_a_page(tmp_path: Path, slug: str) -> None:
    line = Line(tmp_path, next(shape for shape in SHAPES if shape.slug == slug))
    assert line.run("download") == 0
    found = explore(line.layout, slug, run="tiny", overrides=[], fast=True)
    reader = require_sound(line.layout.explored(slug).read_text(encoding="utf-8"))
    assert all(f'id="{name}"' in line.layout.explored(slug).read_text(encoding="utf-8") for name in NEEDED)
    assert found["rows"] > 0
    assert found["broken"] == []
    assert "Traceback" not in reader.words
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("columns", "facts"),
    [
        (["weight"], {"task": "regression", "metric": "rmse", "train": {"target": "weight"}}),
        (
            ["a", "b", "c"],
            {"task": "soft", "metric": "kl_divergence", "train": {"target": {"columns": ["a", "b", "c"]}}},
        ),
        (
            ["kind", "weight"],
            {
                "task": {"kind": "multiclass", "weight": "regression"},
                "metric": "accuracy(kind) + r2(weight)",
                "train": {"target": None},
            },
        ),
    ],
    ids=["number", "shares", "several"],
)
def test_every_task_has_a_page(tmp_path: Path, columns: list[str], facts: dict[str, Any]) -> None:
    made = Made(seed=6, columns=columns)
    for number in range(48):
        cells = [f"k{number % 3}" if name == "kind" else f"{made.rng.random():.3f}" for name in columns]
        made.train.append((made.name(), made.picture(), cells))
    project = made.project(tmp_path, **facts)
    assert project.run("download") == 0
    found = found_in(project, fast=True)
    require_sound(project.page)
    assert found["folds"] == 3
    assert found["test_rows"] > 0
    assert [it for it in found["leaks"] if it["grade"] == "suspected"] == []
    json.dumps(found, allow_nan=False)


def test_hundreds_of_classes_stay_readable(tmp_path: Path) -> None:
    made = Made(seed=7)
    for number in range(400):
        made.train.append((made.name(), made.picture(), [f"class {number % 130:03d}"]))
    project = made.project(tmp_path)
    assert project.run("download") == 0
    found = found_in(project, fast=True)
    reader = require_sound(project.page)
    assert len(found["classes"]["target"]) == 130
    assert "All 130 classes" in reader.words
    assert len(reader.images) < 150
    assert len(project.page) < 3_000_000


def test_what_was_taken_together_becomes_a_group(tmp_path: Path) -> None:
    """Views of one case are no twins, but nearer to one another than others; the lines that are proposed join them."""
    made = Made(seed=8)
    for case in range(24):
        base = made.picture().astype(np.float64)
        for view in range(1 + case % 4):
            pixels = np.clip(base + made.rng.normal(0, 14, base.shape), 0, 255).astype(np.uint8)
            made.train.append((f"case{case:03d}_view{view}", pixels, [["cat", "dog"][case % 2]]))
    project = made.project(tmp_path)
    assert project.run("download") == 0
    found = found_in(project, fast=True)
    change = changes_of(found)["group"]
    assert "begin alike, such as 'case" in change["text"]
    require_parseable(project, found)
    facts = load_yaml(project.layout.competition_config(COMP))
    project.write("competition", joined(facts, yaml.safe_load(change["yaml"])))
    assert project.run("folds") == 0
    assert "group" not in changes_of(found_in(project, fast=True))
    assert "24 groups" in project.page or "groups of 1 to 4 rows" in project.page


def test_rows_that_folds_would_stop_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A picture that is gone: the page shows the others, and what to write so that folds do the same."""
    made = Made(seed=3).ordinary(40, ["cat", "dog"], test=24)
    project = made.project(tmp_path)
    (tmp_path / "raw" / "train" / f"{made.train[0][0]}.png").unlink()
    assert project.run("download") == 0
    found = found_in(project, fast=True)
    assert found["rows"] == 39
    change = changes_of(found)["left-out"]
    assert "1 of 40 rows have no image file" in change["text"]
    require_parseable(project, found)
    facts = load_yaml(project.layout.competition_config(COMP))
    project.write("competition", joined(facts, yaml.safe_load(change["yaml"])))
    assert project.run("folds") == 0
    capsys.readouterr()
    assert project.run("explore", "--fast", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["page"] == str(project.layout.explored(COMP))
    assert "left-out" not in changes_of(printed)


def test_folds_are_those_that_are_written_or_those_of_the_facts_now(tmp_path: Path) -> None:
    project = Made(seed=4).ordinary(40, ["cat", "dog"], test=24).project(tmp_path)
    for stage in ("download", "folds"):
        assert project.run(stage) == 0
    found = found_in(project, fast=True)
    assert (found["folds"], found["folds_written"]) == (3, True)
    assert "As folds/made.csv has them" in project.page
    project.write("competition", {**load_yaml(project.layout.competition_config(COMP)), "folds": {"k": 2}})
    found = found_in(project, fast=True)
    assert (found["folds"], found["folds_written"]) == (2, False)
    assert "was made by other facts" in changes_of(found)["fold-checks"]["text"]
    project.write(
        "competition", {**load_yaml(project.layout.competition_config(COMP)), "folds": {"k": 2, "splitter": "grouped"}}
    )
    found = found_in(project, fast=True)
    assert found["folds"] == 0
    assert "stopped" in changes_of(found)
    assert "The rows cannot be split" in project.page


def test_a_networks_features_are_those_of_its_training(tmp_path: Path) -> None:
    project = TinyProject(tmp_path)
    run = {**RUN, "train": {**RUN["train"], "epochs": 1, "probe": {"c": 0.1, "views": ["identity"]}}}
    project.write_yaml("quick", run)
    project.prepare()
    look = partial(explore, project.layout, "tiny", run="quick", overrides=[])
    found = look()
    assert "none are kept yet" in found["not_tried"][0]
    assert found["fold_seconds"] > 0
    found = look(features=True)
    kept = set(project.layout.cache("tiny").glob("features-*.npy"))
    assert len(kept) == 2, "training rows, and test rows"
    assert found["not_tried"] == []
    assert "what a frozen network sees" in {it["by"] for it in found["shifts"]}
    assert project.run("train", "--fold", "0") == 0
    assert set(project.layout.cache("tiny").glob("features-*.npy")) == kept
    assert "what a frozen network sees" in {it["by"] for it in look()["shifts"]}
