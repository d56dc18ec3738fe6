"""Datasets and notebooks ("kernels") at Kaggle, by its client: what is there, sending, and what a run left.

A version that Kaggle has is asked for by its number, so that an answer that was lost can be looked for.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from foldline.core.errors import FoldlineError
from foldline.core.replacing import replace_folder
from foldline.core.tables import scratch_folder
from foldline.sources.kaggle import SITE, RefusedError, run_client

NO_VERSION = 1 << 14  # a number that no notebook's version has
LAST_LINES = 15  # of a log, that are shown


def user_name() -> str:
    """The signed-in person's name at Kaggle; raises FoldlineError without credentials."""
    output = run_client(["config", "view"], page=SITE)
    found = re.search(r"^- username: (\S+)", output, re.MULTILINE)
    if found is None or found[1] == "None":
        raise FoldlineError(
            "Kaggle's client does not say who is signed in",
            where=SITE,
            next="set KAGGLE_USERNAME, or run `kaggle auth login`",
        )
    return found[1]


def dataset_page(ref: str) -> str:
    """Where a dataset is seen."""
    return f"{SITE}/datasets/{ref}"


def kernel_page(ref: str) -> str:
    """Where a notebook is seen."""
    return f"{SITE}/code/{ref}"


@dataclass(frozen=True)
class DatasetState:
    """What Kaggle says of a dataset: ready, failed, or a word while it is at work; and its newest version's number."""

    status: str
    version: int | None


def dataset_state(ref: str) -> DatasetState | None:
    """The state of the dataset owner/slug; None where there is none, or it is somebody else's own."""
    try:
        output = run_client(["datasets", "status", ref, "--format", "json"], page=dataset_page(ref))
    except RefusedError:
        return None
    content = json.loads(output[output.index("{") :])
    return DatasetState(content["status"], content["current_version_number"])


def send_dataset(folder: Path, ref: str, note: str, *, new: bool) -> None:
    """Uploads a folder with its `dataset-metadata.json`; folders in it travel as archives, which Kaggle unpacks.

    Args:
        note: what Kaggle shows beside the version; a new dataset has none.
        new: there is no such dataset yet.
    """
    what = ["create"] if new else ["version", f"--message={note}"]
    with _writing(f"the dataset {ref}", folder / "dataset-metadata.json"):
        run_client(["datasets", *what, "-p", str(folder), "--dir-mode", "zip"], page=dataset_page(ref))


@contextmanager
def _writing(what: str, metadata: Path) -> Iterator[None]:
    """Says of a refusal that it is about whose the thing is."""
    try:
        yield
    except RefusedError as error:
        raise FoldlineError(
            f"you may not write {what} at Kaggle",
            where=error.where,
            next=f"is it yours? its owner stands in {metadata.parent.name}/{metadata.name}; `kaggle config view` says "
            "who you are",
        ) from error


def newest_version(ref: str, known: int = 0) -> int:
    """The number of the newest version of the notebook owner/slug; 0: there is none.

    Args:
        known: a version that there is.

    Raises:
        FoldlineError: a client of before, which does not heed the number.
    """
    low, high = known, known + 1
    while kernel_status(ref, high) is not None:
        if high > NO_VERSION:
            raise FoldlineError(
                "Kaggle's client does not tell a notebook's versions apart",
                where=kernel_page(ref),
                next="pip install --upgrade kaggle",
            )
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if kernel_status(ref, middle) is not None else (low, middle)
    return low


@dataclass(frozen=True)
class Push:
    """A notebook that was pushed: owner/slug as Kaggle has it, the version, and what Kaggle could not add to it."""

    ref: str
    version: int
    missing: str


def push_kernel(folder: Path, ref: str) -> Push:
    """Sends a notebook with its `kernel-metadata.json`, which Kaggle runs at once."""
    with _writing(f"the notebook {ref}", folder / "kernel-metadata.json"):
        output = run_client(["kernels", "push", "-p", str(folder)], page=kernel_page(ref))
    version = re.search(r"Kernel version (\d+) successfully", output)
    if version is None:
        raise FoldlineError(f"the Kaggle client names no version: {output.strip()[-300:]}", where=kernel_page(ref))
    place = re.search(r"https?://\S+?/code/([^/\s]+/[^/\s?]+)", output)
    missing = re.findall(r"not valid (?:dataset|competition) sources and could not be added.*?: (.*)", output)
    return Push(place[1] if place else ref, int(version[1]), ", ".join(missing))


@dataclass(frozen=True)
class KernelStatus:
    """How a version's run stands: queued, running, complete, error, cancel_acknowledged ...; and why it failed."""

    status: str
    reason: str

    @property
    def failed(self) -> bool:
        """Whether it has ended without success."""
        return self.status == "error" or self.status.startswith("cancel")


def kernel_status(ref: str, version: int) -> KernelStatus | None:
    """How the run of a version stands; None where there is no such version."""
    try:
        output = run_client(["kernels", "status", f"{ref}/{version}"], page=kernel_page(ref))
    except RefusedError:
        return None
    status = re.search(r'has status "(?:\w+\.)?(\w+)"', output)
    reason = re.search(r'Failure message: "(.*)"', output, re.DOTALL)
    if status is None:
        raise FoldlineError(f"the Kaggle client names no status: {output.strip()[-300:]}", where=kernel_page(ref))
    return KernelStatus(status[1].lower(), " ".join(reason[1].split()) if reason else "")


@dataclass(frozen=True)
class Output:
    """What a run left: the lines that it printed, and how long it took, as its log says."""

    lines: list[str] = field(default_factory=list)
    seconds: float | None = None

    @property
    def last_lines(self) -> str:
        """The end of the log, for a person."""
        return "\n".join(f"    {line[:200]}" for line in self.lines[-LAST_LINES:]) or "    (no log)"


def fetch_output(ref: str, version: int, folder: Path, pattern: str) -> Output:
    """Brings the files of a run whose names fit a pattern, in place of those of a run before, and reads its log."""
    slug = ref.partition("/")[2]
    with scratch_folder(folder.parent, folder.name) as scratch:  # the client writes in place
        arguments = ["kernels", "output", f"{ref}/{version}", "-p", str(scratch), "--file-pattern", pattern]
        run_client([*arguments, "--force", "--page-size", "200"], page=kernel_page(ref))
        log = scratch / f"{slug}.log"
        text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
        replace_folder(scratch, folder)
    return read_log(text)


def read_log(text: str) -> Output:
    """A notebook's log: a JSON list of what it printed and when, or plain lines.

    >>> read_log('[{"stream_name": "stdout", "time": 2.5, "data": "a\\\\nb\\\\n"}]')
    Output(lines=['a', 'b'], seconds=2.5)
    """
    try:
        events = [event for event in json.loads(text) if isinstance(event, dict)]
    except (ValueError, TypeError):
        return Output([line for line in text.splitlines() if line.strip()])
    printed = "".join(str(event.get("data", "")) for event in events)
    times = [event["time"] for event in events if isinstance(event.get("time"), int | float)]
    return Output([line for line in printed.splitlines() if line.strip()], max(times, default=None))
