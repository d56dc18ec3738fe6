"""Several pictures, one answer: which rows are an entity's pictures, what is answered of them, and what cannot work.

Reads and writes nothing.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.cells import is_missing
from foldline.core.competition import Competition
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.folds import Folds
from foldline.core.progress import say
from foldline.core.run import Run, Sampling
from foldline.core.task import Array, Task
from foldline.images.stacks import Stacks, with_neighbours

ORDERED = ("transformer", "gru")  # heads that mean something only where pictures have an order
ALL = "all"  # of `model.entity.options.per_picture`
MANY_PICTURES = 512  # a step, from here on what would be fewer is said


def stacks_of(frame: pd.DataFrame, run: Run, bad: NDArray[np.bool_] | None = None) -> Stacks | None:
    """The rows as stacks; None where the network sees each row by itself.

    Args:
        bad: the rows whose picture cannot be read.
    """
    if run.model.entity.name == "none":
        return None
    column = run.model.entity.options["by"]
    _require_column(frame, column, "model.entity")
    return Stacks.of(entity_names(frame, column).tolist(), _order(frame), bad)


def together_by(run: Run) -> str:
    """The column that names whose pictures the network sees together (`model.entity`); empty: each by itself."""
    return "" if run.model.entity.name == "none" else str(run.model.entity.options["by"])


def between_by(run: Run, columns: Sequence[str]) -> str:
    """The column that names among whose pictures each has its neighbours (`data.neighbours`); empty: it has none.

    Args:
        columns: of the rows.
    """
    if not run.data.neighbours:
        return ""
    return together_by(run) or ("entity" if "entity" in columns else "group")


def named_apart(frame: pd.DataFrame, run: Run) -> pd.DataFrame:
    """Test rows that are trained on, whose entities may have names that training rows have too."""
    if run.model.entity.name == "none":
        return frame
    column = run.model.entity.options["by"]
    return frame.assign(**{column: "test rows, " + entity_names(frame, column).astype(str)})


def step_in_words(stacks: Stacks, run: Run, batch_size: int) -> str:
    """How many pictures the entities of a training have, and how many a step sees."""
    sizes, most = stacks.sizes, run.model.entity.options["pictures"]
    few, many = int(sizes.min()), int(sizes.max())
    each, entities = min(many, most) if most else many, min(batch_size, len(stacks))
    words = f"{counted(len(stacks), 'entities')} of {few} to {many} pictures; a step sees up to {entities} x {each}"
    if entities * each > MANY_PICTURES and each > 1:
        words += (
            f" = {counted(entities * each, 'pictures')}: model.entity.options.pictures, train.batch_size make it fewer"
        )
    return words


def entity_names(frame: pd.DataFrame, column: str) -> "pd.Series[str]":
    """[rows] the entity of each. A row of which it is not known stands alone, as one without a group does in folds."""
    cells = frame[column]
    unknown = is_missing(cells)
    if column == "entity" or not unknown.any():
        return cells
    return cells.mask(unknown, "a row alone: " + frame["row_id"].astype(str))


def _require_own(facts: Competition, by: str, where: str) -> None:
    """Raises FoldlineError where the column `group` names more than who belongs together."""
    joined = {
        "folds.group_duplicates": (facts.folds.group_duplicates, "pictures that look the same"),
        "folds.splitter: open_set": (facts.folds.splitter == "open_set", "all pictures of some classes"),
    }
    for setting, (given, what) in joined.items():
        if given and by == "group":
            raise FoldlineError(
                f"the folds' groups are no entities: by {setting} they hold {what} together too",
                where=where,
                next="name the column in train.metadata and test.metadata too, make the folds anew, and set "
                "model.entity.options.by to it (or name it train.entity, where the submission has a line for each)",
            )


def _remark(frame: pd.DataFrame, by: str, what: str, *, ordered: bool) -> None:
    """Says which rows stand alone, and which have one place with others."""
    unknown = by != "entity" and is_missing(frame[by])
    if np.any(unknown):
        say(f"warning: {counted(int(np.sum(unknown)), f'{what} have')} no '{by}': each is an entity of its own")
    if not (ordered and "order" in frame.columns):
        return
    alike = pd.DataFrame({"name": entity_names(frame, by), "order": frame["order"].str.strip()}).duplicated(keep=False)
    if alike.any():
        named = first_few(list(dict.fromkeys(frame.loc[alike, by])), 3)
        say(
            f"warning: {counted(int(alike.sum()), f'{what} have')} one place in the column order with others of "
            f"their entity ({named}): these stand by row_id"
        )


def _order(frame: pd.DataFrame) -> "pd.Series[str] | None":
    return frame["order"] if "order" in frame.columns else None


def _require_column(frame: pd.DataFrame, column: str, where: str) -> None:
    if column not in frame.columns:
        raise FoldlineError(
            f"the rows have no column '{column}', which names the entity that a picture belongs to",
            where=where,
            next="name it in the facts (train.entity and test.entity, or metadata) and make the folds anew; or set "
            "model.entity.options.by to a column that there is",
        )


def per_picture(run: Run, task: Task, outputs: Sequence[str], logits: int) -> list[bool]:
    """Of each logit, whether it is each picture's own; empty: all are the entity's.

    Raises:
        FoldlineError: an unknown target, or one of several whose logits are no outputs.
    """
    chosen = run.model.entity.options.get("per_picture", "")
    if not chosen or run.model.entity.name == "none":
        return []
    if chosen == ALL:
        return [True] * logits
    own = _named(chosen, task)
    if logits != len(outputs):
        raise FoldlineError(
            f"this loss has {counted(logits, 'logits')} for {counted(len(outputs), 'outputs')}, which cannot be "
            "told apart by target",
            where="model.entity.options.per_picture, loss.name",
            next="take loss.name: auto, or per_picture: all",
        )
    result = np.zeros(logits, dtype=bool)
    for block in task.blocks:
        result[block.columns] = block.name in own
    return [bool(value) for value in result]


def _named(chosen: str, task: Task) -> set[str]:
    own, known = set(chosen.replace(",", " ").split()), [name for name, _ in task.targets]
    if own - set(known):
        raise FoldlineError(
            f"there is no target {first_few(sorted(own - set(known)))}",
            where="model.entity.options.per_picture",
            next=f"give '{ALL}'" + (f", or some of: {', '.join(known)}" if known else ": there is one target"),
        )
    return own


def neighboured(folds: Folds, extra: pd.DataFrame, run: Run, facts: Competition) -> tuple[Folds, pd.DataFrame]:
    """The rows with each picture between its neighbours (`data.neighbours`), as files that are stacked as channels."""
    count = run.data.neighbours
    if not count:
        return folds, extra
    by = between_by(run, list(folds.frame.columns))
    _require_own(facts, by, "data.neighbours")
    rows = {"training rows": folds.frame, "test rows": folds.test, "extra rows": extra}
    frame, test, more = (_between(part, by, count, what) for what, part in rows.items())
    say(
        f"data.neighbours: {counted(2 * count + 1, 'pictures')} of the same {by} are each row's channels, by the "
        "column order"
    )
    return replace(folds, frame=frame, test=test), more


def _between(frame: pd.DataFrame, by: str, count: int, what: str) -> pd.DataFrame:
    if not len(frame):
        return frame
    _require_column(frame, by, "data.neighbours")
    _require_order(frame, "data.neighbours")
    _remark(frame, by, what, ordered=True)
    return between(frame, by, count)


def between(frame: pd.DataFrame, by: str, count: int) -> pd.DataFrame:
    """Rows with each picture's files between those of its neighbours, by all rows: whether they can be read is not
    known yet, and a row of which one file cannot be read cannot be seen, here and wherever rows are predicted."""
    stacks = Stacks.of(entity_names(frame, by).tolist(), _order(frame))
    return frame.assign(image=with_neighbours(frame["image"].tolist(), stacks, count))


def _require_order(frame: pd.DataFrame, where: str) -> None:
    if "order" not in frame.columns:
        raise FoldlineError(
            "the pictures of an entity have no order: the rows have no column 'order'",
            where=where,
            next="name it in the facts (train.order and test.order) and make the folds anew",
        )


def require_entities(run: Run, facts: Competition, folds: Folds, extra: pd.DataFrame, truth: Array) -> None:
    """Raises FoldlineError for rows that are no pictures of entities, and for what excludes a head over them.

    Args:
        truth: of all training rows.
    """
    entity = run.model.entity
    if entity.name == "none":
        return
    _require_settings(run)
    if facts.submission.aggregate == "noisy_or" and entity.options["by"] == "entity":
        raise FoldlineError(
            "each row of an entity has the entity's own probability: noisy_or would count it once for each picture",
            where="submission.aggregate: noisy_or",
            next="set submission.aggregate: mean, which then changes nothing, or model.entity: none",
        )
    by, ordered = entity.options["by"], entity.name in ORDERED
    _require_own(facts, by, f"model.entity.options.by: {by}")
    for what, frame in {"training rows": folds.frame, "test rows": folds.test, "extra rows": extra}.items():
        if not len(frame):
            continue
        _require_column(frame, by, "model.entity")
        if ordered:
            _require_order(frame, f"model.entity.name: {entity.name}")
        _remark(frame, by, what, ordered=ordered and not run.data.neighbours)  # which has said it
    names = entity_names(folds.frame, by)
    homes = pd.DataFrame({"name": names, "fold": folds.frame["fold"]}).drop_duplicates()["name"]
    torn = sorted(set(homes[homes.duplicated()]))
    if torn:
        raise FoldlineError(
            f"{counted(len(torn), 'entities have')} pictures in two folds: {first_few(torn)}",
            where=f"model.entity.options.by: {by}",
            next="name this column as train.group (or train.entity) in the facts, and make the folds anew",
        )
    if len(extra) and (known := sorted(set(entity_names(extra, by)) & set(names))):
        raise FoldlineError(
            f"{counted(len(known), 'entities of the extra rows are')} the competition's too: {first_few(known)}",
            where="extra.rows",
            next="give them names of their own, or take them out",
        )
    _require_targets(run, folds, folds.frame, truth)
    if len(extra):
        _require_targets(run, folds, extra, folds.task.truth(extra, folds.outputs, where="extra.rows"))


def _require_settings(run: Run) -> None:
    pseudo, own = run.extra.pseudo.options, run.model.entity.options["per_picture"]
    refused = {
        "augment.mix": (run.augment.mix.name != "none", "two entities have no pictures that belong together"),
        "augment.copies": (
            run.augment.copies.name != "one",
            "a batch has entities, of several pictures already",
        ),
        "loss.teacher": (bool(run.loss.teacher.name), "a teacher answers for one picture"),
        "train.labels": (run.train.labels.name != "given", "labels are changed row by row"),
        "sampling": (
            bool(own) and run.sampling != Sampling(),
            "entities are drawn by the label of their first picture, and each of theirs may have another (per_picture)",
        ),
        "extra.pseudo.options.soft": (bool(pseudo.get("soft")), "an entity has the label of its first picture"),
        "extra.pseudo.options.ratio": (bool(pseudo.get("ratio")), "it counts pictures, and an epoch entities"),
        "predict.compile": (run.predict.compile != "off", "entities have other numbers of pictures each"),
        "train.batch_size": (run.train.batch_size == "auto", "it counts entities here, of other sizes each"),
    }
    for setting, (given, why) in refused.items():
        if given:
            raise FoldlineError(
                f"{setting} and a head over an entity's pictures do not go together: {why}",
                where=f"model.entity.name: {run.model.entity.name}, {setting}",
                next=f"leave {setting} out, or set model.entity: none",
            )


def _require_targets(run: Run, folds: Folds, frame: pd.DataFrame, truth: Array) -> None:
    """Raises FoldlineError where the rows of an entity have other targets each, and one answer for them.

    Args:
        frame: training rows, or extra ones; truth: theirs.
    """
    options, task = run.model.entity.options, folds.task
    chosen, by = options["per_picture"], options["by"]
    own = {block.name for block in task.blocks} if chosen == ALL else _named(chosen, task)
    entities = entity_names(frame, by)
    first = Stacks.of(entities.tolist(), None)
    for block in task.blocks:
        labels = block.truth(truth).reshape(len(truth), -1)
        differ = (labels != labels[first.first_rows[first.of_row]]).any(axis=1)
        if not differ.any():
            continue
        what = f"target '{block.name}'" if block.name else "the target"
        names = first_few(list(dict.fromkeys(entities[differ])), 3)
        if block.name not in own:
            raise FoldlineError(
                f"{what} differs among the rows of an entity ({names}), and one answer is given for all of them",
                where=f"model.entity.options.by: {by}",
                next=f"set model.entity.options.per_picture: {block.name or ALL}, which answers for each picture",
            )
        if by == "entity":
            raise FoldlineError(
                f"{what} differs among the rows of an entity ({names}), of which the submission has one line",
                where="train.entity",
                next="leave train.entity out where each picture has a line: train.group and "
                "model.entity.options.by: group keep them together",
            )
