"""Several reasons to stay together (group, entity, near-duplicates) become one group a row."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from foldline.core.cells import plains
from foldline.splits.shuffle import Indices


def connected(keys: Sequence[Sequence[str]]) -> Indices:
    """[rows] a number for each set of rows that are joined, directly or through others, by an equal key.

    Args:
        keys: one list of [rows] names a reason; an empty name joins nothing.

    >>> connected([["p1", "p1", "p2", ""], ["a", "b", "b", ""]]).tolist()
    [0, 0, 0, 1]
    """
    rows = len(keys[0])
    left, right, nodes = [], [], rows
    for names in keys:
        cells = np.array(names, dtype=object)
        code, known = pd.factorize(cells)
        filled = cells != ""
        left.append(np.flatnonzero(filled))
        right.append(nodes + code[filled])
        nodes += len(known)
    start, end = np.concatenate(left), np.concatenate(right)
    edges = coo_matrix((np.ones(len(start), dtype=np.int8), (start, end)), shape=(nodes, nodes))
    labels = connected_components(edges, directed=False)[1][:rows]
    _, first, number = np.unique(labels, return_index=True, return_inverse=True)
    return first.argsort().argsort()[number.reshape(-1)].astype(np.int64)


def joined_groups(ids: Sequence[str], keys: Sequence[Sequence[str]]) -> list[str]:
    """[rows] the name of each row's group: the smallest key, by the first reason that has one, of all its rows.

    A row that no key names is a group of its own, named by its id, or by `row <id>` where a key or another id looks so.

    >>> joined_groups(["r1", "r2", "r3"], [["p2", "p1", ""], ["a", "a", ""]])
    ['p1', 'p1', 'r3']
    >>> joined_groups(["1", "2", "3"], [["", "1", ""]])
    ['row 1', '1', '3']
    """
    if len(keys) == 1 and "" not in keys[0]:  # nothing is joined that has not one name
        return list(keys[0])
    number = connected(keys).tolist()
    name_of: dict[int, str] = {}
    for names in keys:
        _add_smallest(name_of, number, names)
    if not all(map(name_of.__contains__, number)):
        _add_smallest(name_of, number, _names_alone(ids, keys))
    return [name_of[group] for group in number]


def _add_smallest(name_of: dict[int, str], number: Sequence[int], names: Sequence[str]) -> None:
    """Names the groups that have no name yet by the smallest of their rows'."""
    found: dict[int, str] = {}
    for group, name in zip(number, names, strict=True):
        if name != "" and (group not in found or name < found[group]):
            found[group] = name
    for group, name in found.items():
        name_of.setdefault(group, name)


def _names_alone(ids: Sequence[str], keys: Sequence[Sequence[str]]) -> list[str]:
    """What rows that no key names are called."""
    named = {name for names in keys for name in names}
    looks = Counter(plains(named.union(ids)))
    return [
        f"row {name}" if name in named or looks[plainly] > 1 else name
        for name, plainly in zip(ids, plains(ids), strict=True)
    ]
