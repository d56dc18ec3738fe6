"""The schemas of facts and runs: every file of this repository fits, what is mistyped does not."""

from pathlib import Path
from typing import Any

import pytest

from foldline.cli import main
from foldline.core.paths import Layout
from foldline.core.schema import HEADS, schema, write_schemas
from foldline.core.yaml_models import load_yaml
from tiny import FACTS, RUN

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = [path for path in sorted(CONFIGS.rglob("*.yaml")) if not path.name.endswith(".search.yaml")]
jsonschema = pytest.importorskip("jsonschema")


def problems(kind: str, content: Any) -> list[str]:
    jsonschema.Draft202012Validator.check_schema(schema(kind))
    return [error.message for error in jsonschema.Draft202012Validator(schema(kind)).iter_errors(content)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_configuration_fits(path: Path) -> None:
    assert problems("facts" if path.name == "competition.yaml" else "run", load_yaml(path)) == []


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("facts", {"metrik": "auc"}),
        ("facts", {"task": "binray"}),
        ("facts", {"task": {"one": "binary"}}),
        ("facts", {"folds": {"k": 1}}),
        ("facts", {"train": {"file": "a.csv", "targte": "label"}}),
        ("run", {"optim": {"lr": "fast"}}),
        ("run", {"optim": {"lr": -1}}),
        ("run", {"schedule": "cosinus"}),
        ("run", {"schedule": {"name": "linear", "option": {}}}),
        ("run", {"train": {"compile": "on"}}),
        ("run", {"seed": -1}),
    ],
)
def test_what_is_mistyped_does_not(kind: str, change: dict[str, Any]) -> None:
    whole = FACTS if kind == "facts" else RUN
    assert problems(kind, whole) == []
    assert problems(kind, {**whole, **change})


def test_short_forms_fit() -> None:
    for content in ({"schedule": "linear"}, {"train": {"compile": False}}, {"extra": {"pseudo": "any-run"}}):
        assert problems("run", content) == []
    assert problems("facts", {**FACTS, "task": {"one": "binary", "two": "regression"}}) == []


def test_a_file_names_the_schema_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_schemas(Layout(tmp_path))
    for kind, head in HEADS.items():
        named = head.split("$schema=")[1].strip()
        assert (tmp_path / "configs" / "mine" / named).resolve().is_file(), kind
    assert main(["schema", "facts", "--root", str(tmp_path), "--json"]) == 0
    assert '"$schema"' in capsys.readouterr().out
