"""How large the pictures are, what the run's image size does to them, and what their files are like."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from foldline.core.counted import counted
from foldline.core.own_code import located
from foldline.models.framing import framing_of
from foldline.report.explore.explored import Explored
from foldline.report.explore.looks import COLOUR
from foldline.report.explore.thumbs import Thumb, of_pixels, thumb
from foldline.report.look import formats, palette
from foldline.report.look.palette import Picture

STRETCHED = 1.25  # width / height changes by more than this: to be seen
MEASURED = {
    "brightness": "Brightness, 0 to 255",
    "contrast": "Contrast, 0 to 128",
    "sharpness": "Sharpness",
    "colour": "Colour, 0 to 255",
}
FILES = {
    "format": "Format",
    "channels": "Channels",
    "bit_depth": "Bits a number",
    "palette": "Has a palette",
    "icc": "Has a colour profile",
    "exif": "Has EXIF",
    "orientation": "EXIF orientation",
    "camera": "Camera",
    "software": "Software",
    "files": "Files a row",
}
MOST_VALUES = 5
FITS = {
    "squash": "whole",
    "letterbox": "whole, between gray bars",
    "pad": "whole, mirrored at its border",
    "crop": "the middle of it",
}


@dataclass(frozen=True)
class Resized:
    """What the run's image size does.

    Attributes:
        words: sentences.
        grown: the share of pictures that become larger than they are; stretched: whose shape changes visibly.
        aspect: the median of width / height.
        pair: the picture whose shape changes most, before and after.
    """

    words: list[str]
    grown: float = 0.0
    stretched: float = 0.0
    aspect: float = 1.0
    pair: list[Thumb] = field(default_factory=list)


def known_sizes(explored: Explored) -> pd.DataFrame:
    """Width and height in px of the training pictures that tell them: by their headers, else as decoded."""
    table = explored.train_facts.table[["width", "height"]].copy()
    looks = explored.train_looks
    for name in ("width", "height"):
        seen = looks.table[name].to_numpy()
        table.loc[looks.rows, name] = np.where(np.isnan(seen), table[name].to_numpy()[looks.rows], seen)
    return table.dropna()


def sizes(explored: Explored) -> dict[str, Any]:
    """What the section shows."""
    known = known_sizes(explored)
    return {
        "sentence": _sentence(known),
        "figures": _figures(explored, known),
        "resized": resized(explored),
        "files": _files(explored),
        "measured": _measured(explored),
        "colours": _colours(explored),
    }


def _sentence(known: pd.DataFrame) -> str:
    if not len(known):
        return "No picture tells its size."
    common = known.value_counts()
    (width, height), rows = common.index[0], int(common.iloc[0])
    if len(common) == 1:
        return f"All {counted(len(known), 'pictures are')} {width:.0f} x {height:.0f} px."
    low, high = known.min(), known.max()
    return (
        f"{formats.count(len(common))} sizes, from {low['width']:.0f} to {high['width']:.0f} px wide and from "
        f"{low['height']:.0f} to {high['height']:.0f} px high; the most frequent is {width:.0f} x {height:.0f} px, "
        f"{formats.share(rows / len(known))} of the pictures."
    )


def _figures(explored: Explored, known: pd.DataFrame) -> list[Picture]:
    if len(known.value_counts()) < 2:
        return []
    return [_scatter(explored, known), _shapes(explored, known)]


def _scatter(explored: Explored, known: pd.DataFrame) -> Picture:
    counts = known.value_counts().head(1500)
    width, height = counts.index.get_level_values(0), counts.index.get_level_values(1)
    side = explored.run.data.height_width
    with palette.drawing():
        figure, axes = palette.canvas(440, 300)
        size = 8 + 60 * np.sqrt(counts.to_numpy() / counts.max())
        axes.scatter(width, height, s=size, color=palette.ACCENT, alpha=0.4, linewidth=0)
        axes.plot(side[1], side[0], "s", color=palette.WARM, markersize=6)
        axes.set(xlabel="width, px", ylabel="height, px")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.locator_params(nbins=6)
    alt = f"Widths and heights of {len(known)} pictures; {_sentence(known)}"
    legend = [("dot", "pictures, larger where many are alike"), ("warm", f"the run's {side[1]} x {side[0]} px")]
    return palette.picture(figure, "sizes", "Width and height", alt, legend=legend)


def _shapes(explored: Explored, known: pd.DataFrame) -> Picture:
    aspect = (known["width"] / known["height"]).to_numpy()
    side = explored.run.data.height_width
    low, high = (float(np.log2(end)) for end in (min(aspect.min(), 0.5), max(aspect.max(), 2.0)))
    with palette.drawing():
        figure, axes = palette.canvas(440, 300)
        axes.hist(aspect, bins=(2.0 ** np.linspace(low, high, 41)).tolist(), color=palette.ACCENT, alpha=0.7)
        axes.axvline(side[1] / side[0], color=palette.WARM, linewidth=1.6)
        axes.set_xscale("log", base=2)
        axes.set(xlabel="width / height", ylabel="pictures")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    middle = formats.score(float(np.median(aspect)), 2)
    alt = f"Width / height of {len(known)} pictures: from {aspect.min():.2f} to {aspect.max():.2f}, median {middle}."
    legend = [("warm", "what the run makes of all of them")]
    return palette.picture(figure, "shapes", f"Width / height, median {middle}", alt, legend=legend)


def resized(explored: Explored) -> Resized:
    """What becomes of the pictures at the run's image size."""
    known, (height, width) = known_sizes(explored), explored.run.data.height_width
    name = f"run {explored.run_name}" if explored.run_name else "run by default"
    if not len(known):
        return Resized([f"The {name} reads them at {width} x {height} px."])
    scale = np.sqrt(width * height / (known["width"] * known["height"]).to_numpy())
    aspect = (known["width"] / known["height"]).to_numpy()
    change = aspect / (width / height)
    change = np.maximum(change, 1 / change)
    grown, other = float((scale > 1.05).mean()), float((change > STRETCHED).mean())
    fit = explored.run.data.fit
    stretched = other if fit == "squash" else 0.0
    middle = float(np.median(scale))
    becomes = "as large as it is" if abs(middle - 1) < 0.05 else f"{formats.score(1 / middle, 1)} times smaller a side"
    becomes = f"{formats.score(middle, 1)} times larger a side" if middle >= 1.05 else becomes
    words = [
        f"The {name} reads every picture at {width} x {height} px, {FITS[fit]}: the median picture becomes {becomes}."
    ]
    if grown:
        words.append(f"{formats.share(grown)} of the pictures are enlarged, which adds no detail.")
    if stretched:
        words.append(
            f"{formats.share(stretched)} change shape by more than a quarter; data.fit can keep it: see the pair."
        )
    elif other:
        words.append(
            f"{formats.share(other)} have another shape by more than a quarter, which they keep: see the pair."
        )
    worst = int(known.index[int(change.argmax())])
    return Resized(words, grown, stretched, float(np.median(aspect)), _pair(explored, worst) if other else [])


def _pair(explored: Explored, row: int) -> list[Thumb]:
    """A picture as it is, and as the network sees it."""
    from foldline.images.framing import framed
    from foldline.report.explore.looks import shown

    root, data = explored.layout.input(explored.comp), explored.run.data
    image = str(explored.frame["image"].iloc[row]).split("|")[0]
    pixels = shown(root / image, data.intensity)
    if pixels is None:
        return []
    height, width = data.height_width
    framing = framing_of(located(explored.layout, explored.comp, explored.run))
    as_read, _ = framed([pixels], height, width, framing)
    before = thumb(root, explored.frame, row, data.intensity, f"{pixels.shape[1]} x {pixels.shape[0]} px")
    return [before, of_pixels(as_read, before.name, f"as the run reads it, {width} x {height} px")]


def _files(explored: Explored) -> list[tuple[str, list[tuple[str, int, int | None]]]]:
    """(what, [(value, training rows, test rows)]) of what files tell and have in more than one way, or at all."""
    lines = []
    for fact, title in FILES.items():
        sides = [facts.table[fact] for facts in (explored.train_facts, explored.test_facts) if fact in facts.table]
        counts = [_counted(side, fact) for side in sides]
        values = sorted(set().union(*counts), key=lambda value: -sum(side.get(value, 0) for side in counts))
        if not values or values == ["no"] or (fact == "files" and values == ["1"]):
            continue
        test = counts[1] if len(counts) > 1 and len(explored.test) else None
        shown = [(value, counts[0].get(value, 0), None if test is None else test.get(value, 0)) for value in values]
        rest = shown[MOST_VALUES:]
        if rest:
            left = sum(line[1] for line in rest), None if test is None else sum(line[2] or 0 for line in rest)
            shown = [*shown[:MOST_VALUES], (f"{len(rest)} more", *left)]
        lines.append((title, shown))
    return lines


def _counted(column: "pd.Series[Any]", fact: str) -> dict[str, int]:
    """Value in words -> rows."""
    if column.dtype == np.float64:
        known = column.dropna()
        if fact in ("palette", "icc", "exif"):
            words = known.map(lambda value: "yes" if value else "no")
        else:
            words = known.map(lambda value: f"{value:g}")
    else:
        words = column[column != ""].map(lambda value: formats.printable(str(value), 40))
    return {str(value): int(count) for value, count in words.value_counts().items()}


def _measured(explored: Explored) -> list[tuple[str, list[str]]]:
    """(what, [training: 5 %, median, 95 %; test: the same]) of what was measured of the pixels."""
    lines = []
    for name, title in MEASURED.items():
        cells = []
        for looks in (explored.train_looks, explored.test_looks):
            values = looks.table[name].dropna().to_numpy()
            if len(values):
                cells += [f"{np.quantile(values, share):.0f}" for share in (0.05, 0.5, 0.95)]
            elif len(explored.test):
                cells += [formats.DASH] * 3
        lines.append((title, cells))
    return lines


def _colours(explored: Explored) -> str:
    """Whether the pictures have colour, and whether the run reads it."""
    share, channels = coloured(explored), explored.run.data.channels
    if share is None or channels not in (1, 3):
        return ""
    reads = "colour" if channels == 3 else "grey"
    if share == 0:
        return f"None of the pictures has any colour; the run reads {reads}."
    return f"{formats.share(share)} of the pictures have colour; the run reads {reads}."


def coloured(explored: Explored) -> float | None:
    """The share of training pictures with more than a trace of colour; None where none was decoded."""
    values = explored.train_looks.table["colour"].dropna()
    return float((values > COLOUR / 4).mean()) if len(values) else None
