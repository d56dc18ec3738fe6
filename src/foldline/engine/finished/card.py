"""The page of an exported model: what it predicts, what it scores, how to use it, whose licences count. Text only."""

from collections.abc import Sequence
from pathlib import PurePath

from foldline.core.competition import Competition
from foldline.core.counted import counted
from foldline.core.own_code import is_own
from foldline.core.records.cv import Cv
from foldline.core.records.entry import Entry
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.run import Run
from foldline.engine.finished.folder import FinishedRun
from foldline.models.licences import licence_note, weights_licence
from foldline.scoring.choose import decision_in_words, in_digits

MOST_OUTPUTS = 40  # that are listed


def model_card(
    run: FinishedRun, facts: Competition, choices: dict[str, Run | None], entry: Entry | None, remarks: Sequence[str]
) -> str:
    """The text of `README.md`, with the header that a model hub reads.

    Args:
        run: as it is exported, with its score.
        choices: of each trained run, and of each network that heads see through, by what `networks_of` calls it; None
            where they are not known.
        entry: of its submission, for a score on held-out labels.
        remarks: on the score, a line each.
    """
    assert run.cv is not None
    parts = [
        _header(run.cv), f"# {facts.title or run.cv.comp}: {run.name}", "",
        *_what(run, facts), "", "## Score", "", *_score(run.cv, entry, remarks), "", "## Use", "", *_use(run), "",
        "## Networks", "", *_networks(run, choices), "", "## Licences", "", *_licences(run, facts, choices),
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def _header(cv: Cv) -> str:
    """Which licence holds for weights that data of another licence made is for a lawyer: the card says both."""
    kind = "image-classification" if any(part.has_classes for part in cv.task.parts) else "image-feature-extraction"
    lines = ["---", "library_name: foldline", f"pipeline_tag: {kind}", "license: other", "license_name: see-below"]
    return "\n".join([*lines, "license_link: README.md", f"tags: [foldline, timm, {cv.comp}]", "---"])


def _what(run: FinishedRun, facts: Competition) -> list[str]:
    outputs = [name for name in run.about.outputs if name]
    shown = ", ".join(f"`{name}`" for name in outputs[:MOST_OUTPUTS])
    more = f" and {len(outputs) - MOST_OUTPUTS} more" if len(outputs) > MOST_OUTPUTS else ""
    lines = [f"Task: {run.task}" + (f"; outputs: {shown}{more}." if outputs else ".")]
    return [*lines, f"The problem is described at {facts.url}."] if facts.url else lines


def _score(cv: Cv, entry: Entry | None, remarks: Sequence[str]) -> list[str]:
    low, high = cv.interval
    spread = "" if cv.std is None else f" ± {cv.std:.4f}"
    lines = [
        f"Out of fold (each of {cv.rows:,} rows predicted by networks that did not see it), {cv.metric}:", "",
        "| pooled | 95 % interval | mean of the folds | folds |", "|---|---|---|---|",
        f"| {in_digits(cv.pooled)} | {in_digits(low)} to {in_digits(high)} | {in_digits(cv.mean)}{spread} "
        f"| {', '.join(map(in_digits, cv.per_fold))} |", "",
        *(f"- {name}: {in_digits(scores.pooled)}" for name, scores in cv.metrics.items() if name != cv.metric),
    ]  # fmt: skip
    if entry is not None and entry.private is not None and entry.metric == cv.metric:
        lines.append(f"- on held-out or leaderboard labels, all folds together: {cv.metric} {in_digits(entry.private)}")
    if cv.decision and (words := decision_in_words(cv.decision, cv.metric)):
        lines.append(f"- {words}")
    lines += [f"- {cv.remark}"] if cv.remark else []
    lines += [f"- a little too good: {reason}" for reason in cv.optimistic]
    lines += [f"- not to be trusted: {reason}" for reason in cv.diverged]
    return [*lines, *(f"- {remark}" for remark in remarks)]


def _use(run: FinishedRun) -> list[str]:
    read = [own.folds[0][1].metadata if own.heads is None else own.heads.metadata for own in run.trained]
    metadata = [column["name"] for columns in read for column in columns or []]
    beside = f', metadata="table.csv")  # columns path, {", ".join(dict.fromkeys(metadata))}' if metadata else ")"
    return [
        "```python", "import foldline", "", 'model = foldline.load("this-folder")',
        f'table = model.predict(["a.jpg", "pictures/"]{beside}', "```", "",
        "or `foldline predict-files pictures/ --folder this-folder`. A line a picture: each class or number, the "
        "decided label, the spread between the folds.",
    ]  # fmt: skip


def _networks(run: FinishedRun, choices: dict[str, Run | None]) -> list[str]:
    lines = ["| run | network | pictures | folds | views | epochs | starts from |", "|---|---|---|---|---|---|---|"]
    for own in run.trained:
        folds = len(own.folds) if own.heads is None else len(own.heads.folds)
        for key, first, views in networks_of(own):
            height, width = first.height_width
            head = "" if own.heads is None else f"{own.heads.head} on "
            lines.append(
                f"| {own.name} | {head}{_plain(first.model)} | {height} x {width} px, "
                f"{counted(first.channels, 'channels')} "
                f"| {folds} | {', '.join(views)} | {first.epochs} | {_start(choices.get(key))} |"
            )
    if run.members:
        lines += ["", f"Their predictions are blended by {run.how}."]
    return [*lines, "", "The predictions of a run are the mean over its folds, their networks and the views."]


def _licences(run: FinishedRun, facts: Competition, choices: dict[str, Run | None]) -> list[str]:
    lines = [f"- pictures that it was trained on: {facts.licence or 'their licence is not stated: ask their owner'}"]
    for own in run.trained:
        for key, first, _ in networks_of(own):
            lines.append(f"- starting weights of {key}: {starting_licence(first.model, choices.get(key))}")
    return [*lines, "- foldline, which loads it: MIT"]


def networks_of(run: FinishedRun) -> list[tuple[str, FoldMeta, list[str]]]:
    """A trained run's networks, one for all folds: what names their choices, a meta, and views; of frozen features one
    for each source."""
    if run.heads is None:
        return [(run.name, run.folds[0][1], run.views)]
    found = []
    for source in run.heads.sources:
        place = run.folder / (source.folder or f"{source.run}/fold_{run.heads.folds[0]}")
        found.append((f"{run.name}: {source.title}", FoldMeta.read(place / "meta.json"), source.views))
    return found


def _start(choices: Run | None) -> str:
    if choices is None:
        return "unknown"
    weights = choices.model.weights
    words = {"none": "random numbers", "hub": "timm's weights", "run": f"run {weights.options.get('run')}"}
    return words.get(weights.name) or str(weights.options.get("package") or PurePath(weights.options["file"]).name)


def starting_licence(name: str, choices: Run | None) -> str:
    """The licence of what the training of a network started from, in words; choices: None where they are not known."""
    weights = None if choices is None else choices.model.weights
    if weights is None or weights.name == "run":
        return f"those of {_start(choices)}"
    if weights.name == "none":
        return "none, they were random"
    if weights.name == "hub" and not is_own(name):
        return licence_note(name) or f"{weights_licence(name)} ({name}, timm)"
    return f"that of {_start(choices)}, which foldline does not know: see its page"


def _plain(name: str) -> str:
    """A function of the user's own without the folders of the machine that it was trained on."""
    return PurePath(name).name if is_own(name) else name
