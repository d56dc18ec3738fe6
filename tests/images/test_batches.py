"""Which rows an epoch has, and in which order."""

import numpy as np

from foldline.core.run import Sampling
from foldline.images.batches import TrainingRows, rows_of

KEY = (5, 2)
POSITIONS = np.array([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
TRUTH = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 2], dtype=np.float64)
CLASSES = ["a", "b", "c"]


def sampled(sampling: Sampling) -> TrainingRows:
    return TrainingRows(POSITIONS, KEY, truth=TRUTH, outputs=CLASSES, sampling=sampling)


def test_an_item_says_where_its_picture_is_and_what_it_is_drawn_by() -> None:
    rows = TrainingRows(POSITIONS, KEY)
    items = np.concatenate(list(rows.items(3, 4)))
    assert rows_of(items).tolist() == rows.order(3)[:8].tolist()
    assert items[:, 0].tolist() == POSITIONS[rows.order(3)[:8]].tolist()
    assert {tuple(key) for key in items[:, 1:4].tolist()} == {(*KEY, 3)}
    assert not items[:, 5].any(), "no row comes twice"


def test_balance_changes_the_order_and_says_how_often_a_row_came() -> None:
    items = next(sampled(Sampling(balance=1.0)).items(0, 10))
    counts = np.bincount(TRUTH[rows_of(items)].astype(int))
    assert sorted(counts.tolist()) == [3, 3, 4]
    alone = items[rows_of(items) == 9]  # the only row of its class
    assert alone[:, 5].tolist() == list(range(len(alone)))
    assert len(alone) >= 3


def test_an_epoch_has_the_batches_that_were_announced() -> None:
    for sampling in (Sampling(), Sampling(at_most=3), Sampling(at_least=5), Sampling(balance=0.5, at_least=3)):
        rows = sampled(sampling)
        for epoch in range(4):
            assert len(list(rows.items(epoch, 3))) == rows.batches(3)
            assert len(rows.order(epoch)) == rows.rows_per_epoch


def test_an_epoch_that_goes_on_has_the_rest_of_its_batches() -> None:
    rows = sampled(Sampling(balance=1.0))
    whole, rest = list(rows.items(2, 3)), list(rows.items(2, 3, first=1))
    assert all((a == b).all() for a, b in zip(whole[1:], rest, strict=True))


def test_a_batch_larger_than_the_epoch_is_all_of_it() -> None:
    rows = TrainingRows(POSITIONS, KEY)
    assert [len(items) for items in rows.items(0, 64)] == [10]
    assert (rows.batches(64), rows.batches(3)) == (1, 3)


def test_pseudo_labelled_rows_are_a_part_of_each_epoch_in_turn() -> None:
    rows = TrainingRows(np.arange(100), (0, 0), pseudo=40, ratio=0.25)
    assert rows.rows_per_epoch == 80
    seen: list[int] = []
    for epoch in range(4):
        order = rows.order(epoch)
        assert sorted(order[order < 60]) == list(range(60)), "all others once"
        seen += order[order >= 60].tolist()
    assert sorted(seen) == sorted(2 * list(range(60, 100))), "each as often as any other"
    assert (rows.order(1) == TrainingRows(np.arange(100), (0, 0), pseudo=40, ratio=0.25).order(1)).all()
    assert TrainingRows(np.arange(100), (0, 0), pseudo=40).rows_per_epoch == 100
