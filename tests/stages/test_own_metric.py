"""A metric is a Python function that the facts or a run name: through training, scores, decision and report."""

import pytest

from foldline.core.competition import load_competition
from foldline.core.tables import read_json
from tiny import FACTS, RUN, TinyProject

BESIDE_THE_FACTS = """
def misses(truth, labels):
    return float((truth != labels).sum())

misses.direction = "min"
misses.input = "label"
"""
IN_THE_PROJECT = """
def sureness(truth, prob):
    return float(abs(prob[:, 1] - 0.5).mean())
"""


@pytest.fixture
def own(project: TinyProject) -> TinyProject:
    (project.root / "configs" / "tiny" / "costs.py").write_text(BESIDE_THE_FACTS)
    (project.root / "more").mkdir()
    (project.root / "more" / "further.py").write_text(IN_THE_PROJECT)
    project.write_yaml("competition", {**FACTS, "metric": "costs.py:misses", "metrics": ["auc"]})
    quick = {**RUN["train"], "epochs": 1}
    project.write_yaml("quick", {**RUN, "train": quick, "metrics": ["more/further.py:sureness", "log_loss"]})
    project.prepare()
    return project


def test_a_metric_of_ones_own_goes_through_the_line(own: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    for stage in ("train", "predict", "ensemble", "score"):
        assert own.run(stage) == 0, stage
    folder = own.layout.run("tiny", "quick")
    cv = read_json(folder / "cv.json")
    assert [name.rpartition("/")[2] for name in cv["metrics"]] == [
        "costs.py:misses",
        "auc",
        "further.py:sureness",
        "log_loss",
    ]
    assert cv["metric"] == load_competition(own.layout, "tiny").metric
    assert cv["direction"] == "min"
    assert cv["pooled"] == sum(cv["per_fold"]), "the misses of the folds add up to all"
    assert "Misses" in (folder / "report.html").read_text()
    made = (folder / "oof.parquet").stat().st_mtime_ns
    capsys.readouterr()
    train = {**RUN["train"], "epochs": 1}
    own.write_yaml("quick", {**RUN, "train": train, "metrics": ["brier"]})
    for stage in ("train", "predict", "ensemble"):
        assert own.run(stage) == 0, stage
    assert "finished already" in capsys.readouterr().out, "what is reported trains nothing anew"
    assert (folder / "oof.parquet").stat().st_mtime_ns == made
    found = read_json(folder / "cv.json")
    assert [name.rpartition("/")[2] for name in found["metrics"]] == ["costs.py:misses", "auc", "brier"]
    assert found["pooled"] == cv["pooled"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.py:misses", "there is no Python file 'nowhere.py'"),
        ("costs.py:hits", "has no function 'hits'"),
        ("rmse", "has no meaning for the task binary"),
        ("acuracy", "unknown metric 'acuracy'"),
    ],
)
def test_a_name_that_leads_nowhere_stops_before_training(
    own: TinyProject, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    own.write_yaml("quick", {**RUN, "metrics": [name]})
    assert own.run("train") == 2
    assert message in capsys.readouterr().err
    assert not own.fold(0).exists()


def test_the_facts_folder_comes_before_the_project(own: TinyProject, monkeypatch: pytest.MonkeyPatch) -> None:
    (own.root / "costs.py").write_text("raise RuntimeError('the wrong file')")
    assert load_competition(own.layout, "tiny").metric == f"{own.root.as_posix()}/configs/tiny/costs.py:misses"
    monkeypatch.chdir(own.root)
    assert load_competition(own.layout, "tiny").metric == "configs/tiny/costs.py:misses"
