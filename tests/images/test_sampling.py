"""Which rows an epoch has: shares, caps, turns, and the plain order where nothing is set."""

import numpy as np
import pytest

from foldline.core.errors import FoldlineError
from foldline.core.run import Run, Sampling
from foldline.core.task import TASKS
from foldline.images.augment import key_seed
from foldline.images.sampling import epoch_rows, row_classes, rows_per_epoch

NAMES = ["common", "rare", "absent", "middle"]
CLASSES = np.random.default_rng(1).permutation(np.repeat([0, 1, 3], [900, 9, 91]))
ROWS = len(CLASSES)
KEY = (7, 1)


def drawn(sampling: Sampling, epoch: int = 0) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    rows = epoch_rows(CLASSES, ROWS, sampling, NAMES, KEY, epoch)
    assert len(rows) == rows_per_epoch(CLASSES, ROWS, sampling, NAMES), "the length must not depend on the epoch"
    return rows


def counts(sampling: Sampling, epoch: int = 0) -> list[int]:
    return [int(n) for n in np.bincount(CLASSES[drawn(sampling, epoch)], minlength=4)]


def test_by_default_each_row_comes_once_in_the_order_of_the_key() -> None:
    expected = np.random.default_rng(key_seed(*KEY, 3)).permutation(ROWS)
    assert (epoch_rows(None, ROWS, Sampling(), [], KEY, 3) == expected).all()
    assert (drawn(Sampling(), 3) == expected).all()
    assert (drawn(Sampling(weights={"rare": 1.0})) != np.arange(ROWS)).any()
    assert sorted(drawn(Sampling(weights={"rare": 1.0}))) == list(range(ROWS)), "weights of 1 change no share"


@pytest.mark.parametrize("balance", [0.25, 0.5, 1.0])
def test_balance_makes_shares_a_power_of_the_classes_sizes(balance: float) -> None:
    shares = np.array([900, 9, 0, 91]) ** (1 - balance) * [1, 1, 0, 1]
    assert np.abs(np.array(counts(Sampling(balance=balance))) - shares / shares.sum() * ROWS).max() <= 1
    assert len(drawn(Sampling(balance=balance))) == ROWS


def test_balance_repeats_each_row_of_a_class_equally_often() -> None:
    times = np.bincount(drawn(Sampling(balance=1.0)), minlength=ROWS)
    for number in (0, 1, 3):
        assert np.ptp(times[number == CLASSES]) <= 1


def test_weights_multiply_the_odds_of_a_class() -> None:
    common, rare, _, middle = counts(Sampling(weights={"rare": 10.0, "middle": 2.0}))
    assert common + rare + middle == ROWS
    assert rare / common == pytest.approx(10 * 9 / 900, rel=0.05)
    assert middle / common == pytest.approx(2 * 91 / 900, rel=0.05)


def test_at_least_repeats_rarer_classes_and_leaves_the_others() -> None:
    assert counts(Sampling(at_least=50)) == [900, 50, 0, 91]
    assert set(np.flatnonzero(CLASSES == 1)) <= set(drawn(Sampling(at_least=50)))


def test_at_most_caps_and_goes_round_all_rows() -> None:
    sampling = Sampling(at_most=100)
    assert counts(sampling) == [100, 9, 0, 91]
    epochs = [drawn(sampling, epoch) for epoch in range(18)]
    assert all(len(set(rows)) == len(rows) for rows in epochs), "no row twice in an epoch"
    assert set(np.concatenate(epochs[:9])) == set(range(ROWS)), "all rows in 900 / 100 epochs"
    common = [set(rows[CLASSES[rows] == 0]) for rows in epochs]
    assert not any(a == b for i, a in enumerate(common) for b in common[:i]), "dealt anew after a round"


def test_a_cap_that_does_not_divide_goes_round_too() -> None:
    epochs = [drawn(Sampling(at_most=400), epoch) for epoch in range(3)]
    assert all(len(set(rows)) == len(rows) for rows in epochs)
    assert set(np.concatenate(epochs)) == set(range(ROWS))


def test_caps_make_the_length_and_balance_the_shares() -> None:
    assert counts(Sampling(at_most=100, at_least=10, balance=1.0)) == [67, 67, 0, 67]


@pytest.mark.parametrize("sampling", [Sampling(balance=0.7), Sampling(at_most=50), Sampling(at_least=20)])
def test_the_rows_are_a_function_of_the_key(sampling: Sampling) -> None:
    assert (drawn(sampling, 4) == drawn(sampling, 4)).all()
    other = epoch_rows(CLASSES, ROWS, sampling, NAMES, (8, 1), 4)
    assert not np.array_equal(drawn(sampling, 4), drawn(sampling, 5))
    assert not np.array_equal(drawn(sampling, 4), other)
    assert (np.diff(CLASSES[drawn(sampling)]) < 0).any(), "classes must be mixed in the order"


def test_a_row_of_several_labels_counts_as_its_rarest() -> None:
    labels = np.zeros((100, 3), dtype=np.int64)
    labels[:, 0] = 1
    labels[:10, 1] = 1
    labels[:2, 2] = 1
    labels[90:] = 0  # rows without any label are a class of their own
    rows = epoch_rows(labels, 100, Sampling(balance=1.0), ["a", "b", "c"], KEY, 0)
    groups = [range(10, 90), range(2, 10), range(2), range(90, 100)]
    assert [int(np.isin(rows, list(group)).sum()) for group in groups] == [25, 25, 25, 25]


def test_truth_becomes_classes() -> None:
    soft = np.array([[0.2, 0.8], [0.6, 0.4]])
    assert row_classes(soft, TASKS["regression"]) is None
    assert row_classes(soft, TASKS["soft"]).tolist() == [1, 0]  # type: ignore[union-attr]
    assert row_classes(np.array([1.0, 0.0]), TASKS["ordinal"]).tolist() == [1, 0]  # type: ignore[union-attr]
    assert row_classes(np.eye(2), TASKS["multilabel"]).tolist() == [[1, 0], [0, 1]]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (Sampling(weights={"rear": 2.0}), "did you mean 'rare'"),
        (Sampling(at_least=10, at_most=5), "more than at_most"),
    ],
)
def test_wrong_settings_are_refused_before_the_first_epoch(sampling: Sampling, message: str) -> None:
    with pytest.raises(FoldlineError) as caught:
        rows_per_epoch(CLASSES, ROWS, sampling, NAMES)
    assert message in str(caught.value)
    with pytest.raises(FoldlineError, match="greater than 0"):
        Run.parse({"sampling": {"weights": {"rare": -1.0}}}, where="")


def test_regression_has_no_classes_to_sample_by() -> None:
    for settings in ({"balance": 0.5}, {"at_least": 3}, {"at_most": 3}, {"weights": {"a": 2.0}}):
        with pytest.raises(FoldlineError, match="this task has none"):
            rows_per_epoch(None, ROWS, Sampling.model_validate(settings), [""])


def test_many_classes_stay_fast() -> None:
    import time

    classes = np.random.default_rng(0).integers(0, 5000, 50_000)
    names = [str(i) for i in range(5000)]
    start = time.process_time()
    rows = epoch_rows(classes, 50_000, Sampling(balance=0.5), names, KEY, 0)
    assert len(rows) == 50_000
    assert time.process_time() - start < 5
