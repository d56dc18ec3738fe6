"""Tables that are joined to the test rows get a line for each new key."""

from pathlib import Path

import pandas as pd

from foldline.core.tables import read_csv, write_csv
from foldline.readers.raw_lines import CannotBeMadeError, RawLines
from foldline.readers.templates import fill
from foldline.rehearsal.new_rows import NewLines


def extend_joined(source: Path, target: Path, lines: RawLines, new: NewLines, train: pd.DataFrame) -> None:
    """Writes each joined table below `target` with lines for the new keys: those of the visible keys, renamed.

    Metadata in them are the training rows'. Raises CannotBeMadeError for a table that is no plain CSV.
    """
    for join in lines.rows.join:
        keys = fill(new.texts, join.left, where="join")
        table = read_csv(source / join.file, separator=join.separator, encoding=join.encoding)
        fresh = ~keys.isin(table[join.right]) & ~keys.duplicated()
        if not fresh.any():
            continue
        if not join.file.endswith(".csv") or join.separator != "," or join.encoding != "utf-8":
            raise CannotBeMadeError(f"{join.file}: only a CSV can get further lines")
        shown = lines.derived(lines.texts).iloc[new.place]
        olds = fill(shown, join.left, where="join").reset_index(drop=True)[fresh]
        copies = table.set_index(join.right, drop=False).reindex(olds).reset_index(drop=True).fillna("")
        copies[join.right] = keys[fresh].tolist()
        known = train.iloc[[row for row, is_fresh in zip(new.known, fresh, strict=True) if is_fresh]]
        for name in set(lines.rows.metadata) & set(copies.columns) & set(known.columns):
            copies[name] = known[name].tolist()
        (target / join.file).unlink()
        write_csv(target / join.file, pd.concat([table, copies], ignore_index=True))
