"""An entity's pictures: their order, those that a step sees, and each between its neighbours."""

import numpy as np
import pandas as pd
import pytest

from foldline.core.errors import FoldlineError
from foldline.images.batches import Share
from foldline.images.stacks import StackRows, Stacks, middle, with_neighbours

NAMES = ["b", "a", "b", "a", "b", "c"]
ORDER = pd.Series(["10", "1", "9", "0", "2", "5"], dtype=str)


def stacks(sizes: list[int]) -> Stacks:
    return Stacks.of([str(stack) for stack, size in enumerate(sizes) for _ in range(size)], None)


def test_pictures_are_sorted_by_the_number_of_their_place() -> None:
    found = Stacks.of(NAMES, ORDER)
    assert [found.rows(stack).tolist() for stack in range(3)] == [[4, 2, 0], [3, 1], [5]]
    assert found.of_row.tolist() == [0, 1, 0, 1, 0, 2]
    assert found.place.tolist() == [1.0, 1.0, 0.5, 0.0, 0.0, 0.0]
    assert found.first_rows.tolist() == [0, 1, 5]
    assert found.slot.tolist() == [2, 1, 1, 0, 0, 0]


def test_words_are_sorted_as_words_and_none_as_the_rows_are() -> None:
    words = Stacks.of(["a", "a", "a"], pd.Series(["MLO", "CC", "LM"], dtype=str))
    assert words.rows(0).tolist() == [1, 2, 0]
    assert Stacks.of(["a", "a", "a"], None).rows(0).tolist() == [0, 1, 2]


@pytest.mark.parametrize("cells", [["1", ""], ["1", "x"]])
def test_a_row_without_a_place_is_refused(cells: list[str]) -> None:
    with pytest.raises(FoldlineError, match="1 row has no place"):
        Stacks.of(["a", "a"], pd.Series(cells, dtype=str))


def test_a_picture_that_cannot_be_read_is_none_of_its_stack_unless_none_can() -> None:
    found = Stacks.of(NAMES, ORDER, np.array([False, True, True, True, False, False]))
    assert [found.rows(stack).tolist() for stack in range(3)] == [[4, 0], [3, 1], [5]]
    assert found.slot.tolist() == [1, 1, -1, 0, 0, 0]


@pytest.mark.parametrize("seed", range(20))
def test_a_picture_stands_where_it_would_without_those_that_cannot_be_read(seed: int) -> None:
    """Training leaves their rows out, prediction is given them: a picture has one place in both."""
    rng = np.random.default_rng(seed)
    names = [str(name) for name in rng.integers(0, 4, 40)]
    order, bad = pd.Series([str(place) for place in rng.permutation(40)], dtype=str), rng.random(40) < 0.4
    left = np.flatnonzero(~bad)
    assert {names[row] for row in left} == set(names)
    predicted = Stacks.of(names, order, bad)
    trained = Stacks.of([names[row] for row in left], order.iloc[left].reset_index(drop=True))
    assert predicted.place[left].tolist() == trained.place.tolist()
    assert sorted(left[trained.order].tolist()) == sorted(predicted.order.tolist())
    assert predicted.sizes.sum() == trained.sizes.sum() == len(left)


def test_a_stack_is_predicted_beside_the_same_ones_whichever_are_wanted() -> None:
    found = stacks([3, 4, 9, 1, 1, 5])
    every = list(found.packs(8, np.ones(6, dtype=bool)))
    assert every == [range(2), range(2, 3), range(3, 6)]
    some = list(found.packs(8, np.array([False, True, False, False, False, True])))
    assert some == [range(2), range(3, 6)]


def test_each_picture_stands_between_its_neighbours() -> None:
    images = ["b10", "a1", "b9", "a0", "b2", "c5"]
    found = with_neighbours(images, Stacks.of(NAMES, ORDER), 1)
    assert found == ["b9|b10|b10", "a0|a1|a1", "b2|b9|b10", "a0|a0|a1", "b2|b2|b9", "c5|c5|c5"]
    assert [middle(image, 1) for image in found] == images


def rows_of(sizes: list[int], most: int = 0, share: Share | None = None) -> StackRows:
    found = stacks(sizes)
    return StackRows(np.arange(100, 100 + sum(sizes)), (7, 1), stacks=found, most=most, share=share)


def test_a_step_sees_pictures_spread_over_the_stack_and_others_in_each_epoch() -> None:
    rows = rows_of([12, 3], most=4)
    seen = [rows.chosen(epoch, np.array([0, 1]), np.zeros(2, dtype=np.int64)) for epoch in range(20)]
    for one in seen:
        assert (one[0] // 3 == np.arange(4)).all(), "one of each quarter, in their order"
        assert one[1].tolist() == [12, 13, 14, 12], "fewer than asked for are repeated"
    assert len({tuple(one[0].tolist()) for one in seen}) > 10
    again = rows.chosen(0, np.array([0]), np.array([1]))
    assert again.tolist() != seen[0][:1].tolist(), "an entity that comes twice shows others"


def test_batches_are_functions_of_the_key_wherever_an_epoch_goes_on() -> None:
    rows = rows_of([5, 2, 7, 4, 1, 6], most=3)
    every, rest = list(rows.items(3, 2)), list(rows_of([5, 2, 7, 4, 1, 6], most=3).items(3, 2, 1))
    assert [batch.tolist() for batch in every[1:]] == [batch.tolist() for batch in rest]
    assert all((batch[:, 0] == batch[:, 4] + 100).all() for batch in every)
    assert [batch[:, 4].tolist() for batch in every] == [rows.whole(3, number, 2).tolist() for number in range(3)]


def test_ranks_share_a_batch_by_entities() -> None:
    sizes = [5, 2, 7, 4, 1, 6]
    (whole,) = rows_of(sizes).items(0, 6)
    parts = [next(rows_of(sizes, share=Share(rank, 2)).items(0, 6)) for rank in range(2)]
    assert np.concatenate(parts).tolist() == whole.tolist()
    assert all(len(part) == 3 * 7 for part in parts), "as many pictures of each entity in every rank"
