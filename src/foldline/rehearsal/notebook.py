"""A notebook's own code cells as one script."""

import ast
from pathlib import Path

from foldline.core.errors import FoldlineError
from foldline.core.tables import read_json

INSTALL = "install"  # the tag of the cell that installs wheels


def script_of(notebook: Path, *, install: bool) -> str:
    """The code cells of a notebook, one after the other.

    Args:
        install: with the cells that install wheels.

    Raises:
        FoldlineError: no notebook, one without code, or a cell that is no Python (`!pip`, `%time`).
    """
    content = read_json(notebook)
    cells = content.get("cells", []) if isinstance(content, dict) else []
    code = [cell for cell in cells if cell.get("cell_type") == "code"]
    if not install:
        code = [cell for cell in code if INSTALL not in cell.get("metadata", {}).get("tags", [])]
    texts = ["".join(cell["source"]) for cell in code]
    if not texts:
        raise FoldlineError("the notebook holds no code", where=str(notebook), next="make kernel writes it anew")
    for number, text in enumerate(texts, 1):
        try:
            ast.parse(text)
        except SyntaxError as error:
            what = f"code cell {number} is no Python, line {error.lineno}: {(error.text or '').strip()}"
            raise FoldlineError(
                what, where=str(notebook), next="a rehearsal runs plain Python; use subprocess"
            ) from error
    return "\n\n".join(f"# cell {number}\n{text}" for number, text in enumerate(texts, 1)) + "\n"
