"""The page: what is where on it, and what happens when something is chosen. Loads nothing from another machine."""

from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from foldline.app import views
from foldline.app.answers import Answer
from foldline.app.desk import Desk
from foldline.app.rows import SORTS
from foldline.core.errors import FoldlineError
from foldline.report.look import palette

ASK, BROWSE = "ask", "browse"
# A card or a picture of the strip says which one it is; so one listener is enough for whatever is shown.
CLICKED = """element.addEventListener('click', event => {
  const card = event.target.closest('[data-place]');
  if (card) trigger('select', {kind: card.dataset.kind || '', place: Number(card.dataset.place)});
});"""
HIDDEN: Any = {"api_visibility": "private", "show_progress": "hidden"}
EMPTY = "Drop a picture here, or choose one of the competition's under Browse."
LATER = "…"


def css() -> str:
    """The page's own style; its colours are the theme's."""
    return Path(__file__).with_name("app.css").read_text(encoding="utf-8")


def theme() -> gr.themes.Base:
    """The report's colours and the system's font: no font is fetched."""
    fonts = ["system-ui", "sans-serif"]
    colours = {
        "body_background_fill": "paper", "background_fill_primary": "paper", "background_fill_secondary": "paper",
        "block_background_fill": "paper", "body_text_color": "ink", "body_text_color_subdued": "muted",
        "block_label_text_color": "muted", "block_title_text_color": "muted", "border_color_primary": "line",
        "block_border_color": "line", "input_border_color": "line", "input_background_fill": "paper",
        "color_accent": "accent", "border_color_accent": "accent", "link_text_color": "accent",
        "checkbox_background_color_selected": "accent", "checkbox_border_color_selected": "accent",
        "error_text_color": "warm",
    }  # fmt: skip
    light = {name: palette.LIGHT[role] for name, role in colours.items()}
    dark = {f"{name}_dark": palette.DARK[role] for name, role in colours.items()}
    base = gr.themes.Base(font=fonts, font_mono=["ui-monospace", "monospace"], radius_size="sm")
    return base.set(**light, **{name: value for name, value in dark.items() if hasattr(base, name)})


def build(desk: Desk) -> gr.Blocks:
    """The page of a run."""
    title = f"{desk.run.name} on {desk.run.comp}"
    with gr.Blocks(title=title, analytics_enabled=False) as page:
        gr.HTML(desk.top(), padding=False)
        with gr.Tabs(selected=ASK) as tabs:
            with gr.Tab("Ask", id=ASK):
                asking = _Asking(desk)
            with gr.Tab("Browse", id=BROWSE):
                browsing = _Browsing(desk)
        asking.listen(tabs, browsing.cards)
        browsing.listen(page)
    return page


class _Asking:
    """The tab that asks about a picture."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.answers, self.place = gr.State([]), gr.State(0)
        with gr.Row():
            with gr.Column(scale=2, min_width=260):
                self.files = gr.File(file_count="multiple", height=150, label="Pictures", elem_id="files")
                self.strip = gr.HTML("", js_on_load=CLICKED, elem_id="strip", padding=False)
            with gr.Column(scale=5, min_width=320):
                self.answer = gr.HTML(desk.note(EMPTY), elem_id="answer", padding=False)
                with gr.Column(visible=False) as self.more:
                    gr.HTML('<h2 class="fl-head">Where the networks looked</h2>', padding=False)
                    self.output = gr.Dropdown([], label="What speaks for", elem_id="output")
                    self.looked = gr.HTML("", elem_id="looked", padding=False)
                    gr.HTML('<h2 class="fl-head">The nearest training pictures</h2>', padding=False)
                    self.nearest = gr.HTML("", js_on_load=CLICKED, elem_id="nearest", padding=False)

    def listen(self, tabs: gr.Tabs, cards: gr.HTML) -> None:
        """What happens when something is dropped or chosen."""
        shown = [
            self.answers, self.place, self.strip, self.answer, self.more, self.output, self.looked, self.nearest,
        ]  # fmt: skip
        for event in (self.files.upload, self.files.delete):
            self._explain(event(self._of_files, self.files, shown, api_visibility="private"))
        self.files.clear(self._nothing, None, shown, **HIDDEN)
        self._explain(self.strip.select(self._of_strip, self.answers, shown, **HIDDEN))
        for chosen in (cards, self.nearest):
            opened = chosen.select(self._of_row, None, [tabs, self.files, *shown], **HIDDEN)
            self._explain(opened)
        self.output.input(self._looked, [self.answers, self.place, self.output], self.looked, **HIDDEN)

    def _explain(self, event: Any) -> None:
        """After an answer comes where the networks looked, then what is near: the slowest is last."""
        asked = event.then(self._looked, [self.answers, self.place, self.output], self.looked, **HIDDEN)
        asked.then(self._nearest, [self.answers, self.place], self.nearest, **HIDDEN)

    def _of_files(self, files: list[str] | None) -> list[Any]:
        try:
            return self._show(self.desk.ask_files(files or []), 0)
        except FoldlineError as error:
            return self._nothing(f"{error.what}: {error.next}")

    def _of_strip(self, answers: list[Answer], event: gr.EventData) -> list[Any]:
        return self._show(answers, _place(event))

    def _of_row(self, event: gr.EventData) -> list[Any]:
        try:
            shown = self._show(self.desk.ask_row(str(getattr(event, "kind", "")), _place(event)), 0)
        except FoldlineError as error:
            shown = self._nothing(error.what)
        return [gr.Tabs(selected=ASK), None, *shown]

    def _nothing(self, problem: str = "") -> list[Any]:
        """The outputs of `shown` where there is no answer."""
        note = self.desk.note(problem or EMPTY, warm=bool(problem))
        return [[], 0, "", note, gr.Column(visible=False), gr.Dropdown(choices=[]), "", ""]

    def _show(self, answers: list[Answer], place: int) -> list[Any]:
        """The outputs of `shown`: the answer at once, the rest to come."""
        desk = self.desk
        if not 0 <= place < len(answers):
            return self._nothing()
        answer = answers[place]
        choices = [] if answer.problem else views.outputs_to_explain(desk.run, answer)
        output = gr.Dropdown(choices=choices, value=choices[0][1] if choices else None, visible=len(choices) > 1)
        later = desk.note(LATER)
        more = gr.Column(visible=not answer.problem)
        return [answers, place, desk.strip(answers, place), desk.answer(answer), more, output, later, later]

    def _looked(self, answers: list[Answer], place: int, output: int | None) -> str:
        if not answers or output is None:
            return ""
        return self.desk.looked(answers[place], int(output))

    def _nearest(self, answers: list[Answer], place: int) -> Any:
        yield from self.desk.nearest(answers[place]) if answers else [""]


class _Browsing:
    """The tab that browses rows."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        kinds = list(desk.run.rows)
        with gr.Row():
            self.kind = gr.Radio(kinds, value=kinds[0], label="Rows", elem_id="kind", scale=3, min_width=220)
            self.show = gr.Radio(
                ["all", "right", "wrong"], value="all", label="Show", elem_id="show", scale=4, min_width=270
            )
            self.true = gr.Dropdown([], label="True", elem_id="true", scale=2, min_width=130)
            self.predicted = gr.Dropdown([], label="Predicted", elem_id="predicted", scale=2, min_width=130)
            self.sort = gr.Dropdown([], label="Sorted", elem_id="sort", scale=2, min_width=170)
        self.page = gr.State(0)
        self.words = gr.HTML("", elem_id="words", padding=False)
        self.cards = gr.HTML("", js_on_load=CLICKED, elem_id="cards", padding=False)
        with gr.Row():
            self.before = gr.Button("Previous", elem_id="previous", size="md", min_width=90)
            self.after = gr.Button("Next", elem_id="next", size="md", min_width=90)

    def listen(self, page: gr.Blocks) -> None:
        """What happens when another page, order or kind of rows is asked for."""
        filters = [self.kind, self.show, self.true, self.predicted, self.sort]
        shown = [self.cards, self.words, self.page, self.before, self.after]
        choices = [self.show, self.true, self.predicted, self.sort]
        for event in (page.load, self.kind.input):
            event(self._of_kind, self.kind, choices, **HIDDEN).then(self._first, filters, shown, **HIDDEN)
        for filter in filters[1:]:
            filter.input(self._first, filters, shown, **HIDDEN)
        self.before.click(partial(self._turned, -1), [*filters, self.page], shown, **HIDDEN)
        self.after.click(partial(self._turned, 1), [*filters, self.page], shown, **HIDDEN)

    def _of_kind(self, kind: str) -> list[Any]:
        """What can be asked of these rows."""
        rows = self.desk.run.rows[kind]
        sorts = [(SORTS[sort], sort) for sort in rows.sorts]
        return [
            gr.Radio(value="all", visible=rows.right is not None),
            _classes(rows.true if rows.sure is not None else None),
            _classes(rows.predicted if rows.sure is not None else None),
            gr.Dropdown(choices=sorts, value=sorts[0][1]),
        ]  # fmt: skip

    def _first(self, kind: str, show: str, true: str, predicted: str, sort: Any) -> list[Any]:
        return self._turned(0, kind, show, true, predicted, sort, 0)

    def _turned(self, by: int, kind: str, show: str, true: str, predicted: str, sort: Any, page: int) -> list[Any]:
        html, words, page, count = self.desk.browse(kind, show, true or "", predicted or "", sort, page + by)
        before, after = gr.Button(interactive=page > 0), gr.Button(interactive=page + 1 < count)
        return [html, self.desk.note(words), page, before, after]


def _classes(names: list[tuple[str, ...]] | None) -> gr.Dropdown:
    """The classes that occur, and any."""
    known = sorted({name for own in names or [] for name in own})
    return gr.Dropdown(choices=[("any", ""), *((name, name) for name in known)], value="", visible=bool(known))


def _place(event: gr.EventData) -> int:
    """The place that a card says; -1 where it says none."""
    place = getattr(event, "place", -1)
    return place if isinstance(place, int) else -1
