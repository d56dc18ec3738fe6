"""What a run's pictures are, where it leaves that to its pretrained weights. Reads timm's table of weights alone."""

from typing import Any

from foldline.core.errors import FoldlineError
from foldline.core.own_code import is_own
from foldline.core.records.framing import Framing
from foldline.core.run import Run


def framing_of(run: Run) -> Framing:
    """What of the pictures is seen, and how it gets the size.

    Args:
        run: with the files of its own code found, where the function is to be called.

    Raises:
        FoldlineError: the run leaves it to weights of which timm knows nothing.
    """
    data, known = run.data, dict[str, Any]()
    if "weights" in (data.interpolation, data.crop_fraction):
        known = _of_weights(run)
    interpolation = known["interpolation"] if data.interpolation == "weights" else data.interpolation
    fraction = known["crop_pct"] if data.crop_fraction == "weights" else data.crop_fraction
    return Framing(fit=data.fit, interpolation=interpolation, crop_fraction=float(fraction), foreground=data.foreground)


def _of_weights(run: Run) -> dict[str, Any]:
    """timm's own configuration of the network's weights."""
    import timm

    config = None if is_own(run.model.name) else timm.get_pretrained_cfg(run.model.name)
    if config is None:
        raise FoldlineError(
            f"timm has no pretrained weights of '{run.model.name}', so it does not say how these were tested",
            where="data.interpolation, data.crop_fraction: weights",
            next="give a number and a word (docs/runs.md)",
        )
    return {"interpolation": config.interpolation, "crop_pct": config.crop_pct}
