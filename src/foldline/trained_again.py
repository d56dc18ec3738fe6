"""Commands that train a run again and say what that gained: without suspected labels, with pseudo-labels.

Stages never import each other, so what joins them stands here.
"""

import shlex
from typing import TYPE_CHECKING, Any

from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.progress import result, say

if TYPE_CHECKING:
    from foldline.report.comparison.rivals import Pair


def clean(
    layout: Layout, comp: str, *, run: str, name: str, overrides: list[str], action: str, device: str
) -> dict[str, Any]:  # fmt: skip
    """The page and the file; with an action the runs without each fold, the cleaned run, and what it gained."""
    from foldline.core.folds import load_folds
    from foldline.core.nested import require_nestable
    from foldline.core.run_folder import nested_run, nested_settings, resolve_run, wanted_folds
    from foldline.stages.clean import clean as listed
    from foldline.stages.train import train

    found = listed(layout, comp, name or run)
    if action == "ask":
        _say_how_to_decide(layout, comp, run, name, overrides, found)
        return found
    base, choices = resolve_run(layout, comp, run, name, overrides)
    k = load_folds(layout, comp).k
    require_nestable(layout, comp, run, choices, k)
    if k == 3:  # one is left out, one judged, one learnt from
        say(
            f"warning: of {k} folds the networks that say what is suspected are trained on one each, a third of the "
            "rows, and suspect more right labels than those of 5 folds, which have three"
        )
    for fold in wanted_folds(choices, k):
        more = [*overrides, *nested_settings(fold, k)]
        train(layout, comp, run, fold=None, name=nested_run(base, fold), overrides=more, device=device)
    more = [*overrides, f"train.labels={{name: {action}, options: {{run: {base}}}}}"]
    pair = _again(layout, comp, run, f"{base}-{action}", base, more, device)
    kept = f"{base}-{action}" if pair.difference.gain > 0 else base
    say(f"next: make ensemble COMP={shlex.quote(comp)} RUN={shlex.quote(kept)}")
    return found | {"run": f"{base}-{action}", "words": pair.in_words(), "pair": pair}


def _say_how_to_decide(
    layout: Layout, comp: str, run: str, name: str, overrides: list[str], found: dict[str, Any]
) -> None:
    """What a person does with the file, and the command that trains by it."""
    from foldline.core.run_folder import stored_run

    if not found["undecided"] and not found["decided"]:
        say("next: nothing: no label is suspected, and none was decided about")
        return
    base, this, settings = name or run, f"COMP={shlex.quote(comp)}", ["train.labels=file"]
    if stored_run(layout, comp, base) is not None:  # ensembles and frozen features are not trained: the usual run is
        settings, this = [*overrides, *settings], f"{this} RUN={shlex.quote(run)}"
    decide = f"fill in the column action of {found['file']}, then " if found["undecided"] else ""
    how = f"SET={shlex.quote(' '.join(settings))} NAME={shlex.quote(f'{base}-cleaned')}"
    say(f"next: {decide}make ensemble {this} {how}; make compare COMP={shlex.quote(comp)} says what it gained")


def pseudo(
    layout: Layout, comp: str, *, run: str, name: str, overrides: list[str], rounds: int, options: list[str],
    device: str,
) -> dict[str, Any]:  # fmt: skip
    """Rounds of pseudo-labels, each by the run of the round before, as long as the out-of-fold score gets better.

    Fold k's test rows are labelled by the model k of the round before, which was taught by model k of the one before
    that: none of them saw a row of fold k.

    Args:
        options: of `extra.pseudo`, `key=value`.
    """
    from foldline.core.folds import load_folds
    from foldline.core.run_folder import resolve_run

    base, choices = resolve_run(layout, comp, run, name, overrides)
    if load_folds(layout, comp).test.empty:
        next = "extra.rows takes pictures that have labels"
        raise FoldlineError("there are no test rows to label", where=layout.relative(layout.test_rows(comp)), next=next)
    if choices.extra.pseudo.name:
        next = "name the run that was trained without; rounds begin with it"
        raise FoldlineError("this run has pseudo-labels already", where=f"RUN={base}", next=next)
    kept, told = base, []
    for number in range(1, rounds + 1):
        this = f"{base}-round{number}"
        more = [*overrides, f"extra.pseudo.name={kept}", *(f"extra.pseudo.options.{option}" for option in options)]
        pair = _again(layout, comp, run, this, kept, more, device)
        told.append({"run": this, "teacher": kept, "words": pair.in_words(), "pair": pair})
        if not pair.difference.gain > 0:
            say(f"round {number} is not better than {kept}: no further round")
            break
        kept = this
    of = "" if kept == base else " (the best of several rounds is partly luck: believe its lead where 0 is outside)"
    result(f"kept: {kept}{of}", run=kept)
    say(f"next: make ensemble COMP={shlex.quote(comp)} RUN={shlex.quote(kept)}")
    return {"base": base, "kept": kept, "rounds": told}


def _again(
    layout: Layout, comp: str, run: str, name: str, than: str, overrides: list[str], device: str
) -> "Pair":  # fmt: skip
    """Trains and predicts a changed run, and compares it with the one that it shall beat."""
    from foldline.stages.compare import compare
    from foldline.stages.predict import predict
    from foldline.stages.train import train

    train(layout, comp, run, fold=None, name=name, overrides=overrides, device=device)
    predict(layout, comp, run, name=name, overrides=overrides, device=device)
    return next(pair for pair in compare(layout, comp, [than, name], against=than).pairs[than] if pair.run == name)
