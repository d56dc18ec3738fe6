"""`bundle.json`: what a notebook without network reads beside the project files that lie with it."""

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.paths import Layout
from foldline.core.records.record import Part, Record
from foldline.core.tables import sha256_files
from foldline.core.task import TaskField

KAGGLE_SECONDS = 9 * 3600.0  # what a notebook of a code competition may usually take


class BundleMember(Part):
    """A run that predicts.

    Attributes:
        run: its folder below `project/oof/<comp>`.
        folds: which of its folds take part, by number.
        views: of each picture, in the order in which they are predicted; the last ones are left out first.
        together: the column that names the entity whose pictures it sees together (`model.entity`); empty: it sees
            each picture by itself.
        whole: whether it is heads on frozen features, which see all views through all networks: for time it is left out
            as a whole, or not at all.
    """

    run: str
    folds: list[int] = Field(min_length=1)
    views: list[str] = Field(min_length=1)
    together: str = ""
    whole: bool = False

    @property
    def steps(self) -> tuple[int, int]:
        """So many folds, each in so many views, can be left out one by one."""
        return (1, 1) if self.whole else (len(self.folds), len(self.views))

    @property
    def passes(self) -> int:
        """How often a picture goes through the member where nothing is left out."""
        folds, views = self.steps
        return folds * views


class Bundle(Record):
    """A bundle: everything that decides what the notebook writes.

    Attributes:
        comp: the competition's name in foldline; slug: on Kaggle, empty where it is none of theirs.
        name: of the bundle, and of its submission.
        members: the runs, best first: where the time does not reach, the last ones are left out first.
        blend: how the members are blended (`scoring.blender.ALL_NAMES`); blend_fit: of a fitted blend its weights.
        prior_shift: by which predictions are corrected (`Cv.prior_shift`).
        decision: how labels are decided (`scoring.choose.Choice.record`); None where none are submitted.
        prior: of each output, the mean over the training rows: what a row gets whose picture cannot be read, and that
            the clock left no time for. Classes that exclude each other sum to 1.
        limit_seconds: what the notebook may take, from its first line.
        batch_size: pictures that go through the networks together.
        half: whether the weights are float16; the folds' `meta.json` then holds the hash of these.
        neighbours: so many pictures before and after each one are its channels, too (`data.neighbours` of all members);
            between: the column that names among whose pictures these are, empty where there are none.
        sample: the sample submission, by its path below the competition's folder.
        files: the sha256 of the bundle's other files, by their path beside this file.
    """

    made_by: ClassVar[str] = "make kernel builds the bundle anew"

    comp: str
    slug: str = ""
    name: str
    task: TaskField
    outputs: list[str]
    metric: str
    members: list[BundleMember] = Field(min_length=1)
    blend: str = "mean"
    blend_fit: dict[str, Any] | None = None
    prior_shift: dict[str, Any] | None = None
    decision: dict[str, Any] | None = None
    prior: dict[str, float]
    limit_seconds: float = KAGGLE_SECONDS
    batch_size: int = 64
    half: bool = False
    neighbours: int = 0
    between: str = ""
    sample: str
    files: dict[str, str] = {}

    @property
    def together(self) -> list[str]:
        """The columns that name whose pictures some member sees together."""
        return list(dict.fromkeys(member.together for member in self.members if member.together))

    @staticmethod
    def project(folder: Path) -> Layout:
        """The project folder inside a bundle: `configs/`, `folds/`, `oof/`; nothing can be written there."""
        return Layout(folder / "project")

    def require_files(self, folder: Path) -> None:
        """Raises FoldlineError where a file of the bundle in `folder` is missing or is not what was built."""
        now = sha256_files(folder, self.files)
        changed = [name for name in self.files if self.files[name] != now[name]]
        if changed:
            raise FoldlineError(
                f"{counted(len(changed), 'files of the bundle are')} missing or damaged: {first_few(changed)}",
                where=str(folder),
                next=f"upload the dataset again; or {self.made_by}",
            )
