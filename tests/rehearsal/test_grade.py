"""When a rehearsed file is taken for what OOF says."""

import pytest

from foldline.rehearsal.grade import Grade


@pytest.mark.parametrize(
    ("grade", "holds"),
    [
        (Grade(0.904, 0.9, 0.01, lines=300, differing=300), True),
        (Grade(0.906, 0.9, 0.01, lines=300, differing=300), False),
        (Grade(4.02, 4.0, 0.01, lines=300, differing=300), True),  # relative to a score above 1
        (Grade(0.95, 0.9, 1.0, lines=300, differing=3), True),  # labels that flipped
        (Grade(0.95, 0.9, 1.0, lines=300, differing=4), False),
        (Grade(0.95, 0.9, 1.0, lines=3, differing=1), False),  # of few lines none may
        (Grade(None, None, 0.004, lines=300, differing=300), True),  # undefined in both: predictions count
        (Grade(None, None, 0.01, lines=300, differing=300), False),
        (Grade(None, 0.9, 0.01, lines=300, differing=300), False),
    ],
)
def test_a_score_holds_within_half_precision(grade: Grade, holds: bool) -> None:
    assert grade.holds is holds
