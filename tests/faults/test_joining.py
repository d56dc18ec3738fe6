"""The short form of `python -m faults.joining`: soup and export die, or find the disk full, halfway.

Ensembles do in tests/stages/test_blend.py, submit in tests/stages/test_submit.py.
"""

import pytest

from faults.joining import Case, filled, import_all, killed, prepared, ready

HALFWAY = {  # a stage -> the changes before which it dies, over an older result
    "soup": (r"os.rename .*/mixed/fold_1$", r"os.rename .*tmp/fold_1$"),  # a fold is new, the other old, or gone
    "export folder": (r"os.rename .*/exports/tiny/.quick.*tmp$", r"os.remove .*cv.json$"),  # the old one gives way
}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    """The stages over older results."""
    import_all()
    folder = tmp_path_factory.mktemp("joining")
    ready(folder / "ready", k=2)
    readers = {"soup": 1, "export folder": 0}  # the others take seconds
    return {name: prepared(folder, name, with_old=True, readers=count) for name, count in readers.items()}


@pytest.mark.parametrize(("stage", "change"), [(stage, one) for stage, all_ in HALFWAY.items() for one in all_])
def test_a_joining_stage_that_dies_mixes_nothing_and_ends_as_if_it_had_not(
    cases: dict[str, Case], stage: str, change: str
) -> None:
    """Readers tell the old or the new, or refuse; the same command then ends with the bytes of an undisturbed one."""
    case = cases[stage]
    assert not killed(case, case.at(change))


def test_a_soup_that_finds_no_room_leaves_the_one_before(cases: dict[str, Case]) -> None:
    case = cases["soup"]
    assert not filled(case, case.at(r"open .*/fold_1/.meta.json.*tmp$"))
