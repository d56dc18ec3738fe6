"""The caches of a run's pictures: those that are tested, and those that training sees or cuts from.

Reads the images; writes nothing but caches.
"""

from collections.abc import Callable, Sequence

import numpy as np
from torch import nn

from foldline.core.own_code import located
from foldline.core.paths import Layout
from foldline.core.run import Run
from foldline.images.cache import ImageCache
from foldline.images.originals import usual_original
from foldline.models.architecture import Preprocessing
from foldline.models.backbone import preprocessing_of
from foldline.models.framing import framing_of, moments_of, scaling_of, trained_frame

MEASURED = 2000  # pictures whose mean and deviation scale all (data.normalise: pictures), spread evenly
Opens = Callable[..., ImageCache]  # as `images.cache.open_cache`


def tested_pictures(opens: Opens, layout: Layout, comp: str, run: Run, images: Sequence[str]) -> ImageCache:
    """The pictures as networks see them when they are tested."""
    own = located(layout, comp, run)
    return opens(*_which(layout, comp, run, images, run.tested_height_width), **_how(run), framing=framing_of(own))


def trained_pictures(opens: Opens, layout: Layout, comp: str, run: Run, images: list[str]) -> ImageCache | None:
    """The pictures that training sees or cuts from; None: those that are tested are the same."""
    own, data, original = located(layout, comp, run), run.data, run.data.original
    if original == "auto":
        channels = data.channels * (images[0].count("|") + 1)
        original = usual_original(layout.input(comp), images, data.height_width, channels)
    size, framing = trained_frame(own, original)
    if (size, framing) == (run.tested_height_width, framing_of(own)):
        return None
    return opens(*_which(layout, comp, run, images, size), **_how(run), framing=framing)


def scaling(run: Run, cache: ImageCache, images: Sequence[str], model: nn.Module) -> Preprocessing:
    """How pictures are scaled for a network with the run's weights.

    By the pictures' own mean and deviation: those of the training rows of all folds, so that all folds see a picture
    alike; no label and no test picture goes into these few numbers.

    Args:
        run: as `trained_frame` takes it.
        images: of the training rows that can be read.
    """
    channels = int(cache.pixels.shape[3])

    def moments() -> tuple[list[float], list[float]]:
        chosen = np.unique(np.linspace(0, len(images) - 1, MEASURED).astype(int))
        return moments_of(cache.pixels, cache.rows([images[place] for place in chosen]))

    return scaling_of(run, preprocessing_of(model, channels), channels, moments)


def _which(
    layout: Layout, comp: str, run: Run, images: Sequence[str], size: tuple[int, int]
) -> tuple[object, ...]:  # fmt: skip
    return layout.input(comp), layout.cache(comp), images, size, run.data.channels


def _how(run: Run) -> dict[str, str]:
    data = run.data
    return {"intensity": data.intensity, "bad_images": data.bad_images, "form": data.cache_format}
