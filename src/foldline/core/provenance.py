"""What a fold's training takes from elsewhere, as hashes: other runs, further rows, a weights file, code.

Reads these files; writes nothing. The hashes stand in the fold's `meta.json` and in its resume point, so that a fold
that was made from something else than what is there now is noticed.
"""

from collections.abc import Mapping
from pathlib import Path

from foldline.core import own_code
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.run import Run
from foldline.core.tables import read_json, sha256_file


def inputs_sha256(layout: Layout, comp: str, run: Run, fold: int) -> dict[str, str]:
    """The sha256 of each input of the fold, by the setting that names it. What is not there (any more) is left out."""
    files = {f"extra.rows: {name}": layout.root / name for name in run.extra.rows}
    pseudo, weights = run.extra.pseudo.name, run.model.weights
    if pseudo:
        files[f"extra.pseudo: {pseudo}"] = layout.fold(comp, pseudo, fold) / "test.parquet"
    if weights.name == "file":
        files[f"model.weights: {weights.options['file']}"] = Path(weights.options["file"])
    found = {setting: sha256_file(path) for setting, path in files.items() if path.is_file()}
    others = {"loss.teacher": run.loss.teacher.name, "model.weights": weights.options.get("run", "")}
    for setting, name in others.items():
        meta = layout.fold(comp, name, fold) / "meta.json"
        if name and meta.is_file():
            found[f"{setting}: {name}"] = read_json(meta)["sha256"]["weights"]
    return found | own_code.run_sha256(layout, comp, run)


def require_same_inputs(before: Mapping[str, str], now: Mapping[str, str], *, where: str) -> None:
    """Raises FoldlineError where an input is another one than when the fold was trained; one that is gone is no error.

    Args:
        before: what `inputs_sha256` gave then; so is `now`.
    """
    changed = sorted(name for name in before.keys() & now.keys() if before[name] != now[name])
    if changed:
        raise FoldlineError(
            f"{changed[0]} is not what this fold was trained with: it has changed since then",
            where=where,
            next="train under another NAME, or delete this run's folder and train it again",
        )
