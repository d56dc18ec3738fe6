"""Pictures are decoded into the files of a cache: shard by shard, each sealed when it is whole.

Reads raw files; writes shards. A shard's bytes do not depend on who makes it, so whoever goes on after a kill does so
with the shards that are whole.
"""

import hashlib
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.progress import Progress, say
from foldline.core.records.framing import AS_USUAL, Framing
from foldline.core.records.seal import Seal
from foldline.core.tables import atomic_path
from foldline.images.files.decode import BadImageError, Intensity, Pixels, content_of, decode_bytes
from foldline.images.framing import framed, framed_mask
from foldline.images.shards import RAW, as_jpeg, write_jpegs

THREADS_ONLY = (
    8  # cores, up to which threads decode as fast: they hold Python's lock for a tenth of the time (scale.md)
)
AHEAD = 256  # decoded pictures that wait
TRIED = 32  # pictures whose JPEGs tell how large all will be
MARKED = 127  # of 255: what is above is the object
LARGE = 1e9  # bytes, from here on what a cache takes is said before it is made


@dataclass(frozen=True)
class CacheSpec:
    """What a cache holds: which pictures, at which size, how brought to it and to 8 bits, and in which form."""

    images: tuple[str, ...]
    height: int
    width: int
    channels: int  # of the whole picture, all its files together
    intensity: Intensity = "auto"
    jpeg: bool = False
    framing: Framing = AS_USUAL
    mask_of: int = 0  # masks, whose file comes last, of pictures with so many channels a file; 0: pictures

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of each picture."""
        return self.height, self.width, self.channels

    @property
    def bytes(self) -> int:
        """Of all pictures, decoded."""
        return len(self.images) * self.height * self.width * self.channels


@dataclass(frozen=True)
class Part:
    """One shard that is to be made.

    Attributes:
        spec: of this shard's pictures alone.
        hashes: the sha256 of their files, as far as they are known.
    """

    root: Path
    path: Path
    spec: CacheSpec
    hashes: Mapping[str, str]


def build(parts: Sequence[Part], *, done: int = 0, processes: int | None = None) -> None:
    """Makes shards, each with its seal.

    Args:
        done: shards that are there already.
        processes: that decode, a shard each; None: by the cores of this machine; 0: threads of this process.

    Raises:
        FoldlineError: the disk is too full.
    """
    _require_space(parts, done)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = (0 if cores <= THREADS_ONLY else cores) if processes is None else processes
    left = list(parts)
    if wanted and len(parts) > 1:
        left = _by_processes(parts, min(wanted, len(parts)))
    for number, part in enumerate(left, 1 + len(parts) - len(left)):
        _by_threads(part, f" (shard {done + number} of {done + len(parts)})" if done + len(parts) > 1 else "")


def _by_threads(part: Part, of_many: str = "") -> None:
    title = f"decoding images to {part.spec.height} x {part.spec.width} px{of_many}"
    with Progress() as progress, ThreadPoolExecutor(os.cpu_count()) as pool:
        names = part.spec.images
        pieces = (names[start : start + AHEAD] for start in range(0, len(names), AHEAD))
        whole = list[str]()
        loaded = (found for piece in pieces for found in pool.map(lambda name: _one(part, name, whole), piece))
        _write(part, progress.over(loaded, title, total=len(names)), whole)


def _by_processes(parts: Sequence[Part], processes: int) -> list[Part]:
    """The parts that are still to be made, because a process ended."""
    height, width, _ = parts[0].spec.shape
    title = (
        f"decoding images to {height} x {width} px by {counted(processes, 'processes')}, "
        f"{counted(len(parts), 'shards')}"
    )
    method = multiprocessing.get_context("spawn")  # a fork would have neither the threads of OpenCV nor those of torch
    pool = ProcessPoolExecutor(processes, mp_context=method, initializer=_begin)
    try:
        with Progress() as progress:
            jobs = as_completed([pool.submit(_alone, part) for part in parts])
            for job in progress.over(jobs, title, total=len(parts)):
                job.result()
    except BrokenProcessPool:
        left = [part for part in parts if Seal.of(part.path) is None]
        say(
            "warning: a process that decodes pictures ended (too little memory?): this one makes "
            f"{counted(len(left), 'shards')}"
        )
        return left
    finally:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        pool.shutdown(cancel_futures=True)
    return []


def _begin() -> None:
    """A process that ends with the one that it works for, whose signals are not meant for it."""
    import cv2

    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _alone(part: Part) -> None:
    """One shard by one thread."""
    whole = list[str]()
    _write(part, (_one(part, name, whole) for name in part.spec.images), whole)


def _one(part: Part, name: str, whole: list[str]) -> Pixels | bytes | str:
    """A picture in the form of the shard, or what is wrong with it.

    Args:
        whole: gets its name where no foreground was found in it.
    """
    picture = load(part.root, name, part.spec, part.hashes, whole.append)
    return picture if isinstance(picture, str) or not part.spec.jpeg else as_jpeg(picture)


def _write(part: Part, loaded: Iterator[Pixels | bytes | str], whole: Sequence[str]) -> None:
    """Writes a shard and its seal; bad pictures are black."""
    names, bad = part.spec.images, dict[str, str]()
    with atomic_path(part.path) as temporary:
        black = np.zeros(part.spec.shape, dtype=np.uint8)
        instead = as_jpeg(black) if part.spec.jpeg else black

        def good() -> Iterator[Any]:
            for name, found in zip(names, loaded, strict=True):
                if isinstance(found, str):
                    bad[name] = found
                yield instead if isinstance(found, str) else found

        if part.spec.jpeg:
            write_jpegs(temporary, good(), part.spec.shape)
        else:
            shape = (len(names), *part.spec.shape)
            pixels = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
            _take_space(temporary)
            for i, picture in enumerate(good()):
                pixels[i] = picture
            pixels.flush()
            del pixels
    Seal.put(part.path, bad=bad, **({"whole": len(whole)} if whole else {}))


def load(
    root: Path, name: str, spec: CacheSpec, hashes: Mapping[str, str], on_whole: Callable[[str], None] | None = None
) -> Pixels | str:
    """[height, width, channels] the picture as the network sees it, or what is wrong with it.

    Args:
        on_whole: called with its name where no foreground was found in it.
    """
    files = name.split("|")
    try:
        if spec.mask_of:
            return _load_mask(root, files, spec, hashes)
        parts = [
            _load_file(root / file, hashes.get(file), spec.channels // len(files), spec.intensity) for file in files
        ]
    except BadImageError as error:
        return str(error)
    picture, whole = framed(parts, spec.height, spec.width, spec.framing)
    if whole and on_whole is not None:
        on_whole(name)
    return picture


def _load_mask(root: Path, files: Sequence[str], spec: CacheSpec, hashes: Mapping[str, str]) -> Pixels:
    """[height, width, 1] 1 where the object is: what the picture's files show, framed as they are.

    Raises:
        BadImageError: a file cannot be read, or they are not all of one size.
    """
    *pictures, own = files
    parts = [_load_file(root / file, hashes.get(file), spec.mask_of, spec.intensity) for file in pictures]
    mask = _load_file(root / own, hashes.get(own), 1, "auto")
    odd = next((part.shape for part in parts if part.shape[:2] != mask.shape[:2]), None)
    if odd is not None:
        sizes = f"{mask.shape[0]} x {mask.shape[1]} px (height x width), its picture {odd[0]} x {odd[1]}"
        raise BadImageError(f"the mask has {sizes}")
    level = MARKED if (mask > MARKED).any() else 0  # files of 0 and 1, or of the numbers of classes
    return framed_mask((mask > level).astype(np.uint8), parts, spec.height, spec.width, spec.framing)


def _load_file(path: Path, sha256: str | None, channels: int, intensity: Intensity) -> Pixels:
    """Decodes one file. Most damaged bytes decode without an error to other pixels: only the hash notices.

    It comes first, because there are decoders that end the whole process on damaged bytes.
    """
    content = content_of(path)
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise BadImageError("the file changed since the download: its sha256 is not the one in manifest.json")
    return decode_bytes(content, channels, intensity)


def _take_space(path: Path) -> None:
    """Gives a file its space on the disk now: a memory map of a disk that fills up ends the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as handle:
            os.posix_fallocate(handle.fileno(), 0, path.stat().st_size)


def _require_space(parts: Sequence[Part], done: int) -> None:
    """Says what a large cache takes; raises FoldlineError where the disk has less."""
    folder = parts[0].path.parent
    folder.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(folder).free, sum(part.spec.bytes for part in parts)
    if parts[0].path.suffix != RAW:
        needed = int(needed * _jpeg_share(parts))
    there = f"; {done} of {done + len(parts)} shards are there" if done else ""
    if needed >= LARGE or done:
        say(f"the image cache takes {needed / 1e9:.1f} GB more, {free / 1e9:.0f} GB are free{there}: {folder}")
    if free < needed:
        smaller = "" if parts[0].spec.jpeg else "data.cache_format=jpeg, "
        raise FoldlineError(
            f"the image cache needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free",
            where=str(folder),
            next=f"free some space, delete old caches in this folder, or choose {smaller}a smaller data.image_size",
        )


def _jpeg_share(parts: Sequence[Part]) -> float:
    """The bytes of JPEGs by those of decoded pictures, by a few pictures of all parts; a tenth is added."""
    names = [(part, name) for part in parts for name in part.spec.images]
    found = [_one(part, name, []) for part, name in names[:: -(-len(names) // TRIED)]]
    sizes = [len(one) for one in found if isinstance(one, bytes)]
    return 1.1 * float(np.mean(sizes)) / float(np.prod(parts[0].spec.shape)) if sizes else 1.0
