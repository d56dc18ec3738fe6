"""Images that look the same: found by a perceptual hash, joined into groups.

Reads image files; writes nothing.

The hash has 256 bits: the signs of the 16 x 16 lowest frequencies of the cosine transform of a 64 x 64 grey
thumbnail, against their median (pHash; Zauner, "Implementation and benchmarking of perceptual image hash functions",
2010). Measured on ELPV, 2,624 photographs that all look alike: median (99 %) distance of a picture to its copy of half
the size 2 (8) bits, as JPEG of quality 50 4 (22), with gamma 0.8 4 (13), cropped by 2 % 46 (95); 53 of 3.4 million
pairs are within 10 bits, 32 of them the cells of one module that was photographed twice (cell1737 to cell1780, out of
focus as cell2279 to cell2322), most others neighbours in number with the same grain. The usual 64-bit hashes confuse
thousands of them. Not found: crops, turned or mirrored copies, and copies of pictures without any fine detail, whose
high frequencies are noise.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from foldline.core.counted import counted
from foldline.core.errors import first_few
from foldline.core.progress import Progress, say
from foldline.splits.shuffle import Indices

Hashes = NDArray[np.uint64]

MAX_DISTANCE = 10  # bits of 256: see the measurements above
SIDE_PX, LOW = 64, 16
LARGE = 256  # hashes that share a band: more are joined without comparing all of them
AT_ONCE = 4096  # pictures that wait for one another while they are hashed
FLAT = 1.0  # grey levels of standard deviation: a picture below it (all black ...) resembles nothing


def duplicate_keys(ids: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """[rows] one name for all rows whose images look the same, "" for a row whose image stands alone.

    Args:
        ids: [rows] the row ids.
        paths: [rows] an image file each.
    """
    number = duplicate_groups(paths)
    first: dict[int, str] = {}
    for group, id_ in zip(number.tolist(), ids, strict=True):
        first[group] = min(first.get(group, id_), id_)
    alone = np.bincount(number) == 1
    return ["" if alone[group] else f"same:{first[group]}" for group in number.tolist()]


def duplicate_groups(paths: Sequence[Path]) -> Indices:
    """[images] a number for each set of images that look the same, directly or through others of the set.

    Images that cannot be read as pictures by OpenCV, and flat ones, stand alone; the first are named on the screen.
    """
    places, hashes = image_hashes(paths)
    edges = [places[pair] for pair in near_pairs(hashes, MAX_DISTANCE, every=False)]
    left, right = np.concatenate([np.empty((2, 0), dtype=np.int64), *edges], axis=1)
    graph = coo_matrix((np.ones(len(left), dtype=np.int8), (left, right)), shape=(len(paths), len(paths)))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def image_hashes(paths: Sequence[Path]) -> tuple[Indices, Hashes]:
    """[n] the places of the images that can be compared, and [n, 4] their hashes, 4 x 64 bits each."""
    places, hashes, unread = [], [], []
    with Progress() as progress, ThreadPoolExecutor(os.cpu_count()) as pool:
        pieces = (paths[start : start + AT_ONCE] for start in range(0, len(paths), AT_ONCE))
        looked_at = (found for piece in pieces for found in pool.map(_look, piece))
        for place, found in enumerate(progress.over(looked_at, "comparing images", total=len(paths))):
            if found is None:
                unread.append(paths[place].name)
            elif len(found):
                places.append(place)
                hashes.append(found)
    if unread:
        say(f"{counted(len(unread), 'images cannot')} be compared with others: {first_few(unread)}")
    return np.array(places, dtype=np.int64), np.array(hashes, dtype=np.uint64).reshape(-1, 4)


def _look(path: Path) -> Hashes | None:
    """The hash of a picture, empty where it is flat; None for a file that is no picture to OpenCV."""
    grey = _thumbnail(path)
    if grey.size == 0:
        return None
    return perceptual_hash(grey) if grey.std() >= FLAT else np.empty(0, dtype=np.uint64)


def perceptual_hash(grey: NDArray[np.float32]) -> Hashes:
    """The 256 bits of a [64, 64] grey thumbnail, as [4] numbers of 64 bits.

    The signs do not change when the picture gets brighter or richer in contrast.
    """
    import cv2

    low = cv2.dct(grey)[:LOW, :LOW].reshape(-1)
    bits = low > np.median(low[1:])
    bits[0] = False  # the mean brightness
    return np.packbits(bits).view(np.uint64)


def near_pairs(hashes: Hashes, max_distance: int, *, every: bool = True) -> Iterator[Indices]:
    """All pairs of hashes that differ in at most `max_distance` bits, as pieces of [2, pairs]; a pair may come twice.

    The bits are dealt to max_distance + 1 bands. Two hashes that differ in no more bits are equal in one band at
    least, so only hashes that share a band are compared: no pair is lost, and few are looked at.

    Args:
        hashes: [n, 4].
        max_distance: 0..255.
        every: False: so many pairs as join the same hashes; 100,000 that look alike have 5 billion pairs.
    """
    unique, inverse = np.unique(hashes, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    member = np.full(len(unique), -1)
    member[inverse[::-1]] = np.arange(len(hashes))[::-1]  # the first of equal hashes stands for all of them
    yield np.stack([np.arange(len(hashes)), member[inverse]])
    for band in range(max_distance + 1):
        key = _band(unique, band, max_distance + 1)
        order = np.argsort(key, kind="stable")
        key = key[order]
        if not every:
            starts = np.flatnonzero(np.diff(key, prepend=-1))
            sizes = np.diff(starts, append=len(key))
            for start, size in zip(starts[sizes > LARGE].tolist(), sizes[sizes > LARGE].tolist(), strict=True):
                yield member[_links(unique, order[start : start + size], max_distance)]
            small = np.repeat(sizes <= LARGE, sizes)
            order, key = order[small], key[small]
        for left, right in _same_key(key):
            a, b = order[left], order[right]
            near = np.bitwise_count(unique[a] ^ unique[b]).sum(axis=1) <= max_distance
            yield np.stack([member[a[near]], member[b[near]]])


def _band(hashes: Hashes, band: int, bands: int) -> Indices:
    """[n] a number for what each hash holds in every `bands`-th bit from `band` on."""
    step = 2**16  # hashes, whose bits take 16 MB
    parts = [
        np.packbits(np.unpackbits(hashes[start : start + step].view(np.uint8), axis=1)[:, band::bands], axis=1)
        for start in range(0, len(hashes), step)
    ]
    held = np.concatenate(parts) if parts else np.empty((0, 1), dtype=np.uint8)
    if held.shape[1] >= 8:  # a number of 63 bits holds no more
        return np.unique(held, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    wide = np.zeros((len(held), 8), dtype=np.uint8)
    wide[:, : held.shape[1]] = held
    return wide.view("<i8").reshape(-1)


def _links(hashes: Hashes, places: Indices, max_distance: int) -> Indices:
    """[2, pairs] near pairs that join all of `places` that near pairs join, at most one fewer than there are places.

    A picture is compared with those alone that nothing was near to before.
    """
    found, reached, waiting, held = [np.empty((2, 0), dtype=np.int64)], list[int](), places, hashes[places]
    while len(waiting):
        if not reached:
            reached, waiting, held = [int(waiting[0])], waiting[1:], held[1:]
        one = reached.pop()
        near = np.bitwise_count(held ^ hashes[one]).sum(axis=1) <= max_distance
        if near.any():
            found.append(np.stack([np.full(int(near.sum()), one), waiting[near]]))
            reached += waiting[near].tolist()
            waiting, held = waiting[~near], held[~near]
    return np.concatenate(found, axis=1)


def _same_key(key: Indices) -> Iterator[tuple[Indices, Indices]]:
    """All pairs of places with equal keys in a sorted list, by growing distance of the places."""
    left = np.arange(len(key))
    for step in range(1, len(key)):
        left = left[left + step < len(key)]
        left = left[key[left] == key[left + step]]
        if len(left) == 0:
            return
        yield left, left + step


def _thumbnail(path: Path) -> NDArray[np.float32]:
    """[64, 64] grey levels 0..255; [0] for a file that is no picture to OpenCV."""
    import cv2

    content = np.fromfile(path, dtype=np.uint8)
    try:
        grey = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE) if len(content) else None
    except cv2.error:  # more pixels than OpenCV accepts
        grey = None
    if grey is None:
        return np.empty(0, dtype=np.float32)
    return cv2.resize(grey, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
