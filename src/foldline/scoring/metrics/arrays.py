"""The arrays that metrics read, with their shapes: equal names are equal lengths; `*outputs` may be none or several.

A wrong shape would broadcast to a wrong score without a word. Tests hold every call against these (tests/contracts.py).
"""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from foldline.core.task import Array

Rows = Annotated[Array, "rows"]
Table = Annotated[Array, "rows outputs"]
Truth = Annotated[Array, "rows | rows outputs"]  # class indices, or a number for each output
Labels = Annotated[Array, "rows *outputs"]  # class indices, or sets of 0 and 1
Codes = Annotated[NDArray[np.int64], "rows"]  # dense ranks
