"""Commands that are more than one stage: stages never import each other, so what joins them stands here."""

import os
import shlex
import sys
import webbrowser
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foldline.core.asking import agreed, is_terminal
from foldline.core.errors import FoldlineError
from foldline.core.paths import USUAL_RUN, Layout
from foldline.core.progress import result, say, unsaid
from foldline.core.rank import is_launched

if TYPE_CHECKING:
    from foldline.core.records.cv import Cv
    from foldline.core.records.entry import Entry
    from foldline.core.records.shard import ShardRecord
    from foldline.core.shards import Shard

HEAD = 2000  # letters of a report, in which it says the scores that it is of
LONG = 20 * 60  # seconds of training that one is asked about
EXPORTS = {"folder": "export_folder:export_folder", "onnx": "export_onnx:export_onnx"}


def train(
    layout: Layout, comp: str, *, run: str, name: str, fold: int | None, runs: list[str], on: str, address: str,
    cpus: float | None, gpus: float | None, memory: float | None, **options: Any,
) -> Any:  # fmt: skip
    """The folds, here or on a cluster, and what comes next."""
    cluster = {"address": address, "cpus": cpus, "gpus": gpus, "memory": memory}
    if on == "ray":
        from foldline.stages.train_on_ray import train_on_ray

        if options.pop("jobs") != 1:
            next = "leave it out: a cluster trains as many at once as it has room for"
            raise FoldlineError("several jobs are about one machine", where="JOBS", next=next)
        found: Any = train_on_ray(layout, comp, runs or [run], fold=fold, name=name, cluster=cluster, **options)
    else:
        from foldline.stages.features import heads
        from foldline.stages.train import train as trained

        _require_here(cluster)
        each = [
            heads(layout, comp, one, name, fold=fold, **options)
            or trained(layout, comp, one, fold=fold, name=name, **options)
            for one in runs or [run]
        ]
        found = each if len(each) > 1 else each[0]
    if fold is None and not is_launched():
        which = f'RUNS="{" ".join(runs)}"' if len(runs) > 1 else f"RUN={shlex.quote(name or (runs or [run])[0])}"
        _say_next(f"make ensemble COMP={shlex.quote(comp)} {which}")
    return found


def search(
    layout: Layout, comp: str, *, name: str, on: str, address: str, cpus: float | None, gpus: float | None,
    memory: float | None, device: str,
) -> Path:  # fmt: skip
    """The trials, here or on a cluster, and the winner's run file."""
    from foldline.stages.search import search as searched

    cluster = {"address": address, "cpus": cpus, "gpus": gpus, "memory": memory}
    if on == "here":
        _require_here(cluster)
    return searched(layout, comp, name, device=device, on=on, cluster=cluster)


def _require_here(cluster: dict[str, Any]) -> None:
    """Raises FoldlineError for settings of a cluster where none is used."""
    given = [f"--{key}" for key, value in cluster.items() if value not in (None, "auto")]
    if given:
        raise FoldlineError(f"{', '.join(given)}: these are about a cluster", next="add --on ray, or leave them out")


def predict(
    layout: Layout, comp: str, *, run: str, name: str, shard: "Shard | None", shards: int | None, on: str, address: str,
    cpus: float | None, gpus: float | None, memory: float | None, **options: Any,
) -> "Cv | ShardRecord":  # fmt: skip
    """The predictions, here or on a cluster, or a share of them, and what comes next."""
    cluster = {"address": address, "cpus": cpus, "gpus": gpus, "memory": memory}
    if on == "here":
        _require_here({**cluster, "shards": shards})
    elif shard:
        raise FoldlineError("a cluster gets all shares of the rows", where="--shard", next="SHARDS=8 says how many")
    from foldline.stages.features import heads
    from foldline.stages.predict import is_predicted, predict_shard
    from foldline.stages.predict import predict as predicted

    if shard:
        part = predict_shard(layout, comp, run, name=name, shard=shard, **options)
        _say_next(f"make predict COMP={shlex.quote(comp)} RUN={shlex.quote(name or run)}, when all shards are there")
        return part
    if on == "ray" and not is_predicted(layout, comp, run, name=name, overrides=options["overrides"]):
        from foldline.stages.predict_on_ray import predict_shards

        predict_shards(layout, comp, run, name=name, cluster=cluster, shards=shards, **options)
    found = heads(layout, comp, run, name, **options) or predicted(layout, comp, run, name=name, **options)
    _say_next(f"make ensemble COMP={shlex.quote(comp)} RUN={shlex.quote(name or run)}")
    return found


def _say_next(command: str) -> None:
    """The next command, unless make starts it by itself."""
    if "MAKELEVEL" not in os.environ:
        say(f"next: {command}")


def ensemble(layout: Layout, comp: str, *, run: str, runs: list[str], **options: Any) -> dict[str, Any]:
    """The submission, and the report where it changed."""
    from foldline.core.records.cv import Cv
    from foldline.core.records.entry import Entry
    from foldline.stages.ensemble import ensemble as blended

    name, changed = blended(layout, comp, runs or [run], **options)
    page, path = layout.run(comp, name) / "report.html", layout.submission(comp, name)
    if changed or not _is_reported(page):
        from foldline.stages.report import report

        report(layout, comp, name)
    return {
        "run": name, "changed": changed, "submission": layout.relative(path), "report": layout.relative(page),
        "cv": Cv.read(page.with_name("cv.json")), "entry": Entry.read(path.with_suffix(".json")),
    }  # fmt: skip


def _is_reported(page: Path) -> bool:
    """Whether a report is there and of the scores that stand beside it."""
    from foldline.core.tables import sha256_file

    if not page.is_file():
        return False
    with page.open(encoding="utf-8", errors="replace") as handle:
        return sha256_file(page.with_name("cv.json")) in handle.read(HEAD)


def submit(layout: Layout, comp: str, name: str, *, kernel: bool, force: bool, **options: Any) -> "Entry":
    """A file, or a notebook."""
    from foldline.stages.submit import submit as submit_file
    from foldline.stages.submit_kernel import submit_kernel

    if kernel:
        return submit_kernel(layout, comp, name, force=force, **options)
    if force:
        raise FoldlineError("--force is for notebooks", where="--force", next="add KERNEL=1, or leave it out")
    return submit_file(layout, comp, name, **options)


def soup(layout: Layout, comp: str, *, run: str, runs: list[str], name: str, device: str, greedy: bool) -> "Cv":
    """The soup's folds, their predictions, and its score beside that of the ensemble."""
    from foldline.stages.predict import predict as predicted
    from foldline.stages.soup import beside
    from foldline.stages.soup import soup as made

    name = made(layout, comp, runs or [run], name=name, device=device, greedy=greedy)
    cv = predicted(layout, comp, name, overrides=[], device=device)
    beside(layout, comp, runs or [run], name)
    return cv


def export(layout: Layout, comp: str, run: str, *, format: str, **options: Any) -> dict[str, Any]:
    """The exporter of the format, with the options that it has."""
    module, name = EXPORTS[format].split(":")
    write = getattr(import_module(f"foldline.stages.{module}"), name)
    known = signature(write).parameters
    odd = [key for key, value in options.items() if key not in known and value and key != "device"]
    if odd:
        raise FoldlineError(f"--{odd[0]} is not for an export as {format}", where="export", next="leave it out")
    written = write(layout, comp, run, **{key: value for key, value in options.items() if key in known})
    return {"written": written if isinstance(written, list) else [written]}


def run(
    layout: Layout, comp: str | None, *, path: Path | None, run: str, name: str, overrides: list[str], label: str,
    yes: bool, device: str, jobs: int | str = 1, minutes: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The whole line: what is not done yet of facts, files, folds, run file, training, predictions, submission, report.

    Args:
        path: pictures that nobody has described yet; None: the facts of `comp` are there.
        minutes: that a first run is chosen for; where the run file is there, that is said.
    """
    from foldline.core.competition import load_competition
    from foldline.stages.download import download
    from foldline.stages.features import heads
    from foldline.stages.first_run import first_run
    from foldline.stages.folds import folds
    from foldline.stages.init import init
    from foldline.stages.predict import predict as predicted
    from foldline.stages.train import train as trained

    if path is not None:
        comp = init(layout, comp, path=path, label=label, yes=yes)
    elif label:
        raise FoldlineError("--label is for pictures that nobody has described", where="--label", next="leave it out")
    comp = comp or only_competition(layout)
    download(layout, comp)
    folds(layout, comp)
    own = load_competition(layout, comp).source.kind in ("folder", "placed") and run == USUAL_RUN
    written = (path is not None or own) and first_run(layout, comp, run, device=device, minutes=minutes)
    if minutes is not None and not written:
        say("warning: --minutes is for a run file that foldline writes: this one is there, and trains as it says")
    if path is not None and not yes and is_terminal():
        _ask_where_long(layout, comp, run, name, overrides, device)
    if not heads(layout, comp, run, name, overrides=overrides, device=device):
        trained(layout, comp, run, fold=None, name=name, overrides=overrides, device=device, jobs=jobs)
        predicted(layout, comp, run, name=name, overrides=overrides, device=device)
    found = ensemble(layout, comp, run=run, runs=[], name=name, overrides=overrides)
    _finish(layout, comp, name or run)
    return {"comp": comp, **found}


def _ask_where_long(layout: Layout, comp: str, run: str, name: str, overrides: list[str], device: str) -> None:
    """Says how long the folds that are left will take (else training does); where that is long, asks."""
    from foldline.core.features_run import FeaturesRun
    from foldline.core.folds import load_folds
    from foldline.core.provenance import is_finished
    from foldline.core.run_folder import resolve_any, wanted_folds

    name, choices = resolve_any(layout, comp, run, name, overrides)
    if isinstance(choices, FeaturesRun):
        return
    folds = load_folds(layout, comp)
    left = [k for k in wanted_folds(choices, folds.k) if not is_finished(layout, comp, name, k, choices, folds.sha256)]
    if not left:
        return
    from foldline.engine.forecast import NoForecastError, forecast

    try:
        with unsaid():
            expected = forecast(layout, comp, choices, device=device, folds=left)
    except NoForecastError as error:
        say(f"{error}; training looks for what fits")
        return
    say(f"expected: {expected.in_words()}")
    if expected.total_s > LONG and not agreed("begin now?"):
        way = f"make run COMP={shlex.quote(comp)} RUN={shlex.quote(run)}"
        where = layout.relative(layout.run_file(comp, run))
        raise FoldlineError(
            "not begun", where=where, next=f"change that file (fewer epochs, smaller pictures), then {way}"
        )


def only_competition(layout: Layout) -> str:
    """The one competition of this folder; raises FoldlineError where there are several, or none."""
    known = layout.known_comps()
    if len(known) != 1:
        raise FoldlineError(
            "say which pictures, or which competition",
            next="make run PICTURES=<folder>; or make run COMP=<name>" + (f": {', '.join(known)}" if known else ""),
        )
    return known[0]


def _finish(layout: Layout, comp: str, name: str) -> None:
    """Names the report, opens it where somebody looks, and says the three next commands."""
    from foldline.core.competition import load_competition

    report, this = layout.run(comp, name) / "report.html", f"COMP={shlex.quote(comp)}"
    with_run = this if name == USUAL_RUN else f"{this} RUN={shlex.quote(name)}"
    ways = [
        (f"make score {with_run}", "grade it on the pictures that no training saw"),
        (f"make predict-files {with_run} FILES=<folder>", "new pictures: every class, and the decided label"),
        (f'make ensemble {with_run} SET="optim.lr=5e-4" NAME=other', f"change a setting; then make compare {this}"),
        (f"make app {with_run}", "ask it in the browser, see where it looks (pip install 'foldline[app]')"),
    ]
    result(f"the report: {report}", report=str(report))
    say("what to do next:")
    for command, words in ways[not load_competition(layout, comp).has_solution :][:3]:
        say(f"  {command}")
        say(f"      {words}")
    if sys.stdout.isatty() and _has_browser():
        webbrowser.open(report.as_uri())


def _has_browser() -> bool:
    """Whether a browser can show a page here: not over SSH, nor without a screen."""
    screen = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(screen) and "SSH_CONNECTION" not in os.environ


def init(layout: Layout, comp: str | None, *, path: Path | None, label: str, yes: bool) -> dict[str, Any]:
    """The facts alone: of a folder or table that is named, or of raw files that lie in `input/<comp>`."""
    from foldline.stages.download import say_changes, write_starter
    from foldline.stages.init import init as written

    if path is not None:
        comp = written(layout, comp, path=path, label=label, yes=yes)
        say_changes(layout, comp)
        say(f"what to do next: make run COMP={shlex.quote(comp)}, which chooses a run, trains it and writes the report")
    elif comp:
        write_starter(layout, comp)
    else:
        raise FoldlineError(
            "say which pictures", next="make init PICTURES=<folder or table>; or make init COMP=<name> for input/<name>"
        )
    return {"comp": comp, "facts": layout.relative(layout.competition_config(comp))}


def lr_find(layout: Layout, comp: str, **options: Any) -> dict[str, Any]:
    """The suggested rate."""
    from foldline.stages.lr_find import lr_find as find

    return {"lr": find(layout, comp, **options)}


def compare(layout: Layout, comp: str, **options: Any) -> dict[str, Any]:
    """The runs, best first, and every pair's difference, without their predictions."""
    from foldline.stages.compare import compare as shown

    found = shown(layout, comp, **options)
    names = [rival.name for rival in found.rivals]
    pairs = {one: [{"words": pair.in_words(), "pair": pair} for pair in found.pairs[one]] for one in found.pairs}
    return {
        "comp": comp, "metric": found.facts.metric, "page": layout.relative(layout.run(comp, "compare.html")),
        "runs": [{"run": rival.name, "folds": rival.folds, "cv": rival.cv} for rival in found.rivals],
        "pairs": pairs, "settings": {key: dict(zip(names, values, strict=True)) for key, values in found.settings},
        "left_out": found.left_out,
    }  # fmt: skip


def choose(layout: Layout, comp: str) -> dict[str, Any]:
    """The two final submissions, and why."""
    from foldline.report.comparison.final_words import as_json
    from foldline.stages.choose import choose as proposed

    return as_json(proposed(layout, comp))
