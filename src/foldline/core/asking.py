"""Questions to a person, which are asked on a terminal alone."""

import sys

from foldline.core.progress import waiting


def is_terminal() -> bool:
    """Whether a person sees what is said and can answer."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def ask(question: str) -> str:
    """The answer without blanks around it; `n` where nobody answers any more."""
    try:
        with waiting():
            return input(question).strip()
    except EOFError:
        return "n"


def agreed(question: str) -> bool:
    """Whether the answer is yes, or nothing but Enter."""
    return ask(f"{question} [Y/n] ").lower() in ("", "y", "yes")
