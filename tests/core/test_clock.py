"""The clock of a whole job: what is left, and that finished work is none."""

from datetime import datetime

import pytest

from foldline.core.clock import FoldPlan, JobClock, in_steps

PLAN = FoldPlan(start_s=2.0, epochs=3, steps=10, step_s=1.5, epoch_end_s=4.0, end_s=1.0)  # 60 s


class Now:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_job_that_goes_as_planned() -> None:
    now = Now()
    clock = JobClock([0, 1, 2, 3, 4], PLAN, now=now)
    assert clock.left == 300.0
    now.seconds = 20.0  # frozen features, which are no training
    clock.begin(PLAN)
    assert clock.left == pytest.approx(300.0)
    now.seconds += 2 + 19 + 5 * 1.5
    clock.place = (1, 5)
    assert clock.left == pytest.approx(300 - 28.5)
    assert clock.in_words(datetime(2026, 5, 1, 16, 30)) == "4.5 min of 5.3 min left, done about 16:34"
    now.seconds += 60 - 28.5
    clock.finish(0)
    assert clock.left == pytest.approx(240.0)


def test_the_pace_is_that_of_this_machine_now() -> None:
    now = Now()
    clock = JobClock([0, 1], PLAN, now=now)
    clock.begin(PLAN)
    now.seconds = 120.0  # twice as slow
    clock.finish(0)
    assert clock.left == pytest.approx(60 * (120 + 10) / (60 + 10)), "the forecast still counts ten seconds"
    now.seconds = 240.0
    clock.finish(1)
    assert clock.left == 0.0


def test_what_lay_behind_a_resume_is_neither_left_nor_done() -> None:
    now = Now()
    clock = JobClock([2, 3, 4], PLAN, now=now)  # folds 0 and 1 were finished before
    clock.begin(PLAN, 2, 5)
    behind = PLAN.before(2, 5)
    assert clock.left == pytest.approx(180 - behind)
    now.seconds = 7.5
    clock.place = (2, 10)
    assert clock.left == pytest.approx(180 - behind - 7.5), "five steps in their planned time: the pace is the plan's"


def test_a_fold_of_another_process_and_a_pause_are_no_pace() -> None:
    now = Now()
    clock = JobClock([0, 1, 2], PLAN, now=now)
    clock.begin(PLAN)
    now.seconds, clock.stood = 160.0, 100.0
    clock.finish(0)
    assert clock.left == pytest.approx(120.0)
    clock.finish(1, elsewhere=True)
    assert clock.left == pytest.approx(60.0)
    assert clock.elapsed == 60.0


def test_without_a_measurement_nothing_is_said_before_a_step_is_done() -> None:
    now = Now()
    clock = JobClock([0, 1], in_steps(2, 1), measured=False, now=now)
    assert clock.left is None
    assert clock.in_words() == ""
    clock.begin(in_steps(2, 10))
    assert clock.left is None
    now.seconds = 10.0
    clock.place = (0, 5)
    assert clock.left == pytest.approx(35 * 2.0)
