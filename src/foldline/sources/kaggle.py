"""Kaggle's own client, run as a process of its own: downloads, and the calls that the submit stages need.

The client is not imported: its import signs in, makes a folder and may print. Its failures come as text, and a failed
upload even with exit code 0, so the text is read.
"""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TypeVar

from foldline.core.errors import FoldlineError
from foldline.core.progress import say
from foldline.core.source_facts import Source
from foldline.sources.archives import BrokenError
from foldline.sources.folder import check_sha256
from foldline.sources.placing import parking, unpack_all
from foldline.sources.tools import UnreachableError

SLUG = r"[A-Za-z0-9][A-Za-z0-9_-]*"
SITE = "https://www.kaggle.com"
UPLOAD_FAILED = "Could not submit to competition"
FAILED_ALL_THE_SAME = re.compile(
    rf"{UPLOAD_FAILED}|(Dataset|Dataset version) creation error|Kernel push error"
)  # exit 0
PARTIAL = ".kaggle-partial"  # the client's mark beside an archive that is not whole

# What the client prints -> what is wrong, and what to do next. The first line that fits wins: a broken connection
# may name a URL or a number that looks like another failure. `{page}` is the page of the competition or data set.
FAILURES = (
    (r"No module named '?kaggle", "the Kaggle client is missing", "pip install kaggle six"),
    (r"No space left", "the disk is full", "make room and run the command again; what was downloaded is kept"),
    (
        r"ProxyError|NewConnectionError|NameResolution|Max retries|ConnectTimeout|ReadTimeout|ConnectionError"
        r"|ChunkedEncodingError|IncompleteRead|Connection (aborted|broken|refused|reset)|network is unreachable",
        "Kaggle cannot be reached, or the connection broke",
        "check the network and run the command again; a download goes on where it stopped",
    ),
    (
        r"Authentication required|Unauthenticated|Unauthorized|\b401\b|must authenticate|Could not find kaggle\.json",
        "no valid Kaggle credentials",
        f"make a token at {SITE}/settings/api and put it into ~/.kaggle/access_token, or run `kaggle auth login`",
    ),
    (
        r"(daily|submission)s? (submission )?limit|submissions? (allowed )?(per|a|today)|maximum number of submissions"
        r"|no submissions remaining",
        "Kaggle's daily limit of submissions is reached",
        "submit again after midnight UTC; the file stays where it is",
    ),
    (
        r"only accepts submissions from|notebooks? (submissions )?only|(kernels|code)[- ](only )?competition",
        "the competition takes submissions from notebooks only, not files",
        "make kernel, make rehearse, then make submit KERNEL=1; the notebooks there: {page}/code",
    ),
    (
        r"session count of \d+ reached",
        "as many of your notebooks run at Kaggle as it allows at once",
        f"wait for one to end, or stop one at {SITE}/work, and run the command again",
    ),
    (
        r"(gpu|tpu|accelerator|weekly).{0,60}quota|quota.{0,60}(gpu|tpu|accelerator)|number of hours allowed to use",
        "your week's GPU hours at Kaggle are used up",
        f"run the command again when they are renewed ({SITE}/settings says when), or make kernel without a GPU",
    ),
    (
        r"(storage|disk|private dataset).{0,40}(quota|limit)|(quota|limit).{0,40}(storage|private dataset)",
        "your room for private datasets at Kaggle is full",
        f"delete datasets, or their old versions, at {SITE}/work, and run the command again",
    ),
    (
        r"already in use",
        "Kaggle has another dataset or notebook of that name",
        "give the bundle another NAME: make kernel NAME=...",
    ),
    (
        r"deadline (has )?passed|competition (is |has )?(over|ended|closed|completed)|late submissions?",
        "the competition has ended and takes no more submissions",
        "see {page}/leaderboard",
    ),
    (
        r"phone[- ]verif|verify your (phone|identity|account)|identity verif",
        "Kaggle wants your account verified first",
        f"verify it at {SITE}/settings and run the command again",
    ),
    (
        r"\b429\b|too many requests|throttl|rate limit",
        "Kaggle throttles requests (429)",
        "wait a few minutes, run again",
    ),
    (
        r"\b403\b|accept.{0,40}rules|forbidden|permission|not allowed",
        "Kaggle refuses access (403): most likely the rules are not accepted yet",
        "open {page}/rules in a browser, accept the rules, and run the command again",
    ),
    (r"\b404\b|not found|Could not find", "Kaggle knows no such competition or data set", "correct the name: {page}"),
    (
        f"{UPLOAD_FAILED}|Upload unsuccessful",
        "the upload failed, nothing was submitted",
        "run the command again; the daily slot is not spent",
    ),
    (
        r"\b50[0-4]\b.{0,40}error|problem on Kaggle's side",
        "Kaggle has a fault of its own",
        "run the command again later; see https://status.kaggle.com",
    ),
)
OUT_OF_REACH = (
    "the Kaggle client is missing",
    "Kaggle cannot be reached, or the connection broke",
    "no valid Kaggle credentials",
)
REFUSED = (
    "Kaggle refuses access (403): most likely the rules are not accepted yet",
    "Kaggle knows no such competition or data set",
)
PASSING = (
    "Kaggle cannot be reached, or the connection broke",
    "Kaggle throttles requests (429)",
    "Kaggle has a fault of its own",
)
MOST_FAULTS = 5  # one after the other, that end a wait: a wait of hours outlives a connection that breaks

POLL_SECONDS = 5.0  # between two looks at first; each wait is half as long again, up to a minute
LONGEST_POLL_SECONDS = 60.0
Found = TypeVar("Found")


class RefusedError(FoldlineError):
    """Kaggle's 403 or 404: there is no such thing, or it is not for this user."""


def run_client(arguments: list[str], *, page: str) -> str:
    """What the client prints for one command.

    Args:
        arguments: such as ["competitions", "submissions", "-c", "titanic"].
        page: the page of the competition or data set, for messages.

    Raises:
        FoldlineError: the client failed; the message says why in plain words and holds the client's own last line.
    """
    command = [sys.executable, "-P", "-m", "kaggle", "-W", *arguments]  # -P: nothing in this folder can pose as it
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # noqa: S603 - no shell
        assert process.stdout is not None
        assert process.stderr is not None
        errors: list[bytes] = []
        reader = threading.Thread(target=_pump, args=(process.stderr, errors))
        reader.start()
        try:
            output = process.stdout.read().decode(errors="replace")
        except BaseException:  # Ctrl-C: else the client would go on, and write beside the next one
            process.kill()
            raise
        reader.join()
    error = b"".join(errors).decode(errors="replace")
    if process.returncode != 0 or FAILED_ALL_THE_SAME.search(output):
        raise client_error(f"{output}\n{error}", page=page)
    return output


def _pump(stream: IO[bytes], parts: list[bytes]) -> None:
    """Keeps what the client says, and shows its progress bar where a person watches."""
    while chunk := stream.read1(4096) if hasattr(stream, "read1") else stream.read(1):
        parts.append(chunk)
        if sys.stderr.isatty():
            sys.stderr.write(chunk.decode(errors="replace"))
            sys.stderr.flush()


def client_error(text: str, *, page: str) -> FoldlineError:
    """The client's output as an error in the user's words.

    >>> print(client_error("429 Client Error: Too Many Requests", page="https://www.kaggle.com/c/x"))
    Kaggle throttles requests (429)
      where: https://www.kaggle.com/c/x: 429 Client Error: Too Many Requests
      next:  wait a few minutes, run again
    """
    lines = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip() and "B/s]" not in line]
    last = lines[-1] if lines else "no message"
    for pattern, what, following in FAILURES:
        if re.search(pattern, text, re.IGNORECASE):
            kind = UnreachableError if what in OUT_OF_REACH else RefusedError if what in REFUSED else FoldlineError
            return kind(what, where=f"{page}: {last[:300]}", next=following.format(page=page))
    return FoldlineError(f"the Kaggle client failed: {last[:300]}", where=page)


def wait_for(
    look: Callable[[], Found | None],
    wait_seconds: float,
    poll_seconds: float = POLL_SECONDS,
) -> Found | None:
    """What `look` finds at Kaggle, asked again and again; None where it finds nothing in time.

    Raises:
        FoldlineError: of `look`; a connection that breaks, or a fault of Kaggle's, only when it does not pass.
    """
    faults = 0
    for _ in pauses(wait_seconds, poll_seconds):
        try:
            found = look()
        except FoldlineError as error:
            faults += 1
            if error.what not in PASSING or faults == MOST_FAULTS:
                raise
            continue
        faults = 0
        if found is not None:
            return found
    return None


def pauses(
    wait_seconds: float,
    poll_seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[float]:
    """Yields at once, then after growing pauses, until the time is up."""
    end, pause = clock() + wait_seconds, poll_seconds
    yield 0.0
    while clock() < end:
        sleep(min(pause, max(0.0, end - clock())))
        yield pause
        pause = min(pause * 1.5, LONGEST_POLL_SECONDS)


def competition_page(slug: str) -> str:
    """The page of a competition; raises FoldlineError where the slug is none.

    >>> competition_page("titanic")
    'https://www.kaggle.com/competitions/titanic'
    """
    if not re.fullmatch(SLUG, slug):
        raise FoldlineError(
            f"'{slug}' is no Kaggle competition's name",
            where="source.name",
            next="it is the last part of the address kaggle.com/competitions/NAME",
        )
    return f"{SITE}/competitions/{slug}"


def fetch_kaggle(source: Source, destination: Path) -> None:
    """Downloads all files of the competition `source.name` and unpacks them, nested archives too."""
    page = competition_page(source.name)
    say(f"downloading the competition {source.name} from Kaggle")
    _fetch(["competitions", "download", "-c", source.name], source, destination, page)


def fetch_kaggle_dataset(source: Source, destination: Path) -> None:
    """Downloads the data set `source.name` (owner/name), of version `source.version` where one is given."""
    if not re.fullmatch(f"{SLUG}/{SLUG}", source.name) or not re.fullmatch(r"\d*", source.version):
        raise FoldlineError(
            f"'{source.name}' is no Kaggle data set, or '{source.version}' no version number",
            where="source",
            next="write owner/name, as in the address kaggle.com/datasets/OWNER/NAME",
        )
    say(f"downloading the data set {source.name} from Kaggle")
    name = f"{source.name}/{source.version}" if source.version else source.name
    _fetch(["datasets", "download", name], source, destination, f"{SITE}/datasets/{source.name}")


def _fetch(arguments: list[str], source: Source, destination: Path, page: str) -> None:
    """Runs a download into the parking folder, where a broken one waits for the next try, and unpacks it."""
    parked = parking(destination)
    parked.mkdir(parents=True, exist_ok=True)
    run_client([*arguments, "-p", str(parked)], page=page)
    archive = parked / f"{source.name.rpartition('/')[2]}.zip"
    if not archive.is_file() or archive.with_name(archive.name + PARTIAL).exists():
        raise FoldlineError(
            "the Kaggle client brought no whole archive", where=page, next="run the command again, it goes on"
        )
    check_sha256(archive, source.sha256)
    try:
        unpack_all(archive, destination, keep=source.keep, nested=source.unpack)
    except BrokenError as error:
        if str(archive) == error.where:
            archive.unlink()  # else the next command would take it for whole
        raise
