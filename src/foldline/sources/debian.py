"""A package of Debian or Ubuntu, taken for the data in it. Nothing is installed, and no root is needed.

`apt-get download` fetches it as a process of its own and checks its signature, so apt's mirrors and proxies apply.
"""

import re
import shutil
from pathlib import Path

from foldline.core.competition import Source
from foldline.core.errors import FoldlineError
from foldline.core.progress import say
from foldline.core.tables import scratch_folder
from foldline.sources.archives import gunzip_all
from foldline.sources.folder import check_sha256
from foldline.sources.placing import keep_only, unpack_nested
from foldline.sources.tools import UnreachableError, last_line, run_tool

INSTALL = "this source needs Debian or Ubuntu; elsewhere name another one (docs/add-a-competition.md)"
NO_NETWORK = re.compile(
    r"Could not (connect|resolve)|Temporary failure|Unable to connect|Connection (failed|timed out)"
)


def fetch_debian(source: Source, destination: Path) -> None:
    """Unpacks the package `source.name`; `source.keep` names folders of it, such as `[usr/share/datasets/digits]`.

    Debian packs its data once more: with `source.unpack` lone `.gz` files become what they hold, without the ending.
    """
    request = _request(source)
    destination.parent.mkdir(parents=True, exist_ok=True)
    raw = destination.with_name(destination.name + ".raw")
    shutil.rmtree(raw, ignore_errors=True)
    with scratch_folder(destination.parent) as folder:
        package = _download(request, source.sha256, folder)
        try:
            _unpack(package, raw, folder)
            if source.unpack:
                unpack_nested(raw)
                gunzip_all(raw)
            keep_only(raw, source.keep, destination)
        finally:
            shutil.rmtree(raw, ignore_errors=True)


def _download(request: str, sha256: str, folder: Path) -> Path:
    say(f"downloading the package {request} with apt")
    code, output = run_tool(["apt-get", "download", request], folder, install=INSTALL)
    packages = list(folder.glob("*.deb"))
    if code != 0 or len(packages) != 1:
        raise _apt_error(request, output)
    check_sha256(packages[0], sha256)
    return packages[0]


def _unpack(package: Path, raw: Path, folder: Path) -> None:
    """Unpacks below `raw`; the package's links are left out, since they may lead anywhere."""
    code, output = run_tool(["dpkg-deb", "--extract", str(package), str(raw)], folder, install=INSTALL)
    if code != 0:
        raise FoldlineError(f"the package is broken: {last_line(output)}", where=package.name, next="run it again")
    for path in [path for path in raw.rglob("*") if path.is_symlink()]:
        path.unlink()


def _request(source: Source) -> str:
    """`name=version`; refuses what apt could take for an option or a path."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", source.name) or not re.fullmatch(r"([\w][\w.+:~-]*)?", source.version):
        raise FoldlineError(
            f"'{source.name}' is no Debian package, or '{source.version}' no version of one",
            where="source.name",
            next="correct it in the facts",
        )
    return f"{source.name}={source.version}" if source.version else source.name


def _apt_error(request: str, output: str) -> FoldlineError:
    """apt's failure in the user's words."""
    where = f"Debian package {request}"
    last = last_line(output, "E:")
    if "No space left" in output or "enough free space" in output:
        return FoldlineError("the disk is full", where=where, next="make room and run the command again")
    if NO_NETWORK.search(output):
        return UnreachableError(
            f"apt's mirror cannot be reached: {last}", where=where, next="check the network and run the command again"
        )
    if re.search(r"Unable to locate|was not found|No candidate|no installation candidate", output):
        return UnreachableError(
            "apt knows no such package: its lists may be old, or of another distribution",
            where=f"{where}: {last}",
            next="sudo apt-get update, then run the command again; or correct source.name and version",
        )
    return FoldlineError(f"apt could not download it: {last}", where=where)
