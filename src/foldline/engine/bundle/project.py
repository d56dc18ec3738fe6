"""The project folder inside a bundle: facts, folds and the user's own code, as the notebook's run finds them.

Reads `configs/`, `folds/`; writes `configs/<comp>/competition.yaml`, `folds/<comp>.json`, files of code.
"""

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from foldline.core.competition import Competition
from foldline.core.errors import FoldlineError
from foldline.core.own_code import IN_METRIC, is_own, locate
from foldline.core.paths import Layout
from foldline.core.tables import write_text
from foldline.core.yaml_models import load_yaml

SAMPLE = "sample_submission.csv"  # where the facts name none, since foldline made it at home
# What says how training rows become labels and folds, and nothing of how rows are found.
_OF_TRAINING = ("target", "group", "mask", "missing_targets")


class _Quoted(yaml.SafeDumper):
    """Puts all text in quotes, so that `1e-3` and `no` stay text; writes out what stands twice."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML calls it so
        return True


_Quoted.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


def write_facts(
    layout: Layout, comp: str, facts: Competition, inside: Layout, needed: Collection[str] = ()
) -> str:  # fmt: skip
    """Writes the facts as they are at Kaggle, and the user's own files of code that they name.

    A competition whose test rows are held out at home (`holdout`), or whose test labels are known, has hidden test rows
    there: they are read as the training rows are, without labels.

    Args:
        facts: of the competition, its code located.
        inside: the project in the bundle.
        needed: columns of the rows that networks go by, `group` among them: then it is read of hidden rows, too.

    Returns:
        The sample submission's path below the competition's folder.
    """
    source, where = layout.competition_config(comp), inside.competition_config(comp)
    content = load_yaml(source)
    if facts.holdout is not None:
        del content["holdout"]
        dropped = set(_OF_TRAINING) - set(needed)
        content["test"] = {key: value for key, value in content["train"].items() if key not in dropped}
    elif facts.test is not None and facts.test.target is not None:
        content["test"] = {key: value for key, value in content["test"].items() if key != "target"}
    sample = SAMPLE if facts.makes_sample else facts.submission.sample or SAMPLE
    where.parent.mkdir(parents=True)
    if facts.has_solution:
        content["submission"] = {**(content.get("submission") or {}), "sample": sample}
        Competition.parse(content, where=layout.relative(source))
        write_text(where, yaml.dump(content, Dumper=_Quoted, sort_keys=False, allow_unicode=True))
    else:
        shutil.copyfile(source, where)
    for file in own_files(layout, comp):
        (inside.root / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(layout.root / file, inside.root / file)
    inside.folds_meta(comp).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(layout.folds_meta(comp), inside.folds_meta(comp))
    return sample


def _own_names(content: dict[str, Any]) -> list[str]:
    """The functions of the user's own that facts name."""
    readers = [(content.get(part) or {}).get("function") for part in ("train", "test")]
    named = [str(name) for name in (content["metric"], *(content.get("metrics") or []), *readers) if name]
    return [own for name in named for own in (IN_METRIC.findall(name) if "(" in name else [name]) if is_own(own)]


def own_files(layout: Layout, comp: str) -> list[Path]:
    """The user's own files of code that the facts name, below the project folder.

    Raises:
        FoldlineError: a function is code of an installed package.
    """
    names = _own_names(load_yaml(layout.competition_config(comp)))
    return list(dict.fromkeys(_file_of(layout, comp, name) for name in names))


def _file_of(layout: Layout, comp: str, name: str) -> Path:
    file, _, _ = name.rpartition(":")
    if not file.endswith(".py"):
        raise FoldlineError(
            f"'{name}' is in a package, which the bundle does not hold",
            where=f"configs/{comp}/competition.yaml",
            next="put the function into a file beside the facts, and name it file.py:name",
        )
    return Path(locate(layout, comp, name).rpartition(":")[0]).absolute().relative_to(layout.root)
