"""`oof/<comp>/blend.json`: which way of blending some runs is worth what, and what each run adds."""

from typing import ClassVar

from foldline.core.records.record import Part, Record

Ends = tuple[float | None, float | None]


class BlendWay(Part):
    """One way to blend; None is a score that is undefined.

    Attributes:
        name: an entry of `scoring.blender.ALL_NAMES`.
        nested: its score, each row blended by what was fitted without its fold; interval: its two ends, 95 %.
        fitted: the score on the rows that it was fitted on; None where nothing is fitted.
        gain: how much better than the plain mean on the same rows, above 0 is better; gain_interval: its two ends.
        weights: of each run, on all rows: one a target, or one an output; empty: it has none.
        to: what was made small, or the metric; rows: on how many rows.
    """

    name: str
    nested: float | None
    interval: Ends
    fitted: float | None = None
    gain: float | None = None
    gain_interval: Ends = (None, None)
    weights: dict[str, list[float]] = {}
    to: str = ""
    rows: int = 0


class WithoutRun(Part):
    """The ensemble without one run, fitted anew.

    Attributes:
        gain: how much better it is than with it, nested, above 0: the run does harm; gain_interval: its two ends.
    """

    run: str
    gain: float | None
    gain_interval: Ends


class BlendStudy(Record):
    """What `make blend` found.

    Attributes:
        runs: by their names, the score of each alone.
        rows: how many rows the scores are of, of `of_rows`; scored: rows or entities.
        decided: how labels were decided where the metric reads them; empty: it reads none.
        ways: the best nested score first; left_out: ways that have no meaning here, and why.
        errors: how alike the runs err: the correlation of what each is wrong by, in the order of `runs`.
        without: each run left out, of the way `best`.
        best: the way that is proposed: the mean, unless another is clearly better; drop: the run to leave out, or "".
        command: what makes it.
    """

    made_by: ClassVar[str] = "make blend writes it anew"

    comp: str
    metric: str
    runs: dict[str, float | None]
    rows: int
    of_rows: int
    scored: int
    level: float = 0.95
    resamples: int
    decided: str = ""
    ways: list[BlendWay]
    left_out: dict[str, str] = {}
    errors: list[list[float | None]]
    without: list[WithoutRun] = []
    best: str
    drop: str = ""
    command: str = ""
