"""The parts of a bundle: wheels, weights that are stored once, names, and the arithmetic of its budget."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from foldline.core.competition import Competition, load_competition
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.tables import write_json
from foldline.core.task import TASKS, Array
from foldline.engine.bundle import wheels
from foldline.engine.bundle.budget import FASTEST, SETUP_SECONDS, Load, Plan, drops, fitting, speed_there
from foldline.engine.bundle.notebook import FIND, Names
from foldline.engine.bundle.project import write_facts
from foldline.engine.bundle.trial import Trial, some_rows
from foldline.engine.bundle.worth import Worth
from foldline.engine.finished.copies import write_run
from foldline.engine.finished.networks import weights_sha256
from foldline.models.weights import read_state
from foldline.scoring.blender import Blender
from old_records import old

PLAN = Plan(
    10_000,
    (Load("a", (0, 1), ("identity", "hflip"), 100.0), Load("b", (0, 1), ("identity", "hflip"), 50.0)),
    decoded_per_second=1000.0,
)


def test_the_time_is_that_of_setting_up_of_reading_and_of_each_member() -> None:
    assert PLAN.seconds == SETUP_SECONDS + 10 + 400 + 800
    assert speed_there(100.0, 50.0, "t4", mixed=False) == pytest.approx(856)
    assert speed_there(100.0, 50.0, "t4", mixed=True) == pytest.approx(2330)
    assert speed_there(1e6, 50.0, "t4", mixed=True) == FASTEST


def test_the_cheapest_goes_first_and_what_nobody_knows_last() -> None:
    prices = {("b",): 0.002, ("a",): 0.03}

    def costs(before: Plan, after: Plan) -> float | None:
        runs, views = tuple(load.run for load in after.loads), after.loads[0].views
        if len(runs) < len(before.loads):
            return prices[("a",) if runs == ("b",) else ("b",)]
        return 0.0005 if views != before.loads[0].views else None

    found = drops(PLAN, costs)
    assert [drop.what for drop in found] == ["view hflip", "member b", "member a", "fold 2 of 2"]
    assert found[0].seconds == 600
    assert found[0].price[1] == pytest.approx(0.0005 / 10)
    chosen = fitting(PLAN, SETUP_SECONDS + 10 + 300, costs)
    assert [drop.what for drop in chosen] == ["view hflip", "member b"]
    assert chosen[-1].plan.seconds == SETUP_SECONDS + 10 + 200
    assert fitting(PLAN, 2000, costs) == []
    assert fitting(PLAN, 1, costs)[-1].plan.smaller() == [], "it gives up when nothing is left to leave out"


def made_worth(rng: np.random.Generator, folds: int = 4) -> Worth:
    """A good and a useless member; one view of the good one is noise; folds that disagree."""
    truth = rng.integers(0, 2, 400)
    oof = pd.DataFrame({"row_id": [str(i) for i in range(400)], "fold": np.arange(400) % folds})
    oof["target"] = np.where(truth == 1, "yes", "no")

    def said(noise: float) -> Array:
        positive = np.clip(0.3 + 0.4 * truth + rng.normal(0, noise, 400), 0.01, 0.99)
        return np.stack([1 - positive, positive], axis=1)

    good, bad = said(0.2), said(9.0)
    trials = {"good": Trial({"identity": said(0.2), "hflip": said(9.0)}, {}, 1, 1),
              "bad": Trial({"identity": bad, "hflip": bad}, {}, 1, 1)}  # fmt: skip
    tests = {run: np.clip(good[None] + rng.normal(0, 0.1, (folds, 400, 2)), 0, 1) for run in ("good", "bad")}
    facts = Competition.parse(
        {"source": {"kind": "folder", "name": "x"}, "task": "binary", "classes": ["no", "yes"], "metric": "auc",
         "train": {"target": "target"}, "holdout": {"fraction": 0.2}}, where="",
    )  # fmt: skip
    return Worth(
        facts,
        ["no", "yes"],
        Blender("mean", TASKS["binary"].of(["no", "yes"])),
        oof,
        {"good": good, "bad": bad},
        oof,
        trials,
        tests,
    )


def test_what_members_views_and_folds_are_worth() -> None:
    worth = made_worth(np.random.default_rng(0))
    views = ("identity", "hflip")
    plan = Plan(1000, (Load("good", (0, 1, 2, 3), views, 10.0), Load("bad", (0, 1, 2, 3), views, 10.0)), 100.0)
    costs = {drop.what: drop.costs for drop in drops(plan, worth)}
    assert all(cost is not None for cost in costs.values())
    known: dict[str, Any] = costs
    assert known["member bad"] < 0 < known["member good"], "the useless member makes the ensemble worse"
    assert "view identity" not in known, "the first view stays"
    assert known["view hflip"] < 0
    low, high = worth.interval(plan, dict(plan.smaller())["member good"]) or (0, 0)
    assert 0 < low < known["member good"] < high
    assert worth.interval(plan, dict(plan.smaller())["fold 4 of 4"]) is None
    assert 0 < known["fold 4 of 4"] < known["member good"]
    alone = Plan(1000, (Load("good", (0,), views, 10.0),), 100.0)
    assert not [what for what, _ in alone.smaller() if what.startswith("fold")]


def test_rows_of_the_trial_are_some_of_each_fold_and_whole_entities() -> None:
    oof = pd.DataFrame(
        {"row_id": [str(i) for i in range(60)], "fold": np.arange(60) // 30, "entity": np.arange(60) // 3}
    )
    rows = some_rows(oof, per_fold=9)
    assert rows.groupby("fold").size().tolist() == [9, 9]
    assert set(rows.groupby("entity").size()) == {3}
    assert len(some_rows(oof.drop(columns="entity"), per_fold=1000)) == 60


def test_tensors_that_folds_have_alike_are_stored_once(tmp_path: Path) -> None:
    alike, sources = torch.randn(64, 64), {}
    for k in (0, 1):
        folder, own = tmp_path / "run" / f"fold_{k}", {"own": torch.randn(8, 8), "alike": alike, "bias": torch.randn(4)}
        folder.mkdir(parents=True)
        save_file(own, folder / "model.safetensors")
        sources[folder] = FoldMeta.model_validate(old("meta", fold=k, weights=["model.safetensors"]))
    metas = write_run(tmp_path / "bundle", sources, half=True)
    sizes = {path.name: path.stat().st_size for path in tmp_path.glob("bundle/**/*.safetensors")}
    assert sizes["shared.safetensors"] > 64 * 64 * 2 > sizes["model.safetensors"]
    for source, meta in zip(sources, metas, strict=True):
        before = read_state(source / "model.safetensors")
        after = read_state(tmp_path / "bundle" / source.name / "model.safetensors")
        assert after.keys() == before.keys()
        assert torch.equal(after["bias"], before["bias"]), "vectors keep their precision"
        torch.testing.assert_close(after["alike"].float(), alike, rtol=1e-3, atol=1e-4)
        assert meta.sha256.weights == weights_sha256(
            {"model.safetensors": {name: tensor.float() for name, tensor in after.items()}}
        )
    (tmp_path / "bundle" / "shared.safetensors").unlink()
    with pytest.raises(FoldlineError, match="file not found"):
        read_state(tmp_path / "bundle" / "fold_0" / "model.safetensors")


def test_the_wheel_of_foldline_is_whole_and_always_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert list(wheels.write_wheels(tmp_path / name)) == ["foldline", "timm"]
    (wheel,) = tmp_path.glob("a/foldline-*.whl")
    assert wheel.read_bytes() == (tmp_path / "b" / wheel.name).read_bytes()
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {"foldline/py.typed", "foldline/cli.py", "foldline/report/run/sections.html"} <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.startswith("..")]
    code = "import foldline.core.paths, importlib.metadata as m; print(foldline.__file__, m.version('foldline'))"
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(wheel)!r}); {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert wheel.name in done.stdout


def test_networks_are_rebuilt_by_the_timm_that_built_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = wheels._installed("timm").version
    monkeypatch.setitem(wheels.IMAGE, "timm", "99.0")
    monkeypatch.setattr(wheels, "write_wheel", lambda folder, package, files: None)
    assert f"timm=={here} is needed" in wheels.write_wheels(tmp_path)["timm"]
    monkeypatch.setitem(wheels.IMAGE, "timm", here)
    assert list(wheels.write_wheels(tmp_path)) == ["foldline"]


def test_facts_of_every_kind_read_hidden_rows(tmp_path: Path) -> None:
    """Each competition of this repository, also those whose test rows are held out or have public labels."""
    root = Path(__file__).parents[2]
    layout = Layout(tmp_path / "home")
    shutil.copytree(root / "configs", layout.root / "configs")
    for path in sorted(layout.root.glob("configs/*/competition.yaml")):
        comp, facts = path.parent.name, load_competition(layout, path.parent.name)
        write_json(layout.folds_meta(comp), {})
        inside = Layout(tmp_path / "bundle" / comp)
        sample, there = write_facts(layout, comp, facts, inside), load_competition(inside, comp)
        assert there.holdout is None
        assert there.test is not None
        assert there.test.target is None
        assert there.submission.sample in (sample, None)
        assert not there.makes_sample
        assert there.train == facts.train


def test_a_compiled_package_is_fetched_and_no_network_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def no_network(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 1, "", "ERROR: No matching distribution found")

    monkeypatch.setattr(subprocess, "run", no_network)
    monkeypatch.setitem(wheels.IMAGE, "scikit-learn", "0.1")
    with pytest.raises(
        FoldlineError, match=r"the wheel of scikit-learn .* cannot be fetched for Kaggle's Python 3\.12"
    ):
        wheels.write_wheels(tmp_path / "wheels")
    assert "--only-binary=:all:" in asked[0]
    assert "--python-version=3.12" in asked[0]


@pytest.mark.parametrize("name", ["baseline", "a+b", "a_b", "ß", "x" * 120])
def test_names_are_those_that_kaggle_takes(name: str) -> None:
    names = Names.of("me", "siim-isic-melanoma-classification", name, "x")
    assert 6 <= len(names.title) <= 50
    assert names.slug == names.title.replace(" ", "-")
    others = [Names.of("me", "siim-isic-melanoma-classification", other, "x").slug for other in ("a-b", "a+b", "a_b")]
    assert len(set(others)) == 3


@pytest.mark.parametrize("place", ["me-bundle", "datasets/me/me-bundle"])
def test_the_notebook_finds_its_data_set_wherever_kaggle_mounts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("FOLDLINE_INPUTS", str(tmp_path))
    with pytest.raises(AssertionError, match="add the data set me-bundle to this notebook"):
        exec(FIND.format(slug="me-bundle"), {})
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "bundle.json").write_text("{}")
    names: dict[str, Any] = {}
    exec(FIND.format(slug="me-bundle"), names)
    assert names["bundle"] == tmp_path / place


def test_probabilities_stay_such_under_noise() -> None:
    from foldline.engine.bundle.worth import _valid

    prob = _valid(np.array([[1.2, -0.4], [0.5, 0.5]]), TASKS["binary"])
    assert prob.sum(axis=1) == pytest.approx([1, 1])
    assert (prob >= 0).all()
