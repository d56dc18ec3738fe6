"""Stage download: reads the competition's source, writes `input/<comp>/` and its `manifest.json`.

A competition that has no facts yet gets a starter file of them.

The files are put into a hidden sibling folder that takes the name `input/<comp>` at the very end, so a download
that fails leaves nothing half-written. Raw files are made read-only.
"""

import errno
import shutil
from pathlib import Path

from foldline.core.competition import Source, load_competition
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.progress import Progress, say
from foldline.core.records.manifest import Manifest, RawFile
from foldline.core.tables import sha256_file, write_text
from foldline.core.walk import walk
from foldline.core.yaml_models import load_yaml
from foldline.readers.starter import starter_facts
from foldline.sources import PLACED, fetch
from foldline.sources.placing import files_below, parking


def download(layout: Layout, comp: str) -> None:
    """Brings the raw files of `comp`; does nothing where a valid manifest of the same source lies there.

    A competition without facts is taken from Kaggle, and gets a starter `configs/<comp>/competition.yaml`.

    Raises:
        FoldlineError: the source fails, the facts name another source than the files came from, files of the
            manifest are missing, or `input/<comp>` holds files of unknown origin.
    """
    known = layout.competition_config(comp).is_file()
    source = load_competition(layout, comp).source if known else _likely_source(layout, comp)
    if not is_downloaded(layout, comp, source):
        if source.kind == PLACED:
            _require_placed(layout, comp)
        else:
            _require_free(layout, comp)
            source = _bring(source, layout.input(comp))
        write_manifest(layout, comp, source)
    if not known:
        _write_starter(layout, comp, source)


def _likely_source(layout: Layout, comp: str) -> Source:
    """Where the files of a competition without facts come from: its manifest, its folder, else Kaggle."""
    if layout.manifest(comp).is_file():
        where = layout.relative(layout.manifest(comp))
        return Source.parse(Manifest.read(layout.manifest(comp)).source, where=where)
    if layout.input(comp).is_dir() and files_below(layout.input(comp)):
        return Source.model_validate({"kind": PLACED})
    known = sorted(path.parent.name for path in (layout.root / "configs").glob("*/competition.yaml"))
    say(f"there are no facts of '{comp}' (known: {', '.join(known) or 'none'}), so it is looked for on Kaggle")
    return Source.model_validate({"kind": "kaggle", "name": comp})


def _write_starter(layout: Layout, comp: str, source: Source) -> None:
    """Writes a first `competition.yaml` and says that a person must confirm it."""
    path = layout.competition_config(comp)
    write_text(path, starter_facts(layout.input(comp), source))
    facts, where = load_yaml(path), layout.relative(path)
    page = f" ({facts['url']})" if facts["url"] else ""
    say(f"wrote {where} by looking at the files. What to do next:")
    say(f"  1. compare it with the competition's page{page}. Above all: the metric, which nobody can see")
    say(f"     in files ('{facts['metric']}' only fits the task), and the task ('{facts['task']}')")
    say("  2. delete its last line, `unconfirmed`")
    say(f"  3. make folds COMP={comp}, then write a run: docs/add-a-competition.md")


def is_downloaded(layout: Layout, comp: str, source: Source) -> bool:
    """Whether the manifest is there, of this source or its `otherwise`, and all its files have their sizes."""
    path = layout.manifest(comp)
    if not path.is_file():
        return False
    manifest = Manifest.read(path)
    again = f"rm -r {layout.relative(layout.input(comp))} and run the command again"
    if Source.parse(manifest.source, where=layout.relative(path)) not in source.alternatives():
        raise FoldlineError(
            "the files came from another source than the facts name: "
            + " ".join(manifest.source.get(key, "") for key in ("kind", "name", "version")).rstrip(),
            where=layout.relative(path),
            next=again,
        )
    wrong = [file.path for file in manifest.files if not _has_size(layout.input(comp), file)]
    if wrong:
        raise FoldlineError(
            f"{len(wrong)} raw files are missing or have another size, {wrong[0]} first",
            where=layout.relative(path),
            next=again,
        )
    return True


def write_manifest(layout: Layout, comp: str, source: Source) -> None:
    """Hashes all raw files, makes them read-only and writes `manifest.json`.

    What a link leads to outside of the folder is hashed, but stays as writable as it is: it is not ours.
    """
    folder = layout.input(comp)
    home = folder.resolve()
    files = [path for path in files_below(folder) if path != layout.manifest(comp)]
    entries = []
    with Progress() as progress:
        for path in progress.over(files, f"hash input/{comp}", total=len(files)):
            if path.resolve().is_relative_to(home):
                path.chmod(0o444)
            name = path.relative_to(folder).as_posix()
            entries.append(RawFile(path=name, bytes=path.stat().st_size, sha256=sha256_file(path)))
    manifest = Manifest(comp=comp, source=source.model_dump(mode="json"), files=entries)
    manifest.write(layout.manifest(comp))
    total = sum(path.stat().st_size for path in files)
    say(f"{layout.relative(folder)}: {len(files)} files, {total / 1e6:.1f} MB")
    walk(folder).remark(layout.relative(folder))


def _has_size(folder: Path, file: RawFile) -> bool:
    path = folder / file.path
    return path.is_file() and path.stat().st_size == file.bytes


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
    if folder.is_dir() and files_below(folder):
        raise FoldlineError(
            "the folder holds files that foldline did not download (there is no manifest.json)",
            where=layout.relative(folder),
            next=f"move them away, or keep them: set source.kind to {PLACED} in the facts",
        )


def _bring(source: Source, folder: Path) -> Source:
    """Fetches into a hidden sibling and renames it; a full disk becomes an error with a next step.

    Returns:
        The source that served.
    """
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        served = fetch(source, part)
        if not files_below(part):
            raise FoldlineError("the source brought no files", where=f"source {source.kind} {source.name}")
        shutil.rmtree(folder, ignore_errors=True)  # empty, or caches of files that are gone
        part.rename(folder)
        shutil.rmtree(parking(part), ignore_errors=True)
        return served
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise FoldlineError(
            "the disk is full", where=str(folder.parent), next="make room and run the command again"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if parking(part).is_dir() and not any(parking(part).iterdir()):
            parking(part).rmdir()
