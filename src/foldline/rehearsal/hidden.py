"""A hidden test set made of training rows, in the raw layout of the visible one.

Reads `input/<comp>`, the folds and the facts; writes a folder that looks like `input/<comp>` with another test set:
other ids, more rows, another order, one picture that is broken and one of a size that was never seen. It is read again
by the facts before it is used; where it says anything else, or cannot be made, the visible test rows stay.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from foldline.core.competition import Competition
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.tables import remove, write_csv
from foldline.images.stacks import place_ranks
from foldline.readers import class_names, read_rows
from foldline.readers.raw_lines import CannotBeMadeError, RawLines
from foldline.rehearsal.draw import count_lines, draw, owners
from foldline.rehearsal.ids import NewIds
from foldline.rehearsal.joins import extend_joined
from foldline.rehearsal.new_rows import NewLines, make_lines, own_ids
from foldline.rehearsal.pictures import destination, place_broken, place_resized
from foldline.rehearsal.sample import new_sample
from foldline.rehearsal.tree import mirror, place
from foldline.submission.form import Form, read_sample


@dataclass(frozen=True)
class Home:
    """What a hidden test set is made of.

    Attributes:
        root: the raw files, `input/<comp>`.
        facts: with a test set, as the bundle has them.
        outputs: the class names, or the names of the numbers.
        train: the training rows with their folds; visible: the test rows.
        sample: the sample submission; sample_name: its path below the competition's folder.
        beside: the columns that name whose pictures the networks see beside each other.
    """

    root: Path
    facts: Competition
    outputs: Sequence[str]
    train: pd.DataFrame
    visible: pd.DataFrame
    sample: Path
    sample_name: str
    beside: Collection[str] = ()

    def form(self, root: Path, sample: Path) -> Form:
        """The form of a sample beside the raw files in `root`."""
        frame, lines = read_sample(sample, root, self.facts)
        return Form.open(frame, self.facts, self.outputs, names=class_names(root, self.facts), lines=lines)


@dataclass(frozen=True)
class Hidden:
    """A hidden test set.

    Attributes:
        rows: `row_id`, the `known` training row, its `fold`, the `line` (row or entity) that it is about, the visible
            `example` of that line, and whether it `counts` in a comparison of scores; empty where visible rows stayed.
        notes: what is special about it, in words.
        made: False: the visible test rows stayed as they are, and nothing can be graded.
    """

    rows: pd.DataFrame
    notes: list[str]
    made: bool = True


def build(home: Home, target: Path, *, lines: int | None = None, seed: int = 0) -> Hidden:
    """Makes the competition's folder with a hidden test set in `target`.

    Args:
        lines: of its sample submission; default: `count_lines`.

    Raises:
        FoldlineError: not even the visible test set can be put there.
    """
    try:
        return _build(home, target, lines, seed)
    except FoldlineError as reason:
        remove(target)
        mirror(home.root, target, without=[home.sample_name], into=[home.sample_name])
        place(target / home.sample_name, home.sample)
        what = " ".join(str(reason).split())
        return Hidden(pd.DataFrame(), [f"the visible test rows were taken, and nothing was graded: {what}"], made=False)


def _build(home: Home, target: Path, wanted: int | None, seed: int) -> Hidden:
    rows = home.facts.test
    if rows is None:
        raise CannotBeMadeError("the facts have no test set")
    if home.train.empty:
        raise CannotBeMadeError("no training row is new to a network of every member (train.folds: all)")
    if further := sorted(set(home.beside) - {"entity"}):
        raise CannotBeMadeError(
            f"networks see all pictures of a {further[0]} beside each other, and new rows are made line by line"
        )
    form, lines = home.form(home.root, home.sample), RawLines.read(home.root, rows)
    places, examples = _examples(home, form, lines)
    drawn, left_out = draw(home.train, home.facts, count_lines(_count(home.train), len(examples), wanted), seed)
    order = np.random.default_rng(seed).permutation(len(examples)).tolist()
    hidden = [(known, examples[order[at % len(order)]]) for at, known in enumerate(drawn)]
    texts = lines.derived(lines.texts)
    taken = {*home.train["row_id"], *home.visible["row_id"], *(cell for name in texts.columns for cell in texts[name])}
    new = make_lines(lines, places, hidden, home.train, _pixels(home, lines), NewIds(taken, seed))
    table = _table(home, new)
    notes = _write(home, target, lines, new, table, form, {at for seen in places.values() for at in seen}, seed)
    _require_read(home, target, table)
    notes += [f"no row of class '{left_out}'"] if left_out else []
    return Hidden(table, [_words(table, len(examples)), *notes])


def _count(train: pd.DataFrame) -> int:
    return int(owners(train).nunique())


def _words(table: pd.DataFrame, visible: int) -> str:
    lines = table["line"].nunique()
    again = lines - table.groupby("line")["known"].first().nunique()
    return (
        f"{counted(lines, 'lines')} of {len(table)} training rows under new ids; the visible test set has "
            f"{counted(visible, 'lines')}"
        + (f"; {again} come a second time" if again else "")
    )  # fmt: skip


def _examples(home: Home, form: Form, lines: RawLines) -> tuple[dict[int, list[int]], list[list[int]]]:
    """Where the lines of each visible row stand; the visible rows of each line of the sample."""
    held: dict[str, list[int]] = defaultdict(list)
    for at, name in enumerate(own_ids(lines)):
        held[name].append(at)
    asked = set(form.kind.lines.entities)
    groups: dict[str, list[int]] = defaultdict(list)
    for at, (row, name) in enumerate(zip(home.visible["row_id"], owners(home.visible), strict=True)):
        if name in asked and row in held:
            groups[name].append(at)
    if not groups:
        raise CannotBeMadeError("no visible test row stands in both the test table and the sample")
    ids: list[str] = home.visible["row_id"].tolist()
    return {at: held[ids[at]] for seen in groups.values() for at in seen}, list(groups.values())


def _pixels(home: Home, lines: RawLines) -> pd.DataFrame | None:
    """The cells of each training row's picture, in the order of the rows; None where pictures are files."""
    if not lines.holds_pictures:
        return None
    train = RawLines.read(home.root, home.facts.train)
    place = pd.Index(own_ids(train)).get_indexer(pd.Index(home.train["row_id"]))
    if (place < 0).any() or set(lines.picture_columns) - set(train.frame.columns):
        raise CannotBeMadeError("the training rows' pictures were not found in their table")
    return train.frame[lines.picture_columns].iloc[place].reset_index(drop=True)


def _table(home: Home, new: NewLines) -> pd.DataFrame:
    """`Hidden.rows`, every one counting, with `at`: the raw line of each."""
    rows = home.facts.test
    assert rows is not None
    known = home.train.iloc[new.known]
    table = pd.DataFrame({
        "row_id": new.ids(rows), "known": known["row_id"].tolist(), "fold": known["fold"].tolist(),
        "line": new.entities(rows), "counts": True, "at": range(len(new.known)),
        "example": owners(home.visible).iloc[new.example].tolist(),
    })  # fmt: skip
    return table.drop_duplicates("row_id").reset_index(drop=True)


def _write(
    home: Home,
    target: Path,
    lines: RawLines,
    new: NewLines,
    table: pd.DataFrame,
    form: Form,
    seen: set[int],
    seed: int,
) -> list[str]:
    """Writes all files; marks the rows that do not count, and says which and why.

    Args:
        seen: the places of the lines of visible rows, which go.
    """
    order = np.random.default_rng(seed + 1).permutation(table["line"].unique()).tolist()
    example = dict(zip(table["line"], table["example"], strict=True))
    sample = new_sample(form, home.facts, [(example[name], name) for name in order])
    shown = {file for image in home.visible["image"] for file in image.split("|")}
    shown -= {file for image in home.train["image"] for file in image.split("|")}
    tables = [path.relative_to(home.root).as_posix() for path in lines.files]
    files = _files(home, new)
    changed = [*tables, home.sample_name]
    mirror(home.root, target, without=[*changed, *shown], into=[*changed, *files])
    if tables != [home.sample_name]:
        kept = lines.frame.drop(index=sorted(seen))
        shuffled = new.frame.iloc[np.random.default_rng(seed + 2).permutation(len(new.frame))]
        lines.write(target, pd.concat([kept, shuffled], ignore_index=True), home.root)
    extend_joined(home.root, target, lines, new, home.train)
    for path, (known, _) in files.items():
        place(target / path, home.root / known)
    (target / home.sample_name).unlink(missing_ok=True)
    write_csv(target / home.sample_name, sample)
    return _spoil(home, target, files, table) if files else ["no broken picture: they stand in the table's cells"]


def _files(home: Home, new: NewLines) -> dict[str, tuple[str, int]]:
    """Each new picture's path -> the training picture's, both below the competition's folder, and the line's place."""
    files: dict[str, tuple[str, int]] = {}
    trained: list[str] = home.train["image"].tolist()
    shown: list[str] = home.visible["image"].tolist()
    for number, wanted in enumerate(new.images):
        for at, (path, row, example) in enumerate(zip(wanted, new.known, new.example, strict=True)):
            known = trained[row].split("|")[number]
            files.setdefault(destination(path, shown[example].split("|")[number], known), (known, at))
    return files


def _spoil(home: Home, target: Path, files: Mapping[str, tuple[str, int]], table: pd.DataFrame) -> list[str]:
    """Breaks one picture and resizes another, of two lines where there are; these no longer count."""
    notes, first = [], {at: (path, known) for path, (known, at) in reversed(list(files.items()))}
    rows = table.drop_duplicates("line")[["row_id", "line", "at"]].to_numpy().tolist()
    for (row_id, line, at), what in zip(rows, ("broken", "resized"), strict=False):
        path, known = target / first[at][0], home.root / first[at][1]
        if what == "broken":
            is_broken = place_broken(path, known)
            notes.append(f"the picture of {row_id} is {'broken' if is_broken else 'cut off, and can still be read'}")
        elif size := place_resized(path, known):
            notes.append(f"the picture of {row_id} has {size}")
        table.loc[table["line"] == line, "counts"] = False
    return notes


def _require_read(home: Home, target: Path, table: pd.DataFrame) -> None:
    """Raises CannotBeMadeError unless the facts read exactly what was meant, and the sample asks for exactly that."""
    assert home.facts.test is not None
    found = read_rows(target, home.facts.test, home.facts, with_target=False).set_index("row_id")
    remove(target / ".pictures")
    if not table["row_id"].isin(found.index).all():
        raise CannotBeMadeError("the new rows are not read back by the facts")
    found, known = found.loc[table["row_id"]], home.train.set_index("row_id").loc[table["known"]]
    asked = home.form(target, target / home.sample_name).kind.lines.entities
    same = {
        "entities": owners(found.reset_index()).tolist() == table["line"].tolist(),
        "metadata": all(
            found[name].tolist() == known[name].tolist() for name in home.facts.test.metadata if name in known.columns
        ),
        "pictures": _same_pictures(home, target, found, known, table["counts"].tolist()),
        "order": not home.beside or _same_order(found, known, table["line"].tolist()),
        "sample": set(asked) == set(table["line"]),
    }
    wrong = [what for what, holds in same.items() if not holds]
    if wrong:
        raise CannotBeMadeError(f"what the facts read of it is something else: {', '.join(wrong)}")


def _same_order(found: pd.DataFrame, known: pd.DataFrame, lines: Sequence[str]) -> bool:
    """Whether the rows of each line have the order that the training rows have."""
    if "order" not in found.columns or "order" not in known.columns:
        return "order" not in found.columns and "order" not in known.columns
    one, other = (
        np.lexsort((place_ranks(rows["order"]), pd.factorize(np.asarray(lines))[0])) for rows in (found, known)
    )
    return bool(np.array_equal(one, other))


def _same_pictures(
    home: Home, target: Path, found: pd.DataFrame, known: pd.DataFrame, counts: Sequence[bool]
) -> bool:  # fmt: skip
    """Whether the pictures of all rows that count are those of the training rows; those in cells were copied whole."""
    pairs = [pair for *pair, holds in zip(found["image"], known["image"], counts, strict=True) if holds]
    return all(
        one.startswith(".") or (target / one).resolve() == (home.root / other).resolve()
        for image, picture in pairs
        for one, other in zip(image.split("|"), picture.split("|"), strict=True)
    )
