"""What every splitter must hold, over tasks, groups and seeds."""

import hashlib
from typing import Any

import numpy as np
import pandas as pd
import pytest
from iterstrat.ml_stratifiers import MultilabelStratifiedKFold
from scipy.sparse import csr_matrix

from foldline.core.errors import FoldlineError
from foldline.core.task import TASKS, Task, task_from
from foldline.splits.assign import assign, cover_classes, exact_sizes
from foldline.splits.shuffle import shuffle_ranks
from foldline.splits.splitters import SPLITTERS, ToSplit, choose_splitter, split
from foldline.splits.strata import class_matrix, make_strata, one_hot
from tasks import PLAIN, plain

GROUPED = ["grouped", "stratified_grouped"]


def to_split(frame: pd.DataFrame, task: Any, outputs: list[str], stratify: tuple[str, ...] = ("target",)) -> ToSplit:
    groups = frame["group"].tolist() if "group" in frame.columns else None
    own = [str(i % 5) for i in range(len(frame))]
    return ToSplit(frame["row_id"].tolist(), make_strata(frame, task, outputs, stratify), groups, own)


def classes_of(frame: pd.DataFrame, task: Any, outputs: list[str]) -> Any:
    return class_matrix(task.truth(frame, outputs, where=""), task, len(outputs)).toarray()


@pytest.mark.parametrize("name", SPLITTERS)
@pytest.mark.parametrize("task", PLAIN)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_splitter_fills_every_fold_and_keeps_groups_whole(
    make_rows: Any, name: str, task: Task, seed: int
) -> None:
    frame, outputs = make_rows(task, seed=seed, groups=30)
    fold = split(to_split(frame, task, outputs), name, 5, seed)
    assert fold.shape == (len(frame),)
    assert set(fold.tolist()) == set(range(5))
    if name in GROUPED:
        assert frame.assign(fold=fold).groupby("group")["fold"].nunique().max() == 1


@pytest.mark.parametrize("name", sorted(set(SPLITTERS) - {"column"}))
@pytest.mark.parametrize("task", PLAIN)
def test_row_order_changes_nothing_and_the_seed_does(make_rows: Any, name: str, task: Task) -> None:
    frame, outputs = make_rows(task, groups=60)
    by = ("target", "site")
    fold = split(to_split(frame, task, outputs, by), name, 4, seed=0)
    mixed = frame.sample(frac=1, random_state=3)
    again = split(to_split(mixed, task, outputs, by), name, 4, seed=0)
    assert dict(zip(frame["row_id"], fold, strict=True)) == dict(zip(mixed["row_id"], again, strict=True))
    assert (split(to_split(frame, task, outputs, by), name, 4, seed=1) != fold).mean() > 0.1


@pytest.mark.parametrize("task", plain(["binary", "multiclass", "ordinal", "soft"]))
@pytest.mark.parametrize(("rows", "k"), [(103, 5), (240, 7), (31, 2), (64, 10)])
def test_stratified_counts_differ_by_one_at_most(make_rows: Any, task: Task, rows: int, k: int) -> None:
    frame, outputs = make_rows(task, rows=rows)
    table = to_split(frame, task, outputs, ("target", "site"))
    fold = split(table, "stratified", k, seed=0)
    assert table.strata.codes is not None
    joint = one_hot(table.strata.codes).toarray()
    for columns in (classes_of(frame, task, outputs), joint, np.ones((rows, 1))):
        counts = np.stack([columns[fold == i].sum(axis=0) for i in range(k)])
        assert np.ptp(counts, axis=0).max() <= 1


def test_a_class_rarer_than_k_is_spread(make_rows: Any) -> None:
    frame, _ = make_rows(TASKS["multiclass"], rows=50)
    frame["target"] = ["a"] * 44 + ["b"] * 3 + ["c"] * 2 + ["d"]
    fold = split(to_split(frame, TASKS["multiclass"], list("abcd")), "stratified", 5, seed=0)
    for name in "bcd":
        own = fold[frame["target"] == name]
        assert len(set(own.tolist())) == len(own)


def test_every_class_rarer_than_k(make_rows: Any) -> None:
    frame, _ = make_rows(TASKS["multiclass"], rows=20)
    frame["target"] = [f"c{i // 2}" for i in range(20)]
    fold = split(to_split(frame, TASKS["multiclass"], [f"c{i}" for i in range(10)]), "stratified", 5, seed=0)
    assert np.bincount(fold).tolist() == [4] * 5


@pytest.mark.parametrize("seed", range(4))
def test_continuous_targets_have_the_same_distribution_in_each_fold(make_rows: Any, seed: int) -> None:
    frame, outputs = make_rows(TASKS["regression"], rows=400, seed=seed, outputs=1)
    values = TASKS["regression"].truth(frame, outputs, where="")[:, 0]
    table = to_split(frame, TASKS["regression"], outputs)

    def spread(name: str) -> float:
        means = [float(np.std([values[split(table, name, 5, s) == i].mean() for i in range(5)])) for s in range(8)]
        return float(np.mean(means))

    assert spread("stratified") < 0.5 * spread("plain")


@pytest.mark.parametrize("seed", range(4))
def test_multilabel_is_as_even_as_the_library(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.random((1000, 30)) < rng.beta(0.4, 4, 30) * np.exp(rng.normal(size=(1000, 1)) * 0.8)).astype(float)
    labels = labels[:, labels.sum(axis=0) > 0]
    ranks = shuffle_ranks([str(i) for i in range(1000)], seed, "test")
    own = assign(csr_matrix(labels), np.ones(1000), np.full(5, 0.2), ranks, exact=True)
    other = np.empty(1000, dtype=np.int64)
    library = MultilabelStratifiedKFold(5, shuffle=True, random_state=seed)
    for i, (_, test) in enumerate(library.split(labels, labels)):
        other[test] = i

    def deviation(fold: Any) -> float:
        counts = np.stack([labels[fold == i].sum(axis=0) for i in range(5)])
        return float(np.abs(counts - labels.sum(axis=0) / 5).mean())

    assert np.bincount(own).tolist() == [200] * 5
    assert deviation(own) <= deviation(other) + 0.02


@pytest.mark.parametrize("seed", range(4))
def test_several_targets_are_even_all_at_once(make_rows: Any, seed: int) -> None:
    """Classes of both targets, and the mean of the number, as even as if each were the only one, within two rows."""
    frame, names = make_rows(TASKS["multiclass"], rows=300, seed=seed)
    rng = np.random.default_rng(seed)
    more = {"target_side": rng.choice(["l", "r"], 300, p=[0.7, 0.3]), "target_cm": rng.normal(size=300).astype(str)}
    frame = frame.rename(columns={"target": "target_kind"}).assign(**more)
    task = task_from({"cm": "regression", "kind": "multiclass", "side": "multiclass"})
    outputs = ["cm=", *(f"kind={name}" for name in names), "side=l", "side=r"]
    table = to_split(frame, task, outputs)
    assert table.strata.classes == len(outputs) - 1
    fold = split(table, "auto", 5, seed)
    assert np.bincount(fold).tolist() == [60] * 5
    for column in ("target_kind", "target_side"):
        counts = frame.groupby([column, fold]).size().unstack(fill_value=0)
        assert np.ptp(counts.to_numpy(), axis=1).max() <= 3
    means = [frame["target_cm"].astype(float)[fold == i].mean() for i in range(5)]
    assert np.std(means) < 0.5 * 1 / np.sqrt(60), "half of what chance does"


@pytest.mark.parametrize("task", plain(["binary", "multiclass", "multilabel"]))
@pytest.mark.parametrize("seed", range(5))
def test_groups_and_strata_at_once(make_rows: Any, task: Task, seed: int) -> None:
    """Far more even than a grouped split, no class missing in a fold, no fold much larger than another."""
    frame, outputs = make_rows(task, rows=600, seed=seed, groups=150)
    table, classes = to_split(frame, task, outputs), classes_of(frame, task, outputs)

    def unevenness(name: str) -> float:
        fold = split(table, name, 5, seed)
        counts = np.stack([classes[fold == i].sum(axis=0) for i in range(5)])
        return float((np.ptp(counts, axis=0) / counts.mean(axis=0)).mean())

    assert unevenness("stratified_grouped") < 0.5 * unevenness("grouped")
    sizes = np.bincount(split(table, "stratified_grouped", 5, seed))
    largest = frame["group"].value_counts().iloc[0]
    assert np.ptp(sizes) <= max(largest, 0.05 * len(frame))


def test_a_rare_class_inside_large_groups_reaches_every_fold() -> None:
    """The greedy choice looks at size here, so that only the repair can give each fold its rare row."""
    sizes = np.array([100.0, 99, 98, 97, 96, 95, 94, 93, 92, 91])
    rare = np.array([1.0, 0, 0, 0, 1, 0, 1, 0, 1, 1])[:, None]
    units = csr_matrix(np.hstack([rare, sizes[:, None] - rare]))
    broken = np.array([0, 1, 2, 3, 0, 4, 1, 2, 3, 1])
    fold = cover_classes(units[:, :1], broken, 5)
    assert sorted(fold[rare[:, 0] > 0].tolist()) == [0, 1, 2, 3, 4]
    assert set(fold.tolist()) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("seed", range(30))
def test_no_class_is_missing_where_groups_allow_it(seed: int) -> None:
    """Each class has k groups or more of its own, so that a cover exists; a large share of random splits has none."""
    rng = np.random.default_rng(seed)
    k, classes = 4, 12
    owner = np.repeat(np.arange(classes), k + rng.integers(0, 3))
    units = csr_matrix((rng.integers(1, 60, len(owner)).astype(float), (np.arange(len(owner)), owner)))
    ranks = shuffle_ranks([str(i) for i in range(len(owner))], seed, "test")
    fold = assign(units, np.asarray(units.sum(axis=1)).reshape(-1), np.full(k, 1 / k), ranks)
    fold = cover_classes(units, fold, k)
    for c in range(classes):
        assert set(fold[owner == c].tolist()) == set(range(k))


@pytest.mark.parametrize("groups", [5, 6, 9])
def test_hardly_more_groups_than_folds_leave_none_empty(groups: int) -> None:
    """One giant group: scikit-learn's StratifiedGroupKFold may leave a fold empty here."""
    sizes = [200] + [1] * (groups - 1)
    names = [f"g{i}" for i, size in enumerate(sizes) for _ in range(size)]
    codes = np.arange(len(names)) % 2
    frame = pd.DataFrame({"row_id": [str(i) for i in range(len(names))], "target": [f"c{c}" for c in codes]})
    strata = make_strata(frame, TASKS["binary"], ["c0", "c1"], ["target"])
    for name in GROUPED:
        fold = split(ToSplit(frame["row_id"].tolist(), strata, names), name, 5, seed=0)
        assert set(fold.tolist()) == set(range(5))


def test_fewer_groups_or_rows_than_folds_is_an_error(make_rows: Any) -> None:
    frame, outputs = make_rows(TASKS["binary"], rows=40)
    frame["group"] = ["a", "b", "c", "d"] * 10
    for name in GROUPED:
        with pytest.raises(FoldlineError, match="4 groups cannot fill 5 folds"):
            split(to_split(frame, TASKS["binary"], outputs), name, 5, seed=0)
    with pytest.raises(FoldlineError, match="4 rows cannot fill 5 folds"):
        split(to_split(frame.head(4), TASKS["binary"], outputs), "plain", 5, seed=0)
    with pytest.raises(FoldlineError, match="needs groups"):
        split(to_split(frame.drop(columns="group"), TASKS["binary"], outputs), "grouped", 5, seed=0)


def test_own_folds(make_rows: Any) -> None:
    frame, outputs = make_rows(TASKS["binary"], rows=6)
    strata = make_strata(frame, TASKS["binary"], outputs, ["target"])

    def own(cells: list[str], k: int) -> Any:
        return split(ToSplit(frame["row_id"].tolist(), strata, given=cells), "column", k, 0).tolist()

    assert own(["1", "2", "10", "1", "2", "10"], 3) == [0, 1, 2, 0, 1, 2]
    assert own(["b", "a", "b", "a", "b", "a"], 2) == [1, 0, 1, 0, 1, 0]
    with pytest.raises(FoldlineError, match="has 2 values") as caught:
        own(["b", "a", "b", "a", "b", "a"], 5)
    assert "folds.k: 2" in caught.value.next
    with pytest.raises(FoldlineError, match="1 row has no fold: r0001"):
        own(["b", "", "b", "a", "b", "a"], 2)


def test_names_of_splitters() -> None:
    assert choose_splitter("auto", has_groups=False, stratify=False) == "plain"
    assert choose_splitter("auto", has_groups=False, stratify=True) == "stratified"
    assert choose_splitter("auto", has_groups=True, stratify=False) == "grouped"
    with pytest.raises(FoldlineError, match="unknown splitter 'stratifed'") as caught:
        choose_splitter("stratifed", has_groups=False, stratify=True)
    assert "stratified" in caught.value.next


def test_an_unknown_column_to_stratify_by_is_an_error(make_rows: Any) -> None:
    frame, outputs = make_rows(TASKS["binary"])
    with pytest.raises(FoldlineError, match="cannot stratify by 'hospital'"):
        make_strata(frame, TASKS["binary"], outputs, ["target", "hospital"])


def test_a_numeric_column_is_binned_and_kept_even(make_rows: Any) -> None:
    frame, outputs = make_rows(TASKS["binary"], rows=400)
    assert make_strata(frame, TASKS["binary"], outputs, ["age"]).codes.max() == 9  # type: ignore[union-attr]
    fold = split(to_split(frame, TASKS["binary"], outputs, ("target", "age")), "stratified", 5, seed=0)
    old = frame["age"].astype(int).to_numpy() >= frame["age"].astype(int).median()
    counts = np.bincount(fold[old], minlength=5)
    assert np.ptp(counts) <= 6


@pytest.mark.parametrize("share", [[0.5, 0.5], [0.2] * 5, [0.75, 0.25], [1 / 3] * 3])
@pytest.mark.parametrize("rows", [7, 10, 2624])
def test_exact_sizes_add_up(share: list[float], rows: int) -> None:
    sizes = exact_sizes(np.array(share), rows)
    assert sizes.sum() == rows
    assert np.abs(sizes - np.array(share) * rows).max() <= 1


PINNED = {
    "plain": "21fd9521ece9e2f5",
    "stratified": "066d1b8e4bfaac31",
    "grouped": "75f3ac22d3aef075",
    "stratified_grouped": "644a151e59387751",
    "multilabel": "9ce8def6d29de33d",
}


@pytest.mark.parametrize("name", PINNED)
def test_the_folds_of_this_version_are_those_of_every_version(name: str) -> None:
    """Pinned: a change of these hashes takes everybody's folds away, so it must be meant and be in the CHANGELOG."""
    ids = [f"row {i}" for i in range(97)]
    columns = {f"target_{c}": [str(int(i % (c + 2) == 0)) for i in range(97)] for c in range(3)}
    frame = pd.DataFrame({"row_id": ids, "target": [f"c{i * i % 7 % 3}" for i in range(97)], **columns})
    task, outputs = ("multilabel", ["0", "1", "2"]) if name == "multilabel" else ("multiclass", ["c0", "c1", "c2"])
    strata = make_strata(frame, TASKS[task], outputs, ["target"])
    rows = ToSplit(ids, strata, [f"g{i * i % 23}" for i in range(97)])
    fold = split(rows, "stratified" if name == "multilabel" else name, 4, seed=1)
    assert hashlib.sha256(bytes(fold.tolist())).hexdigest()[:16] == PINNED[name]
