"""Where everything lies: one method a file, so that no stage spells a path out."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from foldline.core.errors import FoldlineError

USUAL_RUN = "baseline"  # the run that is meant where none is named
LONGEST = 150  # bytes of a name: files are written beside theirs under longer ones, and a file system takes 255


def checked_name(name: str) -> str:
    """The name of a competition, run or search; raises FoldlineError for one that would lead out of its folder.

    >>> checked_name("a+b")
    'a+b'
    """
    if not re.fullmatch(r"[\w+-][\w+.-]*", name) or len(name.encode()) > LONGEST:
        raise FoldlineError(
            f"{name[:60]!r} cannot be the name of a competition, run or search",
            where="COMP, RUN, RUNS, NAME or SEARCH, or the setting that names another run",
            next=f"letters, digits and - _ + . are allowed, a dot not at the start, and at most {LONGEST} bytes",
        )
    return name


def manifest_of(folder: Path) -> Path:
    """The manifest of the raw files in `folder`: inside it, or beside it where it lies there.

    It lies beside where the folder cannot be written to, is a link, or holds a `manifest.json` of the data's own.
    """
    beside = folder.with_name(f"{folder.name}.manifest.json")
    return beside if beside.is_file() else folder / "manifest.json"


def is_ours(folder: Path) -> bool:
    """Whether foldline may write into a folder of raw files: it is no link to somebody's folder, and not read-only."""
    return not folder.is_symlink() and os.access(folder, os.W_OK)


def shipped() -> Path:
    """The facts and runs that come with foldline: inside the installed package; in a clone its own `configs/`."""
    package = Path(__file__).parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parents[1] / "configs"


@dataclass(frozen=True)
class Layout:
    """The paths of one project folder (the one that holds `configs/`, `input/`, `oof/` ...)."""

    root: Path

    def _room(self, room: str, comp: str) -> Path:
        return self.root / room / checked_name(comp)

    def competition_config(self, comp: str) -> Path:
        """The facts: `configs/<comp>/competition.yaml`."""
        return self._room("configs", comp) / "competition.yaml"

    def run_config(self, comp: str, run: str) -> Path:
        """The choices: `configs/<comp>/<run>.yaml`."""
        return self._room("configs", comp) / f"{checked_name(run)}.yaml"

    def run_file(self, comp: str, run: str) -> Path:
        """Where the choices are read from: the competition's own file, else one for all, `configs/<run>.yaml`; else the
        one that comes with foldline."""
        own = self.run_config(comp, run)
        shared = [folder / f"{run}.yaml" for folder in (self.root / "configs", shipped())]
        return next((path for path in (own, *shared) if path.is_file()), own)

    def known_comps(self) -> list[str]:
        """The competitions that have facts in this folder, sorted."""
        return sorted(path.parent.name for path in (self.root / "configs").glob("*/competition.yaml"))

    def usual_comp(self, default: str) -> str:
        """The competition that is meant where none is named: the only one of this folder, else `default`."""
        known = self.known_comps()
        return known[0] if len(known) == 1 else default

    def search_config(self, comp: str, search: str) -> Path:
        """A search over settings: `configs/<comp>/<search>.search.yaml`."""
        return self._room("configs", comp) / f"{checked_name(search)}.search.yaml"

    def input(self, comp: str) -> Path:
        """The raw files: `input/<comp>/`."""
        return self._room("input", comp)

    def manifest(self, comp: str) -> Path:
        """What was downloaded: names, bytes, sha256; see `manifest_of`."""
        return manifest_of(self.input(comp))

    def part(self, comp: str) -> Path:
        """The folder of a download that goes on."""
        return self.root / "input" / f".{checked_name(comp)}.part"

    def fetched(self, comp: str) -> Path:
        """The record that `part` holds all files, and only has to be hashed and renamed."""
        return self.root / "input" / f".{checked_name(comp)}.fetched.json"

    def cache(self, comp: str) -> Path:
        """Decoded images and frozen features: disposable, beside the raw files."""
        folder = self.input(comp)
        return folder / ".cache" if is_ours(folder) or not folder.exists() else self.root / "input" / ".caches" / comp

    def weights_cache(self) -> Path:
        """Pretrained weights fetched from packages, shared by all competitions."""
        return self.root / "input" / ".weights"

    def folds(self, comp: str) -> Path:
        """The training rows with their folds: `folds/<comp>.csv`."""
        return self.root / "folds" / f"{checked_name(comp)}.csv"

    def test_rows(self, comp: str) -> Path:
        """The test rows: `folds/<comp>.test.csv`."""
        return self.root / "folds" / f"{checked_name(comp)}.test.csv"

    def folds_meta(self, comp: str) -> Path:
        """What the folds are: classes, counts, hashes, what the checks found."""
        return self.root / "folds" / f"{checked_name(comp)}.json"

    def holdout_solution(self, comp: str) -> Path:
        """The labels of a `holdout` or of an official test set; only `make score` reads them."""
        return self.root / "folds" / f"{checked_name(comp)}.solution.csv"

    def holdout_sample(self, comp: str) -> Path:
        """The sample submission made where the competition has none."""
        return self.root / "folds" / f"{checked_name(comp)}.sample_submission.csv"

    def runs(self, comp: str) -> Path:
        """The folder of all runs: `oof/<comp>/`."""
        return self._room("oof", comp)

    def explored(self, comp: str) -> Path:
        """The page of a competition before training: `oof/<comp>/explore.html`."""
        return self.runs(comp) / "explore.html"

    def run(self, comp: str, run: str) -> Path:
        """A run's folder: `oof/<comp>/<run>/`."""
        return self.runs(comp) / checked_name(run)

    def fold(self, comp: str, run: str, fold: int) -> Path:
        """One fold's folder: weights, meta, log, validation predictions, resume."""
        return self.run(comp, run) / f"fold_{fold}"

    def progress(self, comp: str, run: str) -> Path:
        """Where a training says how far it is."""
        return self.run(comp, run) / "progress.json"

    def first_score(self, comp: str, run: str) -> Path:
        """The probe's score, before fine-tuning."""
        return self.run(comp, run) / "first_score.json"

    def pause(self, comp: str, run: str) -> Path:
        """An empty file: the training waits as long as it lies there."""
        return self.run(comp, run) / "pause"

    def submission(self, comp: str, name: str) -> Path:
        """`submissions/<comp>/<name>.csv`; the ledger entry is the `.json` beside it."""
        return self._room("submissions", comp) / f"{checked_name(name)}.csv"

    def kernel(self, comp: str, name: str) -> Path:
        """A bundle for a Kaggle notebook: `submissions/<comp>/<name>.kernel/`."""
        return self._room("submissions", comp) / f"{checked_name(name)}.kernel"

    def kernel_entry(self, comp: str, name: str) -> Path:
        """The ledger entry of a bundle: `submissions/<comp>/<name>.kernel.json`, beside its folder."""
        return self.kernel(comp, name).with_name(f"{name}.kernel.json")

    def exports(self, comp: str) -> Path:
        """What of finished runs goes elsewhere: `exports/<comp>/`."""
        return self._room("exports", comp)

    def written(self, comp: str) -> list[Path]:
        """The folders that stages write files into, as far as they are there."""
        inside = [self.input(comp) / ".pictures", self.cache(comp), self.weights_cache(), self.runs(comp)]
        around = [self.root / "input", self.root / "folds", self.submission(comp, "a").parent, self.exports(comp)]
        trained = self.runs(comp).glob("*/")
        return [*around, *inside, *trained, *self.runs(comp).glob("*/fold_*/")]

    def relative(self, path: Path) -> str:
        """A path as people see it: below the project folder, with `/`."""
        try:
            return path.relative_to(self.root).as_posix()
        except ValueError:
            return path.as_posix()
