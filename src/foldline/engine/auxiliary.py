"""Columns that are learnt beside the target and never predicted (`loss.auxiliary`): age or site from the same features.

A linear head on what reaches the classifier has a loss of its own in training; it is no part of the network, so
nothing after training knows of it. Reads and writes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from foldline.core.errors import FoldlineError, refuse_together
from foldline.core.run import Run
from foldline.models.metadata import Column, fit_encoding

WHERE = "loss.auxiliary"
NOTHING = "(nothing is learnt of it)"


@dataclass(frozen=True)
class Auxiliary:
    """What is learnt beside the target.

    Attributes:
        columns: each a number, standardised by the fold's training rows, or a word.
        weights: of each one's loss; the target's own has 1.
        table: [training rows, columns] float32: the number, or the word's place; nan where a row has none.
    """

    columns: tuple[Column, ...]
    weights: tuple[float, ...]
    table: NDArray[np.float32]

    @classmethod
    def of(cls, weights: Mapping[str, float], rows: pd.DataFrame, learnt: pd.DataFrame, ids: list[str]) -> "Auxiliary":
        """Of the rows that a fold trains on.

        Args:
            rows: all of the competition's; they say whether a column holds numbers or words.
            learnt: those that the fold trains on, and further ones that have some of these columns.
            ids: the fold's training rows in their order; one that `learnt` has not, has no such target.

        Raises:
            FoldlineError: no such column of `train.metadata`.
        """
        encoding = fit_encoding(rows, list(weights), where=WHERE)
        known = learnt.set_index("row_id").reindex(columns=list(weights)).fillna("")  # further rows may lack a column
        columns, table = encoding.fitted_on(known).columns, known.reindex(ids, fill_value="")
        cells = [_targets(column, table[column.name]) for column in columns]
        return cls(columns, tuple(weights.values()), np.stack(cells, axis=1))

    @property
    def sizes(self) -> list[int]:
        """How many outputs each column has."""
        return [1 if column.kind == "number" else len(column.words) for column in self.columns]

    def in_words(self) -> str:
        """What is learnt, of how many rows."""
        known = []
        for column, cells in zip(self.columns, self.table.T, strict=True):
            there = cells[np.isfinite(cells)]
            same = " that are all the same," if len(there) else ""
            nothing = f"{same} {NOTHING}" if len(np.unique(there)) < 2 else ""
            known.append(f"{column.name} of {len(there)}{nothing}")
        return f"{', '.join(known)} of {len(self.table)} rows"


def _targets(column: Column, cells: "pd.Series[str]") -> NDArray[np.float32]:
    """[rows] the standardised number, or the place of the word; nan where there is none, or a rare word."""
    values = column.as_numbers(cells)
    if column.kind == "number":
        return ((values - column.mean) / column.std).astype(np.float32)
    missing = column.words.index("") if "" in column.words else -1
    return np.where((values < 0) | (values == missing), np.nan, values).astype(np.float32)


def require_auxiliary(run: Run, ranks: int = 1) -> None:
    """Raises FoldlineError for what does not go together with auxiliary targets."""
    if not run.loss.auxiliary:
        return
    refused = {
        "augment.mix": (run.augment.mix.name != "none", "joined pictures have no number or word of their own"),
        "model.entity": (run.model.entity.name != "none", "they are of each picture, the features of an entity"),
        "model.metadata": (
            bool(set(run.model.metadata) & run.loss.auxiliary.keys()),
            "what the head sees beside the picture is learnt from there, and nothing from the picture",
        ),
        "train.compile": (run.train.compile != "off", "they look into the network while it runs"),
        "--ranks": (ranks > 1, "their head is in no process but one"),
    }
    refuse_together(WHERE, refused)


class AuxiliaryHead:
    """The head that learns them, from what reached the network's classifier last.

    Args:
        model: whose features they are learnt from.
        seed: of the head's first weights.
    """

    def __init__(self, auxiliary: Auxiliary, model: nn.Module, device: torch.device, seed: int) -> None:
        last: nn.Module = model.get_classifier()  # type: ignore[operator]
        width = next((one.shape[1] for one in last.parameters() if one.ndim == 2), 0)
        if not width:
            raise FoldlineError(
                f"the classifier of this backbone is a {type(last).__name__}, whose features are not known",
                where=WHERE,
                next="leave it out, or choose another backbone",
            )
        torch.manual_seed(seed)
        self.auxiliary, self.head = auxiliary, nn.Linear(width, sum(auxiliary.sizes)).to(device)
        self.table = torch.from_numpy(auxiliary.table)
        self._features: Tensor | None = None
        last.register_forward_pre_hook(self._seen)

    def _seen(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if module.training:
            self._features = inputs[0]

    def loss(self, target: Tensor) -> Tensor:
        """Of the pictures that went through the network last; rows without a target count as 0.

        Args:
            target: [batch, columns], as `Auxiliary.table`.
        """
        assert self._features is not None
        outputs: Tensor = self.head(self._features.float().flatten(1))
        self._features = None
        total: Tensor = outputs.new_zeros(())
        parts = torch.split(outputs, self.auxiliary.sizes, dim=1)
        for column, weight, part, wanted in zip(
            self.auxiliary.columns, self.auxiliary.weights, parts, target.unbind(1), strict=True
        ):
            known = torch.isfinite(wanted)
            safe = wanted.nan_to_num()
            if column.kind == "number":
                loss = (part[:, 0] - safe) ** 2
            else:
                loss = F.cross_entropy(part, safe.long(), reduction="none")
            total = total + weight * (loss * known).mean()
        return total
