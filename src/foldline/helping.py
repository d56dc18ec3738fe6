"""What was typed becomes a command and its arguments; and the help of it, which a person reads at 80 columns."""

import argparse
import re
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from foldline import __version__
from foldline.arguments import ABOUT, ARGUMENTS, COMMON, EVERYWHERE, HOW, require_text
from foldline.command import EXIT_CODES, GROUPS, Stage
from foldline.commands import COMMANDS
from foldline.core.errors import FoldlineError, unknown

WIDEST = 100  # letters of a line of help; longer ones are hard to read
ALONE = "status"  # what `foldline` without a command does
LINE = "download > folds > train > predict > ensemble > submit"


def read(words: Sequence[str]) -> argparse.Namespace | str:
    """The command and its arguments, `stage` its name; or the text that was asked for, help or version.

    Raises:
        FoldlineError: an unknown command, option or value, with the nearest known one; something is missing.
    """
    first, rest = (words[0], list(words[1:])) if words else (ALONE, [])
    if first == "help" and rest:
        first, rest = rest[0], ["-h"]
    if first in ("-h", "--help", "help"):
        return top_help()
    if first in ("-V", "--version"):
        return f"foldline {__version__}"
    if first.startswith("-"):
        first, rest = ALONE, list(words)
    if first not in COMMANDS:
        raise unknown("command", first, list(COMMANDS), more="foldline --help lists them")
    parser = parser_of(first)
    if {"-h", "--help"} & set(rest):
        return parser.format_help()
    given, odd = parser.parse_known_args(rest)
    if odd:
        options = [option for option in parser.options if option.startswith("--") and option != "--help"]
        name = odd[0].partition("=")[0]
        if not name.startswith("-"):
            raise FoldlineError(f"too many words: {odd[0]!r}", where=f"foldline {first}", next=_see(first))
        raise unknown("option", name, options, where=f"foldline {first}", more=_see(first))
    for key, value in vars(given).items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str | Path):
                require_text(key, str(text), file=isinstance(text, Path))
    _require_choices(first, given)
    given.stage = first
    return given


class Parser(argparse.ArgumentParser):
    """A parser whose errors are ours, in one form with all others."""

    def error(self, message: str) -> NoReturn:
        """Raises FoldlineError; where a value lacks, or looks like an option (-1/3), it says which form it has."""
        named = re.match(r"argument (--[\w-]+): expected one argument", message)
        form = self._option_string_actions[named[1]].metavar if named else None
        more = f"{self.prog} {named[1]} {form}; " if named and form else ""
        raise FoldlineError(message, where=self.prog, next=f"{more}{self.prog} --help")

    @property
    def options(self) -> list[str]:
        """The options that it takes."""
        return list(self._option_string_actions)


def parser_of(name: str) -> Parser:
    """The parser of one command."""
    width = columns()
    parser = Parser(
        prog=f"foldline {name}",
        add_help=False,
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=24, width=width),
    )
    fill(parser, name, COMMANDS[name], width)
    return parser


def fill(parser: argparse.ArgumentParser, name: str, stage: Stage, width: int) -> None:
    """Gives a parser the arguments of a command, and its words."""
    positionals = [word for word in stage.arguments.split() if not word.startswith("-")]
    parser.usage = " ".join([f"foldline {name}", "[options]", *map(_shown, positionals)])
    parser.description = _described(stage, width)
    parser.epilog = _examples(stage, width)
    groups = {title: parser.add_argument_group(title) for title in (ABOUT, HOW, EVERYWHERE)}
    words = [*(["--comp"] if stage.comp != "-" else []), *stage.arguments.split()]
    for word in [*words, *(["--json"] if stage.result else []), *COMMON.split()]:
        options = {key: value for key, value in ARGUMENTS[word].items() if key not in ("group", "choices")}
        home = ABOUT if not word.startswith("-") else ARGUMENTS[word].get("group", HOW)
        if word == "--comp":
            of_none = "named after the pictures, else the only one of this folder" if "path" in positionals else "all"
            usual = f"the only one of this folder, else {stage.comp}" if stage.comp else of_none
            options |= {"default": None, "help": f"{options['help']} (default: {usual})"}
        if word == "--json":
            options["help"] = f"print the result as one JSON value: {stage.result}"
        if word.startswith("-") and "choices" in ARGUMENTS[word]:
            options.setdefault("metavar", "|".join(ARGUMENTS[word]["choices"]))
        groups[home].add_argument(word, **{**options, "help": options["help"].replace("%", "%%")})
    groups[EVERYWHERE].add_argument("-h", "--help", action="help", help="show this")


def columns() -> int:
    """How wide help is written: as the terminal, 80 where there is none, and never too wide to read."""
    return max(40, min(WIDEST, shutil.get_terminal_size((80, 24)).columns)) - 2


def top_help() -> str:
    """What `foldline --help` says: the commands by what one does, and the exit codes."""
    width = columns()
    lines = [
        "usage: foldline COMMAND [options]",
        "       foldline                 what is done in this folder, and what is next",
        "",
    ]
    lines += _wrapped(
        f"From the raw files of an image competition to a submission that the grader accepts: {LINE}", width
    )
    longest = max(map(len, COMMANDS)) + 2
    for group, title in GROUPS.items():
        found = {name: stage.words for name, stage in COMMANDS.items() if stage.group == group}
        lines += ["", f"{title}:"] if found else []
        for name, words in found.items():
            lines += _wrapped(words, width, first=f"  {name:<{longest}}")
    lines += ["", "exit codes:"]
    for code, words in EXIT_CODES.items():
        lines += _wrapped(words, width, first=f"  {code:<5}")
    lines += ["", "foldline COMMAND --help says more of each, with examples."]
    return "\n".join(lines) + "\n"


def _described(stage: Stage, width: int) -> str:
    lines = _wrapped(f"{stage.words[:1].upper()}{stage.words[1:]}.".replace("?.", "?"), width)
    lines += ["", *_wrapped(stage.more, width)] if stage.more else []
    pairs = [("reads   ", stage.reads), ("writes  ", stage.writes)]
    lines += [""] if stage.reads or stage.writes else []
    for first, words in pairs:
        lines += _wrapped(words, width, first=first) if words else []
    return "\n".join(lines).replace("%", "%%")


def _examples(stage: Stage, width: int) -> str:
    lines = ["examples:"] if stage.examples else []
    for command, words in stage.examples:
        lines += [f"  foldline {command}".rstrip(), *(_wrapped(words, width, first="      ") if words else [])]
    lines += ["", "exit codes: 0 done, 1 the machine refused, 2 your mistake (foldline --help)"]
    return "\n".join(lines).replace("%", "%%")


def _wrapped(text: str, width: int, first: str = "") -> list[str]:
    """The text in lines, those after the first as far in as `first` is long."""
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=" " * len(first), break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def _shown(positional: str) -> str:
    forms = {"*": f"{positional} ...", "?": f"[{positional}]"}
    return forms.get(ARGUMENTS[positional].get("nargs", ""), positional)


def _see(name: str) -> str:
    return f"foldline {name} --help"


def _require_choices(name: str, given: argparse.Namespace) -> None:
    """Raises FoldlineError for a value that is none of an argument's few."""
    for word in [*COMMANDS[name].arguments.split(), *COMMON.split()]:
        choices = ARGUMENTS[word].get("choices")
        value = getattr(given, ARGUMENTS[word].get("dest", word.lstrip("-").replace("-", "_")))
        if choices and value not in choices:
            raise unknown("value", value, choices, where=f"foldline {name} {word}")


def page() -> str:
    """`docs/commands.md`: every command with its options, as `--help` says it.

    `python -m foldline.helping` writes it; a test compares.
    """
    lines = [
        "# Commands",
        "",
        "<!-- generated by python -m foldline.helping -->",
        "",
        "`foldline` alone says what is done in this folder and what is next. Every command has `--help`, `--root "
        "FOLDER` (the project folder) and `--debug` (the traceback of an error); those that find something have "
        "`--json`.",
        "",
        "| exit code | meaning |",
        "|---|---|",
        *(f"| {code} | {words} |" for code, words in EXIT_CODES.items()),
    ]
    for group, title in GROUPS.items():
        lines += ["", f"## {title[:1].upper()}{title[1:]}"]
        for name, stage in COMMANDS.items():
            lines += _section(name, stage) if stage.group == group else []
    return "\n".join(lines) + "\n"


def _section(name: str, stage: Stage) -> list[str]:
    lines = ["", f"### {name}", "", f"{stage.words[:1].upper()}{stage.words[1:]}.".replace("?.", "?")]
    lines += [f"\n{_code(stage.more)}"] if stage.more else []
    told = {"reads": stage.reads, "writes": stage.writes, "`--json` gives": stage.result}
    lines += ["", *(f"- {key} {_code(words)}" for key, words in told.items() if words)]
    words = [*(["--comp"] if stage.comp != "-" else []), *stage.arguments.split()]
    if words:
        lines += ["", "| argument | meaning |", "|---|---|"]
        lines += [f"| `{word}` | {_code(ARGUMENTS[word]['help']).replace('|', chr(92) + '|')} |" for word in words]
    if stage.examples:
        lines += [
            "",
            "```sh",
            *(
                f"foldline {one}".ljust(60) + f"  # {said}" if said else f"foldline {one}"
                for one, said in stage.examples
            ),
            "```",
        ]
    return lines


def _code(text: str) -> str:
    """The text with names of files as code, so that their angle brackets are no HTML."""
    return re.sub(r"[\w./<>*:-]*<[a-z_]+>(?:[\w./<>*-]*[\w/>*])?", lambda found: f"`{found[0]}`", text)


if __name__ == "__main__":
    from foldline.core.tables import write_text

    write_text(Path("docs/commands.md"), page())
