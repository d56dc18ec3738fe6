"""k-reciprocal re-ranking: rows that are near to one another from both sides are nearer than their cosine says.

Zhong et al. 2017, "Re-ranking Person Re-identification with k-reciprocal Encoding", https://arxiv.org/abs/1701.08398.
Reads and writes nothing.
"""

import numpy as np
from numpy.typing import NDArray

from foldline.core.errors import FoldlineError
from foldline.core.task import Array

EXPANSION = 6  # the paper's k2: neighbours over which encodings are averaged
OWN_SHARE = 0.3  # the paper's lambda: what the plain distance counts beside that of the encodings
MOST = 15_000  # queries and gallery together: distances, codes and their mean are 0.9 GB each


def reranked(
    asked: NDArray[np.float32], gallery: NDArray[np.float32], k: int, reciprocal: int
) -> tuple[NDArray[np.int64], Array]:
    """[asked, k] the nearest rows of the gallery by the re-ranked distance d, the nearest first, and 1 - d.

    The distance of a query depends on the other queries: what is asked together is ranked together.

    Args:
        asked, gallery: [rows, columns] of length 1.
        reciprocal: the paper's k1.

    Raises:
        FoldlineError: too many rows.
    """
    both = np.concatenate([asked, gallery])
    if len(both) > MOST:
        raise FoldlineError(
            f"re-ranking compares all rows with one another: {len(both):,} are more than {MOST:,}",
            where="head.options.rerank",
            next="set rerank: 0, or expand",
        )
    distance = np.maximum(2 - 2 * (both @ both.T), 0.0)
    distance /= np.maximum(distance.max(axis=0, keepdims=True), 1e-12)
    np.fill_diagonal(distance, -1.0)  # of rows that are alike each is the nearest to itself, however many there are
    order = np.stack([np.argsort(row, kind="stable")[: reciprocal + 1] for row in distance])
    np.fill_diagonal(distance, 0.0)
    codes = _codes(distance, order, reciprocal)
    codes = np.stack([codes[near].mean(axis=0) for near in order[:, :EXPANSION]])
    count = len(asked)
    final = (1 - OWN_SHARE) * _jaccard(codes[:count], codes[count:]) + OWN_SHARE * distance[:count, count:]
    places = np.argsort(final, axis=1, kind="stable")[:, :k].astype(np.int64)
    return places, 1.0 - np.take_along_axis(final, places, axis=1).astype(np.float64)


def _codes(distance: NDArray[np.float32], order: NDArray[np.int64], reciprocal: int) -> NDArray[np.float32]:
    """[rows, rows] each row as how near its reciprocal neighbours are; 0 for all others; sums to 1."""
    rows, half = len(distance), max(1, round(reciprocal / 2))
    near = np.zeros((rows, rows), dtype=bool)
    np.put_along_axis(near, order, True, axis=1)
    mutual = near & near.T
    closer = np.zeros((rows, rows), dtype=bool)
    np.put_along_axis(closer, order[:, : half + 1], True, axis=1)
    closer &= closer.T
    codes = np.zeros((rows, rows), dtype=np.float32)
    for row in range(rows):
        own = mutual[row].copy()
        for other in np.flatnonzero(mutual[row]):
            theirs = closer[other]
            if (theirs & mutual[row]).sum() > 2 / 3 * theirs.sum():
                own |= theirs
        codes[row, own] = np.exp(-distance[row, own])
    return np.asarray(codes / codes.sum(axis=1, keepdims=True))


def _jaccard(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """[left, right] 1 - the shared part of both encodings."""
    found = np.empty((len(left), len(right)), dtype=np.float32)
    for row, code in enumerate(left):
        columns = np.flatnonzero(code)
        shared = np.minimum(right[:, columns], code[columns]).sum(axis=1)
        found[row] = 1 - shared / (2 - shared)
    return found
