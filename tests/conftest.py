"""Every test runs with one thread: two workers with two threads each slow one another down many times."""

import os

from temporary import TEMPORARY  # before anything that makes temporary files

os.environ["TMPDIR"] = TEMPORARY
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["MPLBACKEND"] = "agg"
os.environ["HF_HUB_OFFLINE"] = "1"  # no test may reach a hub
os.environ["COLUMNS"] = "200"
os.environ["FOLDLINE_BY_MAKE"] = "1"  # in the clone messages are as make's

from pathlib import Path

import cv2
import pytest

import contracts
from foldline.core.task import Task
from tiny import TinyProject

cv2.setNumThreads(1)
contracts.install("foldline.engine.losses", "foldline.engine.infer", "foldline.images.mix", "foldline.scoring.metrics")


GPU = os.environ.get("FOLDLINE_GPU", "cuda")  # cpu: tests that need a GPU are rehearsed without one


@pytest.fixture
def gpu() -> str:
    """The device of the tests that are marked gpu."""
    return GPU


@pytest.fixture
def project(tmp_path: Path) -> TinyProject:
    """A project folder with a small generated competition `tiny` and its run `quick`."""
    return TinyProject(tmp_path)


def pytest_make_parametrize_id(val: object) -> str | None:
    """A task stands in the names of tests by its own name."""
    return val.name if isinstance(val, Task) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    for item in marked:
        rehearsed = GPU == "cpu" and "gpu" in getattr(item, "fixturenames", ())
        if not rehearsed and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no CUDA device on this machine"))
