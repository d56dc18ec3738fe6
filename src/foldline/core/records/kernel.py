"""`submissions/<comp>/<name>.kernel/kernel.json`: the state at home of a bundle for a Kaggle notebook.

Built, rehearsed, pushed. Beside it lie the folders `dataset` and `kernel`, which are what is uploaded."""

from pathlib import Path
from typing import Any, ClassVar

from foldline.core.records.record import Part, Record
from foldline.core.tables import sha256_file, sha256_json

DATASET, KERNEL = "dataset", "kernel"  # the folders that Kaggle's client uploads
DATASET_METADATA, KERNEL_METADATA = f"{DATASET}/dataset-metadata.json", f"{KERNEL}/kernel-metadata.json"
NOTEBOOK = f"{KERNEL}/notebook.ipynb"
OWNER = "OWNER"  # stands for the user at Kaggle where nobody has said who that is


class Budget(Part):
    """How long the notebook will take, as forecast.

    Attributes:
        rows: of the hidden test set; rows_from: who says so.
        limit_seconds: that the notebook may take.
        seconds: that it will take, setting up included.
        gpu: whose speed is meant.
        images_per_second: of each member there, of one fold in one view, by run.
    """

    rows: int
    rows_from: str
    limit_seconds: float
    seconds: float
    gpu: str
    images_per_second: dict[str, float]


class Rehearsal(Part):
    """What came of running the bundle here as Kaggle would.

    Attributes:
        passed: whether the file passed the gate and its score is the one expected.
        bundle: the `bundle_sha256` of what was rehearsed.
        time: when, ISO 8601 in UTC.
        seconds: that it took.
        score: of the written file by the competition's metric; expected: by OOF, of the same rows.
        rows: of the hidden test set that was made.
        notes: what was not as at Kaggle, and what went wrong, in words.
    """

    passed: bool
    bundle: str
    time: str
    seconds: float = 0.0
    score: float | None = None
    expected: float | None = None
    rows: int = 0
    notes: list[str] = []


class Pushed(Part):
    """What Kaggle has of it.

    Attributes:
        bundle: the `bundle_sha256` of what was pushed.
        time: when, ISO 8601 in UTC.
        dataset: owner/slug; dataset_version: its number.
        kernel: owner/slug; version: its number, which the competition is handed.
        minutes: that the run took there.
    """

    bundle: str
    time: str
    dataset: str = ""
    dataset_version: int | None = None
    kernel: str = ""
    version: int | None = None
    minutes: float | None = None


class KernelEntry(Record):
    """A bundle.

    Attributes:
        name: of its folder without `.kernel`; members: the runs in it.
        made_from: the hashes of what it was made from; where they differ, it is made anew.
        bundle: the `bundle_sha256` of what was written.
        time: when, ISO 8601 in UTC.
        owner: the user's name at Kaggle, where it is known.
        half: the runs whose weights are in half precision.
        budget: None: the hidden test's size is not known.
        rehearsal: None: not rehearsed; pushed: None: not pushed.
    """

    made_by: ClassVar[str] = "make kernel writes the bundle anew"

    comp: str
    name: str
    members: list[str]
    made_from: dict[str, Any]
    bundle: str
    time: str
    owner: str = ""
    half: list[str] = []
    budget: Budget | None = None
    rehearsal: Rehearsal | None = None
    pushed: Pushed | None = None

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"bundle '{self.name}'"


def bundle_sha256(folder: Path) -> str:
    """One hash of all that is uploaded but for the two files of metadata, which only say whose it is and how it runs.

    Args:
        folder: the bundle's, `<name>.kernel`.
    """
    files = {
        path.relative_to(folder).as_posix(): path for room in (DATASET, KERNEL) for path in (folder / room).rglob("*")
    }
    named = {name: path for name, path in files.items() if name not in (DATASET_METADATA, KERNEL_METADATA)}
    return sha256_json({name: sha256_file(path) for name, path in named.items() if path.is_file()})
