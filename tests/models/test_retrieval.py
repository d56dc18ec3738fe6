"""Neighbours of identities that are partly new, on made embeddings whose right answer is known."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from foldline.core.errors import FoldlineError
from foldline.core.task import TASKS, Array
from foldline.models.fitted import reranking
from foldline.models.fitted.catalogue import HEADS
from foldline.models.fitted.knn import expanded, nearest
from foldline.models.fitted.nested import Fitted, Question, Seen, fit_fold
from foldline.models.fitted.reranking import reranked
from foldline.scoring.metrics import score
from foldline.splits.splitters import whole_classes

IDENTITIES, EACH, WIDTH, K = 40, 6, 24, 5


@dataclass(frozen=True)
class Made:
    """Rows of known identities and of others in the test set; the class after the last identity is `new`."""

    own: NDArray[np.float32]
    truth: Array
    fold: NDArray[np.int64]
    test: NDArray[np.float32]
    test_truth: Array


def made(seed: int = 0, noise: float = 0.8, *, open_folds: bool = True) -> Made:
    """Prototypes and noise; a third of the test rows are of identities that no training row shows."""
    rng = np.random.default_rng(seed)
    prototypes = rng.normal(size=(IDENTITIES + 20, WIDTH))

    def rows(names: NDArray[np.int64]) -> NDArray[np.float32]:
        return (prototypes[names] + noise * rng.normal(size=(len(names), WIDTH))).astype(np.float32)

    truth = np.repeat(np.arange(IDENTITIES), EACH)
    fold = np.tile(np.arange(EACH) % K, IDENTITIES)
    if open_folds:
        whole = whole_classes([f"{name:02d}" for name in truth], 0.3, seed)
        fold = np.array([int(name[-2:]) % K if name else own for name, own in zip(whole, fold, strict=True)])
    test = np.concatenate([rng.integers(0, IDENTITIES, 200), rng.integers(IDENTITIES, IDENTITIES + 20, 100)])
    test_truth = np.where(test < IDENTITIES, test, IDENTITIES)
    return Made(rows(truth), truth.astype(np.float64), fold, rows(test), test_truth.astype(np.float64))


def fitted(data: Made, new: int | None, fold: int = 0, **options: float) -> tuple[Fitted, Question]:
    outputs = IDENTITIES + 1
    task = TASKS["multiclass"].of([f"c{i}" for i in range(outputs)])
    asked = Question(
        lambda _: Seen([data.own[None]], [data.test[None]]), True, data.truth, data.fold,
        np.ones(len(data.own), dtype=bool), task, outputs, options, 0, new=new,
    )  # fmt: skip
    return fit_fold(HEADS["knn"], asked, fold, HEADS["knn"].settings({}, 100, new=new is not None)), asked


def map5(prob: Array, truth: Array) -> float:
    return score("map@5", truth, prob, task=TASKS["multiclass"].of([f"c{i}" for i in range(prob.shape[1])]))


def test_a_fitted_threshold_finds_what_is_new() -> None:
    data = made()
    found, asked = fitted(data, IDENTITIES)
    closed, _ = fitted(data, None)
    share = float((data.test_truth == IDENTITIES).mean())
    open_score, closed_score = map5(found.test, data.test_truth), map5(closed.test, data.test_truth)
    assert closed_score <= 1 - share  # who never says new is wrong wherever it is
    assert open_score > closed_score + 0.2
    own = asked.inside(0)
    right = asked.scored(own, asked.train(0))
    assert (right == IDENTITIES).any()
    assert map5(found.own, right) == pytest.approx(open_score, abs=0.12)  # folds with new ones say what a test will


def test_without_unseen_identities_the_threshold_says_nothing() -> None:
    """Why folds are open: where every identity is known to the fold's gallery, `new` never pays."""
    found, _ = fitted(made(open_folds=False), IDENTITIES)
    best, _ = fitted(made(), IDENTITIES)
    assert found.settings["threshold"] < best.settings["threshold"]


def test_re_ranking_helps_where_pictures_are_noisy() -> None:
    gained = []
    for seed in range(3):
        data = made(seed)
        plain, better = fitted(data, IDENTITIES)[0], fitted(data, IDENTITIES, rerank=10.0)[0]
        gained.append(map5(better.test, data.test_truth) - map5(plain.test, data.test_truth))
    assert np.mean(gained) > 0


def test_an_expanded_query_is_nearer_to_its_identity() -> None:
    rng = np.random.default_rng(0)
    prototypes = np.repeat(np.eye(5, 24), 8, axis=0)
    gallery, asked = prototypes + 0.3 * rng.normal(size=(40, 24)), np.eye(5, 24) + 0.3 * rng.normal(size=(5, 24))
    unit = [(part / np.linalg.norm(part, axis=1, keepdims=True)).astype(np.float32) for part in (asked, gallery)]
    moved = expanded(unit[0], unit[1], 4)
    assert np.linalg.norm(moved, axis=1) == pytest.approx(1)
    assert (np.diag(moved[:, :5]) > np.diag(unit[0][:, :5])).mean() >= 0.8
    _, used = fitted(made(), None, expand=3.0)
    assert used.fixed == {"expand": 3.0}
    assert fitted(made(), None, expand=3.0)[0].test.tobytes() != fitted(made(), None)[0].test.tobytes()


def test_re_ranking_of_clear_neighbours_is_their_order() -> None:
    rng = np.random.default_rng(0)
    prototypes = np.eye(5, 8)
    gallery = np.repeat(prototypes, 4, axis=0) + 0.05 * rng.normal(size=(20, 8))
    asked = prototypes + 0.05 * rng.normal(size=(5, 8))
    unit = [(part / np.linalg.norm(part, axis=1, keepdims=True)).astype(np.float32) for part in (asked, gallery)]
    places, near = reranked(unit[0], unit[1], 4, 4)
    assert (places // 4 == np.arange(5)[:, None]).all()
    assert (np.diff(near, axis=1) <= 0).all()
    assert (nearest(unit[0], unit[1], 4)[0] // 4 == np.arange(5)[:, None]).all()
    assert expanded(unit[0], unit[1], 0) is unit[0]


def test_rows_that_are_all_alike_have_finite_distances() -> None:
    """A network that says the same of every picture: after centring nothing is left of them."""
    nothing, same = np.zeros((9, 4), dtype=np.float32), np.tile(np.eye(1, 4, dtype=np.float32), (9, 1))
    assert np.isfinite(expanded(nothing, nothing, 2)).all()
    for both in (nothing, same):  # more of one kind than neighbours that are looked at
        assert np.isfinite(reranked(both[:2], both, 2, 2)[1]).all()


def test_too_many_rows_for_re_ranking_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reranking, "MOST", 10)
    with pytest.raises(FoldlineError, match="more than 10"):
        fitted(made(), None, rerank=10.0)
