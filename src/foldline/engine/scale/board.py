"""The progress of many units in one display: what each says, where it stands, and how each ended.

A unit's process speaks JSON (`--log json`); here that becomes lines with its name before them, one status for all, and
a table at the end.
"""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Self

from foldline.core.clock import in_minutes
from foldline.core.errors import FoldlineError
from foldline.core.printer import printer
from foldline.core.progress import Progress, say_table
from foldline.engine.scale.unit import Work

SHOWN = 4  # units at work in a line of status, the others are counted
OPEN, AT_WORK, ELSEWHERE = "waits", "at work", "at work elsewhere"
DONE = ("done", "finished before", "trained elsewhere")


@dataclass(eq=False)
class Standing:
    """Where one unit stands.

    Attributes:
        state: `waits`, `at work`, `at work elsewhere` (in a process that is not this command's), or how it ended:
            `done`, `finished before`, `trained elsewhere`, `failed`, `stopped`.
        where: the device or machine that it has.
        job: the clock of its training, as `progress.json` has it.
        error: why it failed.
    """

    unit: Work
    state: str = OPEN
    where: str = ""
    job: dict[str, Any] = field(default_factory=dict)
    error: FoldlineError | None = None
    bar: Any = None

    @property
    def name(self) -> str:
        """Short, such as `baseline/0`."""
        return self.unit.short

    def words(self) -> str:
        """Such as `baseline/0 epoch 2 of 5, 3 min left`."""
        epoch = f" epoch {self.job['epoch']} of {self.job['epochs']}" if self.job.get("epochs") else ""
        left = self.job.get("seconds_left")
        return f"{self.name}{epoch}" + ("" if left is None else f", {in_minutes(left)} left")


class Board:
    """The standings of all units; `with Board(units) as board:` shows them while the block runs.

    Args:
        finished: those that were trained before, which nobody starts.
    """

    def __init__(self, units: Sequence[Work], finished: Sequence[Work] = ()) -> None:
        self.standings: dict[Work, Standing] = {unit: Standing(unit) for unit in units}
        for unit in finished:
            self.standings[unit].state = "finished before"
        self._stack = ExitStack()
        self._step: Any = None

    def __enter__(self) -> Self:
        self._progress = self._stack.enter_context(Progress())
        counted = self._progress.bars is not None or printer().as_json  # else the words say it
        total = len(self.standings) if counted else None
        self._step = self._stack.enter_context(self._progress.activity(self.words, total, self._ended()))
        printer().facts = self.facts
        self._stack.callback(setattr, printer(), "facts", None)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def begin(self, unit: Work, where: str = "") -> None:
        """A unit is at work, somewhere."""
        one = self.standings[unit]
        one.state, one.where = AT_WORK, where
        self._say(one, f"begins{f' on {where}' if where else ''}")
        self._show(one)

    def elsewhere(self, unit: Work, who: str) -> None:
        """Another process is at work on a unit."""
        one = self.standings[unit]
        one.state, one.job = ELSEWHERE, {}
        self._say(one, f"is trained by {who}, not by this command")
        self._show(one)

    def wait_again(self, unit: Work, why: str) -> None:
        """A unit was interrupted by no one's wish, and is started again."""
        one = self.standings[unit]
        one.state = OPEN
        self._say(one, f"warning: {why}", "warning")
        self._show(one)

    def hear(self, unit: Work, event: dict[str, Any]) -> None:
        """What its process said: an event of `--log json`."""
        one = self.standings[unit]
        kind, text = event.get("event", "line"), str(event.get("text", ""))
        if kind == "progress":
            one.job = event.get("job") or one.job
            self._show(one)
        elif kind != "stopped":
            self._say(one, text, "line" if kind == "result" else kind)

    def end(self, unit: Work, state: str, error: FoldlineError | None = None, more: str = "") -> None:
        """A unit ended: `done`, `trained elsewhere`, `failed` or `stopped`.

        Args:
            more: what came out, in words.
        """
        one = self.standings[unit]
        one.state, one.error, one.job = state, error, {}
        text = f"{state}{more}" if error is None else f"warning: failed: {error}"
        self._say(one, text, "line" if error is None else "warning")
        self._show(one)
        self._step()

    def of(self, state: str) -> list[Standing]:
        """Those that are in a state."""
        return [one for one in self.standings.values() if one.state == state]

    def words(self) -> str:
        """Where all stand, such as `2 at work (baseline/0 epoch 2 of 5, baseline/1) · 1 of 4 folds done`."""
        at_work = self.of(AT_WORK)
        shown = ", ".join(one.words() for one in at_work[:SHOWN]) if self._progress.bars is None else ""
        more = f" and {len(at_work) - SHOWN} more" if shown and len(at_work) > SHOWN else ""
        parts = [f"{len(at_work)} at work" + (f" ({shown}{more})" if shown else "")]
        parts += [f"{len(found)} {word}" for word in (ELSEWHERE, "failed", "stopped") if (found := self.of(word))]
        done, many = sum(one.state in DONE for one in self.standings.values()), next(iter(self.standings)).many
        return f"{', '.join(parts)} · {done} of {len(self.standings)} {many} done"

    def facts(self) -> dict[str, Any]:
        """The same for a program."""
        return {"units": {one.name: {"state": one.state, "where": one.where, **one.job} for one in
                          self.standings.values()}}  # fmt: skip

    def say_end(self) -> None:
        """The table of how each ended."""
        rows = [[one.name, one.state, one.where, "" if one.error is None else one.error.what[:80]]
                for one in self.standings.values()]  # fmt: skip
        say_table([["", "ended", "on", ""], *rows])

    def require_done(self, next: str) -> None:
        """Raises FoldlineError where a unit failed, KeyboardInterrupt where one was stopped.

        Args:
            next: the command that goes on.
        """
        failed = self.of("failed")
        if self.of("stopped") or self.of(OPEN):
            raise KeyboardInterrupt
        if len(failed) == 1 and failed[0].error is not None:
            error = failed[0].error
            raise FoldlineError(f"{failed[0].name}: {error.what}", where=error.where, next=error.next or next)
        if failed:
            reasons = "; ".join(dict.fromkeys(one.error.what for one in failed if one.error is not None))
            raise FoldlineError(f"{len(failed)} of {len(self.standings)} failed: {reasons}", next=next)

    def _ended(self) -> int:
        return sum(one.state not in (OPEN, AT_WORK, ELSEWHERE) for one in self.standings.values())

    def _say(self, one: Standing, text: str, event: str = "line") -> None:
        text = text.strip()
        before, text = ("warning: ", text[9:]) if text.startswith("warning: ") else ("", text)
        printer().line(f"{before}{one.name}: {text}", event, **one.unit.about)

    def _show(self, one: Standing) -> None:
        """On a terminal a bar for each unit at work, in epochs."""
        bars = self._progress.bars
        if bars is not None and one.bar is None and one.state == AT_WORK:
            one.bar = bars.add_task(one.words(), total=None)
        elif bars is not None and one.bar is not None and one.state == AT_WORK:
            bars.update(
                one.bar, description=one.words(), total=one.job.get("epochs") or None,
                completed=max(one.job.get("epoch", 1) - 1, 0),
            )  # fmt: skip
        elif bars is not None and one.bar is not None:
            bars.remove_task(one.bar)
            one.bar = None
        self._step(0)


def event_of(line: str) -> dict[str, Any]:
    """A line of `--log json`; empty where it is none (a traceback, a library's words)."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and "event" in found else {}
