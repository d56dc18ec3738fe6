"""The driver's side: tasks are handed out, listened to, started again where a machine was lost, and asked to end.

Reads and writes the driver's project folder: what a task on a machine with a disk of its own sends is written here at
once, so that the next try of that task, on whatever machine, goes on from there.
"""

import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.processes import BusyError, lock
from foldline.core.progress import say
from foldline.core.tables import remove, write_text
from foldline.engine.scale.cluster.connect import connected, machines_of
from foldline.engine.scale.cluster.desk import Desk, Letter, Place
from foldline.engine.scale.cluster.needs import Needs, usual_needs
from foldline.engine.scale.cluster.on_node import Order, Outcome, inputs_key, work
from foldline.engine.scale.cluster.parcel import DamagedError, Kept, Piece, packed, unpack
from foldline.engine.scale.cluster.trip import OF_TRAINING, Trip
from foldline.engine.scale.unit import Work

TRIES = 5  # of a task whose machine is lost, or that is killed where memory ends
TURN_SECONDS = 0.3
WAIT_SAID_SECONDS = 30.0


@dataclass(frozen=True)
class Event:
    """What happened to a unit.

    Attributes:
        kind: `began` on a machine; `line`: it said something; `lost`: its machine or worker is gone, it is tried again;
            `done`, `failed`, `stopped`: it ended.
        text: in words.
        told: of a line, the event of `--log json`; of a failure `what`, `where` and `next`.
    """

    unit: Work
    kind: Literal["began", "line", "lost", "done", "failed", "stopped"]
    text: str = ""
    told: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class _Job:
    """A unit that was handed out.

    Attributes:
        key: of the try that is under way; ref: Ray's, of its outcome.
        place: where it runs, once that is known.
        fed: whether it has the files that it waits for.
        refused: why it was asked to end, where nobody asked for that.
        held: its fold's lock, while a machine with its own disk trains it.
    """

    unit: Work
    trip: Trip
    key: str = ""
    ref: Any = None
    tries: int = 0
    place: Place | None = None
    fed: bool = False
    stopping: bool = False
    refused: FoldlineError | None = None
    held: ExitStack = field(default_factory=ExitStack)


class Crew:
    """The tasks of one driver. `crew()` makes one.

    Args:
        needs: what each task takes.
        marker: a file in the driver's project folder, and what it holds.
        further: arguments of every command besides.
    """

    def __init__(
        self, ray: Any, layout: Layout, comp: str, needs: Needs, marker: tuple[str, str], further: tuple[str, ...] = ()
    ) -> None:
        self.further = further
        self.ray, self.layout, self.comp, self.needs, self.marker = ray, layout, comp, needs, marker
        self.inputs = inputs_key(layout, comp)
        desk = ray.remote(num_cpus=0, resources={"node:__internal_head__": 0.001})(Desk)
        self.desk = desk.remote()
        self.task = ray.remote(max_retries=0, **needs.as_options())(_at_work)
        self.jobs: list[_Job] = []
        self.kept: Kept = {}
        self.said: set[Place] = set()
        self.looked = time.monotonic()

    def room(self) -> int:
        """How many tasks the machines that are there now can do at once."""
        return sum(map(self.needs.room, machines_of(self.ray)))

    def submit(self, unit: Work, trip: Trip) -> None:
        """Hands a unit out: it starts where and when there is room."""
        job = _Job(unit, trip)
        self.jobs.append(job)
        self._send(job)

    def _send(self, job: _Job) -> None:
        job.tries += 1
        job.key, job.place, job.fed = f"{job.unit.title}, try {job.tries}, {secrets.token_hex(4)}", None, False
        order = Order(
            job.unit, job.key, str(self.layout.root), *self.marker, inputs=self.inputs, brings=job.trip.brings,
            lock=job.trip.lock, further=self.further, cores=max(int(self.needs.cpus), 1),
        )  # fmt: skip
        job.ref = self.task.remote(order, self.desk)

    def stop(self, unit: Work | None = None) -> None:
        """Asks a unit, or all, to end politely; one that has not begun does not begin."""
        jobs = [job for job in self.jobs if unit in (None, job.unit) and not job.stopping]
        for job in jobs:
            job.stopping = True
        self.ray.get(self.desk.stop.remote([job.key for job in jobs]))
        for job in jobs:
            if job.place is None:
                self.ray.cancel(job.ref)

    def turn(self) -> Iterator[Event]:
        """What happened since the last turn; waits a moment where nothing did.

        Raises:
            FoldlineError: the cluster is gone with its head.
        """
        try:
            yield from self._turn()
        except self.ray.exceptions.RayError as error:
            raise FoldlineError(
                f"the cluster is gone: {str(error).strip().splitlines()[0]}",
                next="start it again, then the same command goes on",
            ) from error

    def _turn(self) -> Iterator[Event]:
        if not self.jobs:
            return
        ready, _ = self.ray.wait([job.ref for job in self.jobs], num_returns=len(self.jobs), timeout=TURN_SECONDS)
        ended = [job for job in self.jobs if job.ref in ready]
        for letter in self.ray.get(self.desk.take.remote()):
            job = next((job for job in self.jobs if job.key == letter.key), None)
            if job is not None:
                yield from self._read(job, letter)
        for job in [job for job in self.jobs if job.place is not None and not (job.place.shared or job.fed)]:
            self._feed(job)
        for job in ended:
            yield self._ended(job)
        self._say_where_none_fits()

    def _read(self, job: _Job, letter: Letter) -> Iterator[Event]:
        if letter.kind == "line":
            yield Event(job.unit, "line", str(letter.content.get("text", "")), letter.content)
        elif letter.kind == "files":
            self._write(job, letter.content)
        elif letter.kind == "began":
            place: Place = letter.content
            job.place = place
            self._say_place(place)
            if not place.shared and job.trip.lock:
                try:
                    job.held.enter_context(lock(self.layout.root / job.trip.lock, f"{job.unit.title} is being trained"))
                except BusyError as error:
                    job.refused = error
                    self.stop(job.unit)
            yield Event(job.unit, "began", place.machine)

    def _say_place(self, place: Place) -> None:
        if place in self.said:
            return
        self.said.add(place)
        how = "shares this project folder" if place.shared else "has its own disk: its files are sent back here"
        say(f"{place.machine} ({place.root}) {how}")

    def _feed(self, job: _Job) -> None:
        """The files that a task on another disk starts with; the first fold of a run settles first what all share."""
        others = [one for one in self.jobs if one is not job and one.trip.run == job.trip.run and one.fed]
        if others and not job.trip.is_settled():
            return
        paths = job.trip.takes()
        passing = [path for path in paths if path.name in OF_TRAINING]  # as large as all else, and soon others
        pieces = packed(self.layout.root, passing, self.ray.put)
        pieces += packed(self.layout.root, set(paths) - set(passing), self.ray.put, self.kept)
        self.ray.get(self.desk.hand.remote(job.key, pieces))
        job.fed = True

    def _write(self, job: _Job, pieces: list[Piece]) -> None:
        """Files of a task that is at work; what was lost with its machine comes again, or is done again."""
        try:
            unpack(self.layout.root, job.trip.allowed(pieces, last=False), self.ray.get)
        except (DamagedError, self.ray.exceptions.RayError) as error:
            say(f"warning: {job.unit.title}: a file did not arrive: {str(error).splitlines()[0]}")

    def _ended(self, job: _Job) -> Event:
        """The end of a try, which may be that of the unit."""
        errors = self.ray.exceptions
        try:
            outcome: Outcome = self.ray.get(job.ref)
            unpack(self.layout.root, job.trip.allowed(outcome.pieces, last=True))
        except errors.TaskCancelledError:
            outcome = Outcome("stopped")
        except errors.RayTaskError as error:
            if isinstance(error.cause, errors.RayError | DamagedError):  # what it was sent did not arrive
                return self._lost(job, error)
            outcome = Outcome("failed", f"the task itself failed: {str(error).strip().splitlines()[-1]}")
            outcome = Outcome("stopped") if job.stopping else outcome
        except (errors.RayError, DamagedError) as error:
            return self._lost(job, error)
        self._close(job)
        if outcome.state != "failed" and job.trip.finish():  # it may have been asked to stop at its very end
            outcome = Outcome("done")
        if job.refused is not None:
            outcome = Outcome("failed", job.refused.what, job.refused.where, job.refused.next)
        told = {"what": outcome.what, "where": outcome.where, "next": outcome.next}
        return Event(job.unit, outcome.state, outcome.what, told)

    def _lost(self, job: _Job, error: Exception) -> Event:
        """Its machine is gone, or its worker was killed: it is tried again, where there is room."""
        where = "its machine" if job.place is None else job.place.machine
        why = f"{where} was lost, or the task killed there ({type(error).__name__})"
        job.held.close()
        if job.stopping:
            self._close(job)
            return Event(job.unit, "stopped", why)
        if job.tries >= TRIES:
            self._close(job)
            told = {"what": f"{why}, {TRIES} times", "where": job.unit.title, "next": _AFTER_LOSSES}
            return Event(job.unit, "failed", told["what"], told)
        self._send(job)
        return Event(job.unit, "lost", f"{why}: it goes on elsewhere from its last resume point, try {job.tries}")

    def let_go(self) -> None:
        """The locks that this driver holds for its tasks are free again."""
        for job in self.jobs:
            job.held.close()

    def _close(self, job: _Job) -> None:
        job.held.close()
        self.jobs.remove(job)

    def _say_where_none_fits(self) -> None:
        """A task that no machine can take waits for ever, unless the cluster grows."""
        now = time.monotonic()
        if now - self.looked < WAIT_SAID_SECONDS:
            return
        self.looked = now
        waiting = [job for job in self.jobs if job.place is None]
        if waiting and not self.room():
            machines = machines_of(self.ray)
            shown = "; ".join(f"{one.get('GPU', 0):g} GPUs and {one.get('CPU', 0):g} CPUs" for one in machines)
            say(
                f"warning: {counted(len(waiting), 'tasks wait')} for a machine with {self.needs.in_words()}; "
                f"there are: {shown}. "
                "A cluster that grows by itself may bring one; else take less: --gpus, --cpus, --memory"
            )


_AFTER_LOSSES = "look at the machines' memory (--memory keeps tasks apart), then the same command goes on"


def _at_work(order: Order, desk: Any) -> Outcome:
    """The task: `on_node.work`, which knows nothing of Ray."""
    import ray

    return work(order, lambda letters: ray.get(desk.post.remote(order.key, letters)), ray.put, ray.get)


@contextmanager
def crew(
    layout: Layout, comp: str, address: str, *, cpus: float | None, gpus: float | None, memory: float | None,
    ranks: int = 1,
) -> Iterator[Crew]:  # fmt: skip
    """A cluster's tasks for one competition, for the time of the block.

    Args:
        address: the cluster's, as `connect.connected` takes it.
        cpus, gpus, memory: what a task takes, memory in GB (`needs.usual_needs`).
        ranks: how many processes of one machine train a fold together.

    Raises:
        FoldlineError: Ray is not installed, nobody answers, or no machine of a cluster of one can take a task.
    """
    with connected(address) as ray, ExitStack() as stack:
        machines = machines_of(ray)
        needs = usual_needs(machines, cpus, gpus, memory, ranks)
        if address == "local" and not any(map(needs.room, machines)):
            raise FoldlineError(
                f"this machine has no {needs.in_words()} for a task", where="--gpus, --cpus, --memory", next="take less"
            )
        marker = layout.runs(comp) / f".{secrets.token_hex(8)}.shared"
        word = secrets.token_hex(16)
        stack.callback(remove, marker)
        write_text(marker, word)
        say(f"a cluster of {len(machines)} machines; each task takes {needs.in_words()}")
        further = ("--ranks", str(ranks)) if ranks > 1 else ()
        made = Crew(ray, layout, comp, needs, (layout.relative(marker), word), further)
        stack.callback(made.let_go)
        yield made
