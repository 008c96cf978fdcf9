"""How many items travel together: arithmetic."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from unified_exec._rules.chunking import GROW, ITEMS_MAX, LEAST, TARGET, Chunking

each = st.floats(1e-7, 10)
workers = st.integers(1, 64)


@given(st.lists(each, min_size=1, max_size=30))
def test_a_chunk_has_at_least_one_item_and_grows_in_bounded_steps(durations: list[float]) -> None:
    chunking = Chunking(None, ITEMS_MAX)
    for seconds in durations:
        before = chunking.size
        chunking.measured(before, before * seconds)
        assert 1 <= chunking.size <= min(ITEMS_MAX, GROW * before)


@given(each)
def test_items_of_one_duration_come_to_chunks_of_the_target_and_no_longer(seconds: float) -> None:
    chunking = Chunking(None, ITEMS_MAX)
    for _ in range(10):
        chunking.measured(chunking.size, chunking.size * seconds)
    assert chunking.size == 1 or chunking.size * seconds <= TARGET * (1 + 1e-6)


@given(each, st.integers(0, 10_000), workers)
def test_towards_the_end_no_worker_gets_more_than_half_of_its_share_of_what_is_left(
    seconds: float, left: int, workers: int
) -> None:
    chunking = Chunking(None, ITEMS_MAX)
    for _ in range(10):
        chunking.measured(chunking.size, chunking.size * seconds)
    size = chunking.next_size(left, workers)
    assert 1 <= size <= chunking.size
    assert size == 1 or size <= left / (2 * workers) + 1 or size * seconds <= LEAST * (1 + 1e-6)


@given(st.integers(1, ITEMS_MAX), each, st.none() | st.integers(0, 10_000), workers)
def test_a_size_that_was_asked_for_holds_to_the_end(fixed: int, seconds: float, left: int | None, workers: int) -> None:
    chunking = Chunking(fixed, ITEMS_MAX)
    chunking.measured(fixed, fixed * seconds)
    assert chunking.next_size(left, workers) == fixed


@given(each, workers)
def test_items_that_nobody_can_count_go_by_the_target_alone(seconds: float, workers: int) -> None:
    chunking = Chunking(None, ITEMS_MAX)
    chunking.measured(1, seconds)
    assert chunking.next_size(None, workers) == chunking.size
