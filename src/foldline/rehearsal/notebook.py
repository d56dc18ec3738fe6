"""A notebook's own code cells as one script."""

import ast
from pathlib import Path

from foldline.core.errors import FoldlineError
from foldline.core.records.kernel import NOTEBOOK, code_cells

INSTALL = "install"  # the tag of the cell that installs wheels


def script_of(bundle: Path, *, install: bool) -> str:
    """The code cells of a bundle's notebook, one after the other.

    Args:
        install: with the cells that install wheels.

    Raises:
        FoldlineError: a notebook without code, or a cell that is no Python (`!pip`, `%time`).
    """
    texts, where = code_cells(bundle, without="" if install else INSTALL), str(bundle / NOTEBOOK)
    if not texts:
        raise FoldlineError("the notebook holds no code", where=where, next="make kernel writes it anew")
    for number, text in enumerate(texts, 1):
        try:
            ast.parse(text)
        except SyntaxError as error:
            what = f"code cell {number} is no Python, line {error.lineno}: {(error.text or '').strip()}"
            next = "a rehearsal runs plain Python: call programs with subprocess"
            raise FoldlineError(what, where=where, next=next) from error
    return "\n\n".join(f"# cell {number}\n{text}" for number, text in enumerate(texts, 1)) + "\n"
