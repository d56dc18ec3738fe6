"""The run's choices as a table, and the commands that make the run again. A run in, lines of the page out."""

import json
import shlex
from dataclasses import dataclass
from typing import Any

from foldline.core.run import Run
from foldline.core.strict import load_yaml
from foldline.report import words
from foldline.report.run_folder import RunFolder


@dataclass(frozen=True)
class Setting:
    """One choice; `default` is None where the value is the default."""

    key: str
    value: str
    default: str | None


def setting_groups(choices: dict[str, Any]) -> dict[str, list[Setting]]:
    """All settings by their section, in the order of the run file; those without a section under "run".

    >>> setting_groups({"seed": 3})["run"]
    [Setting(key='seed', value='3', default='0')]
    """
    defaults = _flat(Run().choices())
    groups: dict[str, list[Setting]] = {}
    for key, value in _flat(choices).items():
        section, _, rest = key.partition(".")
        group, name = (section, rest) if rest else ("run", key)
        differs = key not in defaults or defaults[key] != value
        default = words.plain(defaults.get(key)) if differs else None
        groups.setdefault(group, []).append(Setting(name, words.printable(words.plain(value)), default))
    return groups


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings with dotted keys.

    >>> _flat({"optim": {"lr": 1}, "seed": 2})
    {'optim.lr': 1, 'seed': 2}
    """
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def commands(run: RunFolder) -> list[str]:
    """What to type, in the project's folder, to make this run and its report again."""
    comp = f"COMP={shlex.quote(run.comp)}"
    if run.cv["members"]:
        members = [f"make predict {comp} RUN={shlex.quote(name)}" for name in run.cv["members"]]
        runs = shlex.quote(" ".join(run.cv["members"]))
        return [f"make folds {comp}", *members, f"make ensemble {comp} RUNS={runs} NAME={shlex.quote(run.run)}"]
    this = f"{comp} RUN={shlex.quote(run.run)}"
    restore, overrides = _run_file(run)
    lines = [f"make train-all {this}", f"make predict {this}", f"make report {this}"]
    return [*restore, f"make folds {comp}", *(line + overrides for line in lines[:2]), lines[2]]


def _run_file(run: RunFolder) -> tuple[list[str], str]:
    """What brings the run's choices back: a copy where the run file is gone (YAML reads JSON), `SET=` where it differs."""
    path = run.layout.run_config(run.comp, run.run)
    if run.choices is None:
        return [], ""
    if not path.is_file():
        source = run.layout.relative(run.layout.run(run.comp, run.run) / "run.json")
        return [f"cp {shlex.quote(source)} {shlex.quote(run.layout.relative(path))}"], ""
    now = Run.parse(load_yaml(path), where=run.layout.relative(path)).choices()
    overrides = _overrides(now, run.choices)
    return [], f" SET={shlex.quote(' '.join(overrides))}" if overrides else ""


def _overrides(now: dict[str, Any], wanted: dict[str, Any], prefix: str = "") -> list[str]:
    """The settings that turn the choices `now` into those `wanted`; no blanks, since `SET` is split there.

    >>> _overrides({"optim": {"lr": 1.0}, "seed": 0}, {"optim": {"lr": 0.5}, "seed": 0})
    ['optim.lr=0.5']
    """
    lines = []
    for key, value in wanted.items():
        if isinstance(value, dict) and isinstance(now.get(key), dict):
            lines += _overrides(now[key], value, f"{prefix}{key}.")
        elif now.get(key) != value:
            lines.append(f"{prefix}{key}={json.dumps(value, separators=(',', ':'))}")
    return lines
