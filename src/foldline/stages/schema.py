"""The JSON schema of facts or runs, for editors; and all as files below `configs/.schema/`."""

from typing import Any

from foldline.core.paths import Layout
from foldline.core.progress import say
from foldline.core.schema import HEADS, schema, write_schemas


def schemas(layout: Layout, *, kind: str) -> dict[str, Any]:
    """Writes the schemas and gives that of `kind`."""
    write_schemas(layout)
    say(f"wrote configs/.schema/; the first line of a file of {kind} in configs/<comp>/: {HEADS[kind].rstrip()}")
    return schema(kind)
