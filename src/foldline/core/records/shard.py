"""`oof/<comp>/<run>/shards/<i>-of-<n>/shard.json`: a share of a run's rows that one process has predicted."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from foldline.core.records.cv import CvHashes
from foldline.core.records.record import Record
from foldline.core.shards import Shard
from foldline.core.tables import sha256_files


class ShardRecord(Record):
    """What the predictions of a shard are of.

    Attributes:
        index, of: which one it is, counted from 0.
        sha256: of folds, choices, weights and test rows.
        views, batch_size: with which they were made.
        device: in words.
        seconds: that it took.
        left_out: the pictures that could not be read, with the sha256 of their files then, as in `cv.json`.
        files: the sha256 of its files, by their names.
    """

    made_by: ClassVar[str] = "make predict SHARD=0/4 (or whichever it is) writes it anew"

    comp: str
    run: str
    index: int
    of: int
    sha256: CvHashes
    views: list[str]
    batch_size: int
    device: str
    seconds: float
    left_out: dict[str, str] = {}
    files: dict[str, str]

    def is_of(self, other: "ShardRecord", folder: Path) -> bool:
        """Whether it is of the same as another one, whatever shard and wherever made, and its files are whole.

        Pictures that were left out are not compared.
        """
        ours, theirs = ((one.sha256, one.views, one.batch_size) for one in (self, other))
        return ours == theirs and self.files == sha256_files(folder, self.files)


def parts_there(
    run_folder: Path, is_current: Callable[[ShardRecord, Path], bool]
) -> dict[Shard, tuple[Path, ShardRecord]]:
    """The shards of one number of shards: of that of which most rows are there.

    Args:
        run_folder: the run's; shards stand in `shards/` below it.
        is_current: whether a shard in a folder is whole, and of what is predicted now.
    """
    found: dict[Shard, tuple[Path, ShardRecord]] = {}
    for path in sorted((run_folder / "shards").glob("*/shard.json")):
        record = ShardRecord.read(path)
        if is_current(record, path.parent):
            found[Shard(record.index, record.of)] = path.parent, record
    counts = Counter(shard.of for shard in found)
    of = max(sorted(counts), key=lambda of: counts[of] / of, default=1)
    return {shard: part for shard, part in sorted(found.items()) if shard.of == of}
