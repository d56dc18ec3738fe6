"""What was explored becomes one self-contained HTML page, in the style of the report, and the same as one JSON value.

Writes nothing: the text is returned. Class names, ids and file names come from strangers; Jinja2 escapes every value.
"""

import math
from typing import Any

from foldline.core.counted import counted
from foldline.core.typed import as_typed
from foldline.report.explore import labels, odd
from foldline.report.explore.changes import Change
from foldline.report.explore.explored import WORDS, Explored
from foldline.report.explore.sections import SECTIONS
from foldline.report.look import formats
from foldline.report.look.templates import environment


def build_page(explored: Explored, found: list[Change]) -> str:
    """The page as HTML."""
    return environment().get_template("explore.html").render(page(explored, found))


def page(explored: Explored, found: list[Change]) -> dict[str, Any]:
    """Everything that the template shows."""
    sections = [(name, section.title, section.show(explored)) for name, section in SECTIONS.items()]
    return {
        "explored": explored,
        "title": formats.printable(explored.facts.title or explored.comp),
        "comp": formats.printable(explored.comp),
        "lede": as_typed(lede(explored)),
        "facts": facts(explored),
        "changes": found,
        "clean": clean(explored),
        "sampled": explored.sampled,
        "sections": [(name, title, content) for name, title, content in sections if content is not None],
        "command": as_typed(f"make explore COMP={explored.comp}"),
    }


def lede(explored: Explored) -> str:
    """What there is, in a sentence or two."""
    rows = explored.rows
    test = counted(len(rows.test), "test rows") if len(rows.test) else "no test rows"
    drawn = " (held out of them)" if explored.facts.holdout is not None and len(rows.test) else ""
    folds = counted(rows.k, "folds") if rows.k else "no folds"
    written = "" if rows.written or not rows.k else ", which are not written yet: make folds"
    train = counted(len(rows.frame), "training rows")
    return f"{train} in {folds}{written}; {test}{drawn}. Nothing was trained for this page."


def facts(explored: Explored) -> list[tuple[str, str]]:
    """The strip below the title."""
    rows = explored.rows
    classes = rows.task.classes(rows.outputs)
    strip = [("Task", str(rows.task)), ("Metric", formats.metric_title(explored.facts.metric))]
    strip += [("Classes", formats.count(len(classes)))] if classes else []
    broken = odd.broken_rows(explored)
    strip += [
        ("Broken pictures", formats.count(len(broken[0]) + len(broken[1]))),
        ("Pairs of duplicates", formats.count(explored.pairs.counts.get("pairs", 0))),
        ("Leaks suspected", formats.count(len(suspected(explored)))),
    ]
    strongest = strongest_shift(explored)
    strip += [("Training against test", f"AUC {formats.score(strongest.auc, 3)}")] if strongest else []
    strip += [("A fold", formats.duration(explored.forecast.seconds))] if explored.forecast.seconds else []
    return [(name, formats.printable(value, 80)) for name, value in strip]


def suspected(explored: Explored) -> list[Any]:
    """The leaks that are suspected."""
    return [it for it in explored.leaks.findings if it.grade == "suspected"]


def strongest_shift(explored: Explored) -> Any:
    """The shift with the highest AUC; None where none could be tried."""
    return max((it.shift for it in explored.shifts), key=lambda shift: shift.auc, default=None)


def clean(explored: Explored) -> list[str]:
    """What was looked at and gave no cause to change anything, in sentences."""
    lines = []
    broken = odd.broken_rows(explored)
    if not broken[0] and not broken[1]:
        seen = len(explored.train_looks.rows) + len(explored.test_looks.rows)
        lines.append(f"No broken picture among {formats.count(seen)} that were decoded.")
    if not explored.pairs.pairs:
        lines.append(f"No duplicates among {counted(len(explored.frame) + len(explored.test), 'pictures')}.")
    if explored.leaks.findings and not suspected(explored):
        best = max(explored.leaks.findings, key=lambda it: it.score - it.chance)
        lines.append(
            f"Leak probe: no leak suspected; {WORDS.get(best.name, best.name)} alone goes furthest, {best.metric} "
            f"{formats.score(best.score, 3)} ({formats.score(best.low, 3)} to {formats.score(best.high, 3)})."
        )
    lines += [
        f"Shift probe by {it.by}: training and test rows cannot be told apart, AUC {formats.score(it.shift.auc, 3)} "
        f"({formats.score(it.shift.low, 3)} to {formats.score(it.shift.high, 3)})."
        for it in explored.shifts
        if it.shift.grade == "none"
    ]
    return lines


def summary(explored: Explored, found: list[Change]) -> list[str]:
    """A few lines for the terminal."""
    lines = [lede(explored).removesuffix(" Nothing was trained for this page.")]
    lines += [f"of a sample: {line}" for line in explored.sampled]
    lines += clean(explored)
    lines += [f"not tried: {line}" for line in explored.said]
    if found:
        lines.append(f"{counted(len(found), 'things')} to change or to know before training:")
        lines += [f"  {number}. {change.title}" for number, change in enumerate(found, 1)]
    else:
        lines.append("nothing to change before training")
    return lines


def as_json(explored: Explored, found: list[Change], path: str) -> dict[str, Any]:
    """The findings for programs."""
    rows, pairs = explored.rows, explored.pairs
    broken = odd.broken_rows(explored)
    tables = (explored.frame, explored.test)
    return {
        "page": path,
        "comp": explored.comp,
        "rows": len(rows.frame),
        "test_rows": len(rows.test),
        "folds": rows.k,
        "folds_written": rows.written,
        "classes": {
            block.name or "target": dict(
                zip(block.outputs(rows.outputs), labels.counts_of(explored, block).tolist(), strict=True)
            )
            for block in rows.task.blocks
            if block.task.has_classes
        },
        "sampled": explored.sampled,
        "broken": [
            {
                "table": side,
                "row_id": str(table["row_id"].iloc[row]),
                "image": str(table["image"].iloc[row]),
                "why": why,
            }
            for side, table, found_ in zip(("train", "test"), tables, broken, strict=True)
            for row, why in found_.items()
        ],
        "duplicates": {
            "counts": {str(name): int(count) for name, count in pairs.counts.items()},
            "pairs": [
                {
                    "left": _place(explored, pair.left.table, pair.left.row),
                    "right": _place(explored, pair.right.table, pair.right.row),
                    "kind": pair.kind,
                    "distance": int(pair.distance),
                    "labels": pair.labels,
                    "across": bool(pair.across),
                    "folds_differ": bool(pair.folds_differ),
                }
                for pair in pairs.pairs
            ],
        },
        "leaks": [_finding(it) for it in explored.leaks.findings],
        "shifts": [
            {"by": it.by, "auc": it.shift.auc, "low": it.shift.low, "high": it.shift.high, "grade": it.shift.grade}
            for it in explored.shifts
        ],
        "not_tried": explored.said,
        "fold_seconds": explored.forecast.seconds,
        "changes": [
            {"name": it.name, "title": it.title, "text": it.text, "yaml": it.yaml, "file": it.file} for it in found
        ],
    }


def _place(explored: Explored, table: str, row: int) -> dict[str, str]:
    rows = explored.test if table == "test" else explored.frame
    return {"table": table, "row_id": str(rows["row_id"].iloc[row])}


def _finding(it: Any) -> dict[str, Any]:
    words = {key: getattr(it, key) for key in ("name", "target", "title", "grade", "nature", "metric")}
    values = {key: float(getattr(it, key)) for key in ("score", "low", "high", "chance")}
    return words | {key: value if math.isfinite(value) else None for key, value in values.items()}
