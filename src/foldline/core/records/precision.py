"""`oof/<comp>/<run>/precision.json`: what the first fold's training settled for all: number format, batches."""

from typing import ClassVar

from foldline.core.records.record import Record


class StoredPrecision(Record):
    """What was settled by trying.

    Attributes:
        choice: the number format.
        device: that choice and parts hold for, in words.
        images_per_second: of a step in each format that was timed.
        parts: in how many parts a batch goes through the network, so that it fits into the device's memory.
        compile: the mode in which the network is compiled; compile_seconds: of a step of the plain network, of
            compiling it, and of a step then, where that was tried.
        batch_size: of `train.batch_size: auto`, for all folds and devices; 0: the run says it.
    """

    made_by: ClassVar[str] = "delete this file: the next training measures again"

    choice: str
    device: str
    images_per_second: dict[str, float]
    compile: str = ""
    compile_seconds: dict[str, float] = {}
    parts: int = 1
    batch_size: int = 0
