"""The rows of a competition: reads a raw layout by the facts, gives the table that folds are made of.

raw table (a reader)  ->  extract, join, where, without  ->  row_id, image, target, group, entity, order, metadata, mask
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from foldline.core.cells import spellings
from foldline.core.competition import Competition, RowFacts
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few, unknown
from foldline.core.folds import MASK
from foldline.core.progress import say
from foldline.core.tables import require_unique
from foldline.readers.arrays import read_arrays
from foldline.readers.bson import read_bson
from foldline.readers.cifar import read_cifar
from foldline.readers.files import FileIndex, clean_path, file_names, resolve_images
from foldline.readers.folders import read_folders
from foldline.readers.hook import read_hook
from foldline.readers.json import read_coco, read_json_table
from foldline.readers.lines import shape_lines
from foldline.readers.masks import mask_files
from foldline.readers.pictures import PICTURE, write_pixels
from foldline.readers.tables import read_table
from foldline.readers.targets import make_targets
from foldline.readers.templates import fill

Reader = Callable[[Path, RowFacts], pd.DataFrame]

READERS: dict[str, Reader] = {
    "arrays": read_arrays,
    "bson": read_bson,
    "cifar": read_cifar,
    "coco": read_coco,
    "csv": read_table,
    "folders": read_folders,
    "json": read_json_table,
    "parquet": read_table,
    "python": read_hook,
    "tsv": read_table,
}

PATH = "path"  # the column of the readers of folders
STACK = "|"  # joins the files of one row
LINE = "line"  # the number of a line, for tables without ids whose sample counts 1, 2, 3 ...


def read_rows(
    root: Path, rows: RowFacts, facts: Competition, *, with_target: bool, index: FileIndex | None = None,
    nameless: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """The rows of a raw layout.

    Args:
        root: `input/<comp>`.
        rows: how to read them: `facts.train` or `facts.test`.
        facts: the competition, for its task and classes.
        with_target: whether to make the label columns; nameless: whether rows may have an empty entity.
        index: the files below `root`, where they were listed before; None: they are listed.

    Returns:
        Strings only: row_id, image, target or target_<class>..., then mask_file, group, entity, order and metadata as
        the facts name them; one line for each row_id, in the order of the raw table.

    Raises:
        FoldlineError: something that the facts name is not there, an id stands twice, a label is empty, an image
            is missing.
    """
    where = f"configs/{root.name}/competition.yaml"
    if rows.reader not in READERS:
        raise unknown("reader", rows.reader, list(READERS), where=where)
    lines = READERS[rows.reader](root, rows)
    if rows.pixels is not None:
        lines = write_pixels(lines, root, rows, rows.pixels, where=f"{where}: pixels")
    if LINE not in lines.columns:
        lines = lines.assign(**{LINE: np.arange(1, len(lines) + 1)}).astype({LINE: str})
    lines = shape_lines(lines, root, rows, where=where)
    images = _image_templates(lines, rows, where)
    if "image" not in lines.columns:
        lines = lines.assign(image=images[0])
    ids = fill(lines, rows.row_id, where=f"{where}: row_id") if rows.row_id else images[0]
    long = with_target and not isinstance(rows.target, str) and rows.target is not None and rows.target.per is not None
    once = rows.repeated == "stop" and not long
    if once:
        require_unique(ids, where=f"{where}: row_id of {', '.join(file_names(rows)) or rows.reader}")
    if twins := spellings(ids.tolist()):
        say(f"warning: {where}: row_ids that differ in spelling alone, taken for different rows: {_pairs(twins)}")
    first = pd.Series(True, index=ids.index) if once else ~ids.duplicated()
    if rows.repeated == "first" and not (long or first.all()):
        say(f"{where}: {int((~first).sum())} of {len(ids)} lines repeat a row_id; the first of each counts")
    index = index or FileIndex(root)
    result = pd.DataFrame({"row_id": ids[first], "image": _resolve(index, [s[first] for s in images], where)})
    if with_target:
        targets = make_targets(lines, ids, first, root, rows, facts, where=where)
        if not targets.index.equals(pd.Index(result["row_id"])):
            known = set(targets.index)  # without those that missing_targets drops
            result = result[[name in known for name in result["row_id"].tolist()]]
            targets = targets.reindex(result["row_id"])
        for name in targets.columns:
            result[name] = targets[name].to_numpy()
    if with_target and rows.mask is not None:
        result[MASK] = mask_files(lines.loc[result.index], rows.mask, index, where=f"{where}: mask").to_numpy()
    own_folds = with_target and facts.folds.splitter == "column"
    for name, column in _riders(lines, rows, where, own_folds=own_folds, nameless=nameless).items():
        result[name] = column[first]
    return _with_images(result, rows, root).reset_index(drop=True)


def _pairs(twins: dict[str, str]) -> str:
    return first_few([f"'{one}' and '{other}'" for one, other in twins.items()])


def _image_templates(lines: pd.DataFrame, rows: RowFacts, where: str) -> "list[pd.Series[str]]":
    """The wanted path of each line, a column for each stacked file."""
    given = [rows.image] if isinstance(rows.image, str) else list(rows.image or [])
    templates = given or [name for name in (PICTURE, PATH) if name in lines.columns][:1]
    if not templates:
        raise FoldlineError(
            "setting 'image' is missing",
            where=where,
            next=f"name a column or a template such as train/{{id}}.png; columns: {first_few(list(lines.columns), 20)}",
        )
    paths = [fill(lines, template, where=f"{where}: image") for template in templates]
    slashed = [path for column in paths for path in column[column.str.contains(r"^[^!-~]*/")].tolist()]
    rooted = [path for path in slashed if path.strip().startswith("/")]
    if rooted:
        say(f"{where}: {len(rooted)} image paths begin with a slash, which is left out: {first_few(rooted, 2)}")
    return [_cleaned(column) for column in paths]


def _cleaned(paths: "pd.Series[str]") -> "pd.Series[str]":
    """`clean_path` of each: asked for those alone that begin or end oddly, or hold a backslash."""
    odd = paths.str.contains(r"^[^!-~]|^[./]|[^!-~]$|\\").astype(bool)
    return paths.mask(odd, paths[odd].map(clean_path)) if odd.any() else paths


def _resolve(index: FileIndex, images: "list[pd.Series[str]]", where: str) -> "pd.Series[str]":
    """The image cell of each row: its files joined by `|`, or "" where one is missing."""
    wanted = [path for column in images for path in column.tolist()]
    together = "\n".join(wanted)
    odd = wanted if ".." in together or STACK in together else []  # of a million paths none is looked at by itself
    bad = [path for path in odd if (".." in path and ".." in path.split("/")) or STACK in path]
    if bad:
        raise FoldlineError(
            f"{len(bad)} image paths leave the folder or hold '{STACK}': {first_few(bad)}",
            where=where,
            next=f"rename the files and folders: '{STACK}' stands between the files of a stack",
        )
    written = all(path.startswith(".") for path in wanted)  # by a reader, so they exist
    files = wanted if written else resolve_images(index, wanted, where=where)
    count = len(images[0])
    stacks = zip(*[files[i * count : (i + 1) * count] for i in range(len(images))], strict=True)
    cells = files if len(images) == 1 else [STACK.join(stack) if all(stack) else "" for stack in stacks]
    return pd.Series(cells, index=images[0].index, dtype=str)


def _riders(
    lines: pd.DataFrame, rows: RowFacts, where: str, *, own_folds: bool, nameless: bool
) -> "dict[str, pd.Series[str]]":
    """Group, entity, order and metadata columns; one may be called `fold` where the user's own folds are read."""
    taken = {"row_id", "image", "target", "group", "entity"} | (set() if own_folds else {"fold"})
    taken |= (set() if rows.order is None else {"order"}) | (set() if rows.mask is None else {MASK})
    riders = {
        name: fill(lines, template, where=f"{where}: {name}")
        for name, template in (("group", rows.group), ("entity", rows.entity), ("order", rows.order))
        if template is not None
    }
    for name in rows.metadata:
        if name in taken or name.startswith("target_"):
            raise FoldlineError(
                f"metadata column '{name}' has a name that rows use themselves",
                where=where,
                next="give the column another name with `columns` or `extract`",
            )
        riders[name] = fill(lines, name, where=f"{where}: metadata")
    if "entity" in riders and not nameless and (empty := riders["entity"].str.strip() == "").any():
        raise FoldlineError(
            f"{counted(int(empty.sum()), 'rows have')} no entity: they would be one, with one answer for all of them",
            where=f"{where}: entity: {rows.entity}",
            next="fill the cells; or leave the rows out by `where` or `without`",
        )
    return riders


def _with_images(result: pd.DataFrame, rows: RowFacts, root: Path) -> pd.DataFrame:
    """Stops at rows without an image file, or leaves them out and says so."""
    missing = result.loc[result["image"] == "", "row_id"].tolist()
    if not missing:
        return result
    words = f"{len(missing)} of {len(result)} rows have no image file: {first_few(missing)}"
    if rows.missing_images == "stop" or len(missing) == len(result):
        raise FoldlineError(
            words,
            where=f"image: {rows.image} below {root}",
            next="correct 'image' in the facts, or set missing_images: drop to leave these rows out",
        )
    say(f"{words}; left out")
    return result[result["image"] != ""]
