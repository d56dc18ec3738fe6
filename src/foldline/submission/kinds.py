"""The kinds of submission. A new one is a class in `numbers` or `labels`, and a word in the tuple at its end."""

from foldline.submission.kind import Kind
from foldline.submission.labels import LABELS
from foldline.submission.long import Long
from foldline.submission.numbers import COLUMNS, NUMBERS

# A sample whose kind the facts do not name is of the first one that suits.
KINDS: dict[str, type[Kind]] = {kind.name: kind for kind in (Long, *COLUMNS, *LABELS, *NUMBERS)}
