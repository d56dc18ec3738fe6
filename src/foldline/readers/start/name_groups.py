"""Pictures that belong together by their names: patient_001_a.png and patient_001_b.png. Pure."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from foldline.core.counted import counted

# What is photographed several times: before a number, as in `patient_012` or `slide7`, it names the group.
SUBJECTS = (
    "patient",
    "subject",
    "person",
    "case",
    "slide",
    "scan",
    "study",
    "series",
    "video",
    "clip",
    "scene",
    "animal",
)
# Else a number, then one more mark that tells views of it apart: `0012_a`, `img12-3`; the mark has at most three signs.
_MARKED = ".*[0-9](?=[-_ ][A-Za-z0-9][A-Za-z0-9]?[A-Za-z0-9]?$)"
# Else a word for a part of a whole, and its number: `P012a_slice0003`, `2023-01-07_frame00012`.
PIECES = ("slice", "frame", "view", "tile", "patch", "crop", "section", "roi", "image", "img", "picture", "photo")
_PIECE = ".*[0-9].*(?=[-_ ](?i:" + "|".join(PIECES) + ")[-_ ]?[0-9]+$)"
LARGEST = 0.2  # of all pictures: a "group" that holds more is the beginning that all names share


@dataclass(frozen=True)
class NameGroups:
    """What names say of pictures that belong together.

    Attributes:
        pattern: of a stem, for the facts' `extract`: `who` is the group.
        groups: [pictures] the group of each.
    """

    pattern: str
    groups: list[str]

    def in_words(self) -> str:
        """Such as `40 groups of 2 to 3 pictures, 'patient_001' first`."""
        sizes = [count for count in Counter(self.groups).values() if count > 1]
        first = min(name for name, count in Counter(self.groups).items() if count > 1)
        low, high = min(sizes), max(sizes)
        return (
            f"{counted(len(sizes), 'groups')} of {low if low == high else f'{low} to {high}'} pictures, '{first}' first"
        )


def name_groups(stems: Sequence[str]) -> NameGroups | None:
    """The groups that the names of pictures, without folder and ending, tell; None where they tell none.

    >>> name_groups(["p1_a", "p1_b", "p2_a", "p2_b", "p3_a", "p4_a", "p5_a", "p6_a", "p7_a", "p8_a"]).groups[:3]
    ['p1', 'p1', 'p2']
    >>> name_groups(["cat_1", "cat_2", "dog_1", "dog_2", "1", "1", "2", "2"]) is None
    True
    """
    for rule in (*(f"(?i:.*{subject})[-_ ]?[0-9]+" for subject in SUBJECTS), _PIECE, _MARKED):
        compiled = re.compile(f"({rule})(.*)", re.DOTALL)
        hits = [compiled.fullmatch(stem) for stem in stems]
        counts = Counter(hit[1] for hit in hits if hit)
        joined, largest = sum(count for count in counts.values() if count > 1), max(counts.values(), default=0)
        if joined >= 0.3 * len(stems) and largest <= max(2, LARGEST * len(stems)) and len(counts) >= 4:
            groups = [hit[1] if hit else stem for hit, stem in zip(hits, stems, strict=True)]
            return NameGroups("{who:" + rule + "|.+}{mark:.*}", groups)
    return None
