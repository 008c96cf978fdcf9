"""The rule behind ``on="auto"``: where a function with given figures goes, and that it never flaps."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unified_exec._auto.cost_model import Figures, duration, prices
from unified_exec._auto.placement_model import EVIDENCE, RARELY, UNKNOWN, PlacementModel, Sample

MS = 0.001
PYTHON = Sample(cpu=20 * MS, wall=20 * MS, blocked=20 * MS, weight=0.1 * MS)
RELEASING = Sample(cpu=20 * MS, wall=20 * MS, blocked=0.5 * MS, weight=0.1 * MS)
SLEEPING = Sample(cpu=0.05 * MS, wall=20 * MS, blocked=0.0)
SHORT = Sample(cpu=0.01 * MS, wall=0.01 * MS)
HEAVY = Sample(cpu=20 * MS, wall=20 * MS, blocked=20 * MS, weight=100 * MS)
MIXED = Sample(cpu=2 * MS, wall=22 * MS, blocked=2 * MS, weight=0.1 * MS)
CROWDED = Sample(cpu=20 * MS, wall=800 * MS, blocked=800 * MS, others=780 * MS, weight=0.1 * MS)
CROWDED_RELEASING = Sample(cpu=20 * MS, wall=22 * MS, blocked=20 * MS, others=20 * MS, weight=0.1 * MS)


def fed(sample: Sample, times: int = 6, cores: int = 2, batched: bool = False) -> PlacementModel:
    course = PlacementModel(cores, batched)
    for _ in range(times):
        course.note(sample)
    return course


@pytest.mark.parametrize(
    ("sample", "place", "reason"),
    [
        (PYTHON, "process", "holds the GIL"),
        (CROWDED, "process", "holds the GIL"),
        (RELEASING, "thread", "lets go of the GIL"),
        (CROWDED_RELEASING, "thread", "lets go of the GIL"),
        (SLEEPING, "thread", "waits most of the time"),
        (SHORT, "thread", "too short"),
        (HEAVY, "thread", "journey"),
        (MIXED, "thread", "waits most of the time"),
    ],
)
def test_the_figures_of_a_function_decide_its_place_and_the_reason_says_which(
    sample: Sample, place: str, reason: str
) -> None:
    course = fed(sample)
    assert course.decision.place == course.place == place
    assert reason in course.decision.reason
    assert course.decision.figures["calls"] == 6


def test_a_function_begins_in_threads_with_an_open_decision() -> None:
    assert PlacementModel(2).decision is UNKNOWN
    assert PlacementModel(2).place == "thread"


def test_one_look_at_a_free_lock_outweighs_many_at_a_busy_machine() -> None:
    course = fed(RELEASING, 1)
    for _ in range(3):
        course.note(RELEASING._replace(blocked=18 * MS))
    assert course.place == "thread"


def test_one_core_has_no_use_for_processes() -> None:
    course = fed(PYTHON, cores=1)
    assert course.place == "thread"
    assert "one core" in course.decision.reason


def test_nothing_is_sent_before_its_journey_was_weighed() -> None:
    course = fed(PYTHON._replace(weight=None), 20)
    assert course.place == "thread"
    assert course.to_be_weighed()
    course.note(PYTHON)
    course.note(PYTHON)
    assert course.place == "process"


def test_a_short_function_is_never_weighed() -> None:
    assert not PlacementModel(2).to_be_weighed()
    assert not fed(SHORT).to_be_weighed()


def test_items_of_a_map_share_the_journey_of_their_chunk() -> None:
    chunk = Sample(cpu=3 * MS, wall=3 * MS, blocked=3 * MS, weight=0.05 * MS, items=300)
    assert fed(chunk, batched=True).place == "process"
    assert fed(chunk._replace(cpu=0.01 * MS, wall=0.01 * MS, items=1)).place == "thread"


def test_many_calls_under_way_hide_the_journey_of_each() -> None:
    short = Sample(cpu=0.3 * MS, wall=0.3 * MS, blocked=0.3 * MS, weight=0.01 * MS)
    assert fed(short).place == "thread"
    assert fed(short._replace(crowd=50)).place == "process"


def test_a_function_comes_back_when_it_stops_computing() -> None:
    course = fed(PYTHON)
    for _ in range(20):
        course.note(SLEEPING._replace(weight=0.1 * MS))
    assert course.place == "thread"
    assert course.moves == 2


def test_what_cannot_travel_comes_back_at_once_and_is_tried_again_much_later() -> None:
    course = fed(PYTHON)
    course.refuse("a socket")
    assert course.place == "thread"
    assert "a socket" in course.decision.reason
    course.note(PYTHON)
    assert course.place == "thread"
    assert "a socket" in course.decision.reason
    for _ in range(40):
        course.note(PYTHON)
    assert course.place == "process"


def test_what_is_pinned_stays_whatever_comes() -> None:
    course = fed(PYTHON)
    course.pin("it changes its arguments")
    for _ in range(100):
        course.note(PYTHON)
    assert course.place == "thread"
    assert course.decision.reason == "it changes its arguments"
    assert not any(course.due() for _ in range(1000))


def test_calls_that_were_seen_alone_outweigh_calls_in_a_crowd() -> None:
    # In a crowd the waiting of a mixed function cannot be told from its standing in line for the lock.
    course = fed(MIXED)
    for _ in range(50):
        course.note(MIXED._replace(wall=100 * MS, blocked=100 * MS, others=98 * MS))
    assert course.place == "thread"


def test_a_settled_function_is_measured_rarely_and_one_that_changes_often() -> None:
    course = PlacementModel(2)
    measured = 0
    for _ in range(10 * RARELY):
        if course.due():
            measured += 1
            course.note(SHORT)
    assert course.settled
    assert measured < 0.1 * RARELY
    for _ in range(4 * RARELY):
        if course.due():
            course.note(PYTHON)
    assert course.place == "process"


def test_arguments_that_are_heavy_are_weighed_seldom() -> None:
    course = fed(HEAVY)
    assert not course.to_be_weighed()
    for _ in range(1000):
        course.note(HEAVY._replace(weight=None))
    assert course.to_be_weighed()


samples = st.sampled_from([PYTHON, RELEASING, SLEEPING, SHORT, HEAVY, MIXED, CROWDED, CROWDED_RELEASING]) | st.builds(
    Sample,
    cpu=st.floats(0, 10),
    wall=st.floats(0, 10),
    blocked=st.none() | st.floats(0, 10),
    others=st.floats(0, 10),
    weight=st.none() | st.floats(0, 10),
    items=st.integers(0, 2000),
)


@given(st.lists(samples, max_size=400), st.integers(1, 64), st.booleans())
def test_it_never_flaps_whatever_is_seen(seen: list[Sample], cores: int, batched: bool) -> None:
    course = PlacementModel(cores, batched)
    for sample in seen:
        course.note(sample)
    # The first move may take one sample, the others 2**n * EVIDENCE each.
    assert course.moves <= 1 + math.log2(1 + len(seen) / EVIDENCE)


@given(samples, st.integers(1, 64))
def test_the_same_figures_never_move_it_twice(sample: Sample, cores: int) -> None:
    assert fed(sample, 300, cores).moves <= 1


def test_the_price_of_a_thread_call_is_its_hold_on_the_lock_and_of_a_process_call_its_share_of_the_cores() -> None:
    price = prices(Figures(cpu=10 * MS, wait=0.0, gil=10 * MS, weight=0.0), cores=4)
    assert price.thread == pytest.approx(10 * MS, rel=0.01)
    assert price.process == pytest.approx(10 * MS / 4, rel=0.05)
    assert price.gain == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 µs"), (2e-7, "0.2 µs"), (1.5e-5, "15 µs"), (0.0034, "3.4 ms"), (150, "150 s")]
)
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
