"""What the lines become: a table for the terminal, JSON, and a section of docs/gpu.md."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpu.kit import FAIL, NOT_APPLICABLE, PASS, Line

BEGIN, END = "<!-- measured: make gpu-check PAGE=docs/gpu.md writes between these lines -->\n", "<!-- end -->\n"
HEAD = ("part", "what", "measured", "goal", "verdict", "s")


def rows(lines: Sequence[Line]) -> list[tuple[str, ...]]:
    """The cells of each line, by part and in their order."""
    ordered = sorted(lines, key=lambda line: line.part)
    return [(line.part, line.what, line.number, line.goal, line.verdict, f"{line.seconds:.0f}") for line in ordered]


def for_terminal(lines: Sequence[Line]) -> str:
    """Columns of equal width, and under a line that failed or does not apply why."""
    cells = [HEAD, *rows(lines)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEAD))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    ordered = sorted(lines, key=lambda line: line.part)
    for number, line in reversed(list(enumerate(ordered, 1))):
        if line.note and (number == 1 or line.note != ordered[number - 2].note):
            shown.insert(number + 1, f"{' ' * (widths[0] + 2)}↳ {line.note}")
    return "\n".join(shown)


def summary(lines: Sequence[Line]) -> str:
    """How many lines passed, failed, do not apply."""
    count = {verdict: sum(line.verdict == verdict for line in lines) for verdict in (PASS, FAIL, NOT_APPLICABLE)}
    return f"{count[PASS]} pass, {count[FAIL]} fail, {count[NOT_APPLICABLE]} not applicable"


def as_json(lines: Sequence[Line], facts: dict[str, Any]) -> str:
    """Everything, with the numbers themselves."""
    content = {"facts": facts, "summary": summary(lines), "lines": [asdict(line) for line in lines]}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def as_markdown(lines: Sequence[Line], facts: dict[str, Any]) -> str:
    """A section of docs/gpu.md."""
    small = ", small form" if facts["small"] else ""
    head = f"### {facts['card']}, {facts['date']}\n\n"
    made = (
        f"foldline {facts['commit']}, driver {facts['driver'] or 'none'}, torch {facts['torch']}, "
        f"timm {facts['timm']}, Python {facts['python']}, {facts['cores']} cores{small}; "
        f"{facts['minutes']:.1f} minutes. {summary(lines)}.\n\n"
    )
    table = ["| " + " | ".join(HEAD) + " |", "|---|---|---|---|---|---:|"]
    for line, row in zip(sorted(lines, key=lambda line: line.part), rows(lines), strict=True):
        cells = [cell.replace("|", "\\|") for cell in row]
        if line.verdict != PASS and line.note:
            cells[4] += f": {line.note}".replace("|", "\\|")
        table.append("| " + " | ".join(cells) + " |")
    return head + made + "\n".join(table) + "\n"


def write_page(page: Path, section: str) -> None:
    """Puts the section between the marks of a page; the sections of other cards stay."""
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    inside, after = rest.split(END)
    card = section.partition(",")[0]
    others = [part for part in inside.split("### ")[1:] if f"### {part}".partition(",")[0] != card]
    kept = "".join(f"### {part.strip()}\n\n" for part in others)
    page.write_text(f"{before}{BEGIN}\n{kept}{section}\n{END}{after}", encoding="utf-8")
