"""What numbers and words of a submission mean: said, asked for where nobody says it, and checked by grading known rows.

The negative controls break the writer; a control that says nothing about a kind stands in NOTHING_TO_BREAK.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from foldline.core.competition import Competition
from foldline.core.errors import FoldlineError
from foldline.core.task import Array
from foldline.scoring.choose import as_predictions
from foldline.scoring.decide import Decision, decide, default_decision
from foldline.scoring.metrics import score
from foldline.submission.decimals import shortest_texts
from foldline.submission.form import Form
from foldline.submission.grader import Grader
from foldline.submission.kind import Cells, Kind
from foldline.submission.kinds import KINDS
from foldline.submission.known import Known, known_rows
from foldline.submission.long import Long
from foldline.submission.meaning import rehearse, require_same_meaning
from submission.test_kinds import facts

ROWS = 60
Write = Callable[[Array, Decision], Cells]


@dataclass(frozen=True)
class Case:
    """A sample of two lines, its facts, the outputs, and how labels are drawn (classes, or numbers)."""

    header: str
    cells: tuple[str, ...]
    facts: Competition
    outputs: list[str]

    @property
    def form(self) -> Form:
        lines = [self.header, *self.cells]
        table = pd.DataFrame([line.split(",") for line in lines[1:]], columns=lines[0].split(","), dtype=str)
        return Form.open(table, self.facts, self.outputs)

    def rows(self) -> pd.DataFrame:
        """Training rows: labels as text."""
        rng, task = np.random.default_rng(1), self.facts.task.of(self.outputs)
        table: dict[str, Any] = {"row_id": [f"r{i:02d}" for i in range(ROWS)], "fold": np.arange(ROWS) % 3}
        for column in task.target_columns(self.outputs):
            if task.label_sets:
                table[column] = rng.choice(["0", "1"], ROWS)
            elif not task.has_classes or column == "target_width":
                table[column] = [repr(number) for number in rng.normal(5, 2, ROWS).round(3).tolist()]
            elif task.soft:
                table[column] = [str(number) for number in rng.integers(1, 9, ROWS)]
            else:
                block = next(block for block in task.blocks if column in ("target", f"target_{block.name}"))
                table[column] = rng.choice(block.outputs(self.outputs), ROWS)
        return pd.DataFrame(table)

    def known(self) -> Known:
        """Predictions that are right more often than not, and their scores by the arrays themselves."""
        rows, task, outputs = self.rows(), self.facts.task.of(self.outputs), self.outputs
        truth, rng = task.truth(rows, outputs, where="rows"), np.random.default_rng(2)
        values = rng.random((ROWS, len(outputs)))
        for block in task.blocks:
            part = block.truth(truth)
            if block.task.single_label:
                values[:, block.columns][np.arange(ROWS), part.astype(int)] += 0.6
            else:
                values[:, block.columns] += part
            if block.task.exclusive:
                values[:, block.columns] /= values[:, block.columns].sum(axis=1, keepdims=True)
            elif block.task.label_sets:
                values[:, block.columns] /= 2
        table = pd.concat([rows, pd.DataFrame(values, columns=task.prediction_columns(outputs))], axis=1)
        folds = table["fold"].to_numpy()
        parts = [slice(None), *(folds == k for k in range(3))]
        decision = default_decision(task, len(outputs))
        labels = self.form.holds_labels
        answers = as_predictions(decide(decision, values), task, len(outputs)) if labels else values
        scores = [score(self.facts.metric, truth[part], answers[part], task=task) for part in parts]
        return Known(known_rows(table, rows, self.facts, outputs), dict.fromkeys(range(3), decision), scores)


GRADES = ["0", "10", "25", "50", "100"]
CASES = {
    "probability": Case("id,y", ("a,0.5", "b,0.5"), facts("binary", "auc", ["sick", "well"]), ["sick", "well"]),
    "probabilities": Case(
        "id,b,c,a", ("u,0.3,0.3,0.4", "v,0.3,0.3,0.4"), facts("multiclass", "log_loss"), ["a", "b", "c"]
    ),
    "probabilities of grades": Case(
        "id,100,0,10,25,50", ("u,0,0,0,0,1", "v,1,0,0,0,0"), facts("ordinal", "mae"), GRADES
    ),
    "shares": Case(
        "id,b,a", ("u,50,50", "v,50,50"), facts("soft", "kl_divergence", row_sum=100, bounds=[0, 100]), ["a", "b"]
    ),
    "label": Case("id,y", ("a,10", "b,20"), facts("multiclass", "accuracy"), ["10", "20", "30"]),
    "label behind names": Case(
        "id,y", ("a,7", "b,9"), facts("binary", "f1", ["ok", "bad"], {"9": "ok", "7": "bad"}), ["ok", "bad"]
    ),
    "label of a grade": Case("id,y", ("a,10", "b,25"), facts("ordinal", "quadratic_weighted_kappa"), GRADES),
    "label whose number counts": Case("id,y", ("a,10", "b,25"), facts("ordinal", "mae", kind="label"), GRADES),
    "whole number that is measured": Case("id,y", ("a,1", "b,2"), facts("regression", "mae", kind="label"), [""]),
    "whole label of a regression": Case(
        "id,y", ("a,1", "b,2"), facts("regression", "quadratic_weighted_kappa", kind="label"), [""]
    ),
    "labels": Case("id,y", ("a,10 30", "b,20"), facts("multilabel", "f1_micro"), ["10", "20", "30"]),
    "ranked": Case("id,y", ("a,w7 w9", "b,w7 w8"), facts("multiclass", "map@2"), ["w7", "w8", "w9"]),
    "label_score": Case("id,y", ("a,77 0.5", "b,88 0.5"), facts("multiclass", "gap"), ["77", "88", "99"]),
    "value": Case("id,y", ("a,0", "b,0"), facts("regression", "rmse"), [""]),
    "value of a score": Case(
        "id,y", ("a,0", "b,0"), facts("binary", "weighted_auc", ["n", "y"], kind="value"), ["n", "y"]
    ),
    "value of a grade": Case("id,stars", ("a,3", "b,3"), facts("ordinal", "mae"), ["1", "2", "3", "4", "5"]),
    "value of an uneven grade": Case("id,y", ("a,0", "b,0"), facts("ordinal", "rmse"), GRADES),
    "decided value of a grade": Case(
        "id,y", ("a,0", "b,0"), facts("ordinal", "quadratic_weighted_kappa", kind="value"), GRADES
    ),
    "values": Case("id,v,u", ("a,0,0", "b,0,0"), facts("regression", "mean_column_rmse"), ["u", "v"]),
    "targets": Case(
        "id,width,hue", ("a,0,20", "b,0,10"),
        facts({"hue": "multiclass", "width": "regression"}, "2*accuracy(hue) + r2(width)"),
        ["hue=10", "hue=20", "hue=30", "width="],
    ),
    "a grade among targets": Case(
        "id,age,hue", ("a,1,20", "b,1,10"),
        facts({"hue": "multiclass", "age": "ordinal"}, "error(hue) + mae(age)", ["age=1", "age=2", "age=5"]),
        ["hue=10", "hue=20", "hue=30", "age=1", "age=2", "age=5"],
    ),
    "long": Case(
        "id,p", ("a_x,0", "a_y,0", "b_x,0", "b_y,0"), facts("multilabel", "log_loss"), ["x", "y"],
    ),
    "long numbers": Case("id,p", ("a_y,0", "a_x,0", "b_x,0", "b_y,0"), facts("regression", "rmse"), ["x", "y"]),
    "long targets": Case(
        "id,t", ("a_width,0", "a_hue,20", "b_width,0", "b_hue,20"),
        facts({"hue": "multiclass", "width": "regression"}, "accuracy(hue) + r2(width)"),
        ["hue=10", "hue=20", "hue=30", "width="],
    ),
}  # fmt: skip


def swapped(kind: Kind, values: Array, decision: Decision, write: Write) -> Cells:
    """Each class's answer under the name of another."""
    broken = values.copy()
    for block in kind.task.blocks:
        broken[:, block.columns] = np.roll(values[:, block.columns], 1, axis=1)
    return write(broken, decision)


def by_index(kind: Kind, values: Array, decision: Decision, write: Write) -> Cells:
    """The place of a class where its name or number should be."""
    if kind.task.ordered and kind.name == "value":
        answers = decision and values.argmax(axis=1) if kind.decided else values @ np.arange(values.shape[1])
        return {kind.columns[0]: shortest_texts(np.asarray(answers, dtype=np.float64), None)}
    words = [word for block in kind.task.blocks if block.task.has_classes for word in block.outputs(kind.outputs)]
    words = words if kind.task.targets else list(kind.words)
    place = {word: str(i) for i, word in enumerate(words)}
    return {
        column: cells.str.split(" ").map(lambda parts: " ".join(place.get(part, part) for part in parts))
        for column, cells in write(values, decision).items()
    }


def permuted(kind: Kind, values: Array, decision: Decision, write: Write) -> Cells:
    """Each column, or each line of an entity, with the answers of the next one."""
    cells = write(values, decision)
    if isinstance(kind, Long):
        width = len(set(kind.lines.places))
        order = np.arange(len(values) * width).reshape(-1, width)[:, ::-1].ravel()
        return {column: texts.iloc[order].reset_index(drop=True) for column, texts in cells.items()}
    return dict(zip(cells, [*list(cells.values())[1:], next(iter(cells.values()))], strict=True))


def shifted(kind: Kind, values: Array, decision: Decision, write: Write) -> Cells:
    """Each row's answer in the line after its own."""
    return write(np.roll(values, 1, axis=0), decision)


CONTROLS = {control.__name__: control for control in (swapped, by_index, permuted, shifted)}
ONE_COLUMN, NO_CLASS = "there is one column of answers", "numbers and probabilities have no place instead of a name"
NOTHING_TO_BREAK = {
    **{(case, "permuted"): ONE_COLUMN for case, made in CASES.items()
       if made.header.count(",") == 1 and not case.startswith("long")},
    **{(case, "by_index"): NO_CLASS for case in (
        "probability", "probabilities", "probabilities of grades", "shares", "value", "value of a score", "values",
        "long", "long numbers", "whole label of a regression", "whole number that is measured")},
    ("value", "swapped"): "there is one output",
    ("whole label of a regression", "swapped"): "there is one output",
    ("whole number that is measured", "swapped"): "there is one output",
}  # fmt: skip


def test_the_cases_hold_every_kind() -> None:
    assert {case.form.kind.name for case in CASES.values()} == set(KINDS)


@pytest.mark.parametrize("case", CASES)
def test_a_submission_scores_what_its_predictions_score(case: str) -> None:
    made = CASES[case]
    assert "read back as a grader would" in require_same_meaning(made.form, made.known(), "x.csv")
    rehearse(made.form, made.rows(), "x.csv")


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("case", CASES)
def test_a_writer_that_is_wrong_is_caught(case: str, control: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or there is nothing to break, and that is so."""
    made = CASES[case]
    known, form = made.known(), made.form
    write = type(form.kind).write

    def broken(kind: Kind, values: Array, decision: Decision) -> Cells:
        return CONTROLS[control](kind, values, decision, lambda *given: write(kind, *given))

    monkeypatch.setattr(type(form.kind), "write", broken)
    if (case, control) in NOTHING_TO_BREAK:
        require_same_meaning(form, known, "submissions/x.csv")
        return
    with pytest.raises(FoldlineError, match=r"the cells mean something else|does not know|has the number|is none of"):
        require_same_meaning(form, known, "submissions/x.csv")
    with pytest.raises(FoldlineError):
        rehearse(form, made.rows(), "x.csv")


def test_outputs_that_the_sample_does_not_ask_for() -> None:
    columns = Case("id,c,a", ("u,0,0", "v,0,0"), facts("multilabel", "mean_column_auc"), ["a", "b", "c"])
    assert "(of 2 of 3 outputs)" in require_same_meaning(columns.form, columns.known(), "x.csv")
    classes = Case("id,c,a", ("u,0,0", "v,0,0"), facts("multiclass", "log_loss"), ["a", "b", "c"])
    said = require_same_meaning(classes.form, classes.known(), "x.csv")
    assert said.startswith("NOT checked")
    assert said.endswith("does not ask for b, which the metric reads")
    assert rehearse(classes.form, classes.rows(), "x.csv")[-1] == said
    one = CASES["probability"]
    known = one.known()
    alike = Known(known.table.assign(target="sick"), known.decisions, [None])
    assert require_same_meaning(one.form, alike, "x.csv").endswith("auc is undefined there")


def test_what_bounds_cost_is_said() -> None:
    made = Case("id,y", ("a,5", "b,5"), facts("regression", "rmse", bounds=[4, 6]), [""])
    known = made.known()
    said = require_same_meaning(made.form, known, "x.csv")
    assert f"without the submission's bounds, sums and decimals it is {known.scores[0]:.6g}" in said


def test_shares_of_another_whole_than_1() -> None:
    """Nobody has to state bounds; bounds that no row can keep are found before anything is trained."""
    header, cells = "id,b,a", ("u,50,50", "v,50,50")
    made = Case(header, cells, facts("soft", "rmse", row_sum=100), ["a", "b"])
    assert rehearse(made.form, made.rows(), "sample.csv") == made.form.meaning
    narrow = Case(header, cells, facts("soft", "rmse", row_sum=100, bounds=[0, 1]), ["a", "b"])
    with pytest.raises(FoldlineError, match="outside 0 to 1"):
        rehearse(narrow.form, narrow.rows(), "sample.csv")


def test_labels_cannot_hold_what_a_metric_of_probabilities_reads() -> None:
    made = Case("id,y", ("a,n", "b,y"), facts("binary", "auc", ["n", "y"], kind="label"), ["n", "y"])
    with pytest.raises(FoldlineError, match="can such cells hold what the metric reads") as caught:
        rehearse(made.form, made.rows(), "sample.csv")
    assert "column 'y' = the class: n, y" in str(caught.value)


def test_a_score_that_one_fold_alone_shows_is_compared() -> None:
    made = CASES["value"]
    known = made.known()
    others = [known.scores[0], *[score and score + 1e-3 for score in known.scores[1:]]]
    with pytest.raises(FoldlineError, match="rmse of the validation rows of fold 0 is"):
        require_same_meaning(made.form, Known(known.table, known.decisions, others), "x.csv")


# labels, column, metric, classes of the facts: what is said, or the words of the error
DOUBTS: dict[str, tuple[list[str], str, str, list[str] | None, str]] = {
    "numbers": (["0", "1"], "target", "auc", None, "probability of '1'"),
    "no and yes": (["No", "Yes"], "target", "auc", None, "probability of 'Yes'"),
    "words": (["abnormal", "normal"], "prediction", "auc", None, 'classes: ["normal", "abnormal"]'),
    "other numbers": (["1", "2"], "prediction", "auc", None, "names neither"),
    "stated": (["normal", "abnormal"], "prediction", "auc", ["normal", "abnormal"], "probability of 'abnormal'"),
    "a name": (["abnormal", "normal"], "abnormal", "auc", None, "probability of 'abnormal'"),
    "a name among words": (["abnormal", "normal"], "p_Normal", "auc", None, "probability of 'normal'"),
    "the other name": (["abnormal", "normal"], "is_abnormal", "auc", None, "names 'abnormal'"),
    "stated otherwise": (["ill", "well"], "P(ill)", "auc", ["ill", "well"], "its name holds 'ill', and `classes`"),
    "a metric of one class": (["abnormal", "normal"], "abnormal", "f1", None, "metric 'f1' is about one of them"),
    "a metric of both": (["abnormal", "normal"], "label", "accuracy", None, "the class: abnormal, normal"),
}


@pytest.mark.parametrize("doubt", DOUBTS)
def test_which_class_is_positive_is_said_or_asked(doubt: str) -> None:
    outputs, column, metric, classes, words = DOUBTS[doubt]
    cell = "0.5" if metric == "auc" else outputs[0]
    made = Case(f"id,{column}", (f"a,{cell}", f"b,{cell}"), facts("binary", metric, classes), outputs)
    if "probability of" in words or "the class" in words or "its name holds" in words:
        assert words in made.form.meaning[0]
        return
    with pytest.raises(FoldlineError, match="which class is the positive one") as caught:
        _ = made.form
    assert words in str(caught.value)


def test_places_that_the_samples_numbers_do_not_fit() -> None:
    words = ["none", "mild", "severe"]
    grades = Case("id,y", ("a,1", "b,3"), facts("ordinal", "mae", words), words)
    with pytest.raises(FoldlineError, match="go up to 3, and the classes in their order are 0 to 2"):
        _ = grades.form
    labels = Case("id,y", ("a,1", "b,3"), facts("ordinal", "quadratic_weighted_kappa", words), words)
    with pytest.raises(FoldlineError, match=r"its answers are whole numbers \(1, 3\)"):
        _ = labels.form
    named = facts("ordinal", "mae", ["1", "2", "3"], {"none": "1", "mild": "2", "severe": "3"})
    assert Case("id,y", ("a,1", "b,3"), named, ["1", "2", "3"]).form.meaning == [
        "column 'y' = the expected class as a number: 1, 2, 3"
    ]


def test_classes_carry_their_numbers_through_metrics() -> None:
    """As a grader who reads the labels as numbers; kappa counts places, as scikit-learn does."""
    grades, rng = [0.0, 10.0, 25.0, 50.0, 100.0], np.random.default_rng(0)
    task = CASES["value of an uneven grade"].facts.task.of(GRADES)
    truth, prob = rng.integers(0, 5, 40).astype(float), rng.dirichlet(np.ones(5), 40)
    true, expected = np.array(grades)[truth.astype(int)], prob @ np.array(grades)
    assert score("mae", truth, prob, task=task) == pytest.approx(metrics.mean_absolute_error(true, expected))
    assert score("r2", truth, expected[:, None], task=task) == pytest.approx(metrics.r2_score(true, expected))
    kappa = metrics.cohen_kappa_score(true, np.array(grades)[prob.argmax(axis=1)], weights="quadratic")
    assert score("quadratic_weighted_kappa", truth, prob, task=task) == pytest.approx(kappa)
    nearest = np.abs(expected[:, None] - grades).argmin(axis=1)
    assert score("accuracy", truth, expected[:, None], task=task) == (nearest == truth).mean()


def test_one_wrong_word_in_every_cell_is_not_understood() -> None:
    made = CASES["label"]
    known = made.known().table.set_index("id")
    grader = Grader(made.facts, made.outputs, {}, ("10", "20"))
    with pytest.raises(FoldlineError, match="knows 10, 20, 30 does not know 0"):
        grader.score("label", pd.DataFrame({"y": ["0"] * ROWS}, index=known.index), known, range(3))
