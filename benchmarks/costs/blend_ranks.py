"""As `blend_thousand`, by the mean of ranks."""

from functools import partial

from costs import blend_two
from costs.kit import Cost

COST = Cost("blend of 3 runs, 1,000 classes: rank mean", sizes=(2_000, 20_000, 200_000))
prepare, run = partial(blend_two.prepare, classes=1000), partial(blend_two.run, classes=1000, ways=("rank_mean",))
