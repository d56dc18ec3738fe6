"""Facts, runs and searches: any text and any value is a setting, or is refused in words."""

import json
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from foldline.core.competition import Competition
from foldline.core.run import Run
from foldline.core.run_folder import run_sha256
from foldline.core.search import Search
from foldline.core.tables import sha256_json
from foldline.core.yaml_models import Strict, apply_overrides, load_yaml, parse_yaml
from properties.mutations import ODD_TEXTS, changed, many, mutated, words_or_success
from tiny import FACTS, RUN

CHOICES = {
    **RUN,
    "model": {"name": "resnet18", "head": {"name": "arcface", "options": {"scale": 20}}, "options": {"a": 1}},
    "augment": {"transforms": [{"Rotate": {"limit": 15}}], "mix": {"name": "mixup", "options": {"alpha": 0.2}}},
    "sampling": {"weights": {"a": 2.0}, "balance": 0.5},
    "loss": {"name": "focal", "options": {"gamma": 2}, "class_weights": {"dark": 2}, "teacher": "other"},
    "optim": {"name": "sgd", "lr": 0.1, "options": {"eps": 1}, "clip": {"name": "norm", "options": {"limit": 1}}},
    "schedule": {"name": "poly", "options": {"power": 2}, "warmup": 0.1},
    "train": {"probe": {"c": 0.1}, "keep_start": True, "folds": [0], "average": "swa"},
    "seed": 3,
}  # fmt: skip
LARGE_FACTS = {
    **FACTS,
    "train": {
        "file": ["a.csv", "b.csv"], "row_id": "{id}", "image": ["{id}.png"], "extract": {"id": "{a}_{b}"},
        "join": [{"file": "c.csv", "left": "id", "right": "id"}], "where": {"a": ["x", "y"]},
        "pixels": {"columns": ["p*"], "height_width": [4, 4], "range": [0, 1]},
        "target": {"column": "label", "names": {"a": "b"}, "thresholds": [0.5, 1.5]},
    },
    "submission": {"kind": "long", "entity": "id", "output": "b", "bounds": [0, 1]},
}  # fmt: skip
SEARCHES = {
    "base": "baseline",
    "trials": 3,
    "ranges": {"optim.lr": {"low": 1e-4, "high": 1e-2, "log": True}, "seed": [1]},
}
MODELS: dict[type[Strict], Any] = {Run: CHOICES, Competition: LARGE_FACTS, Search: SEARCHES}
PIECES = [
    "a",
    ": ",
    "- ",
    "\n",
    "  ",
    "&x ",
    "*x",
    "[",
    "]",
    "{",
    "}",
    "'",
    '"',
    "!!int ",
    "? ",
    "|\n",
    "<<: ",
    "0x",
    "1e5",
    "#",
]


@many(25)
@given(data=st.data())
def test_any_value_in_the_place_of_a_setting(data: st.DataObject) -> None:
    model = data.draw(st.sampled_from(list(MODELS)))
    content = data.draw(changed(MODELS[model]))
    with words_or_success():
        read = model.parse(content, where="x.yaml")
        again = type(read).parse(json.loads(json.dumps(read.model_dump(mode="json"), allow_nan=False)), where="x.yaml")
        assert again == read
        if isinstance(read, Run) and isinstance(again, Run):
            assert run_sha256(read) == run_sha256(again) != sha256_json("x")


@many(25)
@given(data=st.data())
def test_a_file_of_settings_with_changed_bytes(data: st.DataObject) -> None:
    model = data.draw(st.sampled_from(list(MODELS)))
    text = yaml.safe_dump(MODELS[model], sort_keys=False, default_flow_style=data.draw(st.sampled_from([False, None])))
    with tempfile.TemporaryDirectory() as folder, words_or_success():
        path = Path(folder, "x.yaml")
        path.write_bytes(data.draw(mutated(text.encode())))
        model.parse(load_yaml(path), where="x.yaml")


@many(30)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=25).map("".join)))
def test_any_text_as_yaml(text: str) -> None:
    with words_or_success():
        parse_yaml(text, where="x.yaml")


@many(25)
@given(
    st.lists(st.sampled_from(["optim", "lr", "train", "loss", "name", "", "options", *ODD_TEXTS]), max_size=4),
    st.sampled_from(["=", "", "==", " = "]),
    st.one_of(st.text(max_size=20), st.sampled_from(["[", "{a: b", "1e-3", ".nan", "yes", "&a [*a]", "[" * 500])),
)
def test_any_setting_on_the_command_line(keys: list[str], equals: str, value: str) -> None:
    with words_or_success():
        Run.parse(apply_overrides(CHOICES, [".".join(keys) + equals + value]), where="SET")
