"""A bundle on its way to Kaggle: its dataset, its notebook, the run there. Reads and writes `kernel.json`.

Each step is noted there before Kaggle is called and after it has answered, so that whoever goes on sends nothing twice.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.progress import say
from foldline.core.records.kernel import DATASET, KERNEL, KernelEntry, Pushed, fill_in_owner
from foldline.sources.kaggle import POLL_SECONDS, wait_for
from foldline.sources.kaggle_kernels import (
    DatasetState,
    KernelStatus,
    Output,
    dataset_page,
    dataset_state,
    fetch_output,
    kernel_page,
    kernel_status,
    newest_version,
    push_kernel,
    send_dataset,
    user_name,
)

OUTPUT = "output"  # the folder for what the run at Kaggle left
SUBMISSION = "submission.csv"
REPORT = "offline.json"
WANTED = r"^(submission\.csv|offline\.json)$"
GO_ON = "run the same command again: it goes on waiting and sends nothing twice"


class Pushing:
    """A bundle on its way: each step is noted in `kernel.json` before Kaggle is called and after it has answered."""

    def __init__(self, folder: Path, record: KernelEntry, digest: str, poll_seconds: float = POLL_SECONDS) -> None:
        """Goes on with what was begun with these bytes, else begins; fills in who the owner is.

        Args:
            folder: the bundle's, `<name>.kernel`.
            record: its `kernel.json`.
            digest: its `bundle_sha256` of now.
            poll_seconds: the first pause between two looks at Kaggle.
        """
        self.folder, self.record, self.poll_seconds = folder, record, poll_seconds
        dataset, kernel = fill_in_owner(folder, user_name)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        begun = record.pushed if record.pushed and record.pushed.bundle == digest else None
        self.pushed = begun or Pushed(bundle=digest, time=now, dataset=dataset, kernel=kernel)

    def note(self, **fields: Any) -> None:
        """Writes how far it has come."""
        self.pushed = self.pushed.model_copy(update=fields)
        self.record = self.record.model_copy(update={"pushed": self.pushed})
        self.record.write(self.folder / "kernel.json")

    def dataset(self, wait_seconds: float) -> None:
        """Uploads the dataset, unless Kaggle has it, and waits until it can be read."""
        if self.pushed.reached("dataset ready"):
            return
        ref = self.pushed.dataset
        if not (self.pushed.reached("dataset sent") or self._dataset_arrived()):
            there = dataset_state(ref)
            if there is not None and there.status != "ready":  # Kaggle takes no version while it unpacks another
                there = self._wait_for_dataset(wait_seconds, after=None)
            self.note(state="dataset sending", before=0 if there is None else there.version)
            say(f"uploading the dataset {ref}: {_size(self.folder / DATASET)}")
            note = f"{self.record.name} {self.pushed.bundle[:8]}"
            send_dataset(self.folder / DATASET, ref, note, new=there is None)
            self.note(state="dataset sent")
        say(f"waiting for the dataset {dataset_page(ref)}")
        ready = self._wait_for_dataset(wait_seconds, after=self.pushed.before)
        self.note(state="dataset ready", dataset_version=ready.version)

    def _dataset_arrived(self) -> bool:
        """Whether an upload whose answer was lost has made a version."""
        if self.pushed.state != "dataset sending":
            return False
        there = dataset_state(self.pushed.dataset)
        if there is None or there.version is None or self.pushed.before is None:
            return False
        arrived = there.version > self.pushed.before
        if arrived:
            self.note(state="dataset sent")
        return arrived

    def _wait_for_dataset(self, wait_seconds: float, *, after: int | None) -> DatasetState:
        """The dataset, once it is ready in a version later than `after`; None: once Kaggle is done with the last."""
        ref, last = self.pushed.dataset, ["not there yet"]

        def look() -> DatasetState | None:
            there = dataset_state(ref)
            if there is None:
                return None
            last[0] = there.status
            ours = after is None or there.version is None or there.version > after
            return there if ours and there.status in ("ready", "failed", "deleted") else None

        found = wait_for(look, wait_seconds, self.poll_seconds)
        if found is None:
            what = f"the dataset is still being processed after {wait_seconds:.0f} s: {last[0]}"
            raise FoldlineError(what, where=dataset_page(ref), next=GO_ON)
        if found.status != "ready" and after is not None:
            self.note(state="begun")
            raise FoldlineError(
                f"Kaggle could not process the dataset: {found.status}",
                where=dataset_page(ref),
                next="see there; the same command uploads it again",
            )
        return found

    def kernel(self, *, again: bool) -> None:
        """Pushes the notebook, unless Kaggle has it; `again`: also one whose run failed there."""
        ref = self.pushed.kernel
        if self.pushed.state == "kernel failed" and again:
            self.note(state="dataset ready")
        if self.pushed.reached("kernel sent") or self._kernel_arrived():
            return
        self.note(state="kernel sending", before=newest_version(ref))
        push = push_kernel(self.folder / KERNEL, ref)
        say(f"pushed version {push.version} of {kernel_page(push.ref)}, which Kaggle runs now")
        if push.missing:
            self.note(state="dataset ready")
            raise FoldlineError(
                f"the notebook was pushed, but runs without what Kaggle could not give it: {push.missing}",
                where=kernel_page(push.ref),
                next="stop it there; accept the rules, or make the dataset yours; then run the command again",
            )
        self.note(state="kernel sent", kernel=push.ref, version=push.version)

    def _kernel_arrived(self) -> bool:
        """Whether a push whose answer was lost has made a version."""
        if self.pushed.state != "kernel sending" or self.pushed.before is None:
            return False
        newest = newest_version(self.pushed.kernel, self.pushed.before)
        if newest > self.pushed.before:
            self.note(state="kernel sent", version=newest)
        return newest > self.pushed.before

    def wait_for_run(self, wait_seconds: float) -> None:
        """Waits until the notebook has run, and brings what it wrote; a failed one's last lines are shown."""
        ref, version = self.pushed.kernel, self.pushed.version
        if self.pushed.state == "kernel complete":
            return
        assert version is not None
        page = f"{kernel_page(ref)} (version {version})"

        def look() -> KernelStatus | None:
            status = kernel_status(ref, version)
            return status if status and (status.failed or status.status == "complete") else None

        say(f"waiting for the run of {page}")
        status = wait_for(look, wait_seconds, self.poll_seconds)
        if status is None:
            raise FoldlineError(f"the notebook still runs after {wait_seconds:.0f} s", where=page, next=GO_ON)
        output = fetch_output(ref, version, self.folder / OUTPUT, WANTED)
        if status.failed or not (self.folder / OUTPUT / SUBMISSION).is_file():
            self.note(state="kernel failed")
            reason = status.reason or status.status if status.failed else f"it wrote no {SUBMISSION}"
            raise _run_failed(page, reason, output)
        minutes = None if output.seconds is None else round(output.seconds / 60, 1)
        self.note(state="kernel complete", minutes=minutes)
        say("the notebook has run" + ("" if minutes is None else f": {minutes} min"))


def _run_failed(page: str, reason: str, output: Output) -> FoldlineError:
    return FoldlineError(
        f"the notebook failed at Kaggle: {reason}. The last lines of its log:\n{output.last_lines}",
        where=page,
        next="mend what it says, then make kernel and make rehearse; to run this very bundle once more: FORCE=1",
    )


def _size(folder: Path) -> str:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return f"{counted(len(files), 'files')}, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB"
