"""What a first look at somebody's pictures found: facts, why each of them, and lines for the person. Pure."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from foldline.core.counted import counted
from foldline.core.errors import first_few

FEW = 5  # pictures of a class below which a warning is due: no fold then learns and tests it well
SHOWN = 12  # classes that are listed one by one
NEGATIVE = frozenset(
    (
        *("0", "no", "none", "normal", "negative", "neg", "healthy", "good", "ok", "pass", "clean", "functional"),
        *("benign", "absent", "false", "other", "background", "well", "intact", "undamaged", "uninfected", "empty"),
    )
)


@dataclass
class Understood:
    """What was found.

    Attributes:
        facts: of the competition, without title, source and metric.
        why: the key of a fact -> why it is so; it becomes a comment in the file.
        guesses: what could be otherwise, in one sentence each, by the key of its fact.
        said: lines for the person.
        files: [rows] the pictures of training rows, below the folder.
        labels: [rows] their labels, as written; empty where a label is no single class.
        numbers: whether the labels are measurements.
        groups: how many groups the rows make that must stay together; 0: none.
        test: the pictures of test rows.
        new: pictures without a label, which a finished run can predict.
        named: the pictures that a table names, with a label or without.
        columns: the columns of the label, of a table.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    guesses: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    numbers: bool = False
    groups: int = 0
    test: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    named: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)


def set_task(found: Understood) -> None:
    """Task, classes and metric of rows that have one label each, and what there is to say of them."""
    counts = Counter(found.labels)
    found.facts["task"] = "binary" if len(counts) == 2 else "multiclass"
    if len(counts) == 2:
        first, second = sorted(counts)
        swapped = _is_negative(second) and not _is_negative(first)
        classes = [second, first] if swapped else [first, second]
        found.facts["classes"] = classes
        found.why["classes"] = f"the last one, '{classes[1]}', is the positive one: what one looks for"
        found.guesses["classes"] = f"'{classes[1]}' is the positive class (swap the two in `classes` if it is not)"
    set_metric(found, counts)
    words = [f"{name} ({count})" for name, count in counts.most_common()]
    found.said.insert(
        0,
        f"{counted(len(counts), 'classes')}, {counted(len(found.files), 'pictures')} to learn from: "
        f"{first_few(words, SHOWN)}",
    )
    say_few(found, counts)


def say_few(found: Understood, counts: "Counter[str]") -> None:
    """Warns of classes and labels that hardly a picture has."""
    few = [f"{name} ({count})" for name, count in counts.most_common() if count < FEW]
    if few:
        found.said.append(
            f"warning: fewer than {FEW} pictures: {first_few(few)}. Whatever the score says of so few is chance: add "
            "pictures, or leave the class out"
        )


def _is_negative(name: str) -> bool:
    """Whether a class is named as what is usual, or as what is not there: `healthy`, `no_tumour`, `non-defective`."""
    return name.lower() in NEGATIVE or re.match(r"(no|non|not|without)[-_ ]", name.lower()) is not None


def set_metric(found: Understood, counts: "Counter[str]") -> None:
    """The metric that fits the task, and why."""
    task = found.facts["task"]
    uneven = len(counts) > 2 and max(counts.values()) > 3 * sum(counts.values()) / len(counts)
    metric, why = {
        "binary": ("auc", "how often a positive picture gets more than a negative one: no threshold is needed"),
        "multiclass": ("accuracy", "the share of pictures whose class is right"),
        "multilabel": ("mean_column_auc", "the AUC of each label, averaged: rare labels count as much"),
        "regression": ("rmse", "the root of the mean squared error, in the target's own unit"),
        "soft": ("log_loss", "the surprise at the shares"),
    }[task]
    if uneven:
        metric, why = "balanced_accuracy", "the mean over classes of the share that is right: the classes are uneven"
    found.facts["metric"], found.why["metric"] = metric, why
    found.guesses["metric"] = f"{metric}: {why}"


def set_folds(found: Understood, *, usual: int = 5) -> None:
    """As many folds as the smallest class allows; a holdout where there is no test set; groups stay whole."""
    counts = Counter(found.labels)
    if "test" not in found.facts:
        found.facts["holdout"] = {"fraction": 0.2}
        found.why["holdout"] = "no test set: a fifth of the pictures is kept apart; `score` grades on it, nothing else"
        found.said.append("no test set was found: a fifth of the pictures is kept apart to grade on")
    share = 0.8 if "holdout" in found.facts else 1.0
    _drop_few_groups(found, share)
    enough = [int(count * share) for count in counts.values() if int(count * share) >= 3]
    few_groups = [int(found.groups * share)] if found.groups else []
    k = max(2, min([usual, int(len(found.files) * share), *enough, *few_groups]))
    if k != usual and [k] == few_groups:
        found.facts.setdefault("folds", {})["k"] = k
        found.why["folds"] = f"{counted(k, 'folds')}, not {usual}: there are {counted(found.groups, 'groups')}"
        found.said.append(
            f"{counted(k, 'folds')} in place of {usual}, since there are {counted(found.groups, 'groups')}"
        )
    elif k != usual:
        found.facts.setdefault("folds", {})["k"] = k
        found.why["folds"] = f"{counted(k, 'folds')}, not {usual}: the smallest class has few pictures"
        found.said.append(f"{counted(k, 'folds')} in place of {usual}, since a class has so few pictures")


def _drop_few_groups(found: Understood, share: float) -> None:
    """Groups that cannot fill two folds beside a holdout keep nothing apart; that is a warning."""
    if found.groups and int(found.groups * share) < 2:
        found.said.append(
            f"warning: {counted(found.groups, 'groups are')} too few to be kept apart: rows of one are in all "
            "folds, and the score "
            "says nothing of new ones"
        )
        found.facts["train"].pop("group", None)
        found.guesses.pop("train.group", None)
        found.groups = 0


def facts_text(found: Understood, *, title: str, source: dict[str, Any], remark: str, confirmed: bool) -> str:
    """The text of `competition.yaml`: each fact below the reason for it.

    Args:
        title: what the problem is called.
        source: where the pictures are, as the facts have it.
        remark: what the first line says.
        confirmed: whether a person has seen the guesses and agreed; else they are listed as `unconfirmed`.
    """
    order = ("task", "classes", "metric", "train", "test", "holdout", "folds")
    facts = {"title": title, "source": source, **{key: found.facts[key] for key in order if key in found.facts}}
    lines = [f"# {remark}", "# Each fact stands below the reason for it. Mend what is wrong: docs/add-a-competition.md"]
    for key, value in facts.items():
        lines += [f"# {line}" for line in (found.why.get(key),) if line]
        lines.append(_yaml({key: value}))
    if not confirmed and found.guesses:
        lines += ["# guesses that nobody has confirmed: delete this line when you have looked at them"]
        lines.append(_yaml({"unconfirmed": sorted(found.guesses)}))
    return "\n".join(lines) + "\n"


def _yaml(content: dict[str, Any]) -> str:
    """Short values on one line; what says how rows are read has a line for each setting."""
    (value,) = content.values()
    long = isinstance(value, dict) and "reader" in value
    flow = None if isinstance(value, dict | list) and not long else False
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=flow, width=120)
    return text.rstrip("\n")


def listed(names: Sequence[str]) -> str:
    """Names in quotes, the first few."""
    return first_few([f"'{name}'" for name in names])
