"""The rows to look at, with small pictures: those with the highest loss and those with the least confidence.

Reads the rows' images below `input/<comp>`; writes nothing. A picture that is gone becomes an empty place with a
word, since a report must still be possible when the raw files are not there any more.
"""

import base64
from dataclasses import dataclass

import numpy as np

from foldline.core.errors import FoldlineError
from foldline.core.task import Array
from foldline.images.files.decode import BadImageError, Pixels, preview, resize
from foldline.report.look import formats
from foldline.report.run import analysis
from foldline.report.run.reported_run import Floats, HeatMap, ReportedRun
from foldline.scoring.row_loss import row_loss

MOST_ROWS = 12
SIDE_PX = 384  # shown at about 160 px, and large on demand; ~20 kB each
SMALL_PX, MOST_BYTES = 240, 40_000  # a picture that is larger as text becomes this small: ~8 kB
HEAT_PX, HEAT_BGR = 40, (0, 96, 255)
PIXELATED_PX = 64  # smaller pictures are shown with hard pixels


@dataclass(frozen=True)
class Card:
    """One row of the training data.

    Attributes:
        uri: the thumbnail as a data URI; empty where the image cannot be read, `missing` then says why.
        pixelated: the image is so small that its pixels are to be seen.
        truth, predicted: in words, without markup.
        right: whether the prediction is the true label; None where there is no such thing.
        heat: where the network looked, as a data URI that is laid over the picture; empty where that is not known.
        names: what the page calls truth and prediction.
    """

    row_id: str
    fold: int
    uri: str
    missing: str
    pixelated: bool
    truth: str
    predicted: str
    right: bool | None
    heat: str = ""
    names: tuple[str, str] = ("true", "predicted")


@dataclass(frozen=True)
class Gallery:
    """A titled set of cards; `heated` says whether some of them show where the network looked."""

    name: str
    title: str
    caption: str
    cards: list[Card]

    @property
    def heated(self) -> bool:  # noqa: D102 - said above
        return any(card.heat for card in self.cards)


def galleries(run: ReportedRun) -> list[Gallery]:
    """The rows with the highest loss and with the least confidence; of a regression the largest errors alone."""
    if not len(run.truth):
        return []
    wrong = [card(run, i) for i in worst_rows(run)]
    caption = f"Look here first for odd pictures. {run.looks.note}".strip()
    if not any(part.has_classes for part in run.task.parts):
        return [Gallery("wrong", "Largest errors", caption, wrong)]
    unsure = _cards(run, analysis.margin(run.task, run.predicted))
    return [
        Gallery("wrong", "Highest loss", f"The predictions furthest from their labels. {caption}", wrong),
        Gallery(
            "unsure", "Least confident", "The networks could not decide. More such pictures would teach most.", unsure
        ),
    ]


def worst_rows(run: ReportedRun) -> list[int]:
    """The `MOST_ROWS` rows with the highest loss."""
    loss = row_loss(run.task, run.truth, run.predicted)
    return [int(i) for i in np.argsort(-loss, kind="stable")[:MOST_ROWS]]


def _cards(run: ReportedRun, order: Array) -> list[Card]:
    """The `MOST_ROWS` rows with the lowest numbers."""
    return [card(run, int(i)) for i in np.argsort(order, kind="stable")[:MOST_ROWS]]


def card(run: ReportedRun, i: int) -> Card:
    """The row at place `i` of the OOF table."""
    pixels, missing = _pixels(run, run.images[i])
    uri, pixelated = (_bounded(pixels), max(pixels.shape[:2]) < PIXELATED_PX) if pixels is not None else ("", False)
    truth, predicted, right = _words(run, i)
    heat = _laid_over(run.looks.heat[i], pixels) if pixels is not None and i in run.looks.heat else ""
    row_id, fold = run.oof[["row_id", "fold"]].iloc[i]
    return Card(formats.printable(str(row_id)), int(fold), uri, missing, pixelated, truth, predicted, right, heat)


def _words(run: ReportedRun, i: int) -> tuple[str, str, bool | None]:
    """(the truth, the prediction, whether the prediction is right)."""
    if run.task.targets:
        parts = [(formats.printable(name), *_words(part, i)) for name, part in run.targets]
        truth, predicted = (", ".join(f"{part[0]} {part[place]}" for part in parts) for place in (1, 2))
        return truth, predicted, False not in [right for *_, right in parts]
    if not run.task.has_classes:
        return _values(run, run.truth[i]), _values(run, run.predicted[i]), None
    if run.task.label_sets:
        return _label_set(run, run.truth[i], shown=False), _label_set(run, run.predicted[i], shown=True), None
    true = int(run.truth[i]) if run.task.single_label else int(run.truth[i].argmax())
    top = int(run.predicted[i].argmax())
    predicted = f"{formats.printable(run.outputs[top])} {formats.score(float(run.predicted[i, top]), 2)}"
    return formats.printable(run.outputs[true]), predicted, true == top


def _values(run: ReportedRun, values: Floats, most: int = 3) -> str:
    named = zip(run.outputs, values, strict=True)
    parts = [f"{formats.printable(name)} {formats.score(float(value), 3)}".strip() for name, value in named]
    return ", ".join(parts[:most]) + (" …" if len(parts) > most else "")


def _label_set(run: ReportedRun, values: Floats, *, shown: bool, most: int = 4) -> str:
    """The labels of at least 0.5, the most probable first; with their probabilities where `shown`."""
    labels = [int(j) for j in np.argsort(-values, kind="stable")[: most + 1] if values[j] >= 0.5]
    probs = [f" {formats.score(float(values[j]), 2)}" if shown else "" for j in labels]
    parts = [formats.printable(run.outputs[j], 24) + prob for j, prob in zip(labels, probs, strict=True)]
    return (", ".join(parts[:most]) + (" …" if len(parts) > most else "")) or "no label"


def _pixels(run: ReportedRun, image: str) -> tuple[Pixels | None, str]:
    """(the picture, why it is missing). Of several files, the first."""
    first = image.split("|", maxsplit=1)[0]
    if not first:
        return None, "not in the folds file"
    try:
        return preview(run.layout.input(run.comp) / first, run.intensity), ""
    except (BadImageError, FoldlineError) as error:  # FoldlineError: no package here reads this kind
        reason = error.what if isinstance(error, FoldlineError) else str(error)
        return None, formats.printable(reason, 60)


def _laid_over(heat: HeatMap, pixels: Pixels) -> str:
    """A heat map as a small picture of the same proportions: orange where it is hot, nothing where it is cold."""
    import cv2

    scale = HEAT_PX / max(pixels.shape[:2])
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    hot = np.clip(cv2.resize(heat.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA), 0, 1)
    layer = np.empty((height, width, 4), dtype=np.uint8)
    layer[..., :3] = HEAT_BGR
    layer[..., 3] = (190 * hot).round()
    _, content = cv2.imencode(".png", layer)
    return "data:image/png;base64," + base64.b64encode(content.tobytes()).decode("ascii")


def _bounded(pixels: Pixels) -> str:
    uri = data_uri(pixels, SIDE_PX)
    return uri if len(uri) <= MOST_BYTES else data_uri(pixels, SMALL_PX)


def data_uri(pixels: Pixels, side_px: int) -> str:
    """The picture of at most `side_px`: PNG where it is tiny, else JPEG; gray where all its channels are equal."""
    import cv2

    height, width, _ = pixels.shape
    scale = min(1.0, side_px / max(height, width))
    pixels = resize(pixels, max(1, round(height * scale)), max(1, round(width * scale)))
    gray = bool((pixels == pixels[..., :1]).all())
    ready = pixels[..., 0] if gray else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    kind, options = ("png", []) if max(ready.shape) < PIXELATED_PX else ("jpeg", [cv2.IMWRITE_JPEG_QUALITY, 82])
    _, content = cv2.imencode(f".{kind}", ready, options)
    return f"data:image/{kind};base64," + base64.b64encode(content.tobytes()).decode("ascii")
