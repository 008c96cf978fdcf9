"""How much is sent ahead: arithmetic."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from unified_exec._rules.prefetch import BUDGET, TASKS_MAX, room, update_estimate

seconds = st.floats(0, 1e4)


@given(seconds, st.none() | seconds)
def test_an_idle_worker_always_takes_one(load: float, cost: float | None) -> None:
    assert room(0, load, cost) >= 1


@given(st.integers(1, 1000), seconds)
def test_a_function_never_measured_is_sent_alone(waiting: int, load: float) -> None:
    assert room(0, load, None) == 1
    assert room(waiting, load, None) == 0


@given(st.integers(1, 1000), seconds | st.floats(0, BUDGET), seconds | st.floats(0, BUDGET))
def test_what_waits_at_one_worker_is_bounded_in_time_and_number(waiting: int, load: float, cost: float) -> None:
    sent = room(waiting, load, cost)
    if sent:
        assert waiting + sent <= TASKS_MAX
        assert load + sent * cost <= BUDGET * (1 + 1e-9)
    more = sent + 1
    assert waiting + more > TASKS_MAX or load + more * cost >= BUDGET * (1 - 1e-9)


@given(seconds)
def test_the_first_measurement_counts_in_full(taken: float) -> None:
    assert update_estimate(None, taken) == taken


@given(seconds, seconds)
def test_an_estimate_lies_between_what_was_known_and_what_was_seen(cost: float, taken: float) -> None:
    new = update_estimate(cost, taken)
    assert min(cost, taken) <= new * (1 + 1e-9) + 1e-12
    assert new <= max(cost, taken) * (1 + 1e-9)


def test_one_long_call_is_enough_to_send_the_next_alone() -> None:
    cost = update_estimate(0.00001, 1.0)
    assert cost == 1.0
    assert room(1, 0, cost) == 0


def test_short_calls_bring_the_estimate_down_again() -> None:
    cost = 1.0
    for _ in range(60):
        cost = update_estimate(cost, 0.00001)
    assert cost == pytest.approx(0.00001, rel=0.5)
    assert room(1, cost, cost) > 0
