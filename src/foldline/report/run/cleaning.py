"""Suspected labels of a run, for a person to decide: `labels.csv` to fill in, and a page with their pictures.

A run and the file as it is in, the file and the page out; writes nothing. What a person has decided stays as it is.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from foldline.core.label_file import COLUMNS
from foldline.core.row_losses import mean_losses
from foldline.report.look import formats
from foldline.report.look.templates import environment
from foldline.report.run import suspects
from foldline.report.run.pictures import Card
from foldline.report.run.reported_run import ReportedRun
from foldline.scoring.label_errors import Suspect

MOST_CARDS = 200  # pictures of the page: about 20 kB each


@dataclass(frozen=True)
class Shown:
    """A suspect with its picture, why it is suspected, and what labels.csv says of it."""

    place: int
    card: Card
    why: str
    decided: str


def filled_in(run: ReportedRun, before: pd.DataFrame | None) -> pd.DataFrame:
    """The lines for `labels.csv`: those that a person decided or wrote in as they are, then what is suspected now, the
    strongest first.

    `label` is what would stand instead, should a person write `relabel`; empty where that cannot be said.

    Args:
        before: the file as it is; None: there is none.
    """
    found = suspects.table(run).assign(loss_rank=[_rank_text(rank) for rank in loss_ranks(run)])
    soft = any(part.soft for part in run.task.parts)
    found = found.assign(action="", label="" if soft else found["predicted"])[COLUMNS]
    if before is None:
        return found
    before = before.fillna("")
    further = [name for name in before.columns if name not in COLUMNS]  # a person's own notes
    before = before.reindex(columns=[*COLUMNS, *further], fill_value="")
    kept = before[(before["action"].str.strip() != "") | touched(before)]
    known = set(zip(kept["row_id"], kept["target"], strict=True))
    new = [pair not in known for pair in zip(found["row_id"], found["target"], strict=True)]
    return pd.concat([kept, found[new]], ignore_index=True).fillna("")


def touched(lines: pd.DataFrame) -> "pd.Series[bool]":
    """[lines] whether a person wrote into a line without deciding it: another label, or a note of their own."""
    further = [name for name in lines.columns if name not in COLUMNS]
    label = (lines["label"].str.strip() != "") & (lines["label"] != lines["predicted"])
    noted = (lines[further] != "").any(axis=1)
    return (lines["action"].str.strip() == "") & (label | noted)


def loss_ranks(run: ReportedRun) -> list[float]:
    """Of each suspect the share of all rows whose loss, the mean over the epochs, is lower; nan where none is known."""
    folders = [run.layout.fold(run.comp, run.run, fold) for fold in run.fold_numbers]
    means = mean_losses(folders, run.oof["row_id"])
    known = np.sort(means[np.isfinite(means)])
    below = np.searchsorted(known, means) / max(len(known), 1)
    return [float(below[one.row]) if np.isfinite(means[one.row]) else np.nan for one in run.suspects]


def _rank_text(rank: float) -> str:
    return "" if np.isnan(rank) else f"{rank:.3f}"


def page(run: ReportedRun, lines: pd.DataFrame, where: str) -> str:
    """The page as HTML.

    Args:
        lines: of `labels.csv`.
        where: the file lies.
    """
    ids = run.oof["row_id"].tolist()
    decided = {
        (row, target): action if action != "relabel" else f"relabel: {label}"
        for row, target, action, label in lines[["row_id", "target", "action", "label"]].itertuples(index=False)
    }

    def said(one: Suspect) -> str:
        return decided.get((ids[one.row], one.target), "")

    ranks = loss_ranks(run)
    shown = [
        Shown(place, suspects.card(run, one), why(run, one, rank), formats.printable(said(one)))
        for place, (one, rank) in enumerate(zip(run.suspects[:MOST_CARDS], ranks, strict=False), 1)
    ]
    rows = len({one.row for one in run.suspects})
    return environment().get_template("cleaning.html").render(
        run=run, shown=shown, total=len(run.suspects), rows=rows, share=rows / max(len(run.truth), 1), where=where,
        decided=int((lines["action"].str.strip() != "").sum()), title=formats.printable(run.facts.title or run.comp),
    )  # fmt: skip


def why(run: ReportedRun, one: Suspect, rank: float = float("nan")) -> str:
    """Why a label is suspected, in words.

    Args:
        rank: the share of all rows whose mean loss over the epochs is lower; nan: not known.
    """
    epochs = "" if np.isnan(rank) else f"; over all epochs a higher loss than {formats.share(rank)} of the rows"
    return formats.printable(_contradiction(run, one)) + epochs


def _contradiction(run: ReportedRun, one: Suspect) -> str:
    for block in run.task.blocks:
        if block.task.single_label and block.name in ("", one.target):
            names, prob = block.outputs(run.outputs), run.predicted[one.row, block.columns]
            given, other = (formats.score(float(prob[names.index(name)]), 2) for name in (one.given, one.predicted))
            return f"{one.predicted} {other}, {one.given} {given}"
    if any(part.label_sets for part in run.task.parts):
        return f"{one.target}: {one.predicted}, not {one.given}; {suspects.strength(run, one)}"
    return f"{formats.score(one.score, 1)} robust deviations off"
