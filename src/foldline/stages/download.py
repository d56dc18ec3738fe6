"""Stage download: reads the competition's source, writes `input/<comp>/` and its `manifest.json`.

A competition that has no facts yet gets a starter file of them.

    input/.<comp>.part/  is filled  ->  .<comp>.fetched.json  ->  hashed, read-only  ->  renamed to input/<comp>/

Whatever ends the process, the same command goes on: without `.fetched.json` the hidden folder is filled anew, with it
only the rest is done. `input/<comp>` gets its name with the manifest in it, so without one it holds the user's own
files, of which none is ever removed.
"""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from foldline.core.competition import load_competition
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few, nearest
from foldline.core.paths import Layout, is_ours, shipped
from foldline.core.processes import in_turn
from foldline.core.progress import Progress, say
from foldline.core.records.manifest import Fetched, Manifest, RawFile
from foldline.core.schema import HEADS, write_schemas
from foldline.core.source_facts import Source
from foldline.core.tables import sha256_file, write_text
from foldline.core.typed import as_typed
from foldline.core.walk import walk
from foldline.core.yaml_models import load_yaml
from foldline.readers.starter import starter_facts
from foldline.sources import PLACED, fetch
from foldline.sources.folder import changes_since
from foldline.sources.members import is_readable
from foldline.sources.placing import files_below, mend_names, not_copied, parking
from foldline.sources.tools import UnreachableError

DISPOSABLE = (".cache", ".pictures")  # what later stages write below `input/<comp>`
BY_HAND = f"add `otherwise: {{kind: {PLACED}}}` to the source in the facts"


def download(layout: Layout, comp: str, *, refresh: bool = False) -> dict[str, Any]:
    """Brings the raw files of `comp`; does nothing where a valid manifest of the same source lies there, but to say
    where a folder that was copied holds other files now.

    A competition without facts gets those that come with foldline; one that has none there is taken from Kaggle, and
    gets a starter `configs/<comp>/competition.yaml`.

    Args:
        refresh: brings them anew, in place of those that are there.

    Raises:
        FoldlineError: the source fails, the facts name another source than the files came from, files of the
            manifest are missing, or `input/<comp>` holds files of unknown origin, which are never removed.

    Returns:
        The folder, its files and bytes, the facts, and whether these were written now.
    """
    known = layout.competition_config(comp).is_file() or _copy_shipped(layout, comp)
    source = load_competition(layout, comp).source if known else _likely_source(layout, comp)
    place = layout.part(comp).with_suffix(".lock")
    begun = any(path.exists() for path in (place, layout.fetched(comp), layout.part(comp)))
    there = is_downloaded(layout, comp, source)
    if refresh and there:
        with in_turn(place, f"'{comp}' is being downloaded"):
            _get_anew(layout, comp, source)
            _tidy(layout, comp)
    elif begun or not there:
        with in_turn(place, f"'{comp}' is being downloaded"):
            if not is_downloaded(layout, comp, source):
                _get(layout, comp, source)
            _tidy(layout, comp)
    else:
        say_changes(layout, comp)
    if not known:
        path = layout.manifest(comp)
        _write_starter(layout, comp, Source.parse(Manifest.read(path).source, where=layout.relative(path)))
    files = Manifest.read(layout.manifest(comp)).files
    return {
        "comp": comp, "folder": layout.relative(layout.input(comp)), "files": len(files),
        "bytes": sum(file.bytes for file in files), "facts": layout.relative(layout.competition_config(comp)),
        "facts_are_new": not known,
    }  # fmt: skip


def _copy_shipped(layout: Layout, comp: str) -> bool:
    """Copies the facts and runs of `comp` that come with foldline, where there are any and no raw files lie here."""
    source, place = shipped() / comp, layout.competition_config(comp).parent
    begun = layout.fetched(comp).is_file() or layout.input(comp).is_dir()
    if begun or not (source / "competition.yaml").is_file():
        return False
    files = sorted(path for path in source.iterdir() if path.suffix in (".yaml", ".py"))
    for file in sorted(files, key=lambda path: path.name == "competition.yaml"):  # last: it says that all are there
        if not (place / file.name).exists():
            lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
            write_text(place / file.name, "".join(as_typed(line) if line[:1] == "#" else line for line in lines))
    say(f"{layout.relative(place)}/: copied {', '.join(file.name for file in files)}, which come with foldline")
    return True


def _likely_source(layout: Layout, comp: str) -> Source:
    """Where the files of a competition without facts come from: what was fetched, its folder, else Kaggle."""
    fetched, manifest = layout.fetched(comp), layout.manifest(comp)
    if fetched.is_file():
        return Source.parse(Fetched.read(fetched).source, where=layout.relative(fetched))
    if Manifest.is_at(manifest):
        return Source.parse(Manifest.read(manifest).source, where=layout.relative(manifest))
    if layout.input(comp).is_dir() and files_below(layout.input(comp)):
        return Source.model_validate({"kind": PLACED})
    near = nearest(comp, layout.known_comps())
    meant = f" (did you mean {first_few(near)}?)" if near else ""
    say(f"there are no facts of '{comp}'{meant}, so it is looked for on Kaggle")
    return Source.model_validate({"kind": "kaggle", "name": comp})


def write_starter(layout: Layout, comp: str) -> None:
    """Writes the starter of raw files that lie in `input/<comp>`; raises where there are none, or facts already."""
    if layout.competition_config(comp).is_file():
        say(f"{layout.relative(layout.competition_config(comp))} is there already; nothing was written")
        return
    if not (layout.input(comp).is_dir() and files_below(layout.input(comp))):
        raise FoldlineError(
            "there are no raw files to look at",
            where=layout.relative(layout.input(comp)),
            next=f"make download COMP={comp} fetches those of a Kaggle competition; make init PICTURES=<folder>: yours",
        )
    _write_starter(layout, comp, _likely_source(layout, comp))


def _write_starter(layout: Layout, comp: str, source: Source) -> None:
    """Writes a first `competition.yaml` and says that a person must confirm it."""
    path = layout.competition_config(comp)
    write_schemas(layout)
    write_text(path, HEADS["facts"] + starter_facts(layout.input(comp), source))
    facts, where = load_yaml(path), layout.relative(path)
    page = f" ({facts['url']})" if facts["url"] else ""
    say(f"wrote {where} by looking at the files. What to do next:")
    say(f"  1. compare it with the competition's page{page}. Above all: the metric, which nobody can see")
    say(f"     in files ('{facts['metric']}' only fits the task), and the task ('{facts['task']}')")
    say("  2. delete its last line, `unconfirmed`")
    say(f"  3. make folds COMP={comp}, then write a run: docs/add-a-competition.md")


def is_downloaded(layout: Layout, comp: str, source: Source) -> bool:
    """Whether the manifest is there, of this source or its `otherwise`, and all its files have their sizes."""
    path, folder = layout.manifest(comp), layout.input(comp)
    if not Manifest.is_at(path) or not _held(folder):
        return False
    manifest, where = Manifest.read(path), layout.relative(path)
    if manifest.source.get("kind") == PLACED:  # the user's own files
        anew, elsewhere = f"rm {where}", f"move {layout.relative(folder)} away"
    else:
        anew = elsewhere = f"rm -r {layout.relative(folder)}"
    if Source.parse(manifest.source, where=where) not in source.alternatives():
        raise FoldlineError(
            "the files came from another source than the facts name: "
            + " ".join(manifest.source.get(key, "") for key in ("kind", "name", "version")).rstrip(),
            where=where,
            next=f"{elsewhere} and run the command again",
        )
    wrong = [file.path for file in manifest.files if not _has_size(folder, file)]
    if wrong:
        raise FoldlineError(
            f"{counted(len(wrong), 'raw files are')} missing or have another size, {wrong[0]} first",
            where=where,
            next=f"{anew} and run the command again",
        )
    return True


def _held(folder: Path) -> list[str]:
    """What lies in a folder of raw files, but for what later stages wrote; nothing where there is no such folder."""
    return sorted(path.name for path in folder.iterdir() if path.name not in DISPOSABLE) if folder.is_dir() else []


def _has_size(folder: Path, file: RawFile) -> bool:
    path = folder / file.path
    return path.is_file() and path.stat().st_size == file.bytes


def _get(layout: Layout, comp: str, source: Source) -> None:
    """Goes on with a download, takes the files that the user has placed, or fetches them."""
    folder, by_hand = layout.input(comp), [other for other in source.alternatives() if other.kind == PLACED]
    fetched = _fetched(layout, comp, source)
    if by_hand and folder.is_dir() and files_below(folder):
        write_manifest(layout, comp, by_hand[0], folder)
    elif fetched is None and by_hand == source.alternatives():
        raise FoldlineError(
            "the facts say that you place the files yourself, and none are there",
            where=layout.relative(folder),
            next=f"copy the files to {layout.relative(folder)} and run the command again",
        )
    else:
        _require_free(layout, comp)
        fetched = fetched or _bring(layout, comp, source)
        write_manifest(layout, comp, fetched, layout.part(comp))
        for name in DISPOSABLE:
            shutil.rmtree(folder / name, ignore_errors=True)
        if folder.is_dir():
            folder.rmdir()
        layout.part(comp).rename(folder)


def _get_anew(layout: Layout, comp: str, source: Source) -> None:
    """Fetches the files once more and puts them in the place of the copies that are there."""
    folder, where = layout.input(comp), layout.relative(layout.input(comp))
    if Manifest.read(layout.manifest(comp)).source.get("kind") == PLACED or folder.is_symlink():
        raise FoldlineError(
            "these files are your own: they are not copies that could be fetched anew", where=where,
            next=f"rm {layout.relative(layout.manifest(comp))} and run make download COMP={comp}: it reads them again",
        )  # fmt: skip
    if mine := not_copied(
        folder, Manifest.read(layout.manifest(comp)).hashes, {*DISPOSABLE, layout.manifest(comp).name}
    ):
        raise FoldlineError(
            f"{counted(len(mine), 'files are')} no copies that foldline made: {first_few(mine)}", where=where,
            next="move them away, then the same command goes on",
        )  # fmt: skip
    layout.fetched(comp).unlink(missing_ok=True)
    write_manifest(layout, comp, _bring(layout, comp, source), layout.part(comp))
    folder.rename(_replaced(layout, comp))
    layout.part(comp).rename(folder)
    say(f"next: make folds COMP={comp}, which says whether the rows are others now")


def _replaced(layout: Layout, comp: str) -> Path:
    """Where copies go while others take their place; until those are there, the same command goes on."""
    return layout.part(comp).with_suffix(".replaced")


def say_changes(layout: Layout, comp: str) -> None:
    """Says where the folder that the files were copied from holds others now: the copies are used as they are."""
    path = layout.manifest(comp)
    if not Manifest.is_at(path):
        return
    manifest = Manifest.read(path)
    source = Source.parse(manifest.source, where=layout.relative(path))
    if source.kind != "folder":
        return
    words = changes_since(source, {file.path: file.bytes for file in manifest.files}).in_words()
    if words:
        say(f"warning: {source.name} since it was copied to {layout.relative(layout.input(comp))}: {words}")
        say(f"  to take them as they are now: make download COMP={comp} REFRESH=1")


def _fetched(layout: Layout, comp: str, source: Source) -> Source | None:
    """The source of the files that only have to be put in their place, if there are any of this one."""
    path = layout.fetched(comp)
    record = Fetched.read_if_there(path)
    if record is not None and layout.part(comp).is_dir():
        served = Source.parse(record.source, where=layout.relative(path))
        if served in source.alternatives():
            return served
    path.unlink(missing_ok=True)
    return None


def _require_free(layout: Layout, comp: str) -> None:
    """`input/<comp>` may hold nothing but caches: what lies there without a manifest is the user's own, and stays."""
    folder, where = layout.input(comp), layout.relative(layout.input(comp))
    if folder.is_symlink():
        raise FoldlineError(
            "a link lies where the files shall go", where=where, next="remove it, or link the folder above it"
        )
    if held := _held(folder):
        raise FoldlineError(
            f"the folder holds files that foldline did not download (there is no manifest of them): {first_few(held)}",
            where=where,
            next=f"move them away; or, if they are the files of this competition, keep them: {BY_HAND}",
        )


def _bring(layout: Layout, comp: str, source: Source) -> Source:
    """Fetches into the hidden folder, and notes it when all files are there. Archives that are whole stay parked.

    Returns:
        The source that served.
    """
    part = layout.part(comp)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        served = fetch(source, part)
        if not files_below(part):
            raise FoldlineError("the source brought no files", where=f"source {source.kind} {source.name}")
        mend_names(part)
        Fetched(comp=comp, source=served.model_dump(mode="json")).write(layout.fetched(comp))
    except UnreachableError as error:
        error.next += f"; or put its files into {layout.relative(layout.input(comp))} yourself and {BY_HAND}"
        raise
    finally:
        if not layout.fetched(comp).is_file():
            shutil.rmtree(part, ignore_errors=True)
            with suppress(OSError):
                parking(part).rmdir()  # where it is empty
    return served


def _tidy(layout: Layout, comp: str) -> None:
    """Removes what is superfluous once `input/<comp>` has its manifest."""
    shutil.rmtree(parking(layout.part(comp)), ignore_errors=True)
    layout.fetched(comp).unlink(missing_ok=True)
    shutil.rmtree(layout.part(comp), ignore_errors=True)
    shutil.rmtree(_replaced(layout, comp), ignore_errors=True)


def write_manifest(layout: Layout, comp: str, source: Source, folder: Path) -> None:
    """Hashes all raw files in `folder`, makes them read-only and writes their manifest, inside or beside it.

    What a link leads to is hashed, but stays as writable as it is: it is not ours.
    """
    inside, beside = folder / "manifest.json", layout.input(comp).with_name(f"{comp}.manifest.json")
    mine = is_ours(folder) and (Manifest.is_at(inside) or not inside.exists())
    place, home = inside if mine else beside, folder.resolve()
    files = [path for path in files_below(folder) if path != place]
    if odd := [str(path) for path in files if not is_readable(str(path))]:
        raise FoldlineError(
            f"{counted(len(odd), 'file names are')} no UTF-8: {first_few([ascii(name) for name in odd])}",
            where=layout.relative(folder),
            next="rename them (`convmv` does it for many) and run the command again",
        )
    entries = []
    with Progress() as progress:
        for path in progress.over(files, f"hash input/{comp}", total=len(files)):
            if is_ours(folder) and path.resolve().is_relative_to(home):
                with suppress(PermissionError):  # another user's
                    path.chmod(0o444)
            name = path.relative_to(folder).as_posix()
            entries.append(RawFile(path=name, bytes=path.stat().st_size, sha256=sha256_file(path)))
    if place == inside:
        beside.unlink(missing_ok=True)  # of files that are gone
    Manifest(comp=comp, source=source.model_dump(mode="json"), files=entries).write(place)
    say(f"input/{comp}: {counted(len(files), 'files')}, {sum(entry.bytes for entry in entries) / 1e6:.1f} MB")
    walk(folder).remark(f"input/{comp}")
