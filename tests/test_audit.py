"""`make audit`: what is not looked up is not called sound."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

VERDICT = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "audit.py"))["verdict"]
SOUND = {"name": "numpy", "version": "2.4.6", "vulns": []}
HOLE = {"name": "jinja2", "version": "3.1.2", "vulns": [{"id": "GHSA-h5c8-rqwp-cp95", "fix_versions": ["3.1.3"]}]}
UNKNOWN = {"name": "torch", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "code", "words"),
    [
        (None, 0, "NOT AUDITED"),
        ([UNKNOWN], 0, "NOT AUDITED"),
        ([SOUND], 0, "0 known holes in 1 packages"),
        ([SOUND, UNKNOWN], 0, "0 known holes in 2 packages; not looked up: torch"),
        ([SOUND, HOLE], 1, "jinja2 3.1.2: GHSA-h5c8-rqwp-cp95, mended in 3.1.3\n1 known holes in 2 packages"),
    ],
)
def test_the_verdict_on_a_report(packages: Any, code: int, words: str) -> None:
    report = "" if packages is None else json.dumps({"dependencies": packages})
    found, said = VERDICT(report)
    assert found == code
    assert words in said
