"""The hidden test rows: finds the competition's folder, reads its rows by the facts, forgives what one row lacks.

Reads the folder; writes only into a scratch project, whose folders link to those of the bundle and the competition.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.cells import is_missing, numbers
from foldline.core.competition import Competition, load_competition
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.paths import Layout
from foldline.core.progress import say
from foldline.core.records.bundle import Bundle
from foldline.engine.offline.beside import between_neighbours, placed, require_columns, units
from foldline.readers import read_rows
from foldline.submission.form import Form, open_form

LINKED = ("configs", "folds", "oof")


@dataclass(frozen=True)
class Hidden:
    """The test rows that the sample asks for, and those that are seen beside them.

    Attributes:
        rows: row_id, image, [group], [entity], [order], [metadata]; all strings. Those of a unit lie together.
        key: the column that the sample's answers are about: row_id or entity.
        asked: [rows] whether the sample asks for it.
        unit: [rows] rows of the same number are predicted together, since a member sees them so.
        not_asked: how many further rows were read.
        mended: how many rows had no place among those of their entity.
    """

    rows: pd.DataFrame
    key: str
    asked: NDArray[np.bool_]
    unit: NDArray[np.int64]
    not_asked: int
    mended: int = 0


def find_competition(inputs: Path, bundle: Bundle) -> Path:
    """The competition's folder below the inputs.

    Raises:
        FoldlineError: there is none that holds the sample submission.
    """
    names = [name for name in dict.fromkeys((bundle.slug, bundle.comp)) if name]
    places = [inputs / folder / name for name in names for folder in ("", "competitions")]
    found = next((place for place in places if (place / bundle.sample).is_file()), None)
    if found is not None:
        return found
    held = sorted(path.name for path in inputs.iterdir()) if inputs.is_dir() else []
    raise FoldlineError(
        f"the competition's files are not there: no folder '{first_few(names)}' that holds {bundle.sample}",
        where=f"{inputs}, which holds: {first_few(held, 20) or 'nothing'}",
        next="add the competition to the notebook's inputs (competition_sources in kernel-metadata.json)",
    )


def scratch_project(root: Path, bundle: Bundle, folder: Path, competition: Path) -> Layout:
    """A project in `root` that can be written to: what readers write lies beside links, not below the inputs.

    Args:
        folder: the bundle's.
        competition: as `find_competition` gives it.
    """
    layout, given = Layout(root), Bundle.project(folder)
    for name in LINKED:
        if (given.root / name).is_dir():
            (root / name).symlink_to((given.root / name).resolve())
    layout.input(bundle.comp).mkdir(parents=True)
    for entry in competition.resolve().iterdir():
        (layout.input(bundle.comp) / entry.name).symlink_to(entry)
    return layout


def open_facts(layout: Layout, bundle: Bundle) -> tuple[Competition, Form]:
    """The facts, and the form of the sample that was found."""
    facts = load_competition(layout, bundle.comp)
    if facts.test is None or facts.makes_sample:
        raise FoldlineError(
            "the bundle's facts do not say how test rows are read, or have no sample",
            where=str(layout.competition_config(bundle.comp)),
            next=Bundle.made_by,
        )
    submission = facts.submission.model_copy(update={"sample": bundle.sample})
    facts = facts.model_copy(update={"submission": submission})
    return facts, open_form(layout, bundle.comp, facts, bundle.outputs)


def hidden_rows(layout: Layout, bundle: Bundle, facts: Competition, form: Form) -> Hidden:
    """The rows that the sample asks for. One without a picture, or that repeats an id, is left out, which is said.

    They are sorted by id, as those of the folds: the same rows in the same batches give the same bits. What members see
    together stands behind the first of its rows, with the rows that nobody asks for.

    Raises:
        FoldlineError: as `read_rows`: a table or a column is not there, or no row has a picture.
    """
    assert facts.test is not None, "open_facts refuses this"
    repeated = "first" if facts.test.repeated == "stop" else facts.test.repeated
    forgiving = facts.test.model_copy(update={"missing_images": "drop", "repeated": repeated})
    rows = read_rows(layout.input(bundle.comp), forgiving, facts, with_target=False, nameless=True)
    rows = rows.iloc[np.argsort(rows["row_id"].to_numpy(dtype=object), kind="stable")].reset_index(drop=True)
    require_columns(rows, [*bundle.together, *([bundle.between] if bundle.neighbours else [])])
    rows, mended = placed(rows) if bundle.together or bundle.neighbours else (rows, 0)
    rows = between_neighbours(rows, bundle.between, bundle.neighbours)
    key = "entity" if "entity" in rows.columns else "row_id"
    asked = rows[key].isin(list(form.kind.ids)).to_numpy(dtype=bool)
    unit = units(rows, bundle.together)
    seen = np.isin(unit, unit[asked])
    if not asked.all():
        beside = f"; {int((seen & ~asked).sum())} of these are seen beside others" if bundle.together else ""
        say(f"{int((~asked).sum())} of {len(rows)} test rows are left out: the sample does not ask for them{beside}")
    order = np.argsort(unit, kind="stable")
    order = order[seen[order]]
    kept = rows.iloc[order].reset_index(drop=True)
    return Hidden(kept, key, asked[order], unit[order], int((~asked).sum()), mended)


def mended(rows: pd.DataFrame, columns: list[dict[str, object]]) -> tuple[pd.DataFrame, int]:
    """Metadata that networks can read: a cell that is no number where one is needed counts as missing.

    Args:
        columns: the metadata columns as `FoldMeta.metadata` has them.

    Returns:
        The rows, and how many cells were changed.
    """
    count = 0
    for name in [str(column["name"]) for column in columns if column["kind"] == "number"]:
        cells = rows[name]
        odd = ~(np.isfinite(numbers(cells)) | is_missing(cells).to_numpy(dtype=bool))
        if odd.any():
            shown = first_few(cells[odd].tolist())
            cells_are = counted(int(odd.sum()), f"cells of '{name}' are")
            say(f"warning: {cells_are} no numbers, and taken as missing: {shown}")
            rows, count = rows.assign(**{name: cells.mask(odd, "")}), count + int(odd.sum())
    return rows, count
