"""A random order that depends on names and a seed alone, not on row order, platform or library versions."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def shuffle_ranks(names: Sequence[str], seed: int, purpose: str) -> Indices:
    """The place of each name in a shuffled order: [n], a permutation of 0..n-1.

    The order is that of a hash of (purpose, seed, name). numpy's and scikit-learn's shuffles depend on the
    position of a row and, by their own policy, may change between versions; a hash does neither.

    >>> ranks = shuffle_ranks(["a", "b", "c"], seed=0, purpose="doc")
    >>> sorted(ranks.tolist())
    [0, 1, 2]
    >>> shuffle_ranks(["c", "b", "a"], seed=0, purpose="doc").tolist() == ranks[::-1].tolist()
    True
    """
    start = hashlib.blake2b(f"{purpose}\0{seed}\0".encode(), digest_size=8)
    keys = np.frombuffer(b"".join([_digest(start, name) for name in names]), dtype=">u8")
    order = np.argsort(keys.astype(np.uint64), kind="stable")
    if (keys[order[1:]] == keys[order[:-1]]).any():  # once in 10 million splits of a million names
        order = np.array(sorted(range(len(names)), key=lambda i: (keys[i], names[i])), dtype=np.int64)
    ranks = np.empty(len(names), dtype=np.int64)
    ranks[order] = np.arange(len(names))
    return ranks


def random_number(below: int, seed: int, purpose: str) -> int:
    """A whole number 0..below-1 that depends on seed and purpose alone.

    >>> random_number(1, seed=5, purpose="doc")
    0
    """
    return int.from_bytes(hashlib.blake2b(f"{purpose}\0{seed}".encode(), digest_size=8).digest(), "big") % below


def _digest(start: "hashlib.blake2b", name: str) -> bytes:
    hasher = start.copy()
    hasher.update(name.encode())
    return hasher.digest()
