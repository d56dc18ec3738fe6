"""The command line: one sub-command a stage, arguments only. `--help` answers without importing torch."""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from foldline import __version__
from foldline.arguments import ARGUMENTS, READ, require_text
from foldline.core.errors import FoldlineError, device_is_full, of_the_machine
from foldline.core.paths import Layout
from foldline.core.stopping import signals


@dataclass(frozen=True)
class Stage:
    """A sub-command.

    Attributes:
        words: what it does.
        function: of `foldline.stages`, `module:name`; called with layout, competition, and its arguments by name.
        arguments: which of `ARGUMENTS` it has, separated by blanks.
        of_one: it is about one finished run or submission: `--name`, else `--run`, is its third argument.
    """

    words: str
    function: str | Callable[..., None]
    arguments: str = ""
    of_one: bool = False


def parser() -> argparse.ArgumentParser:
    """The command's parser."""
    top = argparse.ArgumentParser(prog="foldline", description="From raw files to an accepted submission.")
    top.add_argument("--version", action="version", version=f"foldline {__version__}")
    stages = top.add_subparsers(dest="stage", required=True, metavar="stage")
    for name, stage in STAGES.items():
        sub = stages.add_parser(name, help=stage.words, description=stage.words, allow_abbrev=False)
        sub.add_argument("--comp", default="elpv", help="the competition: configs/<comp>/ (default: elpv)")
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        sub.add_argument("--root", type=Path, default=Path(), help="the project folder (default: this one)")
        for argument in stage.arguments.split():
            sub.add_argument(argument, **ARGUMENTS[argument])
    stages.choices["ledger"].set_defaults(comp=None)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a stage; returns the exit code.

    0; 1 where the machine refused (a full disk, a folder that cannot be written to); 2 for an error that the user can
    mend; 130 after Ctrl-C, 143 after SIGTERM.
    """
    given = parser().parse_args(arguments)
    with signals() as stop:
        try:
            for key, value in vars(given).items():
                for text in value if isinstance(value, list) else [value]:
                    if isinstance(text, str | Path):
                        require_text(key, str(text), file=isinstance(text, Path))
            _run(Layout(given.root.resolve()), given)
        except FoldlineError as error:
            return _failed(given, error, error, 2)
        except (OSError, MemoryError) as error:
            return _failed(given, of_the_machine(error), error, 1)
        except RuntimeError as error:
            if type(error).__name__ != "OutOfMemoryError":  # torch's, which --help shall not wait for
                raise
            return _failed(given, device_is_full(error), error, 1)
        except KeyboardInterrupt:
            command = shlex.join(["foldline", *(sys.argv[1:] if arguments is None else arguments)])
            print(f"\nstopped; what is finished is kept, and the same command goes on: {command}", file=sys.stderr)
            return stop.exit_code
    return 0


def _failed(given: argparse.Namespace, error: FoldlineError, cause: BaseException, code: int) -> int:
    if given.debug:
        raise cause
    print(f"error: {error}", file=sys.stderr)
    return code


def _run(layout: Layout, given: argparse.Namespace) -> None:
    """Calls the stage's function."""
    from foldline.core.own_code import forget  # after --help, which shall not wait for pandas
    from foldline.core.tables import remove_orphans

    forget()
    remove_orphans.cache_clear()
    for folder in layout.written(given.comp) if given.comp else ():
        remove_orphans(folder)
    stage = STAGES[given.stage]
    options = {key: READ[key](value) if key in READ else value for key, value in vars(given).items()}
    for key in ("stage", "comp", "debug", "root"):
        del options[key]
    one = [options.pop("name") or options["run"]] if stage.of_one else []
    if stage.of_one:
        del options["run"]
    function = stage.function
    if isinstance(function, str):
        module, _, name = function.partition(":")
        function = getattr(import_module(f"foldline.stages.{module}"), name)
    function(layout, given.comp, *one, **options)


def _ensemble(layout: Layout, comp: str, *, run: str, runs: list[str], **options: Any) -> None:
    """The submission, and the report where it changed."""
    from foldline.stages.ensemble import ensemble

    name, changed = ensemble(layout, comp, runs or [run], **options)
    if changed or not (layout.run(comp, name) / "report.html").is_file():
        from foldline.stages.report import report

        report(layout, comp, name)


def _submit(layout: Layout, comp: str, name: str, *, kernel: bool, force: bool, **options: Any) -> None:
    """A file, or a notebook."""
    from foldline.stages.submit import submit
    from foldline.stages.submit_kernel import submit_kernel

    if kernel:
        submit_kernel(layout, comp, name, force=force, **options)
    elif force:
        raise FoldlineError(
            "--force is for notebooks", where="--force", next="add --kernel (KERNEL=1), or leave it out"
        )
    else:
        submit(layout, comp, name, **options)


def _soup(layout: Layout, comp: str, *, run: str, runs: list[str], name: str, device: str) -> None:
    """The soup's folds, their predictions, and its score beside that of the ensemble."""
    from foldline.stages.predict import predict
    from foldline.stages.soup import beside, soup

    name = soup(layout, comp, runs or [run], name=name, device=device)
    predict(layout, comp, name, overrides=[], device=device)
    beside(layout, comp, runs or [run], name)


def _export(layout: Layout, comp: str, run: str, *, format: str, **options: Any) -> None:
    """The exporter of the format, with the options that it has."""
    module, name = EXPORTS[format].split(":")
    export = getattr(import_module(f"foldline.stages.{module}"), name)
    known = signature(export).parameters
    odd = [key for key, value in options.items() if key not in known and value and key != "device"]
    if odd:
        raise FoldlineError(f"--{odd[0]} is not for an export as {format}", where="export", next="leave it out")
    export(layout, comp, run, **{key: value for key, value in options.items() if key in known})


EXPORTS = {"folder": "export_folder:export_folder", "onnx": "export_onnx:export_onnx"}

STAGES = {
    "download": Stage("fetch the raw files of a competition into input/<comp>/", "download:download"),
    "folds": Stage("split the training rows into folds, folds/<comp>.csv", "folds:folds"),
    "lr-find": Stage(
        "train some steps at growing rates, and suggest a learning rate",
        "lr_find:lr_find",
        "--run --set --device --fold",
    ),
    "train": Stage(
        "fine-tune one fold (--fold 0), or all that are not finished",
        "train:train",
        "--run --name --set --device --fold",
    ),
    "watch": Stage(
        "serve a page that follows a run while it trains", "watch:watch", "--run --name --port --test", of_one=True
    ),
    "predict": Stage(
        "predict OOF and test rows with the folds' models, and the cross-validation score",
        "predict:predict",
        "--run --name --set --device",
    ),
    "ensemble": Stage(
        "blend runs into a submission, and write the report",
        _ensemble,
        "--run --name --set --runs --blend --decide --with-diverged",
    ),
    "predict-files": Stage(
        "predict new pictures with a finished run or ensemble",
        "predict_files:predict_files",
        "files --run --name --out --folder --metadata --bad-images --device",
        of_one=True,
    ),
    "export": Stage(
        "write a finished run or ensemble as a folder of its own (exports/<comp>/<run>), or as one ONNX file",
        _export,
        "format --run --name --out --half --push --each --views --device",
        of_one=True,
    ),
    "soup": Stage(
        "average the weights of runs, or of a run's network and its start, within each fold: one network a fold",
        _soup,
        "--run --runs --name --device",
    ),
    "report": Stage("write a run's report.html", "report:report", "--run --name", of_one=True),
    "app": Stage(
        "serve a page that asks a finished run about pictures, and browses its rows",
        "app:app",
        "--run --name --device --port --test",
        of_one=True,
    ),
    "compare": Stage(
        "show runs side by side with paired differences, oof/<comp>/compare.html", "compare:compare", "--runs --against"
    ),
    "search": Stage(
        "search settings, configs/<comp>/<name>.search.yaml; the winner becomes a run file",
        "search:search",
        "--search --device",
    ),
    "score": Stage("grade a submission on held-out labels", "score:score_submission", "--run --name", of_one=True),
    "check": Stage("check a CSV against the sample submission", "check:check", "file"),
    "submit": Stage(
        "send a submission to Kaggle, with --kernel a bundle as a notebook, and wait for its score",
        _submit,
        "--run --name --message --yes --kernel --force",
        of_one=True,
    ),
    "kernel": Stage(
        "make a notebook that predicts at Kaggle without network, and say how long it will take",
        "kernel:kernel",
        "--run --name --runs --gpu --hours --hidden-rows --owner --folds --views --with-diverged --device",
    ),
    "offline": Stage(
        "do what a bundle's notebook does at Kaggle, with files that lie here",
        "offline:offline_here",
        "--run --name --inputs --out --device",
        of_one=True,
    ),
    "choose": Stage("propose the two final submissions: best CV, and best different one", "choose:choose", "--json"),
    "rehearse": Stage(
        "run a bundle's notebook here as Kaggle would, on a hidden test set made of training rows, and grade its file",
        "rehearse:rehearse",
        "--run --name --fast --limit --memory --lines",
        of_one=True,
    ),
    "ledger": Stage("list all submissions, or those of --comp, with their CV and leaderboard scores", "submit:ledger"),
}
