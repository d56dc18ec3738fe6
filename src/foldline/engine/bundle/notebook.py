"""What Kaggle's client reads: the notebook, `kernel-metadata.json`, `dataset-metadata.json`. Text in, JSON out."""

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from foldline.core.records.kernel import DATASET_METADATA, KERNEL_METADATA, NOTEBOOK, OWNER
from foldline.core.tables import write_json

LONGEST_TITLE = 50  # and at least 6, says Kaggle's client of data sets

# Kaggle's names of its accelerators (github.com/Kaggle/kaggle-cli, docs/kernels.md, 2026-07); P100 is retired there.
SHAPES = {"t4": "NvidiaTeslaT4", "l4": "NvidiaL4", "none": ""}

FIND = """\
import os
import subprocess
import sys
import time
from pathlib import Path

started = time.time()
inputs = Path(os.environ.get("FOLDLINE_INPUTS", "/kaggle/input"))
places = [*inputs.glob("{slug}/bundle.json"), *inputs.glob("datasets/*/{slug}/bundle.json")]
assert places, f"add the data set {slug} to this notebook; in {{inputs}} are {{sorted(os.listdir(inputs))}}"
bundle = places[0].parent
print(bundle)"""

INSTALL = """\
wheels = sorted(str(wheel) for wheel in (bundle / "wheels").glob("*.whl"))
pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
subprocess.run([*pip, *wheels], check=True)
print("installed", *(Path(wheel).name for wheel in wheels))"""

PREDICT = """\
from foldline.stages.offline import offline

offline(bundle, inputs, Path("submission.csv"), started=started)"""

SHOW = """\
with open("submission.csv") as file:
    print("".join(file.readline() for _ in range(5)))"""


@dataclass(frozen=True)
class Names:
    """What the bundle is called at Kaggle: `slug` is what Kaggle makes of `title`.

    Attributes:
        owner: the user's name there, or OWNER.
        competition: its slug; empty: it is none of Kaggle's.
    """

    owner: str
    title: str
    competition: str

    @classmethod
    def of(cls, owner: str, comp: str, name: str, competition: str) -> "Names":
        """The names of a bundle; of a long name, or one that would look like another's, the end is a hash.

        >>> Names.of("", "elpv", "baseline", "elpv").id, Names.of("me", "elpv", "a+b", "elpv").slug
        ('OWNER/foldline-elpv-baseline', 'foldline-elpv-a-b-9c2adf02')
        """
        words = re.sub(r"[^a-z0-9]+", " ", f"foldline {comp} {name}".lower()).strip()
        if len(words) > LONGEST_TITLE or not re.fullmatch("[a-z0-9-]+", name):
            words = f"{words[: LONGEST_TITLE - 9].strip()} {sha256(f'{comp}/{name}'.encode()).hexdigest()[:8]}"
        return cls(owner or OWNER, words, competition)

    @property
    def slug(self) -> str:
        """Of the data set and of the notebook."""
        return self.title.replace(" ", "-")

    @property
    def id(self) -> str:
        """owner/slug."""
        return f"{self.owner}/{self.slug}"


def write_notebook(folder: Path, names: Names, told: str) -> None:
    """Writes the notebook.

    Args:
        folder: the bundle's.
        told: what it holds, in Markdown.
    """
    cells = [
        _cell("markdown", f"# {names.title}\n\n{told}", 0),
        _cell("code", FIND.format(slug=names.slug), 1),
        _cell("code", INSTALL, 2, tags=["install"]),
        _cell("code", PREDICT, 3),
        _cell("code", SHOW, 4),
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    place = folder / NOTEBOOK
    write_json(place, {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def _cell(kind: str, text: str, number: int, tags: list[str] | None = None) -> dict[str, Any]:
    cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {"tags": tags} if tags else {}}
    of_code: dict[str, Any] = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return cell | of_code | {"source": text.splitlines(keepends=True)}


def write_metadata(folder: Path, names: Names, gpu: str, told: str) -> None:
    """Writes the two files that tell Kaggle's client what is uploaded: a private data set, a private notebook.

    Args:
        gpu: an entry of SHAPES.
        told: what the data set holds.
    """
    # Kaggle wants one licence of its list; what the weights may be used for is a matter of their data.
    dataset = {"title": names.title, "id": names.id, "licenses": [{"name": "other"}], "description": told}
    kernel = {
        "id": names.id,
        "title": names.title,
        "code_file": Path(NOTEBOOK).name,
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": gpu != "none",
        "enable_tpu": False,
        "enable_internet": False,
        "machine_shape": SHAPES[gpu],
        "docker_image_pinning_type": "original",  # the packages at the time of the push, at the rerun too
        "dataset_sources": [names.id],
        "competition_sources": [names.competition] if names.competition else [],
        "kernel_sources": [],
        "model_sources": [],
    }
    write_json(folder / DATASET_METADATA, dataset)
    write_json(folder / KERNEL_METADATA, kernel)
