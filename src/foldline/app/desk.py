"""What the page shows, as HTML: every name is escaped by its templates. Knows nothing of the server."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from foldline.app import views
from foldline.app.answers import Answer, ask_files, ask_row
from foldline.app.looking import where_it_looked
from foldline.app.neighbours import Neighbours
from foldline.app.opened import OOF, TEST, OpenRun
from foldline.app.rows import PAGE, Sort, chosen, pages, same_classes
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.engine.finished.pictures import Source, heat_on_picture
from foldline.engine.finished.reading import in_chunks
from foldline.report.look import formats
from foldline.report.look.templates import environment
from foldline.scoring.choose import decision_in_words

FEW = 6  # outputs whose thresholds and folds a legend explains
LIKENESS = "Likeness: 1 where it sees no difference, 0 as any two."
WAIT = 0.5  # seconds between two looks at the progress


class Desk:
    """Answers what the page asks, for one run."""

    def __init__(self, run: OpenRun, near: Neighbours) -> None:
        self.run, self.near = run, near
        self._macros: Any = environment("app").get_template("app.html").module

    def top(self) -> str:
        """The head of the page: which run, and how good it is."""
        cv, run = self.run.reported.cv, self.run
        low, high = (formats.score(end) for end in cv.interval)
        members = f" of {len(run.model.members)} runs" if len(run.model.members) > 1 else ""
        facts = [
            f"{run.reported.metric} {formats.score(cv.pooled)} out of fold (95 %: {low} to {high})",
            f"{counted(len(run.first.folds), 'folds')}{members}", str(run.task),
        ]  # fmt: skip
        if cv.decision is not None and (words := decision_in_words(cv.decision, cv.metric)):
            facts.append(words)
        if run.blends_ranks:
            facts.append("the ensemble blends ranks, which one picture has none of: the mean is shown for it")
        held_out = TEST in run.rows and run.rows[TEST].true is not None
        about = {"comp": run.comp, "name": run.name, "facts": " · ".join(facts), "test": held_out}
        return str(self._macros.top(about))

    def ask_files(self, files: Sequence[str | Path]) -> list[Answer]:
        """The answers to files that were dropped; one that is a row of the competition is asked about as that row."""
        return ask_files(self.run, [Path(file) for file in files])

    def ask_row(self, kind: str, place: int) -> list[Answer]:
        """The answer to one of the competition's rows."""
        if kind not in self.run.rows or not 0 <= place < len(self.run.rows[kind]):
            raise FoldlineError("there is no such row")
        return [ask_row(self.run, kind, place)]

    def strip(self, answers: Sequence[Answer], place: int) -> str:
        """All pictures that were asked about, to choose from; nothing where there is one."""
        if len(answers) < 2:
            return ""
        items = [
            {"name": a.name, "problem": a.problem, "words": views.in_words(a.names), "picture": self._picture(a)}
            for a in answers
        ]
        return str(self._macros.strip(items, place))

    def answer(self, answer: Answer) -> str:
        """What the run says of a picture."""
        task, true, right = self.run.task, None if answer.row is None else answer.row.true, None
        if true is not None and task.classes(task.known):
            right = same_classes(task, true, answer.names)
        about = {
            "name": formats.printable(answer.name, 80), "where": self._where(answer), "problem": answer.problem,
            "picture": self._picture(answer), "words": views.in_words(answer.names),
            "true": None if true is None else views.in_words(true), "right": right,
            "agreement": "" if answer.problem else views.agreement(self.run.task, answer),
            "charts": [] if answer.problem else views.charts(self.run, answer), "legend": self._legend(answer),
        }  # fmt: skip
        return str(self._macros.answer(about))

    def _where(self, answer: Answer) -> str:
        if answer.row is None:
            return "a new picture"
        return "test row" if answer.row.fold is None else f"training row of fold {answer.row.fold}"

    def _legend(self, answer: Answer) -> str:
        parts = ["bar or line: the answer; dots: the folds"]
        if any(self._has_tick(i) for i in range(min(FEW, len(self.run.task.known)))):
            parts.append("dotted line: the threshold of the label")
        if len(answer.folds) > 1 and answer.fair.all():
            parts.append("±: standard deviation between the folds")
        return "; ".join(parts)

    def _has_tick(self, output: int) -> bool:
        return len(self.run.task.blocks) == 1 and views.tick(self.run, output) is not None

    def _picture(self, answer: Answer) -> views.Thumbnail:
        return views.thumbnail(answer.files, self.run.first.spec.intensity, views.LARGE_PX)

    def looked(self, answer: Answer, output: int) -> str:
        """Where the networks looked for an output, or why that cannot be shown."""
        if answer.problem:
            return ""
        run, spec, own = self.run, self.run.first.spec, None if answer.row is None else answer.row.fold
        try:
            [chunk] = in_chunks([Source(answer.name, answer.files)], [spec], 1, "stop")
            with run.lock:
                folds = run.first.fold_networks(None if own not in run.first.folds else [own])
                found = where_it_looked(folds, chunk.pixels[spec][0], output, is_class=views.is_class(run, output))
            pixels = views.picture(answer.files, spec.intensity)
            heat = heat_on_picture(found.heat, answer.files, spec)
        except FoldlineError as error:
            return self.note(error.what, warm=True)
        name = formats.printable(run.task.known[output], 60) or "a larger value"
        if not found.heat.any():
            return self.note(f"Nothing in the picture speaks for “{name}”, as far as the last feature map tells.")
        whose = f"fold {folds[0].meta.fold}" if len(folds) == 1 else counted(len(folds), "folds")
        whose += f" of {run.first.run}" if len(run.model.members) > 1 else ""
        height, width = found.places
        caption = (
            f"Bright: what speaks for “{name}” in the eyes of {whose} (Grad-CAM, one view, {height} x {width} places). "
            "It is scaled to its own maximum: it says where, not how much."
        )
        about = {"plain": views.large(pixels), "heat": views.overlay(pixels, heat), "caption": caption}
        return str(self._macros.looked(about))

    def nearest(self, answer: Answer) -> Iterator[str]:
        """The nearest training pictures; before that, how far their comparison is."""
        if answer.problem:
            yield ""
            return
        while not self.near.wait(WAIT):
            yield str(self._macros.progress(self.near.done, self.near.total))
        try:
            found = self.near.nearest(answer)
        except FoldlineError as error:
            yield self.note(error.what, warm=True)
            return
        rows = self.run.rows[OOF]
        items = views.cards(self.run, rows, [n.place for n in found], [n.likeness for n in found])
        yield self.note(self._fairness(answer)) + str(self._macros.cards(items, OOF))

    def _fairness(self, answer: Answer) -> str:
        """How the neighbours were found, so that it is known what they say."""
        own = None if answer.row is None else answer.row.fold
        total = len(self.run.rows[OOF])
        of = f"{self.near.total:,} of {total:,}" if self.near.total < total else f"{total:,}"
        whose = f" ({self.run.first.run})" if len(self.run.model.members) > 1 else ""
        if own is not None:
            return (
                f"Of the training pictures of fold {own} alone, by that fold's network{whose}: it was trained on none "
                f"of them. Every other network knows this picture's label. {LIKENESS}"
            )
        return (
            f"Of {of} training pictures, each by the network that was not trained on it{whose}: near means that it "
            f"looks alike, not that its label was learnt. {LIKENESS}"
        )

    def browse(
        self, kind: str, show: str, true: str, predicted: str, sort: Sort, page: int
    ) -> tuple[str, str, int, int]:
        """(cards, what they are in words, the page, how many pages).

        Args:
            show: all, right or wrong.
            true, predicted: a class; empty: any.
            page: from 0; beyond the last it is the last.
        """
        rows = self.run.rows[kind]
        right = {"right": True, "wrong": False}.get(show)
        places = chosen(rows, right=right, true=true, predicted=predicted, sort=sort)
        count = pages(len(places))
        page = min(max(page, 0), count - 1)
        some = places[page * PAGE : (page + 1) * PAGE].tolist()
        by = "" if rows.folds is None else ", out of fold"
        words = f"{len(places):,} of {len(rows):,} {kind} rows{by} · page {page + 1} of {count}"
        if not len(places):
            return self.note("No row is like that."), words, page, count
        return str(self._macros.cards(views.cards(self.run, rows, some), kind)), words, page, count

    def note(self, text: str, *, warm: bool = False) -> str:
        """A sentence."""
        return str(self._macros.note(text, warm))
