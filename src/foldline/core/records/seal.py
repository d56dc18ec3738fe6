"""`<file>.json` beside a large file that can be made again: what it was when it was whole."""

from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Self

from foldline.core.errors import FoldlineError
from foldline.core.progress import say
from foldline.core.records.record import Record
from foldline.core.tables import file_stamp, remove, sha256_file


class Seal(Record):
    """The seal of a file.

    Attributes:
        sha256: of its content; stamp: its size and time then (a file with another stamp is hashed anew).
        bad: pictures that cannot be read, and why; whole: how many have no foreground that was looked for.
    """

    made_by: ClassVar[str] = "delete it: it is made again"

    sha256: str
    stamp: str
    bad: dict[str, str] = {}
    whole: int = 0

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """The seal of a file that is whole; None where there is none, or the file is another now, which is said."""
        place = path.with_suffix(".json")
        if not (path.is_file() and place.is_file()):
            return None
        try:
            seal = cls.read(place)
            if seal.stamp != file_stamp(path):
                if sha256_file(path) != seal.sha256:
                    raise FoldlineError("its content is not what was written")
                with suppress(OSError):  # copied from elsewhere; a folder that cannot be written to is no matter
                    seal.changed(stamp=file_stamp(path)).write(place)
        except FoldlineError as error:
            say(f"{path.name} cannot be used ({error.what}): it is made again")
            remove(place)
            return None
        return seal

    @classmethod
    def put(cls, path: Path, **further: dict[str, str] | int) -> Self:
        """Writes the seal of a file that is whole."""
        seal = cls.model_validate({"sha256": sha256_file(path), "stamp": file_stamp(path), **further})
        seal.write(path.with_suffix(".json"))
        return seal
