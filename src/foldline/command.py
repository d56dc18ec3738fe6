"""What a command is: an entry of the table in `commands.py`. Nothing heavy is imported here."""

from dataclasses import dataclass

GROUPS = {
    "start": "start",
    "train": "train and predict",
    "look": "look at what came out",
    "hand in": "hand in",
    "away": "take a finished model away",
    "machine": "this machine, and this command",
}
EXIT_CODES = {
    0: "done, or done already; for doctor: nothing to mend",
    1: "the machine refused: a full disk, no memory, a folder that cannot be written; doctor: something to mend",
    2: "a mistake that you can mend: the message says what, where, and what to do next",
    130: "stopped by Ctrl-C; what is finished is kept, the same command goes on",
    143: "stopped by SIGTERM; the same",
}


@dataclass(frozen=True)
class Stage:
    """A command.

    Attributes:
        words: what it does, one short line.
        function: `module:name` of `foldline.stages`; `.module:name` of foldline itself (`.composed:ensemble`). It is
            called with layout, competition (where it has one), and its arguments by name.
        arguments: which of `ARGUMENTS` it has, separated by blanks.
        group: where `foldline --help` lists it, a key of `GROUPS`.
        reads: the files it reads, in words.
        writes: the files it writes, in words.
        more: what else one should know.
        examples: command lines without `foldline` -> what they do.
        result: what the function returns, and so `--json` prints, in words; empty: it has no `--json`.
        of_one: it is about one finished run or submission: `--name`, else `--run`, is its third argument.
        comp: the competition where `--comp` is not given; None: all of them. "-": it is about none, has no `--comp`,
            and its function gets the layout alone.
    """

    words: str
    function: str
    arguments: str = ""
    group: str = "machine"
    reads: str = ""
    writes: str = ""
    more: str = ""
    examples: tuple[tuple[str, str], ...] = ()
    result: str = ""
    of_one: bool = False
    comp: str | None = "elpv"
