"""Which rows one of several processes predicts: contiguous, in whole batches, so that a batch holds the same rows as in
one process, and its numbers the same bits."""

from dataclasses import dataclass
from typing import Self

from foldline.core.errors import FoldlineError


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
        index, _, of = text.partition("/")
        whole = index.isascii() and index.isdigit() and of.isascii() and of.isdigit()
        if not whole or int(index) >= int(of):
            next = "write i/n with i from 0 to n - 1: of four the first is 0/4, the last one 3/4"
            raise FoldlineError(f"'{text}' is no shard", where="SHARD", next=next)
        return cls(int(index), int(of))

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
