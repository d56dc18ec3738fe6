"""Readers of JSON: a table of objects, and COCO-style files (images, annotations and categories, joined by id)."""

from pathlib import Path
from typing import Any

import pandas as pd

from foldline.core.competition import RowFacts
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.tables import read_json
from foldline.readers.files import raw_files
from foldline.readers.tables import as_texts


def read_json_table(root: Path, rows: RowFacts) -> pd.DataFrame:
    """A list of objects: each is a line, each key a column. Lists stay lists (they may hold pixels).

    A map of columns, as pandas writes it (`{"id": {"0": "a", "1": "b"}}`), is read too.
    """
    return pd.concat([_table(read_json(path), path) for path in raw_files(root, rows)], ignore_index=True)


def _table(content: Any, path: Path) -> pd.DataFrame:
    if isinstance(content, dict) and content and all(isinstance(value, dict) for value in content.values()):
        lines = list(dict.fromkeys(line for cells in content.values() for line in cells))
        content = [{key: cells[line] for key, cells in content.items() if line in cells} for line in lines]
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        raise FoldlineError("must hold a list of objects", where=str(path), next="or use the reader coco or python")
    return frame_of(content)


def frame_of(records: list[dict[str, Any]]) -> pd.DataFrame:
    """Objects as lines, plain values as text; a key that an object lacks is an empty cell."""
    keys = list(dict.fromkeys(key for record in records for key in record))
    columns: dict[str, Any] = {}
    for key in keys:
        cells = [record.get(key) for record in records]
        nested = any(isinstance(cell, list | dict) for cell in cells)
        columns[key] = pd.Series(cells, dtype=object) if nested else pd.Series(as_texts(cells), dtype=str)
    return pd.DataFrame(columns)


def read_coco(root: Path, rows: RowFacts) -> pd.DataFrame:
    """A line for each annotation, or for each image that has none (and so for each of a test file).

    Columns: the image's plain fields under their names; of the annotation `annotation_id`, `category_id` and what the
    image has not; of the category `category` (its name) and `category_<field>`.
    """
    frames = [_coco(read_json(path), path) for path in raw_files(root, rows)]
    return pd.concat(frames, ignore_index=True).fillna("")


def _coco(content: Any, path: Path) -> pd.DataFrame:
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        held = list(content) if isinstance(content, dict) else []
        raise FoldlineError(
            "no COCO-style file: no list of images", where=str(path), next=f"it holds: {first_few(held)}"
        )
    images = _plain(content["images"], path, "images")
    if not content.get("annotations"):
        return images
    notes = _plain(content["annotations"], path, "annotations").rename(columns={"id": "annotation_id"})
    if "image_id" not in notes.columns:
        raise FoldlineError("its annotations have no image_id", where=str(path))
    notes = notes[["image_id", *[name for name in notes.columns if name not in images.columns and name != "image_id"]]]
    lost = notes.loc[~notes["image_id"].isin(images["id"]), "image_id"].tolist()
    if lost:
        raise FoldlineError(f"{len(lost)} annotations belong to no image: {first_few(lost)}", where=str(path))
    lines = images.merge(notes, how="left", left_on="id", right_on="image_id").fillna("")
    if not content.get("categories") or "category_id" not in lines.columns:
        return lines
    kinds = _plain(content["categories"], path, "categories")
    kinds = kinds.rename(columns={name: "category" if name == "name" else f"category_{name}" for name in kinds.columns})
    kinds = kinds.drop_duplicates()
    twice = kinds.loc[kinds["category_id"].duplicated(), "category_id"].tolist()
    if twice:
        raise FoldlineError(
            f"{counted(len(twice), 'ids stand')} for several categories: {first_few(twice)}", where=str(path)
        )
    return lines.merge(kinds, how="left", on="category_id").fillna("")


def _plain(records: Any, path: Path, name: str) -> pd.DataFrame:
    """The plain fields (no boxes, no outlines) of a list of objects that have an id."""
    if not isinstance(records, list) or not all(isinstance(record, dict) and "id" in record for record in records):
        raise FoldlineError(f"its {name} are no list of objects with an id", where=str(path))
    return frame_of([{k: v for k, v in record.items() if not isinstance(v, list | dict)} for record in records])
