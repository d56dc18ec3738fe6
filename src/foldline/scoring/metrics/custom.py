"""A metric of the user's own (`core.own_code`): a function (truth, prediction) of arrays that returns a number."""

from numbers import Real
from typing import Any, get_args

from foldline.core import own_code
from foldline.core.errors import FoldlineError
from foldline.core.task import ALL
from foldline.scoring.metrics.metric import Input, Metric


def custom_metric(name: str, *, where: str = "") -> Metric:
    """The metric `file.py:function` (the path as `core.own_code.locate` gives it) or `module:function`.

    Attributes of the function may say more: `direction` ("max", the default, or "min") and `input` ("prob", the
    default, "label", "rank" or "value"; what they hold is told in `scoring.metrics.forms`).

    Raises:
        FoldlineError: the function is not there or takes other arguments, or an attribute is none of the above.
    """
    function = own_code.load(name, ("truth", "prediction"), where=where)
    direction: Any = getattr(function, "direction", "max")
    reads: Any = getattr(function, "input", "prob")
    if direction not in ("max", "min") or reads not in get_args(Input):
        raise FoldlineError(
            f"metric '{name}': direction is '{direction}' and input is '{reads}'",
            where=where,
            next=f"direction is max or min, input is one of {', '.join(get_args(Input))}",
        )

    def score(truth: Any, prediction: Any) -> float:
        value = own_code.attempt(name, lambda: function(truth, prediction))
        if not isinstance(value, Real):
            raise FoldlineError(f"must return a number, not {type(value).__name__}", where=f"metric {name}")
        return float(value)

    return Metric(name, score, direction, reads, ALL, (float("-inf"), float("inf")))
