"""The command line: one sub-command a stage, arguments only. `--help` answers without importing torch."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from foldline import __version__
from foldline.arguments import ARGUMENTS, READ, require_text
from foldline.commands import COMMANDS
from foldline.core.errors import FoldlineError, device_is_full, of_the_machine
from foldline.core.paths import Layout
from foldline.core.stopping import signals


def parser() -> argparse.ArgumentParser:
    """The command's parser."""
    top = argparse.ArgumentParser(prog="foldline", description="From raw files to an accepted submission.")
    top.add_argument("--version", action="version", version=f"foldline {__version__}")
    stages = top.add_subparsers(dest="stage", required=True, metavar="stage")
    for name, stage in COMMANDS.items():
        sub = stages.add_parser(name, help=stage.words, description=stage.words, allow_abbrev=False)
        if stage.comp != "-":
            sub.add_argument("--comp", default=stage.comp, help="the competition: configs/<comp>/ (default: elpv)")
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        sub.add_argument("--root", type=Path, default=Path(), help="the project folder (default: this one)")
        for argument in stage.arguments.split():
            sub.add_argument(argument, **ARGUMENTS[argument])
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
    """Calls the command's function."""
    from foldline.core.own_code import forget  # after --help, which shall not wait for pandas
    from foldline.core.tables import remove_orphans

    stage = COMMANDS[given.stage]
    options = {key: READ[key](value) if key in READ else value for key, value in vars(given).items()}
    for key in ("stage", "debug", "root"):
        del options[key]
    about = [] if stage.comp == "-" else [options.pop("comp")]
    forget()
    remove_orphans.cache_clear()
    for folder in layout.written(about[0]) if any(about) else ():
        remove_orphans(folder)
    if stage.of_one:
        about.append(options.pop("name") or options["run"])
        del options["run"]
    module, _, name = stage.function.partition(":")
    home = "foldline" if module.startswith(".") else "foldline.stages."
    getattr(import_module(home + module), name)(layout, *about, **options)
