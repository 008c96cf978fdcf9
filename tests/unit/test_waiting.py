"""`until` waits as long as it was told, and no longer."""

from __future__ import annotations

from tests.waiting import PAUSE, until


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


def test_what_holds_already_is_not_waited_for() -> None:
    clock = FakeClock()
    assert until(lambda: True, 1.0, pause=clock.pause, clock=clock)
    assert clock.now == 0.0


def test_it_waits_until_the_condition_holds() -> None:
    clock = FakeClock()
    assert until(lambda: clock.now >= 0.5, 1.0, pause=clock.pause, clock=clock)
    assert clock.now < 0.5 + 2 * PAUSE


def test_it_gives_up_when_the_time_is_over() -> None:
    clock = FakeClock()
    assert not until(lambda: False, 1.0, pause=clock.pause, clock=clock)
    assert 1.0 <= clock.now < 1.0 + 2 * PAUSE


def test_a_condition_that_came_true_in_a_long_pause_counts() -> None:
    clock = FakeClock()
    assert until(lambda: clock.now >= 60.0, 1.0, pause=lambda _: clock.pause(60.0), clock=clock)
