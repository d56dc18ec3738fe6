"""Every metric against an implementation that is not ours: scikit-learn, scipy, or the definition by brute force."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.special
import scipy.stats
import sklearn.metrics as sk

from foldline.core.task import TASKS, Array
from foldline.scoring.metrics import METRICS
from scoring.by_shape import confusion, per_class_accuracy, score, score_labels

TIGHT = 1e-9
SEEDS = range(5)


def single(classes: int, seed: int, rows: int = 300, missing: int | None = None) -> tuple[Array, Array]:
    """Class indices and probabilities, without the class `missing`; probabilities are rounded, so some are equal."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, rows)
    prob = rng.dirichlet(np.ones(classes), rows) + 0.4 * np.eye(classes)[truth]
    prob /= prob.sum(axis=1, keepdims=True)
    if missing is not None:
        truth = np.where(truth == missing, (missing + 1) % classes, truth)
    return truth.astype(float), prob


def tied(prob: Array) -> Array:
    """Binary probabilities of two decimals, so that many rows have equal scores."""
    positive = prob[:, 1].round(2)
    return np.stack([1 - positive, positive], axis=1)


def sets(outputs: int, seed: int, rows: int = 200) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    truth = (rng.random((rows, outputs)) < 0.3).astype(float)
    return truth, np.clip(0.4 * truth + 0.6 * rng.random((rows, outputs)), 0, 1).round(3)


def numbers(outputs: int, seed: int, rows: int = 100) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    truth = rng.gamma(2, 3, (rows, outputs)).round(1)
    return truth, np.abs(truth + rng.normal(0, 2, truth.shape)).round(1)


BY_LABELS: dict[str, Callable[[Array, Array], float]] = {
    "accuracy": sk.accuracy_score,
    "error": sk.zero_one_loss,
    "balanced_accuracy": sk.balanced_accuracy_score,
    "f1_macro": lambda t, p: sk.f1_score(t, p, average="macro"),
    "f1_micro": lambda t, p: sk.f1_score(t, p, average="micro"),
    "f1_weighted": lambda t, p: sk.f1_score(t, p, average="weighted"),
    "precision_macro": lambda t, p: sk.precision_score(t, p, average="macro", zero_division=0),
    "recall_macro": lambda t, p: sk.recall_score(t, p, average="macro", zero_division=0),
    "f2_macro": lambda t, p: sk.fbeta_score(t, p, beta=2, average="macro"),
    "f2_micro": lambda t, p: sk.fbeta_score(t, p, beta=2, average="micro"),
    "fbeta_macro@0.5": lambda t, p: sk.fbeta_score(t, p, beta=0.5, average="macro"),
    "f2_weighted": lambda t, p: sk.fbeta_score(t, p, beta=2, average="weighted"),
    "matthews": sk.matthews_corrcoef,
    "cohen_kappa": sk.cohen_kappa_score,
    "quadratic_weighted_kappa": lambda t, p: sk.cohen_kappa_score(
        t, p, weights="quadratic", labels=np.arange(int(max(t.max(), p.max())) + 1)
    ),
}


@pytest.mark.parametrize("name", BY_LABELS)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_single_label(name: str, seed: int, classes: int) -> None:
    truth, prob = single(classes, seed)
    labels = prob.argmax(axis=1).astype(float)
    expected = BY_LABELS[name](truth, labels)
    assert score(name, truth, prob, task=TASKS["multiclass"]) == pytest.approx(expected, abs=TIGHT)
    assert score_labels(name, truth, labels) == pytest.approx(expected, abs=TIGHT)


def test_a_class_that_truth_or_labels_lack() -> None:
    truth, prob = single(5, 0, missing=2)  # class 2 is predicted and never true
    labels = prob.argmax(axis=1)
    assert 2 in labels
    for name in (
        "f1_macro",
        "precision_macro",
        "recall_macro",
        "f1_weighted",
        "matthews",
        "cohen_kappa",
        "quadratic_weighted_kappa",
    ):
        assert score(
            name, truth, prob, task=TASKS["ordinal"] if "quad" in name else TASKS["multiclass"]
        ) == pytest.approx(BY_LABELS[name](truth, labels.astype(float)), abs=TIGHT)
    recalls = sk.recall_score(truth, labels, average=None, labels=[0, 1, 3, 4])
    assert score("balanced_accuracy", truth, prob, task=TASKS["multiclass"]) == pytest.approx(recalls.mean(), abs=TIGHT)
    # Class 2 neither true nor predicted: scikit-learn leaves it out of the macro mean, and so do we.
    prob[:, 2] = 0
    expected = sk.f1_score(truth, prob.argmax(axis=1), average="macro")
    assert score("f1_macro", truth, prob, task=TASKS["multiclass"]) == pytest.approx(expected, abs=TIGHT)


@pytest.mark.parametrize("seed", SEEDS)
def test_binary_labels(seed: int) -> None:
    truth, prob = single(2, seed)
    labels = prob.argmax(axis=1)
    assert score("f1", truth, prob) == pytest.approx(sk.f1_score(truth, labels), abs=TIGHT)
    assert score("precision", truth, prob) == pytest.approx(sk.precision_score(truth, labels), abs=TIGHT)
    assert score("recall", truth, prob) == pytest.approx(sk.recall_score(truth, labels), abs=TIGHT)
    assert score("f2", truth, prob) == pytest.approx(sk.fbeta_score(truth, labels, beta=2), abs=TIGHT)
    assert score("fbeta@0.5", truth, prob) == pytest.approx(sk.fbeta_score(truth, labels, beta=0.5), abs=TIGHT)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("average", ["macro", "micro", "weighted", "samples"])
def test_label_sets(seed: int, average: str) -> None:
    truth, prob = sets(5, seed)
    labels = (prob >= 0.5).astype(int)
    truth[0], prob[0] = 0, 0  # an empty set predicted empty
    labels[0] = 0
    for beta, name in ((1, f"f1_{average}"), (2, f"f2_{average}"), (0.5, f"fbeta_{average}@0.5")):
        empty = 1 if average == "samples" else 0
        expected = sk.fbeta_score(truth, labels, beta=beta, average=average, zero_division=empty)
        assert score(name, truth, prob) == pytest.approx(expected, abs=TIGHT)
    assert score("accuracy", truth, prob) == pytest.approx(sk.accuracy_score(truth, labels), abs=TIGHT)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_log_loss(seed: int, classes: int) -> None:
    truth, prob = single(classes, seed)
    labels = list(range(classes))
    expected = sk.log_loss(truth, prob, labels=labels)
    assert score("log_loss", truth, prob, task=TASKS["multiclass"]) == pytest.approx(expected, abs=TIGHT)
    assert score("log_loss", truth, 3 * prob / 4, task=TASKS["multiclass"]) == pytest.approx(
        expected, abs=TIGHT
    )  # rescaled
    weights = np.arange(1.0, classes + 1)
    weighted = sk.log_loss(truth, prob, labels=labels, sample_weight=weights[truth.astype(int)])
    name = f"weighted_log_loss@{','.join(f'{w:g}' for w in weights)}"
    assert score(name, truth, prob, task=TASKS["multiclass"]) == pytest.approx(weighted, abs=TIGHT)
    one_hot = np.eye(classes)[truth.astype(int)]
    brier = ((prob - one_hot) ** 2).mean()
    assert score("brier", truth, prob, task=TASKS["multiclass"]) == pytest.approx(brier, abs=TIGHT)


def test_log_loss_of_certain_errors_is_finite() -> None:
    assert score("log_loss", np.array([0.0]), np.array([[0.0, 1.0]])) == pytest.approx(-np.log(1e-15), abs=TIGHT)
    assert score("log_loss", np.array([0.0, 1.0]), np.zeros((2, 2))) == pytest.approx(np.log(2), abs=TIGHT)


@pytest.mark.parametrize("seed", SEEDS)
def test_multi_label_log_loss(seed: int) -> None:
    truth, prob = sets(4, seed)
    prob = np.clip(prob, 0.001, 0.999)
    columns = [sk.log_loss(truth[:, j], prob[:, j], labels=[0, 1]) for j in range(4)]
    for name in ("log_loss", "column_log_loss"):
        assert score(name, truth, prob, task=TASKS["multilabel"]) == pytest.approx(np.mean(columns), abs=TIGHT)
    weighted = np.average(columns, weights=[2, 1, 1, 1])
    assert score("weighted_log_loss@2,1,1,1", truth, prob) == pytest.approx(weighted, abs=TIGHT)


@pytest.mark.parametrize("seed", SEEDS)
def test_soft_labels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, prob = rng.dirichlet(np.ones(6), 100), rng.dirichlet(np.ones(6), 100)
    truth[0] = np.eye(6)[2]
    divergence = scipy.special.rel_entr(truth, prob).sum(axis=1).mean()
    assert score("kl_divergence", truth, prob, task=TASKS["soft"]) == pytest.approx(divergence, abs=TIGHT)
    cross = scipy.stats.entropy(truth, axis=1).mean() + divergence
    assert score("log_loss", truth, prob, task=TASKS["soft"]) == pytest.approx(cross, abs=TIGHT)
    right = sk.accuracy_score(truth.argmax(axis=1), prob.argmax(axis=1))
    assert score("accuracy", truth, prob, task=TASKS["soft"]) == pytest.approx(right, abs=TIGHT)


@pytest.mark.parametrize("seed", SEEDS)
def test_binary_ranking(seed: int) -> None:
    truth, prob = single(2, seed)
    prob = tied(prob)
    assert score("auc", truth, prob) == pytest.approx(sk.roc_auc_score(truth, prob[:, 1]), abs=TIGHT)
    assert score("auc", truth, 100 * prob - 7) == pytest.approx(sk.roc_auc_score(truth, prob[:, 1]), abs=TIGHT)
    assert score("average_precision", truth, prob) == pytest.approx(
        sk.average_precision_score(truth, prob[:, 1]), abs=TIGHT
    )


def isic_2024(truth: Array, positive: Array, rate: float) -> float:
    """The published rule: swap classes and scores, take scikit-learn's scaled partial AUC, undo the scaling."""
    most = 1 - rate
    scaled = sk.roc_auc_score(1 - truth, -positive, max_fpr=most)
    return float(0.5 * most**2 + (most - 0.5 * most**2) / 0.5 * (scaled - 0.5))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rate", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("ties", [False, True])
def test_partial_auc(seed: int, rate: float, ties: bool) -> None:
    truth, prob = single(2, seed)
    prob = tied(prob) if ties else prob
    expected = isic_2024(truth, prob[:, 1], rate)
    assert score(f"partial_auc@{rate}", truth, prob) == pytest.approx(expected, abs=TIGHT)


def brute_weighted_auc(truth: Array, positive: Array) -> float:
    """Pairs: the j-th best positive owns a band of the true-positive rate, and wins over the negatives below it."""
    best_first = np.sort(positive[truth == 1])[::-1]
    negatives = positive[truth == 0]
    total = 0.0
    for j, found in enumerate(best_first):
        low, high = j / len(best_first), (j + 1) / len(best_first)
        doubled = max(0.0, min(high, 0.4) - low)
        total += (high - low + doubled) * (negatives < found).mean()
    return total / 1.4


@pytest.mark.parametrize("seed", SEEDS)
def test_weighted_auc(seed: int) -> None:
    truth, prob = single(2, seed)
    assert len(np.unique(prob[:, 1])) == len(prob)
    assert score("weighted_auc", truth, prob) == pytest.approx(brute_weighted_auc(truth, prob[:, 1]), abs=TIGHT)
    fpr, tpr, _ = sk.roc_curve(truth, tied(prob)[:, 1], drop_intermediate=False)
    at = np.unique(np.concatenate([tpr, np.linspace(0, 1, 200_001)]))
    middle = (at[1:] + at[:-1]) / 2
    last = np.searchsorted(tpr, middle, side="right") - 1
    share = (middle - tpr[last]) / (tpr[last + 1] - tpr[last])
    area = (1 - fpr[last] - share * (fpr[last + 1] - fpr[last])) * np.diff(at) * np.where(middle < 0.4, 2, 1)
    assert score("weighted_auc", truth, tied(prob)) == pytest.approx(area.sum() / 1.4, abs=1e-8)


def test_flat_scores_have_the_areas_of_the_diagonal() -> None:
    truth, prob = np.array([0.0, 1.0, 0.0]), np.full((3, 2), 0.5)
    assert score("auc", truth, prob) == 0.5
    assert score("weighted_auc", truth, prob) == pytest.approx((2 * (0.4 - 0.08) + 0.6 - 0.42) / 1.4, abs=TIGHT)
    assert score("partial_auc@0.8", truth, prob) == pytest.approx(0.02, abs=TIGHT)


@pytest.mark.parametrize("seed", SEEDS)
def test_column_ranking(seed: int) -> None:
    truth, prob = sets(5, seed)
    for name, reference in (("auc", sk.roc_auc_score), ("average_precision", sk.average_precision_score)):
        expected = reference(truth, prob, average="macro")
        assert score(name, truth, prob) == pytest.approx(expected, abs=TIGHT)
    truth[:, 2] = 0  # undefined there: left out of the mean
    rest = [0, 1, 3, 4]
    expected = sk.roc_auc_score(truth[:, rest], prob[:, rest], average="macro")
    assert score("mean_column_auc", truth, prob) == pytest.approx(expected, abs=TIGHT)
    index, shares = single(4, seed)
    expected = sk.roc_auc_score(index, shares, multi_class="ovr", average="macro")
    assert score("auc", index, shares, task=TASKS["multiclass"]) == pytest.approx(expected, abs=TIGHT)
    one_hot = np.eye(4)[index.astype(int)]
    expected = sk.average_precision_score(one_hot, shares, average="macro")
    assert score("mean_average_precision", index, shares, task=TASKS["multiclass"]) == pytest.approx(
        expected, abs=TIGHT
    )


def brute_average_precision(actual: set[int], predicted: list[int], k: int) -> float:
    """The definition: precision at each place with a true label, over min(k, true labels)."""
    if not actual:
        return 0.0
    hits, total = 0, 0.0
    for place, label in enumerate(predicted[:k], 1):
        if label in actual:
            hits += 1
            total += hits / place
    return total / min(len(actual), k)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("k", [1, 2, 3, 5, 9])
def test_ranked_lists(seed: int, k: int) -> None:
    index, shares = single(6, seed)
    orders = [sorted(range(6), key=lambda c, row=row: (-row[c], c)) for row in shares]  # type: ignore[misc]
    expected = np.mean([brute_average_precision({int(t)}, o, k) for t, o in zip(index, orders, strict=True)])
    assert score(f"map@{k}", index, shares, task=TASKS["multiclass"]) == pytest.approx(expected, abs=TIGHT)
    equal = shares.round(1)  # of equal probabilities the first class leads
    orders = [sorted(range(6), key=lambda c, row=row: (-row[c], c)) for row in equal]  # type: ignore[misc]
    expected = np.mean([brute_average_precision({int(t)}, o, k) for t, o in zip(index, orders, strict=True)])
    assert score(f"map@{k}", index, equal, task=TASKS["multiclass"]) == pytest.approx(expected, abs=TIGHT)
    truth, prob = sets(6, seed)
    orders = [sorted(range(6), key=lambda c, row=row: (-row[c], c)) for row in prob]  # type: ignore[misc]
    labels = [set(np.flatnonzero(row).tolist()) for row in truth]
    expected = np.mean([brute_average_precision(a, o, k) for a, o in zip(labels, orders, strict=True)])
    assert score(f"map@{k}", truth, prob) == pytest.approx(expected, abs=TIGHT)
    if k < 6:
        expected = sk.top_k_accuracy_score(index, shares, k=k, labels=range(6))
        assert score(f"top_accuracy@{k}", index, shares, task=TASKS["multiclass"]) == pytest.approx(expected, abs=TIGHT)
        assert score(f"top_error@{k}", index, shares, task=TASKS["multiclass"]) == pytest.approx(
            1 - expected, abs=TIGHT
        )


def brute_gap(answers: list[tuple[float, bool]], rows: int) -> float:
    """The definition: 1/rows · sum over the answers, the most confident first, of precision so far · right."""
    hits, total = 0, 0.0
    for place, (_, right) in enumerate(sorted(answers, key=lambda answer: -answer[0]), 1):
        hits += right
        total += right * hits / place
    return total / rows


@pytest.mark.parametrize("seed", SEEDS)
def test_global_average_precision(seed: int) -> None:
    truth, prob = single(6, seed)
    answers = [(float(row.max()), int(row.argmax()) == t) for t, row in zip(truth, prob, strict=True)]
    assert len({confidence for confidence, _ in answers}) == len(answers)
    assert score("gap", truth, prob, task=TASKS["multiclass"]) == pytest.approx(
        brute_gap(answers, len(truth)), abs=TIGHT
    )
    prob[::3] = 0.0  # rows without an answer
    fewer = [answer for i, answer in enumerate(answers) if i % 3]
    assert score("gap", truth, prob, task=TASKS["multiclass"]) == pytest.approx(brute_gap(fewer, len(truth)), abs=TIGHT)


def test_equally_confident_answers_share_their_precision() -> None:
    prob = np.array([[0.9, 0.1], [0.4, 0.6], [0.4, 0.6], [0.4, 0.6]])
    truth = np.array([0.0, 1.0, 0.0, 1.0])  # right, then one level of right, wrong, right
    assert score("gap", truth, prob, task=TASKS["multiclass"]) == pytest.approx((1 + 2 * 3 / 4) / 4, abs=TIGHT)


@pytest.mark.parametrize("seed", SEEDS)
def test_probabilistic_f1(seed: int) -> None:
    truth, prob = single(2, seed)
    found = sum(p for t, p in zip(truth, prob[:, 1], strict=True) if t == 1)
    wrong = sum(p for t, p in zip(truth, prob[:, 1], strict=True) if t == 0)
    precision, recall = found / (found + wrong), found / truth.sum()
    expected = 2 * precision * recall / (precision + recall)
    assert score("probabilistic_f1", truth, prob) == pytest.approx(expected, abs=TIGHT)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("outputs", [1, 3])
def test_numbers(seed: int, outputs: int) -> None:
    truth, value = numbers(outputs, seed)
    columns = range(outputs)
    expected = {
        "rmse": sk.root_mean_squared_error(truth.ravel(), value.ravel()),
        "mean_column_rmse": sk.root_mean_squared_error(truth, value),
        "rmsle": sk.root_mean_squared_log_error(truth.ravel(), value.ravel()),
        "mae": sk.mean_absolute_error(truth, value),
        "r2": sk.r2_score(truth, value),
        "pearson": np.mean([scipy.stats.pearsonr(truth[:, j], value[:, j]).statistic for j in columns]),
        "spearman": np.mean([scipy.stats.spearmanr(truth[:, j], value[:, j]).statistic for j in columns]),
    }
    for name, number in expected.items():
        assert score(name, truth, value, task=TASKS["regression"]) == pytest.approx(number, abs=TIGHT)
    if outputs == 1:
        for name, number in expected.items():
            assert score(name, truth[:, 0], value[:, 0], task=TASKS["regression"]) == pytest.approx(number, abs=TIGHT)
        whole = np.floor(truth[:, 0] + 0.5), np.floor(value[:, 0] + 0.5)
        kappa = sk.cohen_kappa_score(*whole, weights="quadratic", labels=np.arange(100))
        found = score("quadratic_weighted_kappa", truth, value, task=TASKS["regression"])
        assert found == pytest.approx(kappa, abs=TIGHT)


def test_negative_predictions_count_as_zero_for_rmsle() -> None:
    truth, value = np.array([[1.0], [2.0]]), np.array([[-5.0], [2.0]])
    expected = sk.root_mean_squared_log_error(truth, np.clip(value, 0, None))
    assert score("rmsle", truth, value) == pytest.approx(expected, abs=TIGHT)


def test_ordinal_numbers_are_expected_classes() -> None:
    truth, prob = single(4, 0)
    expected = sk.root_mean_squared_error(truth, prob @ np.arange(4))
    assert score("rmse", truth, prob, task=TASKS["ordinal"]) == pytest.approx(expected, abs=TIGHT)


def test_undefined_cases_have_the_stated_answers() -> None:
    one_class, prob = np.zeros(4), np.tile([[0.7, 0.3]], (4, 1))
    for name in ("auc", "weighted_auc", "partial_auc@0.8", "average_precision", "cohen_kappa"):
        assert np.isnan(score(name, one_class, prob, task=TASKS["binary"]))
    for name in ("f1", "probabilistic_f1", "matthews"):
        assert score(name, one_class, prob, task=TASKS["binary"]) == 0
    assert score("accuracy", one_class, prob) == score("balanced_accuracy", one_class, prob) == 1
    flat, value = np.ones((3, 1)), np.array([[1.0], [1.0], [2.0]])
    assert score("r2", flat, value, task=TASKS["regression"]) == 0
    assert score("r2", flat, flat, task=TASKS["regression"]) == 1
    assert np.isnan(score("spearman", flat, value, task=TASKS["regression"]))
    assert np.isnan(score("pearson", value, 0.1 * flat, task=TASKS["regression"]))  # 0.1 differs from the mean of 0.1s
    assert np.isnan(score("quadratic_weighted_kappa", flat, flat, task=TASKS["regression"]))
    assert score("quadratic_weighted_kappa", flat, flat + 1, task=TASKS["regression"]) == 0


def test_confusion_and_accuracy_of_each_class() -> None:
    truth, prob = single(4, 1, missing=3)
    labels = prob.argmax(axis=1)
    assert (confusion(truth, prob) == sk.confusion_matrix(truth, labels, labels=range(4))).all()
    recalls = sk.recall_score(truth, labels, average=None, labels=[0, 1, 2])
    found = per_class_accuracy(truth, prob)
    assert found[:3] == pytest.approx(recalls, abs=TIGHT)
    assert np.isnan(found[3])
    many, chances = sets(3, 1)
    decided = chances >= 0.5
    assert (confusion(many, chances) == sk.multilabel_confusion_matrix(many, decided)).all()
    assert per_class_accuracy(many, chances) == pytest.approx((many == decided).mean(axis=0))


def test_one_column_of_a_binary_task_is_the_positive_class() -> None:
    truth, prob = single(2, 0)
    for name in ("auc", "log_loss", "f1", "probabilistic_f1", "brier"):
        assert score(name, truth, prob[:, 1]) == score(name, truth, prob[:, 1:]) == score(name, truth, prob)


def test_every_metric_of_the_dictionary_is_compared_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    built = {f"f{beta}_{average}" for average in ("macro", "micro", "weighted", "samples") for beta in (1, 2)}
    built |= {f"{family}@{k}" for family in ("map", "top_accuracy", "top_error") for k in (1, 3, 5, 10)}
    assert [name for name in METRICS if f'"{name}"' not in text and name not in built] == []
