"""As `cv_two`, for a thousand classes."""

from functools import partial

from costs import cv_two
from costs.kit import Cost

COST = Cost(
    "cv, 1,000 classes: log loss with its interval, F1 (macro), accuracy, MAP@5", sizes=(2_000, 20_000, 200_000)
)
prepare = partial(cv_two.prepare, classes=1000)
run = partial(cv_two.run, classes=1000, metric="log_loss", further=("f1_macro", "accuracy", "map@5"))
