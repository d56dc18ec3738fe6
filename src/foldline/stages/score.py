"""Stage score: grades a submission as a private leaderboard would.

Reads `submissions/<comp>/<name>.csv` and the solution: the labels of the `holdout` or of the official test set, which
no other stage reads. Writes the score into the ledger entry beside the submission.
"""

import numpy as np

from foldline.core.competition import Competition, load_competition
from foldline.core.errors import FoldlineError
from foldline.core.folds import load_folds
from foldline.core.paths import Layout
from foldline.core.progress import result
from foldline.core.provenance import say_older
from foldline.core.records.entry import Entry
from foldline.core.tables import read_csv, require_file
from foldline.scoring.choose import in_digits
from foldline.scoring.cv import metric_names
from foldline.scoring.metrics import metric_for, score
from foldline.submission.form import open_form


def score_submission(layout: Layout, comp: str, name: str) -> dict[str, float | None]:
    """The competition's metric and the further ones, on the held-out labels; None is an undefined score.

    Raises:
        FoldlineError: the competition's test labels are not known here, or the submission fails the gate.
    """
    facts, folds = load_competition(layout, comp), load_folds(layout, comp)
    path, solution_path = layout.submission(comp, name), layout.holdout_solution(comp)
    require_file(path, next=f"make ensemble COMP={comp} RUN={name}")
    if not facts.has_solution:
        raise FoldlineError(
            f"'{comp}' has no held-out labels here: only its own leaderboard can grade",
            where=layout.relative(layout.competition_config(comp)),
            next=f"make submit COMP={comp} NAME={name}",
        )
    require_file(solution_path, next=f"make folds COMP={comp}")
    entry = Entry.read(path.with_suffix(".json"), next=f"make ensemble COMP={comp} RUN={name}")
    entry.require_file(path)
    say_older(layout, entry)
    form = open_form(layout, comp, facts, folds.outputs)
    form.check_file(path, layout.relative(path))
    ids, predicted = form.read_file(path)
    solution = read_csv(solution_path).rename(columns={"entity": "row_id"})
    solution = solution.set_index("row_id").loc[ids].reset_index()
    truth = folds.task.truth(solution, folds.outputs, where=layout.relative(solution_path))
    scores: dict[str, float | None] = {}
    for metric in metric_names(facts):
        value = score(metric_for(metric, folds.task), truth, predicted, task=folds.task)
        scores[metric] = float(value) if np.isfinite(value) else None
    _write(layout, comp, name, facts, scores, entry)
    return scores


def _write(
    layout: Layout, comp: str, name: str, facts: Competition, scores: dict[str, float | None], entry: Entry
) -> None:
    ledger = layout.submission(comp, name).with_suffix(".json")
    entry.changed(private=scores[facts.metric], private_metrics=scores).write(ledger)
    words = ", ".join(f"{metric} {in_digits(value)}" for metric, value in scores.items())
    result(f"held-out score of {comp}/{name}: {words}  (OOF {entry.metric} {in_digits(entry.score.pooled)})")
