"""Which rows one of several processes predicts: contiguous, in whole batches, so that a batch holds the same rows as in
one process, and its numbers the same bits."""

import re
from dataclasses import dataclass
from typing import Self

from foldline.core.errors import FoldlineError

_FORM = re.compile("([0-9]{1,18})/([0-9]{1,18})")


@dataclass(frozen=True, order=True)
class Shard:
    """One of `of` shares of the rows, counted from 0."""

    index: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The shard that a command names.

        >>> Shard.parse("0/4")
        Shard(index=0, of=4)

        Raises:
            FoldlineError: the text is none.
        """
        found = _FORM.fullmatch(text)
        if not found or int(found[1]) >= int(found[2]):
            next = "write i/n with i from 0 to n - 1: of four the first is 0/4, the last one 3/4"
            raise FoldlineError(f"'{text[:50]}' is no shard", where="--shard", next=next)
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.index}-of-{self.of}"

    def rows(self, rows: int, batch_size: int) -> slice:
        """Its part of so many rows.

        >>> [Shard(i, 3).rows(70, 16) for i in range(3)]
        [slice(0, 16, None), slice(16, 48, None), slice(48, 70, None)]
        """
        batches = -(-rows // batch_size)
        start, end = (min(rows, batches * i // self.of * batch_size) for i in (self.index, self.index + 1))
        return slice(start, end)


WHOLE = Shard(0, 1)
