"""The command line: reads what was typed, calls the command's function, prints its result. No torch for `--help`."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from importlib import import_module
from itertools import pairwise
from typing import Any, TextIO

from foldline.commands import COMMANDS
from foldline.core.errors import FoldlineError, device_is_full, of_the_machine
from foldline.core.paths import Layout
from foldline.core.printer import printer, printing
from foldline.core.rank import is_launched, rank_here
from foldline.core.results import print_result, result_alone
from foldline.core.stopping import end_with_parent, signals
from foldline.helping import read
from foldline.values import READ

AS_JSON, DEBUG = "--json", "--debug"
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"  # torch looks for it at its first tensor (engine/machine/device.py)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code (`command.EXIT_CODES`)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault(HUGE_PAGES, "1")
    with signals() as stop, ExitStack() as output:
        end_with_parent()
        out = output.enter_context(result_alone()) if AS_JSON in words else None
        used = output.enter_context(printing(quiet="--quiet" in words, as_json=_asks_for_json(words)))
        used.silent = is_launched() and rank_here().number > 0  # from the start: rank 0 says that all are at work
        cause: BaseException
        try:
            given = read(words)
            if isinstance(given, str):
                (out or sys.stdout).write(given if given.endswith("\n") else f"{given}\n")
                return 0
            result = _run(given)
            if out and not printer().silent:
                print_result(result, out)
            return 1 if isinstance(result, dict) and result.get("ready") is False else 0  # doctor's
        except FoldlineError as error:
            cause, told, code = error, error, error.exit_code
        except (OSError, MemoryError) as error:
            cause, told, code = error, of_the_machine(error), 1
        except RuntimeError as error:
            if type(error).__name__ != "OutOfMemoryError":  # torch's, which --help shall not wait for
                raise
            cause, told, code = error, device_is_full(error), 1
        except KeyboardInterrupt as error:
            told = FoldlineError("stopped", next=shlex.join(["foldline", *words]))
            cause, code = error, stop.exit_code
        return _failed(words, told, cause, code, out)


def _asks_for_json(words: Sequence[str]) -> bool:
    """Whether what is said shall be JSON: asked before the words are read, whose errors are said so, too."""
    return "--log=json" in words or ("--log", "json") in pairwise(words)


def _failed(words: list[str], told: FoldlineError, cause: BaseException, code: int, out: TextIO | None) -> int:
    """Says what is wrong on standard error, and where a program asked as JSON, too; returns the exit code."""
    if isinstance(cause, KeyboardInterrupt):
        printer().stopped(f"stopped; what is finished is kept, and the same command goes on: {told.next}")
    elif DEBUG in words:
        raise cause
    else:
        printer().error(told)
    if out:
        parts = zip(("what", "where", "next"), told.typed(), strict=True)
        print_result({"error": {**dict(parts), "exit_code": code}}, out)
    return code


def _run(given: argparse.Namespace) -> Any:
    """Calls the command's function; returns its result."""
    layout, stage = Layout(given.root.resolve()), COMMANDS[given.stage]
    options = {key: READ[key](value) if key in READ else value for key, value in vars(given).items()}
    for key in ("stage", "debug", "root", "quiet", "log", "as_json"):
        options.pop(key, None)
    about = []
    if stage.comp != "-":
        about = [options.pop("comp") or (layout.usual_comp(stage.comp) if stage.comp else None)]
        _begin(layout, about[0])
    if stage.of_one:
        about.append(options.pop("name") or options["run"])
        del options["run"]
    module, _, name = stage.function.partition(":")
    home = "foldline" if module.startswith(".") else "foldline.stages."
    return getattr(import_module(home + module), name)(layout, *about, **options)


def _begin(layout: Layout, comp: str | None) -> None:
    """Own code is read anew; what processes that are gone left half-written is removed; the facts' names are known."""
    from foldline.core.own_code import forget  # after --help, which shall not wait for pandas
    from foldline.core.tables import remove_orphans

    forget()
    remove_orphans.cache_clear()
    if not comp:
        return
    for folder in layout.written(comp):
        remove_orphans(folder)
    import_module("foldline.stages.known").require_known(layout, comp)
