"""Neighbours by cosine: each of the k nearest rows says its own label, the nearer the louder."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from foldline.core.task import Array, hot_truth
from foldline.models.fitted.reranking import reranked
from foldline.models.fitted.spec import About, Fit, Kept, Parts, Settings, numbered

BLOCK = 20_000_000  # similarities that are in memory together: 80 MB


Near = tuple[NDArray[np.int64], NDArray[np.float64]]  # places in the gallery and their cosines, the nearest first


@dataclass(frozen=True)
class KnnHead:
    """Rows whose labels are known, and how a vote of the nearest ones is counted.

    Attributes:
        means: [columns] of each source, that centre it.
        gallery: [rows, columns] as `embedded` gives them.
        truth: of these rows, as `core.task.Task.truth` gives it; hot: [rows, outputs] the same.
        most: neighbours that are looked for.
        about: with `k`, `temperature` and maybe `threshold`; `expand` and `rerank` are fixed.
    """

    means: list[NDArray[np.float32]]
    gallery: NDArray[np.float32]
    truth: Array
    hot: Array
    most: int
    about: About

    def see(self, x: Parts) -> Near:
        """The nearest rows; with `rerank` they depend on what else is asked together."""
        rerank = int(self.about.fixed.get("rerank", 0))
        query = expanded(embedded(x, self.means), self.gallery, int(self.about.fixed.get("expand", 0)))
        if rerank and len(query):
            return reranked(query, self.gallery, self.most, rerank)
        return nearest(query, self.gallery, self.most)

    def answer(self, seen: Near) -> Array:
        """[rows, outputs]."""
        return _voted(*seen, self.hot, self.about.settings, self.about.new)

    def kept(self) -> Kept:
        """The gallery, its labels and its means."""
        means = {f"mean_{place}": mean for place, mean in enumerate(self.means)}
        return Kept({**means, "gallery": self.gallery, "truth": self.truth})

    @classmethod
    def stored(cls, kept: Kept, about: About) -> Self:
        """What `kept` gave."""
        truth = kept.arrays["truth"]
        hot = hot_truth(truth, about.task, about.outputs).astype(np.float64)
        gallery = kept.arrays["gallery"]
        return cls(numbered(kept.arrays, "mean"), gallery, truth, hot, int(about.settings["k"]), about)


def knn(fit: Fit, grid: Sequence[Settings]) -> Iterator[KnnHead]:
    """`k` neighbours count exp(cosine / temperature) each; the mean over all rows counts as one part in k + 1, so that
    no class is ruled out by a few neighbours.

    Where there is a class of what no row shows, it counts as one more neighbour at the cosine `threshold`: it leads
    where no neighbour is nearer. `expand` and `rerank` are given, not chosen.

    Each source is centred by the mean of the fitted rows and scaled to length 1, as in Wang et al. 2019, "SimpleShot",
    https://arxiv.org/abs/1911.04623; the cosine is the mean over the sources.
    """
    means = [part.mean(axis=0) for part in fit.x]
    gallery = embedded(fit.x, means)
    hot = hot_truth(fit.truth, fit.task, fit.outputs).astype(np.float64)
    most = int(max(settings["k"] for settings in grid))
    for settings in grid:
        about = About(fit.task, fit.outputs, settings, fit.fixed, fit.new)
        yield KnnHead(means, gallery, fit.truth, hot, most, about)


def embedded(x: Parts, means: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """[rows, columns] whose products are the mean cosine over the sources."""
    parts = []
    for part, mean in zip(x, means, strict=True):
        centred = part - mean
        length = np.linalg.norm(centred, axis=1, keepdims=True)
        parts.append(centred / np.maximum(length, 1e-12) / np.sqrt(len(x)))
    return np.concatenate(parts, axis=1).astype(np.float32)


def nearest(
    asked: NDArray[np.float32], gallery: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """[asked, k] the nearest rows of the gallery, the nearest first (of equal ones the first), and their cosines."""
    places = np.empty((len(asked), k), dtype=np.int64)
    cosines = np.empty((len(asked), k))
    step = max(1, BLOCK // max(1, len(gallery)))
    for start in range(0, len(asked), step):
        now = slice(start, start + step)
        similar = asked[now] @ gallery.T
        some = np.sort(np.argpartition(-similar, k - 1, axis=1)[:, :k], axis=1)
        values = np.take_along_axis(similar, some, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        places[now], cosines[now] = (np.take_along_axis(part, order, axis=1) for part in (some, values))
    return places, cosines


def expanded(asked: NDArray[np.float32], gallery: NDArray[np.float32], neighbours: int) -> NDArray[np.float32]:
    """Queries to which their nearest rows are added, each times its cosine cubed (alpha query expansion, Radenovic et
    al. 2018, https://arxiv.org/abs/1711.02512, section 3.2)."""
    if not neighbours or not len(asked):
        return asked
    places, cosines = nearest(asked, gallery, min(neighbours, len(gallery)))
    weights = np.maximum(cosines, 0.0) ** 3
    summed = asked + np.einsum("qk,qkc->qc", weights, gallery[places])
    length = np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12)  # of what is like all others
    return np.asarray(summed / length, dtype=np.float32)


def _voted(places: NDArray[np.int64], cosines: Array, hot: Array, settings: Settings, new: int | None) -> Array:
    """[asked, outputs] the weighted mean of what the neighbours are."""
    k, own = int(settings["k"]), cosines[:, :0]
    if new is not None:
        own = np.full((len(places), 1), settings["threshold"])
    weights = np.concatenate([cosines[:, :k], own], axis=1)
    weights = np.exp((weights - weights.max(axis=1, keepdims=True)) / settings["temperature"])
    weights /= weights.sum(axis=1, keepdims=True)
    votes = np.zeros((len(places), hot.shape[1]))
    for j in range(min(k, places.shape[1])):
        votes += weights[:, j, None] * hot[places[:, j]]
    if new is not None:
        votes[:, new] += weights[:, -1]
    return np.asarray((k * votes + hot.mean(axis=0)) / (k + 1))
