"""The command line: one sub-command a stage, arguments only. `--help` answers without importing torch."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from foldline import __version__
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout

_STAGES = {
    "download": "fetch the raw files of a competition into input/<comp>/",
    "folds": "split the training rows into folds, folds/<comp>.csv",
    "train": "fine-tune one fold (--fold 0), or all that are not finished",
    "lr-find": "train some steps at growing rates, and suggest a learning rate",
    "predict": "predict OOF and test rows with the folds' models, and the cross-validation score",
    "ensemble": "blend runs into a submission, and write the report",
    "report": "write a run's report.html",
    "score": "grade a submission on held-out labels",
    "watch": "serve a page that follows a run while it trains",
    "compare": "show runs side by side with paired differences, oof/<comp>/compare.html",
    "search": "search settings, configs/<comp>/<name>.search.yaml; the winner becomes a run file",
    "submit": "send a submission to Kaggle and wait for its score",
    "ledger": "list all submissions, or those of --comp, with their CV and leaderboard scores",
    "check": "check a CSV against the sample submission",
}
_OF_A_RUN = {"train", "lr-find", "predict", "ensemble", "report", "score", "submit", "watch"}


def parser() -> argparse.ArgumentParser:
    """The command's parser."""
    top = argparse.ArgumentParser(prog="foldline", description="From raw files to an accepted submission.")
    top.add_argument("--version", action="version", version=f"foldline {__version__}")
    stages = top.add_subparsers(dest="stage", required=True, metavar="stage")
    for name, words in _STAGES.items():
        stage = stages.add_parser(name, help=words, description=words, allow_abbrev=False)
        stage.add_argument("--comp", default="elpv", help="the competition: configs/<comp>/ (default: elpv)")
        stage.add_argument("--debug", action="store_true", help="show the traceback of an error")
        stage.add_argument("--root", type=Path, default=Path(), help="the project folder (default: this one)")
        if name in _OF_A_RUN:
            stage.add_argument(
                "--run", default="baseline", help="the run: configs/<comp>/<run>.yaml (default: baseline)"
            )
            stage.add_argument("--name", default="", help="the name of the run that --set makes, or of an ensemble")
        if name in ("train", "lr-find", "predict", "ensemble"):
            stage.add_argument("--set", default="", help='settings that differ, "optim.lr=3e-4 train.epochs=5"')
        if name in ("train", "lr-find", "predict", "search"):
            stage.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    _extra_arguments(stages.choices)
    return top


def _extra_arguments(stages: dict[str, argparse.ArgumentParser]) -> None:
    stages["train"].add_argument("--fold", default="all", help="0, 1 ... or all (default: all)")
    stages["lr-find"].add_argument("--fold", default="0", help="the fold whose rows are looked at (default: 0)")
    stages["ensemble"].add_argument("--runs", default="", help='the members, "a b"; default: the run alone')
    stages["ensemble"].add_argument("--blend", default="mean", help="mean, gmean or rank_mean")
    stages["ensemble"].add_argument(
        "--decide", default="fitted", choices=["default", "fitted"],
        help="how labels are decided: fitted on the OOF predictions where that is better, or always the default",
    )  # fmt: skip
    stages["watch"].add_argument("--port", type=int, default=8765, help="where on this machine (default: 8765)")
    stages["watch"].add_argument("--test", action="store_true", help="show test pictures and their held-out labels")
    stages["compare"].add_argument("--runs", default="", help='the runs, "a b"; default: all on the present folds')
    stages["compare"].add_argument("--against", default="", help="a further run to compare every other one with")
    stages["search"].add_argument("--search", required=True, help="the search: configs/<comp>/<search>.search.yaml")
    stages["submit"].add_argument("--message", default="", help="what is said of the submission")
    stages["submit"].add_argument("--yes", action="store_true", help="do not ask before a daily slot is spent")
    stages["ledger"].set_defaults(comp=None)
    stages["check"].add_argument("file", type=Path, help="the CSV to check")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a stage; returns the exit code: 0, or 2 for an error that the user can mend."""
    given = parser().parse_args(arguments)
    try:
        _dispatch(given)
    except FoldlineError as error:
        return _failed(given, error)
    except OSError as error:
        return _failed(given, _of_the_machine(error), error)
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def _failed(given: argparse.Namespace, error: FoldlineError, cause: BaseException | None = None) -> int:
    if given.debug:
        raise cause or error
    print(f"error: {error}", file=sys.stderr)
    return 2


def _of_the_machine(error: OSError) -> FoldlineError:
    """What the operating system refused, in words."""
    where = str(error.filename or "")
    if error.errno is not None and os.strerror(error.errno) == os.strerror(28):
        return FoldlineError("the disk is full", where=where, next="free some space and run the same command again")
    if isinstance(error, PermissionError):
        return FoldlineError("permission denied", where=where, next="check who owns this file or folder")
    return FoldlineError(f"{type(error).__name__}: {error}", where=where, next="--debug shows the traceback")


def _dispatch(given: argparse.Namespace) -> None:
    layout, comp = Layout(given.root.resolve()), given.comp
    overrides = shlex.split(getattr(given, "set", ""))
    if given.stage == "download":
        from foldline.stages.download import download

        download(layout, comp)
    elif given.stage == "folds":
        from foldline.stages.folds import folds

        folds(layout, comp)
    elif given.stage == "train":
        from foldline.stages.train import train

        train(
            layout, comp, given.run, fold=_fold(given.fold), name=given.name, overrides=overrides, device=given.device
        )
    elif given.stage == "lr-find":
        from foldline.stages.lr_find import lr_find

        lr_find(layout, comp, given.run, fold=_fold(given.fold) or 0, overrides=overrides, device=given.device)
    elif given.stage == "predict":
        from foldline.stages.predict import predict

        predict(layout, comp, given.run, name=given.name, overrides=overrides, device=given.device)
    elif given.stage == "ensemble":
        _ensemble(layout, comp, given)
    elif given.stage == "report":
        from foldline.stages.report import report

        report(layout, comp, given.name or given.run)
    elif given.stage == "score":
        from foldline.stages.score import score_submission

        score_submission(layout, comp, given.name or given.run)
    elif given.stage == "watch":
        from foldline.stages.watch import watch

        watch(layout, comp, given.name or given.run, port=given.port, test=given.test)
    elif given.stage == "compare":
        from foldline.stages.compare import compare

        compare(layout, comp, shlex.split(given.runs), against=given.against)
    elif given.stage == "search":
        from foldline.stages.search import search

        search(layout, comp, given.search, device=given.device)
    else:
        _outward(layout, comp, given)


def _ensemble(layout: Layout, comp: str, given: argparse.Namespace) -> None:
    from foldline.stages.ensemble import ensemble

    members = shlex.split(given.runs)
    if members:
        name, changed = ensemble(layout, comp, members, name=given.name, blend=given.blend, decide=given.decide)
    else:
        overrides = shlex.split(given.set)
        name, changed = ensemble(layout, comp, [given.run], name=given.name, overrides=overrides, decide=given.decide)
    if changed or not (layout.run(comp, name) / "report.html").is_file():
        from foldline.stages.report import report

        report(layout, comp, name)


def _outward(layout: Layout, comp: str, given: argparse.Namespace) -> None:
    """The stages that deal with a submission after it was written."""
    if given.stage == "check":
        from foldline.stages.check import check

        check(layout, comp, given.file)
        return
    from foldline.stages import submit

    if given.stage == "ledger":
        submit.ledger(layout, comp)
    else:
        submit.submit(layout, comp, given.name or given.run, given.message, yes=given.yes)


def _fold(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdigit():
        raise FoldlineError(f"'{text}' is no fold", where="FOLD", next="give a number such as 0, or all")
    return int(text)
