"""Stage download: reads the competition's source, writes `input/<comp>/` and its `manifest.json`.

The files are put into a hidden sibling folder that takes the name `input/<comp>` at the very end, so a download
that fails leaves nothing half-written. Raw files are made read-only.
"""

import errno
import shutil
from pathlib import Path
from typing import Any

from foldline.core.competition import Source, load_competition
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.progress import Progress, say
from foldline.core.tables import read_json, sha256_file, write_json
from foldline.sources import fetch
from foldline.sources.archives import files_below, parking

PLACED = "placed"  # the source of files that the user has put into input/<comp> by hand


def download(layout: Layout, comp: str) -> None:
    """Brings the raw files of `comp`; does nothing where a valid manifest of the same source lies there.

    Raises:
        FoldlineError: the source fails, the facts name another source than the files came from, files of the
            manifest are missing, or `input/<comp>` holds files of unknown origin.
    """
    source = load_competition(layout, comp).source
    if is_downloaded(layout, comp, source):
        return
    folder = layout.input(comp)
    if source.kind == PLACED:
        _require_placed(layout, comp)
    else:
        _require_free(layout, comp)
        _bring(source, folder)
    write_manifest(layout, comp, source)


def is_downloaded(layout: Layout, comp: str, source: Source) -> bool:
    """Whether the manifest is there, of this source, and all of its files have their sizes (hashes are not read)."""
    path = layout.manifest(comp)
    if not path.is_file():
        return False
    manifest = read_json(path)
    again = f"rm -r {layout.relative(layout.input(comp))} and run the command again"
    if Source.parse(manifest["source"], where=layout.relative(path)) != source:
        raise FoldlineError(
            f"the files came from another source than the facts name: {manifest['source']['kind']} "
            f"{manifest['source']['name']} {manifest['source']['version']}".rstrip(),
            where=layout.relative(path),
            next=again,
        )
    wrong = [entry["path"] for entry in manifest["files"] if not _has_size(layout.input(comp), entry)]
    if wrong:
        raise FoldlineError(
            f"{len(wrong)} raw files are missing or have another size, {wrong[0]} first",
            where=layout.relative(path),
            next=again,
        )
    return True


def write_manifest(layout: Layout, comp: str, source: Source) -> None:
    """Hashes all raw files, makes them read-only and writes `manifest.json`."""
    folder = layout.input(comp)
    files = [path for path in files_below(folder) if path != layout.manifest(comp)]
    entries = []
    with Progress() as progress:
        for path in progress.over(files, f"hash input/{comp}", total=len(files)):
            path.chmod(0o444)
            name = path.relative_to(folder).as_posix()
            entries.append({"path": name, "bytes": path.stat().st_size, "sha256": sha256_file(path)})
    content = {"schema": 1, "comp": comp, "source": source.model_dump(mode="json"), "files": entries}
    write_json(layout.manifest(comp), content)
    total = sum(path.stat().st_size for path in files)
    say(f"{layout.relative(folder)}: {len(files)} files, {total / 1e6:.1f} MB")


def _has_size(folder: Path, entry: dict[str, Any]) -> bool:
    path = folder / str(entry["path"])
    return path.is_file() and path.stat().st_size == int(entry["bytes"])


def _require_placed(layout: Layout, comp: str) -> None:
    folder = layout.input(comp)
    if not folder.is_dir() or not files_below(folder):
        raise FoldlineError(
            "the facts say that you place the files yourself, and none are there",
            where=layout.relative(folder),
            next=f"copy the files to {layout.relative(folder)} and run the command again",
        )


def _require_free(layout: Layout, comp: str) -> None:
    """`input/<comp>` may hold nothing: what lies there without a manifest is the user's own, and stays."""
    folder = layout.input(comp)
    if folder.is_dir() and any(folder.iterdir()):
        raise FoldlineError(
            "the folder holds files that foldline did not download (there is no manifest.json)",
            where=layout.relative(folder),
            next=f"move them away, or keep them: set source.kind to {PLACED} in the facts",
        )


def _bring(source: Source, folder: Path) -> None:
    """Fetches into a hidden sibling and renames it; a full disk becomes an error with a next step."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        fetch(source, part)
        if not files_below(part):
            raise FoldlineError("the source brought no files", where=f"source {source.kind} {source.name}")
        if folder.is_dir():
            folder.rmdir()
        part.rename(folder)
        shutil.rmtree(parking(part), ignore_errors=True)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise FoldlineError(
            "the disk is full", where=str(folder.parent), next="make room and run the command again"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
