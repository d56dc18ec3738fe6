"""What the networks say of some pictures, fold by fold. Reads the pictures; writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foldline.app.opened import OpenRun
from foldline.app.rows import Names, predicted_names
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.tables import sha256_file
from foldline.core.task import Array
from foldline.engine.finished.networks import mean_of_folds
from foldline.engine.finished.pictures import Source, Spec
from foldline.engine.finished.reading import in_chunks
from foldline.engine.infer import Predictions
from foldline.images.shards import Pixels
from foldline.images.store import PictureStore

MOST_AT_ONCE = 200  # pictures that are dropped together


@dataclass(frozen=True)
class Row:
    """A row of the competition.

    Attributes:
        kind: training or test (`opened.OOF`, `TEST`).
        place: among the rows of this kind.
        fold: whose networks did not see it; None: no fold's did, as of a test row.
        true: its labels; None where they are not known, or not to be shown.
    """

    kind: str
    place: int
    fold: int | None
    true: Names | None


@dataclass(frozen=True)
class Answer:
    """What a run says of one picture.

    Attributes:
        name: of the file, or the row's id.
        files: of the picture.
        problem: why it cannot be read; then there is no prediction.
        folds: the numbers of the folds that were asked.
        by_fold: [folds, outputs] what each says.
        prob: [outputs] the answer: the mean over the folds, but of a training row by its own fold alone.
        names: what is decided; by_fold_names: by each fold.
        row: the competition's row that it is; None of a new picture.
    """

    name: str
    files: tuple[Path, ...]
    problem: str = ""
    folds: tuple[int, ...] = ()
    by_fold: Array = field(default_factory=lambda: np.zeros((0, 0)))
    prob: Array = field(default_factory=lambda: np.zeros(0))
    names: Names = ()
    by_fold_names: tuple[Names, ...] = ()
    row: Row | None = None

    @property
    def fair(self) -> NDArray[np.bool_]:
        """[folds] whether a fold's networks were not trained on this picture."""
        own = None if self.row is None else self.row.fold
        return np.array([own is None or fold == own for fold in self.folds], dtype=np.bool_)

    @property
    def spread(self) -> Array:
        """[outputs] the standard deviation over the folds that did not see it (ddof 1); nan of a single one."""
        values = self.by_fold[self.fair]
        return values.std(axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1:], np.nan)


def ask(run: OpenRun, sources: Sequence[Source]) -> list[Answer]:
    """The answers to new pictures, in their order; one that cannot be read has a problem instead.

    Raises:
        FoldlineError: more pictures than a page can show.
    """
    if len(sources) > MOST_AT_ONCE:
        raise FoldlineError(
            f"{counted(len(sources), 'pictures')} at once are more than the {MOST_AT_ONCE} that this page shows",
            next="drop fewer, or use make predict-files, which takes any number",
        )
    specs = list(dict.fromkeys(member.spec for member in run.model.with_networks))
    answers = []
    for chunk in in_chunks(sources, specs, 32, "skip"):
        good = np.flatnonzero([not problem for problem in chunk.problems]).astype(np.int64)
        folds, values = _by_fold(run, chunk.pixels, good) if len(good) else ((), np.zeros((0, 0, 0)))
        place = dict(zip(good.tolist(), range(len(good)), strict=True))
        for i, problem in enumerate(chunk.problems):
            source = sources[chunk.rows.start + i]
            files = source.content if isinstance(source.content, tuple) else ()
            answer = Answer(Path(source.name).name, files, problem)
            answers.append(answer if problem else _answer(run, answer, folds, values[:, place[i]]))
    return answers


def ask_files(run: OpenRun, files: Sequence[Path]) -> list[Answer]:
    """The answers to files, in their order.

    A file whose content is that of a row's picture is no new one: most networks may know its label. It is that row.
    """
    answers = ask(run, [Source(str(file), (file,)) for file in files])
    known = [
        None if answer.problem else run.row_of(sha256_file(file)) for file, answer in zip(files, answers, strict=True)
    ]
    return [answer if row is None else _of_row(run, answer, *row) for answer, row in zip(answers, known, strict=True)]


def ask_row(run: OpenRun, kind: str, place: int) -> Answer:
    """The answer to one of the competition's rows."""
    rows = run.rows[kind]
    if not rows.images[place]:
        return Answer(rows.ids[place], (), "not in the folds file")
    [answer] = ask(run, [Source(rows.ids[place], run.files(rows.images[place]))])
    return _of_row(run, answer, kind, place)


def _of_row(run: OpenRun, answer: Answer, kind: str, place: int) -> Answer:
    """The answer to a picture as a row's: that of the networks that were not trained on it."""
    rows = run.rows[kind]
    fold = None if rows.folds is None else int(rows.folds[place])
    row = Row(kind, place, fold, None if rows.true is None else rows.true[place])
    answer = replace(answer, name=rows.ids[place], row=row)
    if answer.problem or fold not in answer.folds:
        return answer
    own = answer.folds.index(fold)
    return replace(answer, prob=answer.by_fold[own], names=answer.by_fold_names[own])


def _answer(run: OpenRun, answer: Answer, folds: tuple[int, ...], values: Array) -> Answer:
    prob = mean_of_folds(values.astype(np.float32)[:, None])[0].astype(np.float64)
    names = predicted_names(run.task, np.concatenate([prob[None], values]), run.model.decision)
    return replace(answer, folds=folds, by_fold=values, prob=prob, names=names[0], by_fold_names=tuple(names[1:]))


def _by_fold(run: OpenRun, pixels: dict[Spec, Pixels], good: NDArray[np.int64]) -> tuple[tuple[int, ...], Array]:
    """The folds that all members have, and what each says: [folds, pictures, outputs], blended over the members.

    Where an ensemble blends ranks, the mean stands for them.
    """
    common = [fold for fold in run.first.folds if all(fold in member.folds for member in run.model.with_networks)]
    parts: dict[str, Predictions] = {}
    with run.lock:
        for member in run.model.with_networks:
            store = PictureStore(pixels[member.spec], run.model.device)
            parts[member.run] = run.model.fold_predictions(store, good, member=member, folds=common)
    values = {name: part.astype(np.float64) for name, part in parts.items()}
    if run.blends_ranks:
        return tuple(common), np.mean(list(values.values()), axis=0)
    blended = [run.model.combine({name: part[i] for name, part in values.items()}) for i in range(len(common))]
    return tuple(common), np.stack(blended)
