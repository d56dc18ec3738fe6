"""Choices by name: each option acts on what takes it and is refused by all else; files with earlier names say so."""

from inspect import signature
from typing import Any

import pytest

from foldline.core.choices import MOVED, Average, Clip, Crop, Entity, Head, Labels, Mix, Schedule, Weights
from foldline.core.errors import FoldlineError
from foldline.core.options import Choice
from foldline.core.reference import settings_table
from foldline.core.run import Run
from foldline.core.run_folder import run_sha256
from foldline.core.search import Range, number_type
from foldline.core.yaml_models import apply_overrides
from foldline.engine.loop.schedule import SCHEDULES
from foldline.models.architecture import Architecture
from foldline.models.backbone import build
from foldline.models.heads import CLASSIFIERS, MultiDropout

CHOICES: dict[str, type[Choice]] = {
    "schedule": Schedule, "model.head": Head, "model.weights": Weights, "augment.mix": Mix, "augment.crop": Crop,
    "train.average": Average, "optim.clip": Clip, "train.labels": Labels, "model.entity": Entity,
}  # fmt: skip


def parsed(*overrides: str) -> Run:
    return Run.parse(apply_overrides({}, list(overrides)), where="run.yaml")


def refused(*overrides: str) -> str:
    with pytest.raises(FoldlineError) as caught:
        parsed(*overrides)
    return caught.value.what


def test_a_run_has_few_settings() -> None:
    assert len(settings_table(Run)) <= 99


@pytest.mark.parametrize("key", CHOICES)
def test_an_option_of_another_is_refused_and_those_that_are_taken_are_listed(key: str) -> None:
    known = CHOICES[key].known
    every = {option: usual.default for options in known.values() for option, usual in options.items()}
    for name, options in known.items():
        needed = [f"{key}.options.{option}=x" for option, usual in options.items() if usual.needed]
        for option, value in every.items():
            given = f"{key}.name={name}", f"{key}.options.{option}={value!r}", *needed
            if option in options:
                parsed(*given)
            elif options:
                assert f"known: {', '.join(sorted(options))}" in refused(*given)
            else:
                assert f"'{name}' has no options" in refused(*given)
    assert f"unknown {CHOICES[key].what} 'x'" in refused(f"{key}=x")


@pytest.mark.parametrize(
    ("given", "lacking"), [("name=file", "file"), ("name=run", "run"), ("name=pypi options.package=a==1", "file")]
)
def test_weights_that_name_no_weights_are_refused(given: str, lacking: str) -> None:
    settings = [f"model.weights.{setting}" for setting in given.split()]
    assert f"needs the option '{lacking}'" in refused(*settings)
    assert f"needs the option '{lacking}'" in refused(*settings, f"model.weights.options.{lacking}=''")


def test_what_is_built_takes_the_options_that_the_settings_say() -> None:
    def keywords(made: Any) -> set[str]:
        return {name for name, one in signature(made).parameters.items() if one.kind is one.KEYWORD_ONLY}

    assert {name: keywords(made) - {"power"} for name, made in SCHEDULES.items()} == {
        name: set(options) - {"power"} for name, options in Schedule.known.items()
    }
    assert {name: keywords(made) for name, made in CLASSIFIERS.items() if name != "linear"} == {
        name: set(options) for name, options in Head.known.items() if name != "linear"
    }


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("schedule={name: poly, options: {power: high}}", "'high' is no number"),
        ("schedule={name: poly, options: {power: 0}}", "power is 0, not above 0"),
        ("schedule={name: cosine, options: {cycles: 1.5}}", "1.5 is no whole number"),
        ("model.head={name: arcface, options: {centers: true}}", "True is no whole number"),
        ("optim.clip={name: norm, options: {limit: .nan}}", "not finite"),
        ("loss.teacher.options.weight=0.3", "has no options"),
        ("schedule=3", "schedule"),
    ],
)
def test_an_option_of_another_type_or_out_of_range_is_refused(override: str, words: str) -> None:
    assert words in refused(override)


def test_options_are_filled_and_the_usual_ones_change_no_hash() -> None:
    run = parsed("schedule=poly", "model.head=arcface", "loss.teacher=big")
    assert run.schedule.options == {"min_lr_fraction": 0.0, "power": 0.9}
    assert run.loss.teacher.options == {"weight": 0.5, "temperature": 2.0}
    said = parsed("schedule=poly", "schedule.options.power=0.9", "model.head=arcface", "loss.teacher=big")
    assert run_sha256(said) == run_sha256(run) != run_sha256(parsed("schedule.name=poly", "schedule.options.power=1"))
    assert Run.parse(run.choices(), where="") == run, "what stands in run.json is a run file"


@pytest.mark.parametrize("key", MOVED)
def test_an_earlier_name_is_refused_with_the_one_of_now(key: str) -> None:
    assert f"setting '{key}' is now {MOVED[key]}" in refused(f"{key}=1")


def test_a_search_knows_the_type_of_an_option() -> None:
    ends = Range(low=1, high=3)
    assert number_type("schedule.options.power", ends, where="") is float
    assert number_type("schedule.options.cycles", ends, where="") is int
    assert number_type("optim.options.momentum", ends, where="") is int, "a free mapping: the range says it"
    for key, words in (
        ("schedule.options.pwoer", "did you mean 'schedule.options.power'"),
        ("schedule.power", "is now schedule.options.power"),
        ("model.weights.options.run", "is no number"),
    ):
        with pytest.raises(FoldlineError, match=words):
            number_type(key, ends, where="")


def test_a_fold_of_an_earlier_version_is_rebuilt() -> None:
    stored = {"kind": "multi_dropout", "dropout": 0.25, "samples": 3, "scale": 30.0, "centers": 1}
    head = build(Architecture("test_resnet", 3, 3, 32, 32, head=stored)).get_classifier()  # type: ignore[operator]
    assert isinstance(head, MultiDropout)
    assert (head.dropout, head.samples) == (0.25, 3)


@pytest.mark.parametrize("part", ["train", "predict"])
def test_off_is_a_word_where_it_stands_bare(part: str) -> None:
    assert parsed(f"{part}.compile=off") == parsed(f"{part}.compile='off'") == Run()
    assert "truth values" in refused(f"{part}.batch_size=off")
