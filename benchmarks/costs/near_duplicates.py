"""Look-alikes among generated hashes: a tenth near one another, pairs of 10 bits planted."""

from pathlib import Path

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from costs.kit import Cost
from foldline.splits.duplicates import MAX_DISTANCE, near_pairs

COST = Cost("look-alikes among perceptual hashes, a tenth of them of one crowd; no picture is read", most_seconds=300.0)
PLANTED = 20


def prepare(folder: Path, rows: int) -> None:
    """256 bits a picture."""
    rng = np.random.default_rng(0)
    parts = []
    for start in range(0, rows, 100_000):
        parts.append(np.packbits(rng.random((min(100_000, rows - start), 256), dtype=np.float32) < 0.5, axis=1))
    bits = np.concatenate(parts)
    for i in range(rows // 10):
        bits[i] = bits[0] ^ np.packbits(rng.random(256) < 0.015)
    for i in range(PLANTED):
        copy = np.unpackbits(bits[-1 - i])
        copy[rng.choice(256, MAX_DISTANCE, replace=False)] ^= 1
        bits[rows // 2 - 1 - i] = np.packbits(copy)
    np.save(folder / "hashes.npy", bits.view(np.uint64))


def run(folder: Path, rows: int) -> None:
    """What `duplicate_groups` does with the hashes of pictures."""
    hashes = np.load(folder / "hashes.npy")
    left, right = np.concatenate(list(near_pairs(hashes, MAX_DISTANCE, every=False)), axis=1)
    graph = coo_matrix((np.ones(len(left), dtype=np.int8), (left, right)), shape=(rows, rows))
    number = connected_components(graph, directed=False)[1]
    places = np.arange(PLANTED)
    assert (number[rows - 1 - places] == number[rows // 2 - 1 - places]).all()
