"""The run's choices as a table, and the commands that make the run again. A run in, lines of the page out."""

import re
import shlex
from dataclasses import dataclass
from typing import Any

from foldline.core.features_run import FeaturesRun
from foldline.core.run import Run
from foldline.core.run_kinds import is_features
from foldline.core.typed import as_typed
from foldline.core.yaml_models import load_yaml
from foldline.report.look import formats
from foldline.report.run.reported_run import ReportedRun


@dataclass(frozen=True)
class Setting:
    """One choice; `default` is None where the value is the default, and empty where the default is nothing."""

    key: str
    value: str
    default: str | None


@dataclass(frozen=True)
class SettingTable:
    """All settings by their section, those without one under "run": what differs from the defaults, and the rest."""

    changed: dict[str, list[Setting]]
    defaults: dict[str, list[Setting]]


def setting_table(choices: dict[str, Any]) -> SettingTable:
    """Both kinds of settings, in the order of the run file; a section without one of a kind is left out there.

    >>> setting_table({"seed": 3}).changed["run"]
    [Setting(key='seed', value='3', default='0')]
    """
    usual = FeaturesRun.model_construct(features=[]) if is_features(choices) else Run()
    defaults, table = _flat(usual.choices()), SettingTable({}, {})
    for key, value in _flat(choices).items():
        section, _, rest = key.partition(".")
        group, name = (section, rest) if rest else ("run", key)
        changed = key not in defaults or defaults[key] != value
        setting = Setting(name, _value(value), _default(defaults.get(key)) if changed else None)
        (table.changed if changed else table.defaults).setdefault(group, []).append(setting)
    return table


def _default(value: Any) -> str:
    return "" if value in (None, "", []) else formats.plain(value)


def _value(value: Any) -> str:
    """A setting's value; of a hash the first digits, since nobody reads the others."""
    text = formats.printable(formats.plain(value))
    return f"{text[:12]}…" if re.fullmatch("[0-9a-f]{64}", text) else text


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings with dotted keys.

    >>> _flat({"optim": {"lr": 1}, "seed": 2})
    {'optim.lr': 1, 'seed': 2}
    """
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def commands(run: ReportedRun) -> list[str]:
    """What to type, in the project's folder, to make this run and its report again."""
    return [as_typed(command) for command in _commands(run)]


def _commands(run: ReportedRun) -> list[str]:
    comp = f"COMP={shlex.quote(run.comp)}"
    if (run.cv.decision or {}).get("asked") == "default":
        comp += " DECIDE=default"
    if run.cv.members:
        runs = shlex.quote(" ".join(run.cv.members))
        blend = f" BLEND={shlex.quote(run.cv.blend)}" if run.cv.blend not in (None, "mean") else ""
        prior = " PRIOR=em" if run.cv.prior_shift is not None else ""
        this = f"{comp} RUNS={runs} NAME={shlex.quote(run.run)}{blend}{prior}"
        return [f"make ensemble {this}", f"make report {this}"]
    restore, name = _run_file(run)
    this = f"{comp} RUN={shlex.quote(name)}"
    return [*restore, f"make ensemble {this}", f"make report {this}"]


def _run_file(run: ReportedRun) -> tuple[list[str], str]:
    """(the line that brings the run file back, since YAML reads JSON; the run's name). No line where it is there."""
    path = run.layout.run_config(run.comp, run.run)
    known = run.choices or run.head
    if known is None:
        return [], run.run
    content, kind = load_yaml(path) if path.is_file() else None, FeaturesRun if run.head else Run
    same_kind = content is not None and is_features(content) == bool(run.head)
    if same_kind and kind.parse(content, where=run.layout.relative(path)).choices() == known:
        return [], run.run
    name = f"{run.run}-again" if path.is_file() else run.run  # never over another run file
    source = run.layout.relative(run.layout.run(run.comp, run.run) / "run.json")
    target = run.layout.relative(run.layout.run_config(run.comp, name))
    return [f"cp {shlex.quote(source)} {shlex.quote(target)}"], name
