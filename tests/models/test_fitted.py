"""Every head of a run of frozen features: what it learns, and that the rows that it is scored on chose nothing."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from foldline.core.task import TASKS, Array, Task, hot_truth
from foldline.models.fitted.catalogue import HEADS
from foldline.models.fitted.finished import FinishedHead
from foldline.models.fitted.nested import Question, Seen, fit_fold, row_losses
from foldline.models.fitted.spec import Fit, HeadSpec, Scaler
from foldline.models.fitted.svm import SvmHead, rbf, svm

ROWS, K, OUTPUTS = 150, 5, 3
KINDS = ["multiclass", "binary", "multilabel", "soft", "regression"]


def made(kind: str, seed: int = 0) -> tuple[list[Any], Array, Task, int]:
    """Two sources, [rows, columns] each, in which the truth can be read; the truth, its task, its outputs."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(ROWS, OUTPUTS))
    wide = (np.concatenate([hidden, rng.normal(size=(ROWS, 9))], axis=1) * 100 + 7).astype(np.float32)
    few = (hidden[:, :1] + 0.1 * rng.normal(size=(ROWS, 1))).astype(np.float32)
    outputs = 2 if kind == "binary" else OUTPUTS
    task = TASKS[kind].of([f"c{i}" for i in range(outputs)])
    hidden = hidden[:, :outputs]
    if task.single_label:
        return [wide, few], hidden.argmax(axis=1).astype(np.float64), task, outputs
    if task.label_sets:
        return [wide, few], (hidden > 0).astype(np.float64), task, outputs
    shares = np.exp(2 * hidden)
    truth = shares / shares.sum(axis=1, keepdims=True) if task.soft else 50 + 10 * hidden
    return [wide, few], truth, task, outputs


def question(kind: str, **changed: Any) -> Question:
    x, truth, task, outputs = made(kind)
    fold = np.random.default_rng(1).permutation(ROWS) % K
    usable = np.arange(ROWS) != 3
    seen = Seen([part[None] for part in x], [part[None, :7] for part in x])
    asked = Question(lambda _: seen, True, truth, fold, usable, task, outputs, {"rate": 0.1}, 0)
    return replace(asked, **changed)


def few_settings(spec: HeadSpec) -> list[dict[str, float]]:
    return spec.settings({"trees": 20}, 80)[1::3]


CASES = [
    (head, kind) for head, spec in HEADS.items() for kind in KINDS if TASKS[kind].fits(spec.kinds)
]  # fmt: skip


@pytest.mark.parametrize(("head", "kind"), CASES)
def test_a_head_learns_and_its_own_rows_choose_nothing(head: str, kind: str) -> None:
    if head == "lightgbm":
        pytest.importorskip("lightgbm")
    spec, asked, fold = HEADS[head], question(kind), 2
    settings = few_settings(spec)
    found = fit_fold(spec, asked, fold, settings)
    own = asked.inside(fold)
    kept = {name: array.copy() for name, array in found.head.arrays.items()}
    again = FinishedHead(spec, found.head.about, kept, found.head.texts)
    assert again.answers(asked.seen(fold).test).tobytes() == found.test.tobytes(), "what is stored says the same"
    assert found.own.shape == (len(own), asked.outputs)
    assert found.test.shape == (7, asked.outputs)
    constant = np.broadcast_to(
        hot_truth(asked.truth, asked.task, asked.outputs).mean(axis=0, dtype=np.float64), found.own.shape
    )
    truth = asked.truth[own]
    gained = 1 - row_losses(found.own, truth, asked.task).mean() / row_losses(constant, truth, asked.task).mean()
    entropy = 0.75 if kind == "soft" else 0.0  # cross-entropy of shares never falls to 0
    assert gained > (0.1 if entropy else 0.25)
    if asked.task.exclusive:
        assert found.own.sum(axis=1) == pytest.approx(1)
    # other labels in the fold's rows, and in rows that are not usable: nothing of the fold's predictions changes
    other = asked.truth.copy()
    other[own], other[3] = other[own][::-1], other[4]
    assert (other[own] != asked.truth[own]).any()
    unmoved = fit_fold(spec, question(kind, truth=other), fold, settings)
    assert unmoved.settings == found.settings
    assert unmoved.own.tobytes() == found.own.tobytes()


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_a_kept_machine_says_what_scikit_learn_does(kind: str) -> None:
    """Of its support vectors alone, and of rows that it never saw."""
    from sklearn.svm import SVC, SVR

    x, truth, task, outputs = made(kind)
    rows, others = [part[:100] for part in x], [part[100:] for part in x]
    (head,) = svm(Fit(rows, truth[:100], task, outputs, {}, 0), [{"c": 3.0}])
    stored = SvmHead.stored(head.kept(), head.about)
    found = stored.answer(stored.see(others))
    kernel, asked = rbf(head.own, head.own), rbf(head.scaler(others), head.own)
    if kind == "regression":
        values = (truth[:100] - truth[:100].mean(axis=0)) / truth[:100].std(axis=0)
        machines = [SVR(C=3.0, kernel="precomputed").fit(kernel, column) for column in values.T]
        right = np.stack([machine.predict(asked) for machine in machines], axis=1)
        right = truth[:100].mean(axis=0) + truth[:100].std(axis=0) * right
    else:
        right = SVC(C=3.0, kernel="precomputed").fit(kernel, truth[:100].astype(int)).decision_function(asked)
        right = np.stack([-right, right], axis=1) if right.ndim == 1 else right
    assert found == pytest.approx(right, abs=1e-9)
    assert len(stored.own) < len(head.own)


@pytest.mark.parametrize("head", ["linear", "svm"])
def test_what_two_folds_share_is_what_each_would_find_alone(head: str) -> None:
    spec = HEADS[head]
    settings, shared = few_settings(spec), question("multiclass")
    alone = question("multiclass", shared=False)
    by_parts = question("multiclass", parts=lambda fold: np.where(shared.fold == fold, -1, shared.fold))
    for fold in range(2):
        one, two, three = (fit_fold(spec, asked, fold, settings) for asked in (shared, alone, by_parts))
        assert one.settings == two.settings == three.settings
        assert one.loss == pytest.approx(two.loss) == pytest.approx(three.loss)
        assert one.own == pytest.approx(two.own)
    assert len(shared.known) == 2 * K - 3  # the fit without both folds serves both
    assert len(alone.known) == 2 * (K - 1)


def test_options_are_chosen_by_the_network_that_has_not_seen_the_rows() -> None:
    """A network of fold j knows the labels of all other folds by heart: only its own rows say what it is worth."""
    plain = question("binary")

    def seen(fold: int) -> Seen:
        noise = np.random.default_rng(fold).normal(size=(ROWS, 20)).astype(np.float32)
        noise[plain.fold != fold] += 8 * plain.truth[plain.fold != fold, None].astype(np.float32)
        return Seen([noise[None]], [noise[None, :7]])

    found = fit_fold(HEADS["linear"], replace(plain, seen=seen, shared=False), 0, HEADS["linear"].settings({}, 80))
    assert found.loss > 0.6  # what it is: by rows that the networks have learnt it would be near 0


def test_chosen_options_are_honest_on_noise() -> None:
    """With labels that no column tells the nested score is that of chance, on average over draws."""
    scores = []
    for seed in range(15):
        rng = np.random.default_rng(seed)
        x, truth = [rng.normal(size=(ROWS, 30)).astype(np.float32)], (rng.random(ROWS) < 0.5).astype(np.float64)
        asked = question("binary", truth=truth, seen=lambda _, x=x: Seen([x[0][None]], [x[0][None, :2]]))
        for fold in range(2):
            found = fit_fold(HEADS["knn"], asked, fold, HEADS["knn"].settings({}, 80))
            scores.append((found.own.argmax(axis=1) == truth[asked.inside(fold)]).mean())
    mean, error = np.mean(scores), np.std(scores) / np.sqrt(len(scores))
    assert abs(mean - 0.5) < 3 * error


@pytest.mark.parametrize("head", ["linear", "knn"])
def test_views_are_rows_or_their_mean(head: str) -> None:
    """Features that are right on the mean over two views: either way they tell more than one view alone."""
    plain, spec = question("binary"), HEADS[head]
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2, ROWS, 6)).astype(np.float32)
    both = (plain.truth[:, None] + np.stack([noise[0], 0.3 * noise[1] - noise[0]])).astype(np.float32)

    def loss(views: slice) -> float:
        asked = replace(plain, seen=lambda _: Seen([both[views]], [both[views, :7]]))
        return fit_fold(spec, asked, 0, spec.settings({}, 80)).loss

    assert loss(slice(0, 2)) < loss(slice(0, 1))


def test_each_source_has_the_same_weight() -> None:
    x = made("binary")[0]
    scaled = Scaler.of(x, 0.0)(x)
    wide = x[0].shape[1]
    assert scaled[:, :wide].var(axis=0).sum() == pytest.approx(0.5)
    assert scaled[:, wide:].var(axis=0).sum() == pytest.approx(0.5)
    dead = [np.concatenate([x[0], np.full((ROWS, 1), 3.0, dtype=np.float32)], axis=1)]
    assert (Scaler.of(dead, 0.0)(dead)[:, -1] == 0).all()


def test_a_grid_holds_what_is_given() -> None:
    spec = HEADS["knn"]
    assert {one["k"] for one in spec.settings({"k": 0, "temperature": 0.0}, 20)} == {1, 3, 10, 20}
    assert spec.settings({"k": 5, "temperature": 0.1}, 20) == [{"k": 5.0, "temperature": 0.1}]


def test_a_part_whose_numbers_are_all_alike_does_not_choose_alone() -> None:
    """Its errors count like all others, whatever their deviation is."""
    asked = question("regression")
    truth = asked.truth.copy()
    truth[asked.fold == 0] = 50.0
    found = fit_fold(HEADS["linear"], replace(asked, truth=truth), 2, HEADS["linear"].settings({}, 80))
    assert 0 < found.loss < 2
