"""As `predict_two`, for a thousand classes."""

from functools import partial

from costs import predict_two
from costs.kit import Cost

COST = Cost(
    "predict, 1,000 classes: the test files of 2 folds, their mean, OOF; linear networks of 8 x 8 px",
    sizes=(2_000, 20_000, 200_000),
)
prepare, run = partial(predict_two.prepare, classes=1000), partial(predict_two.run, classes=1000)
