"""JSON schemas of facts and runs of both kinds, from which editors know every setting, its range and its words.

Writes `configs/.schema/facts.json`, `run.json` and `features.json`; a file of settings names its own in its first line
(`HEADS`), as the YAML language server reads it: relative to itself, so that it holds in a clone and for an installed
foldline alike.
"""

import json
from typing import Any

from foldline.core.competition import Competition
from foldline.core.errors import unknown
from foldline.core.features_run import FeaturesRun
from foldline.core.options import ANY, Choice
from foldline.core.paths import Layout
from foldline.core.run import Run
from foldline.core.tables import write_text
from foldline.core.task import SEVERAL, TASKS

MODELS: dict[str, Any] = {"facts": Competition, "run": Run, "features": FeaturesRun}
HEADS = {kind: f"# yaml-language-server: $schema=../.schema/{kind}.json\n" for kind in MODELS}
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(kind: str) -> dict[str, Any]:
    """The JSON schema of `facts`, a `run`, or a run of frozen `features`; raises FoldlineError for another kind."""
    if kind not in MODELS:
        raise unknown("schema", kind, MODELS)
    found: dict[str, Any] = MODELS[kind].model_json_schema()
    parts = found["$defs"]
    if "Task" in parts:
        one = {"enum": [name for name in TASKS if name != SEVERAL.name]}
        parts["Task"] = {"anyOf": [one, {"type": "object", "minProperties": 2, "additionalProperties": one}]}
    for choice in Choice.__subclasses__():
        if choice.__name__ in parts:
            parts[choice.__name__] = _by_name(parts[choice.__name__], choice)
    _for_editors(found)
    return {"$schema": DIALECT, **found}


def _by_name(part: dict[str, Any], choice: type[Choice]) -> dict[str, Any]:
    """A choice is its name alone, or a mapping; its names are known, unless they are those of runs."""
    names = {} if ANY in choice.known else {"enum": list(choice.known)}
    part["properties"]["name"] |= names
    part["properties"]["options"] |= {"type": "object"}
    alone = {"type": "string", "description": part["properties"]["name"].get("description", ""), **names}
    return {"anyOf": [alone, part]}


def _for_editors(part: Any) -> None:
    """`off` without quotes is false to some readers of YAML; and editors' patterns have other ends."""
    if isinstance(part, dict):
        if isinstance(part.get("pattern"), str):
            part["pattern"] = part["pattern"].replace(r"\A", "^").replace(r"\z", "$")
        if "off" in part.get("enum", ()):
            part.pop("type", None)
            part["enum"] = [*part["enum"], False]
        for inner in part.values():
            _for_editors(inner)
    elif isinstance(part, list):
        for inner in part:
            _for_editors(inner)


def write_schemas(layout: Layout) -> None:
    """Writes the schemas where they are not there, or are of another version."""
    for kind in MODELS:
        path = layout.root / "configs" / ".schema" / f"{kind}.json"
        text = json.dumps(schema(kind), indent=1) + "\n"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
