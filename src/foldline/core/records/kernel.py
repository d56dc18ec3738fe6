"""`submissions/<comp>/<name>.kernel/kernel.json`: the state at home of a bundle for a Kaggle notebook.

Built, rehearsed, pushed. Beside it lie the folders `dataset` and `kernel`, which are what is uploaded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from foldline.core.records.record import Part, Record
from foldline.core.tables import read_json, sha256_file, sha256_json, write_json

DATASET, KERNEL = "dataset", "kernel"  # the folders that Kaggle's client uploads
DATASET_METADATA, KERNEL_METADATA = f"{DATASET}/dataset-metadata.json", f"{KERNEL}/kernel-metadata.json"
NOTEBOOK = f"{KERNEL}/notebook.ipynb"
OWNER = "OWNER"  # stands for the user at Kaggle where nobody has said who that is

State = Literal[
    "begun", "dataset sending", "dataset sent", "dataset ready", "kernel sending", "kernel sent", "kernel failed",
    "kernel complete",
]  # fmt: skip
STATES: tuple[State, ...] = get_args(State)


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
    """What Kaggle has of it, and how far the pushing has come: whoever goes on sends nothing twice.

    Attributes:
        bundle: the `bundle_sha256` of what was pushed.
        time: when it was begun, ISO 8601 in UTC.
        state: one of STATES; a word ending in `sending` is written before Kaggle is called, so that a call whose answer
            is lost is looked for there.
        before: the number of the newest version that Kaggle had of what is being sent; 0: none, None: not known.
        dataset: owner/slug; dataset_version: its number.
        kernel: owner/slug; version: its number, which the competition is handed.
        minutes: that the run took there.
    """

    bundle: str
    time: str
    state: State = "begun"
    before: int | None = None
    dataset: str = ""
    dataset_version: int | None = None
    kernel: str = ""
    version: int | None = None
    minutes: float | None = None

    def reached(self, state: State) -> bool:
        """Whether the pushing has come to this state, or beyond it."""
        return STATES.index(self.state) >= STATES.index(state)


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


def dataset_slug(folder: Path) -> str:
    """What the dataset of a bundle is called at Kaggle, without its owner; its folder there has this name."""
    return str(read_json(folder / DATASET_METADATA)["id"]).rpartition("/")[2]


def code_cells(folder: Path, without: str) -> list[str]:
    """The code of a bundle's notebook, cell by cell, without those that have the tag `without`."""
    cells = read_json(folder / NOTEBOOK)["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    return ["".join(cell["source"]) for cell in code if without not in cell["metadata"].get("tags", [])]


def fill_in_owner(folder: Path, user: Callable[[], str]) -> tuple[str, str]:
    """Writes who the owner is where the two files of metadata leave that open; returns the dataset and the notebook.

    Args:
        folder: the bundle's, `<name>.kernel`.
        user: says who; asked only where it is open.
    """
    dataset, kernel = read_json(folder / DATASET_METADATA), read_json(folder / KERNEL_METADATA)
    refs = [dataset["id"], kernel["id"], *kernel["dataset_sources"]]
    if any(ref.startswith(f"{OWNER}/") for ref in refs):
        name = user()
        refs = [f"{name}/{ref.partition('/')[2]}" if ref.startswith(f"{OWNER}/") else ref for ref in refs]
        write_json(folder / DATASET_METADATA, dataset | {"id": refs[0]})
        write_json(folder / KERNEL_METADATA, kernel | {"id": refs[1], "dataset_sources": refs[2:]})
    return refs[0], refs[1]
