"""A raw layout becomes rows. Each reader gives a table of strings; the facts then name the columns to use.

Reads the raw files below `input/<comp>`; writes nothing, except that pictures which stand inside tables are written
once below `input/<comp>/.pictures`.
"""

from foldline.readers.outputs import find_outputs
from foldline.readers.rows import READERS, read_rows
from foldline.readers.targets import class_names

__all__ = ["READERS", "class_names", "find_outputs", "read_rows"]
