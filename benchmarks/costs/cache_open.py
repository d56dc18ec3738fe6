"""The cache of decoded pictures opened: manifest read, contents keyed, position of each picture."""

import json
from hashlib import sha256
from pathlib import Path

import numpy as np

from costs.kit import Cost
from foldline.core.records.seal import Seal
from foldline.images.cache import _key, hashes_of, open_cache, spec_of

COST = Cost("cache of decoded pictures opened: manifest, key, positions")


def names_of(rows: int) -> list[str]:
    """Of files that are not there: none is opened."""
    return [f"{i % 1000:03d}/{i:07d}.png" for i in range(rows)]


def prepare(folder: Path, rows: int) -> None:
    """A manifest, and a cache of that key."""
    files = [{"path": name, "bytes": 0, "sha256": sha256(name.encode()).hexdigest()} for name in names_of(rows)]
    record = {"schema": 1, "comp": "made", "source": {"kind": "folder"}, "files": files}
    (folder / "manifest.json").write_text(json.dumps(record, indent=1) + "\n")
    path = folder / f"images-{_key(folder, spec_of(names_of(rows), (2, 2), 1), hashes_of(folder))}.npy"
    np.save(path, np.zeros((rows, 2, 2, 1), dtype=np.uint8))
    Seal.put(path)


def run(folder: Path, rows: int) -> None:
    """As every stage that sees pictures."""
    cache = open_cache(folder, folder, names_of(rows), (2, 2), 1)
    assert len(cache.rows(names_of(rows))) == rows
