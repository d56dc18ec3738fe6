"""Which runs are worth having in a soup: taken one by one, the best first, each kept where the score gets better.

Wortsman et al. 2022, "Model soups", https://arxiv.org/abs/2203.05482, with one change: a fold's soup is chosen by the
validation rows of the other folds, so that its own rows have chosen nothing and their score stays honest. Folds may
hold other runs. Reads weights and pictures; writes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.progress import say
from foldline.core.run import Run
from foldline.engine.finished.folder import FinishedRun
from foldline.engine.finished.networks import FoldNetworks, architecture_of, precision_of, ready
from foldline.engine.finished.oof import oof_columns, predict_frame, validation_rows
from foldline.engine.finished.soup import mean_state
from foldline.engine.infer import Predictions
from foldline.engine.loop.checkpoint import load_state
from foldline.engine.problem import Problem
from foldline.models.backbone import build
from foldline.scoring.fitted.target import Target, target_of


def chosen_parts(problem: Problem, runs: Sequence[FinishedRun], choices: Run) -> list[tuple[int, ...]]:
    """Of each fold, in the order of the runs' folds, the places of the runs whose weights are in its soup.

    Raises:
        FoldlineError: there is one fold: no other one's rows can choose.
    """
    folds = len(runs[0].folds)
    if folds < 2:
        raise FoldlineError(
            "a greedy soup of a fold is chosen by the other folds, and there is one",
            where="--greedy",
            next="train more folds, or leave --greedy out",
        )
    tried = _Tried(problem, runs, choices)
    chosen = [tried.greedy([other for other in range(folds) if other != place]) for place in range(folds)]
    for place, own in enumerate(chosen):
        names, fold = ", ".join(runs[i].name for i in own), runs[0].folds[place][1].fold
        say(f"fold {fold}: of {len(runs)} runs the other folds chose {names}")
    say(f"{counted(len(tried.known), 'means')} of weights were tried, each on the validation rows of a fold")
    return chosen


@dataclass
class _Tried:
    """What means of weights say of their folds' validation rows, each predicted once."""

    problem: Problem
    runs: Sequence[FinishedRun]
    choices: Run
    known: dict[tuple[int, tuple[int, ...]], Predictions] = field(default_factory=dict)

    def __post_init__(self) -> None:
        frames = [validation_rows(self.problem, meta.fold) for _, meta in self.runs[0].folds]
        table = pd.concat([frame[["row_id", *oof_columns(self.problem, frame)]] for frame in frames])
        self.frames, self.place = frames, np.repeat(np.arange(len(frames)), [len(frame) for frame in frames])
        folds = self.problem.folds
        self.target: Target = target_of(table.reset_index(drop=True), self.problem.facts, folds.outputs)

    def greedy(self, places: Sequence[int]) -> tuple[int, ...]:
        """The runs that the rows of these folds choose."""
        alone = [self.value(places, (i,)) for i in range(len(self.runs))]
        order = sorted(range(len(self.runs)), key=lambda i: -alone[i])
        chosen: tuple[int, ...] = (order[0],)
        best = alone[order[0]]
        for i in order[1:]:
            together = tuple(sorted((*chosen, i)))
            value = self.value(places, together)
            if value > best:
                chosen, best = together, value
        return chosen

    def value(self, places: Sequence[int], chosen: tuple[int, ...]) -> float:
        """The score of a soup on the rows of some folds, larger is better."""
        said = np.concatenate([self._says(place, chosen) for place in sorted(places)])
        return self.target.where(np.isin(self.place, places)).value(said)

    def _says(self, place: int, chosen: tuple[int, ...]) -> Predictions:
        if (place, chosen) not in self.known:
            base, parts = self.runs[0].folds[place], [self.runs[i].folds[place] for i in chosen]
            (folder, meta), device = base, self.problem.device
            state, _, _ = mean_state(self.problem, base, parts, batch_size=self.choices.predict.batch_size)
            architecture = architecture_of(folder, meta)
            model = build(architecture)
            load_state(model, state)
            network = ready(model.to(device), architecture, precision_of(meta, device))
            (prob,) = predict_frame(
                self.problem, [FoldNetworks(meta, [network], device)], self.frames[place], "validation rows"
            )
            self.known[place, chosen] = prob
        return self.known[place, chosen]
