"""Units to folds: the two loops of the greedy rule, one for units that hold little, give the same bits."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from foldline.splits import assign as module
from foldline.splits.assign import assign


@pytest.mark.parametrize("seed", range(12))
def test_both_loops_give_the_same_folds(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    units, strata, k, exact = int(rng.integers(5, 300)), int(rng.integers(1, 12)), int(rng.integers(2, 8)), seed % 2
    held = rng.integers(0, 4, (units, strata)) * (rng.random((units, strata)) < rng.uniform(0.05, 0.9))
    matrix = csr_matrix(held * (rng.random(held.shape) if seed % 3 == 0 else 1.0))
    sizes = np.ones(units) if exact else np.asarray(matrix.sum(axis=1)).reshape(-1) + 1
    share = np.full(k, 1 / k) if seed % 4 else np.arange(1, k + 1) / (k * (k + 1) / 2)
    ranks, found = rng.permutation(units), []
    for few in (0, 10**9):
        monkeypatch.setattr(module, "FEW", few)
        found.append(assign(matrix, sizes, share, ranks, exact=bool(exact)))
    assert (found[0] == found[1]).all()
    assert len(set(found[0].tolist())) == k
