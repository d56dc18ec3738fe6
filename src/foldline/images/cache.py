"""Every image decoded and resized once, into one uint8 memory map that all folds and runs share.

Reads the raw files and their hashes in `manifest.json`; writes `input/<comp>/.cache/images-<key>.npy`
and `.json`. The key is made of the files' contents and of the size, so that a changed file, another
size or intensity makes another cache. Everything here can be deleted at any time.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.errors import FoldlineError, first_few
from foldline.core.paths import manifest_of
from foldline.core.progress import Progress, say
from foldline.core.records.manifest import Manifest
from foldline.core.records.seal import Seal
from foldline.core.tables import atomic_path, content_key, sha256_json, write_csv
from foldline.images.files.decode import BadImageError, Intensity, Pixels, content_of, decode_bytes, resize

VERSION = 2  # raise it whenever decode or resize gives other pixels


@dataclass(frozen=True)
class ImageCache:
    """Decoded pictures: `pixels` is [images, height, width, channels] uint8, read-only."""

    key: str
    pixels: NDArray[np.uint8]
    position: dict[str, int]
    bad: dict[str, str]

    def rows(self, images: Sequence[str]) -> NDArray[np.int64]:
        """The positions in `pixels` of the named images; [images] int64."""
        return np.array([self.position[name] for name in images], dtype=np.int64)


@dataclass(frozen=True)
class CacheSpec:
    """What a cache holds: which pictures, at which size, how brought to 8 bits."""

    images: tuple[str, ...]
    height: int
    width: int
    channels: int  # of the whole picture, all its files together
    intensity: Intensity = "auto"

    @property
    def bytes(self) -> int:
        """The size of the memory map."""
        return len(self.images) * self.height * self.width * self.channels


def open_cache(
    root: Path,
    folder: Path,
    images: Sequence[str],
    height_width: tuple[int, int],
    channels: int,
    *,
    intensity: Intensity = "auto",
    bad_images: str = "stop",
) -> ImageCache:
    """The cache for `images`; builds it when it is not there.

    Args:
        root: `input/<comp>`, below which the images lie.
        folder: where the cache lies.
        images: paths below `root`; several files joined by `|` are stacked as channels.
        height_width: the size in px.
        channels: of each file: 1 gray, 3 RGB, or as many as it has.
        intensity: how numbers of more than 8 bits become uint8, see `intensity.to_bytes`.
        bad_images: "stop" raises with the list of all bad files; "skip" leaves them black and lists them in `bad`.
    """
    spec = spec_of(images, height_width, channels, intensity)
    hashes = hashes_of(root)
    key = _key(root, spec, hashes)
    path = folder / f"images-{key}.npy"
    seal = Seal.of(path) or Seal.put(path, bad=_build(root, spec, hashes, path))
    _report_bad(seal.bad, bad_images, folder / "bad_images.csv")
    pixels = np.load(path, mmap_mode="r")
    return ImageCache(key, pixels, {name: i for i, name in enumerate(spec.images)}, seal.bad)


def spec_of(
    images: Sequence[str], height_width: tuple[int, int], channels: int, intensity: Intensity = "auto"
) -> CacheSpec:
    """What a cache of these pictures holds; see `open_cache`."""
    return CacheSpec(tuple(sorted(set(images))), *height_width, channels * _files_per_image(images), intensity)


def hashes_of(root: Path) -> dict[str, str]:
    """The sha256 of the raw files below `root`, as far as they are known."""
    path = manifest_of(root)
    return Manifest.hashes_at(path) if path.is_file() else {}


def is_built(root: Path, folder: Path, spec: CacheSpec) -> bool:
    """Whether a cache of these pictures is there; it is not opened, and so not proved to be whole."""
    path = folder / f"images-{_key(root, spec, hashes_of(root))}.npy"
    return path.is_file() and path.with_suffix(".json").is_file()


def _files_per_image(images: Sequence[str]) -> int:
    counts = {image.count("|") + 1: image for image in images}
    if len(counts) > 1:
        examples = ", ".join(f"{count} in '{image}'" for count, image in sorted(counts.items())[:2])
        raise FoldlineError(f"images have different numbers of files: {examples}", next="correct the column image")
    return next(iter(counts), 1)


def _key(root: Path, spec: CacheSpec, hashes: dict[str, str]) -> str:
    content = [[content_key(root, file, hashes) for file in name.split("|")] + [name] for name in spec.images]
    settings = [VERSION, spec.height, spec.width, spec.channels]
    intensity = [] if spec.intensity == "auto" else [spec.intensity]
    return sha256_json([*settings, *intensity, content])[:16]


def _build(root: Path, spec: CacheSpec, hashes: dict[str, str], path: Path) -> dict[str, str]:
    """Writes the memory map; returns the bad images and what is wrong with them."""
    _require_space(path.parent, spec.bytes)
    bad: dict[str, str] = {}
    with atomic_path(path) as temporary:
        shape = (len(spec.images), spec.height, spec.width, spec.channels)
        pixels = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        _take_space(temporary)
        title = f"decoding images to {spec.height} x {spec.width} px"
        with Progress() as progress, ThreadPoolExecutor(os.cpu_count()) as pool:
            results = _in_order(pool, lambda name: load(root, name, spec, hashes), spec.images)
            for i, loaded in enumerate(progress.over(results, title, total=len(spec.images))):
                if isinstance(loaded, str):
                    bad[spec.images[i]] = loaded
                else:
                    pixels[i] = loaded
        pixels.flush()
        del pixels
    return bad


def _in_order(
    pool: ThreadPoolExecutor, load: Callable[[str], Pixels | str], names: Sequence[str], ahead: int = 256
) -> Iterator[Pixels | str]:
    """`pool.map` that holds only `ahead` decoded pictures at a time."""
    for start in range(0, len(names), ahead):
        yield from pool.map(load, names[start : start + ahead])


def load(root: Path, name: str, spec: CacheSpec, hashes: dict[str, str]) -> Pixels | str:
    """[height, width, channels] the resized picture, or what is wrong with it."""
    files = name.split("|")
    try:
        parts = [
            _load_file(root / file, hashes.get(file), spec.channels // len(files), spec.intensity) for file in files
        ]
    except BadImageError as error:
        return str(error)
    return np.concatenate([resize(part, spec.height, spec.width) for part in parts], axis=2)


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


def _require_space(folder: Path, needed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FoldlineError(
            f"the image cache needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free",
            where=str(folder),
            next="free some space, delete old caches in this folder, or choose a smaller data.image_size",
        )


def _report_bad(bad: dict[str, str], policy: str, path: Path) -> None:
    if not bad:
        return
    lines = [f"{name}: {why}" for name, why in bad.items()]
    if policy == "skip":
        say(f"warning: {len(bad)} bad images are left out: {first_few(lines, 3)}")
        return
    write_csv(path, pd.DataFrame(bad.items(), columns=["image", "problem"]))
    raise FoldlineError(
        f"{len(bad)} images cannot be used:\n    " + "\n    ".join(lines[:20]),
        where=f"the whole list: {path}",
        next="mend or download these files again, or leave their rows out with SET=data.bad_images=skip",
    )
