"""Whether several folds on one GPU are worth it, by the steps that they do; nothing is trained for the answer alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

GAIN = 1.15  # as much more work must another fold bring; less is within the noise of a minute
MOST_MEMORY = 0.9  # of a GPU's, which the folds may take together
WINDOW_SECONDS = 30.0  # of training that a rate is measured over


def one_more(rates: Sequence[float], memory: float | None) -> bool:
    """Whether a GPU should train one more fold at once.

    Args:
        rates: steps a second of all folds together, with 1, 2, ... of them at once, as far as that was measured.
        memory: the share of the GPU's memory that the last so many take; None: not known, then none is added.

    >>> one_more([10.0], 0.3), one_more([10.0], 0.6), one_more([10.0], None)
    (True, False, False)
    >>> one_more([10.0, 17.0], 0.4), one_more([10.0, 10.9], 0.4)
    (True, False)
    """
    if not rates or memory is None or memory * (len(rates) + 1) / len(rates) > MOST_MEMORY:
        return False
    return len(rates) == 1 or rates[-1] >= GAIN * rates[-2]


def at_once(rates: Sequence[float]) -> int:
    """How many folds a GPU should train at once, by the rates that were measured with 1, 2, ... of them.

    >>> at_once([]), at_once([10.0]), at_once([10.0, 17.0]), at_once([10.0, 10.9]), at_once([10.0, 17.0, 17.5])
    (1, 1, 2, 1, 2)
    """
    return max(len(rates) - 1 if len(rates) > 1 and rates[-1] < GAIN * rates[-2] else len(rates), 1)


@dataclass
class Trial:
    """The rates of the folds that train on one GPU, measured while they do.

    Attributes:
        rates: steps a second of all together, with 1, 2, ... of them.
    """

    rates: list[float] = field(default_factory=list)
    steps: float = 0.0
    seconds: float = 0.0
    _before: dict[int, tuple[int, float]] = field(default_factory=dict)

    @property
    def allowed(self) -> int:
        """How many may train at once now."""
        return self._tried if self._tried > len(self.rates) else at_once(self.rates)

    _tried: int = 1

    def see(self, places: dict[int, int], now: float, memory: Callable[[], float | None]) -> None:
        """Looks at the folds that train just now.

        Args:
            places: each one's steps so far; a fold that validates or prepares is left out, and then nothing counts.
            now: seconds that only grow.
            memory: asked for its share as `one_more` has it.
        """
        if len(places) != self._tried or len(self.rates) >= self._tried:
            self._before = {}
            return
        if self._before.keys() == places.keys():
            self.steps += sum(max(places[fold] - step, 0) for fold, (step, _) in self._before.items())
            self.seconds += now - next(iter(self._before.values()))[1]
        self._before = {fold: (step, now) for fold, step in places.items()}
        if self.seconds >= WINDOW_SECONDS:
            self.rates.append(self.steps / self.seconds)
            self.steps = self.seconds = 0.0
            if one_more(self.rates, memory()):
                self._tried += 1
