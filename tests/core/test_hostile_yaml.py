"""Files of settings that are damaged, hostile or out of range: an error in words, at once."""

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from foldline.core.competition import Competition
from foldline.core.errors import FoldlineError
from foldline.core.options import Choice
from foldline.core.reference import range_of
from foldline.core.run import Run
from foldline.core.search import Search
from foldline.core.yaml_models import load_yaml, model_of, parse_yaml

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"\x80\x81\x00\xff", "no UTF-8 text"),
        ("title: Größe".encode("latin-1"), "no UTF-8 text"),
        ("title: x".encode("utf-16"), "no UTF-8 text"),
        (b"a: \x00", "not valid YAML"),
        (b"a: " + b"[" * 1000, "more than 40 deep"),
        (b"a: " + b"[" * 1000 + b"]" * 1000, "more than 40 deep"),
        (b"{" * 5000, "more than 40 deep"),
        (b"? [a]\n: b", "a key is one word"),
        (b"? {a: b}\n: c", "a key is one word"),
        (b"a: 1\nb: 2\na: 3", "'a' stands here twice"),
        (b"a: {b: 1, b: 2}", "'b' stands here twice"),
        (BOMB.encode(), "grows without end"),
        (b"a: &a [*a]", "holds itself"),
        (b"a: *b", "undefined alias"),
        (b"a: !!binary x", "tags such as"),
        (b"a: !!python/object/apply:os.system [echo]", "tags such as"),
        (b"a: " + b"9" * 5000, "more than 18 digits"),
        (b"a: 0x" + b"f" * 50, "more than 18 digits"),
        (b"a: 0x_", "not valid YAML"),
        (b"[a, b]", "must hold `key: value` lines"),
        (b"just words", "must hold `key: value` lines"),
    ],
)
def test_a_file_of_settings_that_is_none(tmp_path: Path, text: bytes, words: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(text)
    with pytest.raises(FoldlineError) as caught:
        load_yaml(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_an_alias_and_a_date_are_read() -> None:
    assert parse_yaml("a: &x [1, 2]\nb: *x\nc: 2024-13-01\n", where="") == {"a": [1, 2], "b": [1, 2], "c": "2024-13-01"}


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("optim: {lr: .inf}", "'optim.lr': Input should be a finite number"),
        ("optim: {lr: .nan}", "'optim.lr': Input should be a finite number"),
        ("optim: {lr: 1e999}", "'optim.lr': Input should be a finite number"),
        ("optim: {options: {betas: [0.9, .nan]}}", "'optim.options': holds a number that is not finite"),
        ("loss: {class_weights: {a: .inf}}", "loss.class_weights"),
        ("data: {image_size: 0}", "greater than or equal to 8"),
        ("data: {image_size: 7}", "'data.image_size': Input should be greater than or equal to 8"),
        ("data: {image_size: [32, -5]}", "greater than or equal to 8"),
        ("data: {image_size: 1000000000}", "less than or equal to 16384"),
        (f"seed: {2**80}", "more than 18 digits"),
        ("seed: 4294967296", "less than or equal to 4294967295"),
        ("seed: -1", "greater than or equal to 0"),
        ("train: {epochs: yes}", "truth values"),
        ('model: {name: "\\ud800"}', "no file can hold"),
        ('model: {options: {a: ["\\udfff"]}}', "no file can hold"),
        ("train: {folds: [yes]}", "truth values"),
        ("sampling: {weights: {a: off}}", "truth values"),
        ("model: {name: on}", "put a text in quotes"),
        ("schedule: {name: poly, options: {power: 1e300}}", "between"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused(setting: str, words: str) -> None:
    with pytest.raises(FoldlineError) as caught:
        Run.parse(parse_yaml(setting, where="r.yaml"), where="r.yaml")
    assert words.replace("between", "power is 1e+300, not above 0 and up to 1000000") in str(caught.value)


def numeric(annotation: Any) -> bool:
    kind = getattr(annotation, "__origin__", annotation)
    return kind in (int, float) or any(map(numeric, getattr(annotation, "__args__", ())))


def numbers_of(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Every setting that holds numbers, dotted, with its field."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        inner = model_of(field.annotation)
        if inner is not None and inner is not model:
            found |= numbers_of(inner, f"{prefix}{name}.")
        elif numeric(field.annotation):
            found[prefix + name] = field
    return found


ANY_NUMBER = {"thresholds", "range", "bounds", "row_sum", "options", "low", "high", "step"}  # labels, values


@pytest.mark.parametrize("model", [Run, Competition, Search])
def test_every_number_has_a_lowest_and_a_highest_value(model: type[BaseModel]) -> None:
    fields = numbers_of(model)
    without = {name for name, field in fields.items() if " to " not in range_of(field)}
    assert len(fields) >= 5
    assert {name.rpartition(".")[2] for name in without} <= ANY_NUMBER
    for name in fields.keys() - without:
        kind: Any = TypeAdapter(float)
        low, high = (word for word in range_of(fields[name]).removeprefix("above ").replace("below ", "").split(" to "))
        assert math.isfinite(kind.validate_python(low))
        assert math.isfinite(kind.validate_python(high))


def test_every_option_has_a_highest_value() -> None:
    kinds = [kind for kind in Choice.__subclasses__() if hasattr(kind, "known")]
    options = [option for kind in kinds for known in kind.known.values() for option in known.values()]
    assert len(options) > 20
    assert all(math.isfinite(option.low) and math.isfinite(option.high) for option in options)


@pytest.mark.parametrize("task", ["[]", "{}", "3", "{a: []}", "null", "[binary]"])
def test_a_task_that_is_none(task: str) -> None:
    content = parse_yaml(f"{{source: {{kind: x}}, task: {task}, metric: auc, train: {{}}}}", where="")
    with pytest.raises(FoldlineError, match="'task'"):
        Competition.parse(content, where="c")


def test_ends_of_a_range_ascend() -> None:
    with pytest.raises(ValidationError, match="must be below the second"):
        Competition.model_fields["submission"].annotation.model_validate({"bounds": [1, 0]})  # type: ignore[union-attr]


def test_classes_that_yaml_reads_as_truth_values_ask_for_quotes() -> None:
    facts = parse_yaml(
        "{source: {kind: x}, task: binary, classes: [no, yes], metric: auc, train: {}}",
        where="",
    )
    with pytest.raises(FoldlineError, match=r"'classes': .*truth values: put a text in quotes"):
        Competition.parse(facts, where="c")
