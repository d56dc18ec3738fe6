"""A metric of the user's own, and what is told of a name that leads nowhere."""

from pathlib import Path

import numpy as np
import pytest

from foldline.core.errors import FoldlineError
from foldline.scoring.metrics import metric_named
from scoring.by_shape import score, score_interval

TRUTH = np.array([0.0, 1, 1, 0])
PROB = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
CODE = """
def misses(truth, labels):
    return float((truth != labels).sum())

misses.direction = "min"
misses.input = "label"

def shape(truth, prob):
    return float(prob.shape[1])

def odd(truth, prob):
    return 0.0

odd.direction = "up"
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "metric.py"
    path.write_text(CODE)
    return str(path)


def test_a_function_of_a_file_is_a_metric(file: str) -> None:
    metric = metric_named(f"{file}:misses")
    assert (metric.direction, metric.input) == ("min", "label")
    assert score(metric, TRUTH, PROB) == score(f"{file}:misses", TRUTH, PROB) == 1
    assert score(f"{file}:shape", TRUTH, PROB) == 2
    low, high = score_interval(metric, TRUTH, PROB)
    assert 0 <= low < high <= 4


def test_a_function_of_a_module_is_a_metric() -> None:
    assert score("numpy:shares_memory", TRUTH, PROB) == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.py:misses", "no Python file 'nowhere.py'"),
        ("no_such_module:misses", "no Python module 'no_such_module'"),
        ("{file}:hits", "has no function 'hits'"),
        ("{file}:CODE", "has no function 'CODE'"),
        ("{file}:odd", "direction is 'up'"),
    ],
)
def test_names_that_lead_nowhere(name: str, message: str, file: str) -> None:
    with pytest.raises(FoldlineError, match=message):
        metric_named(name.replace("{file}", file))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def m(truth): return 0.0", r"takes \(truth\), not \(truth, prediction\)"),
        ("def m(truth, prob): return 'much'", "must return a number, not str"),
        ("def m(truth, prob): return 1 / 0", "fails: ZeroDivisionError"),
    ],
)
def test_a_metric_that_is_none(code: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(code)
    with pytest.raises(FoldlineError, match=message):
        score(f"{tmp_path}/bad.py:m", TRUTH, PROB)


def test_its_file_is_run_once(tmp_path: Path) -> None:
    path = tmp_path / "counted.py"
    path.write_text(
        "from pathlib import Path\nruns = Path(__file__).with_name('runs')\n"
        "runs.write_text(runs.read_text() + 'x' if runs.exists() else 'x')\ndef m(truth, prob): return 0.0\n"
    )
    for _ in range(3):
        score(f"{path}:m", TRUTH, PROB)
    assert (tmp_path / "runs").read_text() == "x"
