"""`logs.json` of a fold or a run: under which name its curves are logged elsewhere, and how far they were sent."""

from typing import ClassVar

from foldline.core.records.record import Record


class Logs(Record):
    """What writers (`train.log_to`) go on from.

    Attributes:
        id: of this training, as W&B and MLflow know it: one that begins anew gets another.
        made_from: the hash of what is trained; another one is another training.
        sent: for each writer the optimizer step of the last point that was sent to it.
    """

    made_by: ClassVar[str] = "delete this file: the next training logs into new curves"

    id: str
    made_from: str
    sent: dict[str, int] = {}
