"""All parts of the check, by their letters."""

from dataclasses import dataclass
from importlib import import_module

from gpu.kit import Setting


@dataclass(frozen=True)
class Part:
    """One part.

    Attributes:
        words: what it is about, for --help and for a line about its failure.
        function: `module:name` below this package; called with the setting.
        seconds: when it is ended, at full size on a slow card (a T4).
        timed: it measures speed, so nothing else may run beside it.
        hidden: left out unless it is asked for.
    """

    words: str
    function: str
    seconds: int
    timed: bool = False
    hidden: bool = False

    def run(self, setting: Setting) -> None:
        """Does it, in this process."""
        module, _, name = self.function.partition(":")
        getattr(import_module(f"gpu.{module}"), name)(setting)


PARTS = {
    "a": Part("tests marked gpu", "correct:marked_tests", 300),
    "b": Part("losses by number format", "correct:formats", 180),
    "f": Part("SIGKILL and resume", "correct:killed", 150),
    "g": Part("the same seed twice", "correct:twice", 150),
    "h": Part("out of memory", "memory:provoked", 120),
    "s": Part("settings that change what is trained", "correct:settings", 300),
    "l": Part("waits for the device in a step", "feeding:host_waits", 60),
    "c": Part("mixed precision: speed and memory", "speed:amp", 150, timed=True),
    "d": Part("the pipeline against synthetic batches", "feeding:pipeline", 240, timed=True),
    "e": Part("compiling: torch.compile, and as foldline chooses it", "compiling:pays_back", 240, timed=True),
    "i": Part("folds x views against a bare loop", "inference:folds_and_views", 120, timed=True),
    "j": Part("the loop against a bare loop", "feeding:by_hand", 120, timed=True),
    "k": Part("timm's published figures", "speed:beside_timm", 120, timed=True),
    "raises": Part("a part that raises", "broken:raises", 60, hidden=True),
    "crashes": Part("a part that crashes", "broken:crashes", 60, hidden=True),
    "hangs": Part("a part that hangs", "broken:hangs", 3, hidden=True),
}
