"""The caches of a run's pictures: those that are tested, and those that training sees or cuts from.

Reads the images; writes nothing but caches.
"""

from collections.abc import Callable, Sequence

from foldline.core.own_code import located
from foldline.core.paths import Layout
from foldline.core.run import Run
from foldline.images.cache import ImageCache
from foldline.images.originals import usual_original
from foldline.models.framing import framing_of, trained_frame

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


def _which(
    layout: Layout, comp: str, run: Run, images: Sequence[str], size: tuple[int, int]
) -> tuple[object, ...]:  # fmt: skip
    return layout.input(comp), layout.cache(comp), images, size, run.data.channels


def _how(run: Run) -> dict[str, str]:
    data = run.data
    return {"intensity": data.intensity, "bad_images": data.bad_images, "form": data.cache_format}
