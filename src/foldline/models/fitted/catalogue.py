"""The heads of runs of frozen features; their options stand in `core.features_run.FeaturesHead`."""

from foldline.core.task import CLASSES
from foldline.models.fitted.boosted import BoostedHead, boosted
from foldline.models.fitted.knn import KnnHead, knn
from foldline.models.fitted.linear import LinearHead, linear
from foldline.models.fitted.spec import HeadSpec
from foldline.models.fitted.svm import SvmHead, svm

_ALL = (*CLASSES, "numbers")
HEADS: dict[str, HeadSpec] = {
    "linear": HeadSpec(linear, LinearHead.stored, {"c": (0.3, 1, 3, 10, 30, 100)}, _ALL, by_view=True),
    "svm": HeadSpec(
        svm,
        SvmHead.stored,
        {"c": (0.1, 0.3, 1, 3, 10, 30)},
        ("class", "set", "numbers"),
        calibrated=True,
        most_rows=20_000,
    ),
    "knn": HeadSpec(
        knn,
        KnnHead.stored,
        {
            "k": (1, 3, 10, 30, 100),
            "temperature": (0.02, 0.05, 0.1, 0.3),
            "threshold": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        },
        _ALL,
    ),
    "lightgbm": HeadSpec(boosted, BoostedHead.stored, {"leaves": (4, 15), "trees": (30, 100, 300)}, _ALL, by_view=True),
}
