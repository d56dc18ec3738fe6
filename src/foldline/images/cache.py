"""Every image decoded and resized once, into files that all folds and runs share.

Reads the raw files and their hashes in `manifest.json`; writes `input/<comp>/.cache/images-<key>.npy`, or of many
pictures a folder `images-<key>/` of shards, each with a seal (`.json`). The key is made of the files' contents, of the
size and of the form, so that a changed file, another size or intensity makes another cache. Everything here can be
deleted at any time.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core import own_code
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.paths import manifest_of
from foldline.core.processes import in_turn
from foldline.core.progress import say
from foldline.core.records.framing import AS_USUAL, Framing
from foldline.core.records.manifest import Manifest
from foldline.core.records.seal import Seal
from foldline.core.tables import content_key, write_csv
from foldline.images.building import CacheSpec, Part, build
from foldline.images.files.decode import Intensity
from foldline.images.shards import JPEG_QUALITY, JPEGS, RAW, Pictures, Shards

VERSION = 2  # raise it whenever decode or resize gives other pixels
SHARD_BYTES = 2**31  # of decoded pictures in a file; fewer are in one
KEYED = 10_000  # pictures whose content is hashed together
PATIENCE_SECONDS = 86400.0  # while another process makes the cache


@dataclass(frozen=True)
class ImageCache:
    """Decoded pictures: `pixels` is [images, height, width, channels] uint8, read-only, in one file or several."""

    key: str
    pixels: Pictures
    position: dict[str, int]
    bad: dict[str, str]

    def rows(self, images: Sequence[str]) -> NDArray[np.int64]:
        """The positions in `pixels` of the named images; [images] int64."""
        return np.array([self.position[name] for name in images], dtype=np.int64)


def open_cache(
    root: Path,
    folder: Path,
    images: Sequence[str],
    height_width: tuple[int, int],
    channels: int,
    *,
    intensity: Intensity = "auto",
    bad_images: str = "stop",
    form: str = "raw",
    framing: Framing = AS_USUAL,
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
        form: "raw" bytes, or "jpeg": a tenth to a third of the space, other pixels, decoded when they are read.
        framing: what of the pictures is seen, and how it gets the size.

    Raises:
        FoldlineError: bad pictures; too little space; channels that JPEG does not have.
    """
    return opened(root, folder, spec_of(images, height_width, channels, intensity, form, framing), bad_images)


def opened(root: Path, folder: Path, spec: CacheSpec, bad_images: str = "stop") -> ImageCache:
    """The cache of a spec, as `open_cache` opens it."""
    hashes = hashes_of(root)
    key = _key(root, spec, hashes)
    parts = _parts(folder, key, spec)
    if any(Seal.of(path) is None for path in parts):
        with in_turn(folder / f"images-{key}.lock", "the image cache is being made", patience=PATIENCE_SECONDS):
            left = {path: some for path, some in parts.items() if Seal.of(path) is None}
            made = [Part(root, path, some, _hashes_of(some, hashes)) for path, some in left.items()]
            if made:
                build(made, done=len(parts) - len(made))
    seals = [Seal.read(path.with_suffix(".json")) for path in parts]
    bad = {name: why for seal in seals for name, why in seal.bad.items()}
    _remark_whole(sum(seal.whole for seal in seals), spec)
    _report_bad(bad, bad_images, folder / f"bad_{'masks' if spec.mask_of else 'images'}.csv")
    return ImageCache(key, _pixels(parts, spec), {name: i for i, name in enumerate(spec.images)}, bad)


def _pixels(parts: Mapping[Path, CacheSpec], spec: CacheSpec) -> Pictures:
    paths = list(parts)
    if len(paths) == 1 and not spec.jpeg:
        pixels: NDArray[np.uint8] = np.load(paths[0], mmap_mode="r")
        return pixels
    return Shards(paths, [len(some.images) for some in parts.values()], spec.shape)


def _parts(folder: Path, key: str, spec: CacheSpec) -> dict[Path, CacheSpec]:
    """The files of a cache, and what each holds: one, or as many as there are times `SHARD_BYTES`."""
    suffix = JPEGS if spec.jpeg else RAW
    whole = folder / f"images-{key}{suffix}"
    most = max(1, SHARD_BYTES // max(1, spec.height * spec.width * spec.channels))
    if len(spec.images) <= most or whole.is_file():  # which may be of a version without shards
        return {whole: spec}
    starts = range(0, len(spec.images), most)
    names = [f"{number:05d}-of-{len(starts):05d}{suffix}" for number in range(len(starts))]
    return {
        folder / f"images-{key}" / name: replace(spec, images=spec.images[start : start + most])
        for name, start in zip(names, starts, strict=True)
    }


def _hashes_of(spec: CacheSpec, hashes: Mapping[str, str]) -> dict[str, str]:
    """Those of a shard's files, which a process that makes it is told."""
    return {file: hashes[file] for name in spec.images for file in name.split("|") if file in hashes}


def spec_of(
    images: Sequence[str],
    height_width: tuple[int, int],
    channels: int,
    intensity: Intensity = "auto",
    form: str = "raw",
    framing: Framing = AS_USUAL,
) -> CacheSpec:
    """What a cache of these pictures holds; see `open_cache`."""
    together = channels * _files_per_image(images)
    if form == "jpeg" and together not in (1, 3):
        raise FoldlineError(
            f"JPEG has 1 channel or 3, and each picture has {together}",
            where="data.cache_format: jpeg",
            next="use data.cache_format=raw",
        )
    return CacheSpec(tuple(sorted(set(images))), *height_width, together, intensity, form == "jpeg", framing)


def hashes_of(root: Path) -> dict[str, str]:
    """The sha256 of the raw files below `root`, as far as they are known."""
    path = manifest_of(root)
    return Manifest.hashes_at(path) if path.is_file() else {}


def is_built(root: Path, folder: Path, spec: CacheSpec) -> bool:
    """Whether a cache of these pictures is there; it is not opened, and so not proved to be whole."""
    paths = _parts(folder, _key(root, spec, hashes_of(root)), spec)
    return all(path.is_file() and path.with_suffix(".json").is_file() for path in paths)


def _files_per_image(images: Sequence[str]) -> int:
    counts = {image.count("|") + 1: image for image in images}
    if len(counts) > 1:
        examples = ", ".join(f"{count} in '{image}'" for count, image in sorted(counts.items())[:2])
        raise FoldlineError(f"images have different numbers of files: {examples}", next="correct the column image")
    return next(iter(counts), 1)


def _key(root: Path, spec: CacheSpec, hashes: dict[str, str]) -> str:
    """The sha256 of all that the pictures are made of, as JSON that is never in memory as a whole."""
    settings: list[object] = [VERSION, spec.height, spec.width, spec.channels]
    settings += ([] if spec.intensity == "auto" else [spec.intensity]) + ([f"jpeg {JPEG_QUALITY}"] if spec.jpeg else [])
    settings += [] if spec.framing == AS_USUAL else [_framing_key(spec.framing)]
    settings += [f"masks of pictures with {spec.mask_of} channels a file"] if spec.mask_of else []
    hasher, before = hashlib.sha256(f"{_json(settings)[:-1]},[".encode()), ""
    for start in range(0, len(spec.images), KEYED):
        names = spec.images[start : start + KEYED]
        content = [
            [hashes[name], name]
            if name in hashes
            else [*(content_key(root, file, hashes) for file in name.split("|")), name]
            for name in names
        ]
        hasher.update((before + _json(content)[1:-1]).encode())
        before = ","
    hasher.update(b"]]")
    return hasher.hexdigest()[:16]


def _framing_key(framing: Framing) -> dict[str, object]:
    """What of it is not as usual, and the source of the user's own function."""
    source = own_code.sha256(framing.foreground) if own_code.is_own(framing.foreground) else ""
    if source:  # the file may lie elsewhere: its content and the function's name make the pictures
        framing = framing.model_copy(update={"foreground": f"{source}:{framing.foreground.rpartition(':')[2]}"})
    return framing.model_dump(exclude_defaults=True)


def _remark_whole(count: int, spec: CacheSpec) -> None:
    if count:
        say(
            f"note: {count} of {len(spec.images)} pictures have no foreground and stay whole (data.foreground: "
            f"{spec.framing.foreground})"
        )


def _json(content: Sequence[object]) -> str:
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False)


def _report_bad(bad: dict[str, str], policy: str, path: Path) -> None:
    if not bad:
        return
    lines = [f"{name}: {why}" for name, why in bad.items()]
    if policy == "skip":
        say(f"warning: {counted(len(bad), 'bad images are')} left out: {first_few(lines, 3)}")
        return
    write_csv(path, pd.DataFrame(bad.items(), columns=["image", "problem"]))
    masks = path.stem == "bad_masks"
    raise FoldlineError(
        f"{counted(len(bad), 'masks cannot' if masks else 'images cannot')} be used:\n    " + "\n    ".join(lines[:20]),
        where=f"the whole list: {path}",
        next="mend these files, or take them out of the facts' train.mask and make the folds anew"
        if masks
        else "mend or download these files again, or leave their rows out with SET=data.bad_images=skip",
    )
