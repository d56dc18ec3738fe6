"""As `cv_thousand`, for a metric of the order in each column."""

from functools import partial

from costs import cv_two
from costs.kit import Cost

COST = Cost("cv, 1,000 classes: auc with its interval", sizes=(2_000, 20_000, 200_000))
prepare = partial(cv_two.prepare, classes=1000)
run = partial(cv_two.run, classes=1000, metric="auc", further=())
