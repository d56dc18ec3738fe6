"""What a shell needs to complete `foldline`: its commands and options, and the names in this folder. By shtab."""

import argparse
import sys

from foldline.arguments import ARGUMENTS
from foldline.commands import COMMANDS
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.helping import fill


def completion(layout: Layout, *, shell: str) -> None:
    """Prints the shell's script; names of competitions and runs are those of now.

    Raises:
        FoldlineError: shtab is not installed.
    """
    try:
        import shtab
    except ImportError as error:
        raise FoldlineError(
            "the package shtab is missing", where="completion", next="pip install 'foldline[completion]'"
        ) from error
    sys.stdout.write(shtab.complete(whole_parser(layout), shell=shell) + "\n")


def whole_parser(layout: Layout) -> argparse.ArgumentParser:
    """All commands in one parser, as shtab wants them."""
    top = argparse.ArgumentParser(prog="foldline")
    commands = top.add_subparsers()
    files = [*(layout.root / "configs").glob("*/*.yaml"), *(layout.root / "configs").glob("*.yaml")]
    stems = {path.stem for path in files} - {"competition"}
    runs = {path.name for path in (layout.root / "oof").glob("*/*/")} | {s for s in stems if not s.endswith(".search")}
    names = {"--comp": layout.known_comps(), "--run": sorted(runs), "--name": sorted(runs), "--against": sorted(runs)}
    for name, stage in COMMANDS.items():
        sub = commands.add_parser(name, help=stage.words, add_help=False)
        fill(sub, name, stage, 80)
        for action in sub._actions:
            word = (action.option_strings or [action.dest])[0]
            choices = names.get(word) or ARGUMENTS.get(word, {}).get("choices")
            if choices:
                action.choices = choices
    return top
