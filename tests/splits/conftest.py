"""Random rows of every task, shared by the tests of this folder."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from foldline.core.task import Task

MakeRows = Callable[..., "tuple[pd.DataFrame, list[str]]"]


def random_rows(task: Task, rows: int = 240, seed: int = 0, groups: int = 0, outputs: int = 4) -> Any:
    """A rows table and its outputs; classes are uneven, groups too, and labels depend on the group."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"row_id": [f"r{i:04d}" for i in range(rows)], "image": [f"i/{i}.png" for i in range(rows)]})
    group = np.minimum((rng.pareto(1.5, rows) * groups / 6).astype(int), groups - 1) if groups else np.arange(rows)
    lean = rng.dirichlet(np.full(outputs, 2.0), size=group.max() + 1)[group]
    names = [f"c{i}" for i in range(outputs)]
    if task.single_label:
        names = names[:2] if task.two_classes else names
        lean = lean[:, : len(names)] / lean[:, : len(names)].sum(axis=1, keepdims=True)
        frame["target"] = [names[rng.choice(len(names), p=p)] for p in lean]
        frame.loc[: 2 * len(names) - 1, "target"] = names * 2  # every class occurs
    elif task.label_sets:
        for i, name in enumerate(names):
            frame[f"target_{name}"] = np.where(rng.random(rows) < lean[:, i] / (1 + i), "1", "0")
    elif task.soft:
        for i, name in enumerate(names):
            frame[f"target_{name}"] = rng.dirichlet(np.full(outputs, 0.7), rows)[:, i].round(4).astype(str)
    else:
        names = [""] if outputs == 1 else names
        for i, name in enumerate(names):
            value = rng.exponential(size=rows) + lean[:, i % lean.shape[1]]
            frame[f"target_{name}" if name else "target"] = value.round(5).astype(str)
    if groups:
        frame["group"] = [f"g{i}" for i in group]
    frame["site"] = rng.choice(["north", "south", "west"], rows, p=[0.6, 0.3, 0.1])
    frame["age"] = rng.integers(20, 90, rows).astype(str)
    return frame, names


@pytest.fixture
def make_rows() -> MakeRows:
    return random_rows
