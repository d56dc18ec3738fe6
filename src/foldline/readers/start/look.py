"""A first look at a folder or a table: what it is, and what of it is no data. Reads names, heads, tables."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.picture_kinds import HEAD, picture_kind
from foldline.core.progress import Progress
from foldline.core.tables import sha256_file
from foldline.core.walk import walk
from foldline.readers.start.paths import UnclearLabelError, from_paths
from foldline.readers.start.tables import from_table, is_label_word, is_table, naming_table
from foldline.readers.start.understood import Understood, set_folds, set_metric, set_task
from foldline.readers.templates import split_suffix

# Pictures that foldline does not read: phones', cameras', drawings, volumes.
UNREAD = {".heic", ".heif", ".cr2", ".nef", ".arw", ".dng", ".psd", ".svg", ".nii", ".svs", ".mrxs"}
FEWEST = 10  # pictures that can be learnt from and graded on at all


@dataclass(frozen=True)
class Look:
    """What lies at a place.

    Attributes:
        root: the folder that becomes the raw files.
        found: what was understood.
        size: bytes of all files below the folder.
    """

    root: Path
    found: Understood
    size: int


def look(place: Path, label: str) -> Look:
    """Understands a folder of pictures, or a table of them.

    Args:
        place: the folder or the table.
        label: what the label is, where looking does not tell: see `from_paths` and `from_table`.

    Raises:
        FoldlineError: there is nothing of the kind; nothing, or too much, tells the label.
    """
    if not place.exists():
        raise FoldlineError(
            f"there is no '{place.name}'", where=str(place.parent), next="give the folder that holds your pictures"
        )
    root, table = (place.parent, place.name) if place.is_file() else (place, None)
    require_table(place)
    below = walk(root)
    pictures, broken = _pictures(root, below.files)
    others, searched = dict[str, str](), table is None and "folder" not in label and "{" not in label
    if searched:
        table, others = naming_table(root, below.files)
    if table is None and not pictures:
        raise FoldlineError(
            "the folder holds no pictures",
            where=str(place),
            next=f"it holds {counted(len(below.files), 'files')}: {first_few(below.files) or 'none'}",
        )
    try:
        found = from_paths(pictures, label) if table is None else from_table(root, table, label)
    except UnclearLabelError:
        raise
    except FoldlineError as error:
        if not others:
            raise
        words = "; ".join(f"{name}: {why}" for name, why in others.items())
        raise FoldlineError(error.what, where=f"{error.where}; {words}", next=error.next) from error
    if table is not None:
        _say_unnamed(found, pictures, table)
        if searched and not label:
            _require_one_label(found, pictures, table)
    found.said += [f"warning: the table {name} is not used: {why}" for name, why in others.items()]
    _finish(found)
    _set_duplicates(found, root)
    if broken:
        found.said.append(
            f"warning: {counted(len(broken), 'files')} called a picture holds none: {first_few(broken, 3)}; left out"
        )
    _say_others(found, sorted(set(below.files) - {*pictures, *broken, *others, table}))
    if below.left_out:
        found.said.append(f"left out, since it is no data: {below.left_out_in_words}")
    return Look(root, found, sum((root / name).stat().st_size for name in below.files))


def require_table(place: Path) -> None:
    """Raises FoldlineError where `place` is a file of another kind."""
    if place.is_file() and not is_table(place.name):
        raise FoldlineError(
            "this is neither a folder nor a table",
            where=str(place),
            next="give a folder, a .csv, .tsv or .parquet; unpack an archive first",
        )


def _say_unnamed(found: Understood, pictures: Sequence[str], table: str) -> None:
    unnamed = sorted(set(pictures) - set(found.named))
    if unnamed and found.named and found.named[0] in set(pictures):
        words = f"{counted(len(unnamed), 'pictures')} that {table} does not name, left out"
        found.said.append(f"warning: {words}: {first_few(unnamed, 3)}")


def _require_one_label(found: Understood, pictures: Sequence[str], table: str) -> None:
    """Raises where folders tell other classes than a column that is not called a label; says it where it is."""
    try:
        folders = from_paths(pictures, "")
    except FoldlineError:
        return
    classes = Counter(folders.labels)
    if "file" in folders.facts["train"] or "/" not in folders.facts["train"]["pattern"].replace("**/", ""):
        return
    told = dict(zip(folders.files, folders.labels, strict=True))
    own = dict(zip(found.files, found.labels, strict=False))
    if len(classes) < 2 or (own and all(told.get(name, label) == label for name, label in own.items())):
        return
    column, words = ",".join(found.columns), first_few([f"{name} ({n})" for name, n in classes.most_common()], 5)
    if not any(is_label_word(name) for name in found.columns):
        choices = {column: f"by the table {table}", "last-folder": f"{counted(len(classes), 'classes')}: {words}"}
        raise UnclearLabelError("a table and folders both could tell the label", choices, where=table)
    found.said.append(f"the folders are no classes here: {words}")
    found.guesses["train"] = f"the label is '{column}' of {table}, not the folder"


def _say_others(found: Understood, others: Sequence[str]) -> None:
    """Files that are no pictures, above all those that somebody takes for pictures."""
    unread = [name for name in others if PurePosixPath(name).suffix.lower() in UNREAD]
    if unread:
        found.said.append(
            f"warning: {counted(len(unread), 'pictures')} of a kind that is not read, left out: "
            f"{first_few(unread, 3)}; "
            "save them as JPEG or PNG"
        )
    rest = [name for name in others if name not in set(unread)]
    if rest:
        found.said.append(f"{counted(len(rest), 'other files')} not used: {first_few(rest, 3)}")


def _finish(found: Understood) -> None:
    """Task, metric and folds; refuses what is too little."""
    if len(found.files) < FEWEST:
        raise FoldlineError(
            f"{counted(len(found.files), 'pictures are')} too few: {FEWEST} are the least",
            next="add pictures of each class",
        )
    if found.labels and len(set(found.labels)) < 2:
        raise FoldlineError(
            f"all {counted(len(found.files), 'pictures have')} the label '{found.labels[0]}': there is nothing "
            "to tell apart",
            next="add pictures of another class; or choose another label (LABEL=...)",
        )
    if found.labels:
        set_task(found)
    else:
        set_metric(found, Counter[str]())
    set_folds(found)


def _pictures(root: Path, files: Sequence[str]) -> tuple[list[str], list[str]]:
    """(the pictures by content, or by a name whose kind has no mark; those that are called so and are none)."""
    pictures, broken = list[str](), list[str]()
    with Progress() as progress:
        for name in progress.over(files, "look at files", total=len(files)):
            suffix = split_suffix(name)[1].lower()
            if is_table(name):
                continue
            with (root / name).open("rb") as handle:
                kind = picture_kind(handle.read(HEAD))
            if kind or suffix in (".dcm", ".dicom"):
                pictures.append(name)
            elif suffix:
                broken.append(name)
    return pictures, broken


def _set_duplicates(found: Understood, root: Path) -> None:
    """Copies of one picture share a fold; those with two labels, or in the test set, are said."""
    rows = [name for name in dict.fromkeys([*found.files, *found.test]) if (root / name).is_file()]
    same = _same_files(root, rows)
    if not same:
        return
    label = dict(zip(found.files, found.labels, strict=False))
    copies = f"{counted(sum(map(len, same)), 'files are')} copies of {counted(len(same), 'pictures')}, such as"
    found.facts.setdefault("folds", {})["group_duplicates"] = True
    found.why["folds"] = "; ".join(
        [*([found.why["folds"]] if "folds" in found.why else []), "copies of one picture share a fold"]
    )
    found.said.append(f"{copies} {' = '.join(same[0][:2])}: they share a fold")
    clash = [names for names in same if len({label[name] for name in names if name in label}) > 1]
    if clash:
        found.said.append(
            f"warning: {counted(len(clash), 'pictures')} under two labels: {' = '.join(clash[0][:2])}; one of "
            "each is wrong"
        )
    test = set(found.test)
    leaked = sum(bool(test & set(names)) and not test >= set(names) for names in same)
    if leaked:
        found.said.append(
            f"warning: {counted(leaked, 'test pictures')} also among the training pictures: their score is too good"
        )


def _same_files(root: Path, names: Sequence[str]) -> list[list[str]]:
    """The sets of files of equal bytes; only files of equal size are read."""
    by_size = defaultdict[int, list[str]](list)
    for name in names:
        by_size[(root / name).stat().st_size].append(name)
    by_content = defaultdict[str, list[str]](list)
    twins = [name for group in by_size.values() if len(group) > 1 for name in group]
    with Progress() as progress:
        for name in progress.over(twins, "look for copies", total=len(twins)):
            by_content[sha256_file(root / name)].append(name)
    return [group for group in by_content.values() if len(group) > 1]
