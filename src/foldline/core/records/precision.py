"""`oof/<comp>/<run>/precision.json`: the number format that the first fold's training chose for all."""

from typing import ClassVar

from foldline.core.records.record import Record


class StoredPrecision(Record):
    """The choice, the device that it holds for, in words, and the images/s of a step in each format that was timed."""

    made_by: ClassVar[str] = "delete this file: the next training measures again"

    choice: str
    device: str
    images_per_second: dict[str, float]
