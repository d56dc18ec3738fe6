"""The driver of a command on a cluster: hands all units out, shows where they stand, and waits for the last one."""

from collections.abc import Iterable

from foldline.core.errors import FoldlineError
from foldline.core.stopping import later
from foldline.engine.scale.board import Board
from foldline.engine.scale.cluster.crew import Crew, Event
from foldline.engine.scale.cluster.trip import Trip
from foldline.engine.scale.unit import Work


def drive(hands: Crew, board: Board, trips: Iterable[tuple[Work, Trip]]) -> None:
    """Until the last unit has ended; where this process is asked to end, until the last one has stopped politely.

    Args:
        board: shows them; what became of each is asked there.
    """
    with later() as stop:
        for unit, trip in trips:
            hands.submit(unit, trip)
        asked = False
        while hands.jobs:
            if stop.asked and not asked:
                asked = True
                hands.stop()
            for event in hands.turn():
                _show(board, event)


def _show(board: Board, event: Event) -> None:
    if event.kind == "began":
        board.begin(event.unit, event.text)
    elif event.kind == "line":
        board.hear(event.unit, event.told)
    elif event.kind == "lost":
        board.wait_again(event.unit, event.text)
    else:
        board.end(event.unit, event.kind, FoldlineError(**event.told) if event.kind == "failed" else None)
