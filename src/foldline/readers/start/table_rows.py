"""Which lines of a table are rows: those with a label and a picture, each picture once; the others are said."""

import pandas as pd

from foldline.core.cells import is_missing
from foldline.core.counted import counted
from foldline.core.errors import first_few
from foldline.readers.start.understood import Understood, listed


def labelled(found: Understood, frame: pd.DataFrame, target: str, *, sets: bool) -> pd.DataFrame:
    """The lines that have a label. What says that there is none (nan, None) could be the name of a class, too; an empty
    set of labels is one."""
    missing = is_missing(frame[target])
    words = [cell for cell in frame.loc[missing, target].unique().tolist() if cell.strip()]
    if words:
        found.facts["train"]["without"] = {target: words}
        found.guesses["train.without"] = f"lines whose '{target}' says {listed(words)} have no label"
    empty = missing & (frame[target].str.strip() == "")
    if sets and empty.any():
        found.said.append(f"{counted(int(empty.sum()), 'lines')} with none of the labels")
        missing &= ~empty
    elif empty.any():
        found.facts["train"]["missing_targets"] = "drop"
    if missing.any():
        found.said.append(f"warning: {counted(int(missing.sum()), 'lines')} without a label, left out")
    return frame[~missing]


def pictured(
    found: Understood, frame: pd.DataFrame, image: str, targets: list[str], files: "pd.Series[str]"
) -> pd.DataFrame:
    """The lines whose picture is there, each picture once; says how many others there are."""
    found.facts["train"]["missing_images"] = "drop"
    here = files[frame.index] != ""
    if not here.all():
        lacking = first_few(frame.loc[~here, image].tolist(), 3)
        found.said.append(f"warning: {counted(int((~here).sum()), 'lines')} without a picture, left out: {lacking}")
        frame = frame[here]
    own = files[frame.index]
    repeated = own.duplicated(keep=False)
    if repeated.any():
        cells = frame.loc[repeated, targets].assign(file=own[repeated])
        distinct = cells.drop_duplicates()["file"].duplicated().sum()
        found.facts["train"]["repeated"] = "first"
        clash = f", {int(distinct)} of them under different labels" if distinct else ""
        found.said.append(
            f"warning: {counted(int(repeated.sum()), 'lines name')} a picture twice{clash}; the first line of "
            "each counts"
        )
    return frame[~own.duplicated()]
