"""The validation rows of a run's folds, each by its own fold's networks: what an honest score is of. Writes nothing."""

import pandas as pd

from foldline.core.predictions import predictions_table
from foldline.engine.finished.networks import Among, FoldNetworks, predict_rows
from foldline.engine.infer import Predictions
from foldline.engine.machine.compiling import Compiling
from foldline.engine.problem import Problem


def predict_frame(
    problem: Problem, folds: list[FoldNetworks], frame: pd.DataFrame, title: str, compiling: Compiling | None = None
) -> Predictions:
    """[folds, rows, outputs] what these folds say of some of the competition's rows, as the run predicts."""
    choices, (whole, among) = problem.run.predict, among_all(problem, frame)
    return predict_rows(
        folds, problem.pictures, problem.cache.rows(whole["image"].tolist()), whole,
        views=choices.views, batch_size=choices.batch_size, title=title, compiling=compiling, among=among,
    )  # fmt: skip


def among_all(problem: Problem, frame: pd.DataFrame) -> tuple[pd.DataFrame, Among | None]:
    """Training or test rows as networks see them: by themselves; or, where entities are answered, all rows and which of
    them are meant: a share of the rows may hold a part of an entity."""
    whole, stacks, wanted = problem.with_stacks(frame)
    return whole, None if stacks is None or wanted is None else Among(stacks, wanted)


def oof_part(problem: Problem, fold: FoldNetworks, compiling: Compiling | None = None) -> pd.DataFrame:
    """The fold's part of the OOF table, predicted now."""
    frame = validation_rows(problem, fold.meta.fold)
    (prob,) = predict_frame(problem, [fold], frame, "validation rows", compiling)
    return oof_table(problem, frame, prob)


def validation_rows(problem: Problem, fold: int) -> pd.DataFrame:
    """The rows of the folds table that the fold is validated on, but for those whose pictures cannot be read."""
    return problem.scored.iloc[problem.own(fold, train=False)]


def oof_table(problem: Problem, frame: pd.DataFrame, prob: Predictions) -> pd.DataFrame:
    """Validation rows with their predictions, as `oof.parquet` holds them."""
    folds = problem.folds
    return predictions_table(frame, prob, folds.task, folds.outputs, keep=oof_columns(problem, frame))


def oof_columns(problem: Problem, frame: pd.DataFrame) -> list[str]:
    """The columns of validation rows that `oof.parquet` holds beside ids and predictions."""
    folds = problem.folds
    known = [column for column in ("fold", "group", "entity") if column in frame.columns]
    return [*known, *folds.task.target_columns(folds.outputs)]
