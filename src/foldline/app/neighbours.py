"""The training pictures that are nearest to a picture, by what the networks make of them.

Each training picture is seen by its own fold's network, which was not trained on it, and the picture that is asked
about is compared in that network's features. So both are new to it, and near means alike; a network that was trained
on a picture has learnt to put it beside others of its label, whatever it looks like. For the same reason a training
picture is compared with those of its own fold alone.

Reads the pictures through the cache; writes `input/<comp>/.cache/features-<key>.npy`, which can be made again.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from threading import Event, Thread
from typing import Self

import numpy as np
from numpy.typing import NDArray

from foldline.app.answers import Answer
from foldline.app.opened import OOF, OpenRun
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.progress import say
from foldline.core.records.seal import Seal
from foldline.core.run_folder import stored_run
from foldline.core.tables import atomic_path, sha256_json
from foldline.engine.finished.embed import pooled_features
from foldline.engine.finished.networks import FoldNetworks
from foldline.engine.finished.pictures import Source
from foldline.engine.finished.reading import in_chunks
from foldline.engine.problem import Problem, open_problem
from foldline.images.store import PictureStore

Features = NDArray[np.float32]
SHOWN = 8
MOST = 20_000  # training pictures that are compared: 100 MB of 1,280 features
BATCH = 32
LEAST_SCALE = 0.1  # of the mean deviation of all features


@dataclass(frozen=True)
class Neighbour:
    """A training row that is near.

    Attributes:
        place: among the training rows.
        likeness: the cosine between both pictures' features, each standardised over the fold's rows, since one
            direction (what the classes differ by) outweighs all others: 1 no difference, 0 as alike as any two.
    """

    place: int
    likeness: float


class Neighbours:
    """The features of the training rows, which a thread of its own computes or reads.

    Attributes:
        total: training rows that are compared; done: those that are ready.
        error: why there are none.
    """

    def __init__(self, run: OpenRun) -> None:
        self.run = run
        rows = run.rows[OOF]
        self.places = _some(len(rows), MOST)
        self.total, self.done, self.error = len(self.places), 0, ""
        self._ready, self._stop = Event(), Event()
        self._folds: dict[int, _Fold] = {}
        self._thread = Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends soon."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def wait(self, seconds: float) -> bool:
        """Whether all is ready, or has failed, at the latest after so many seconds."""
        return self._ready.wait(seconds)

    def _run(self) -> None:
        try:
            self._fill()
        except (FoldlineError, OSError, RuntimeError) as error:
            self.error = error.what if isinstance(error, FoldlineError) else " ".join(str(error).split())[:200]
            say(f"warning: no neighbours can be shown: {self.error}")
        finally:
            if self.done < self.total and not self.error:
                self.error = "an error, which the terminal shows"
            self._ready.set()

    def _fill(self) -> None:
        """Each fold's rows, ready to be compared."""
        rows, first = self.run.rows[OOF], self.run.first
        assert rows.folds is not None
        features, usable = self._read_or_compute()
        if self._stop.is_set():
            return
        for fold in first.folds:
            own = np.flatnonzero((rows.folds[self.places] == fold) & usable)
            if len(own):
                self._folds[fold] = _Fold.of(self.places[own], features[own])
        self.done = self.total

    def _read_or_compute(self) -> tuple[Features, NDArray[np.bool_]]:
        """[rows, features], and whether a row's picture could be read."""
        run, rows = self.run, self.run.rows[OOF]
        choices = stored_run(run.layout, run.comp, run.first.run)
        if choices is None:
            raise FoldlineError(f"the run '{run.first.run}' has no run.json, which says how its pictures are read")
        problem = open_problem(run.layout, run.comp, choices, run.model.device)
        images = [rows.images[place] for place in self.places]
        usable = np.array([image in problem.cache.position and image not in problem.cache.bad for image in images])
        weights = [meta.sha256.weights for meta in run.first.metas]
        key = sha256_json([problem.cache.key, weights, [rows.ids[place] for place in self.places]])[:16]
        path = run.layout.cache(run.comp) / f"features-{key}.npy"
        if Seal.of(path) is not None:
            return np.load(path), usable
        features = self._compute(problem, images, usable)
        if not self._stop.is_set():
            with atomic_path(path) as temporary, temporary.open("wb") as handle:
                np.save(handle, features)
            Seal.put(path)
        return features, usable

    def _compute(self, problem: Problem, images: list[str], usable: NDArray[np.bool_]) -> Features:
        rows, result = self.run.rows[OOF], np.empty((0, 0), np.float32)
        assert rows.folds is not None
        folds = rows.folds[self.places]
        say(f"{counted(int(usable.sum()), 'training pictures are')} compared, once; the page can be used meanwhile")
        for fold in self.run.first.folds:
            network = _first_network(self.run, fold)
            for some in _pieces(np.flatnonzero((folds == fold) & usable), BATCH):
                if self._stop.is_set():
                    return result
                positions = problem.cache.rows([images[i] for i in some])
                with self.run.lock:
                    found = pooled_features([network], problem.pictures, positions, batch_size=BATCH)
                if not result.size:
                    result = np.zeros((len(images), found.shape[1]), np.float32)
                result[some] = found
                self.done += len(some)
        return result

    def nearest(self, answer: Answer) -> list[Neighbour]:
        """The training rows that are nearest to a picture, the nearest first.

        Raises:
            FoldlineError: the picture cannot be read, or there are no features.
        """
        if self.error:
            raise FoldlineError(f"the training pictures cannot be compared: {self.error}")
        own = None if answer.row is None else answer.row.fold
        spec = self.run.first.spec
        [chunk] = list(in_chunks([Source(answer.name, answer.files)], [spec], 1, "stop"))
        store, itself = PictureStore(chunk.pixels[spec], self.run.model.device), np.zeros(1, np.int64)
        found: list[Neighbour] = []
        for fold, rows in self._folds.items():
            if own in (None, fold):
                with self.run.lock:
                    seen = pooled_features([_first_network(self.run, fold)], store, itself, batch_size=1)
                found += map(Neighbour, rows.places.tolist(), rows.likeness(seen).tolist())
        if own is not None and answer.row is not None:
            found = [neighbour for neighbour in found if neighbour.place != answer.row.place]
        return sorted(found, key=lambda neighbour: -neighbour.likeness)[:SHOWN]


@dataclass(frozen=True)
class _Fold:
    """A fold's rows: their places, their features standardised and of length 1, and what standardises others."""

    places: NDArray[np.int64]
    features: Features
    mean: Features
    scale: Features

    @classmethod
    def of(cls, places: NDArray[np.int64], features: Features) -> Self:
        """Of [rows, features] as the network gives them; what hardly ever differs is not blown up."""
        mean, std = features.mean(axis=0), features.std(axis=0)
        scale = np.maximum(std, max(LEAST_SCALE * float(std.mean()), 1e-12))
        return cls(places, _unit((features - mean) / scale), mean, scale)

    def likeness(self, seen: Features) -> Features:
        """[rows] to a picture's features [1, features]."""
        return np.asarray(self.features @ _unit((seen - self.mean) / self.scale)[0])


def _first_network(run: OpenRun, fold: int) -> FoldNetworks:
    """The fold's trained network, without the start that may be kept beside it."""
    [own] = run.first.fold_networks([fold])
    return replace(own, networks=own.networks[:1])


def _some(count: int, most: int) -> NDArray[np.int64]:
    """All places, or so many, evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _unit(values: Features) -> Features:
    length = np.linalg.norm(values, axis=1, keepdims=True)
    result: Features = values / np.maximum(length, 1e-12)
    return result


def _pieces(places: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    return (places[i : i + size] for i in range(0, len(places), size))
